package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/jobstore"
)

func statsCmd(env *Env) *cobra.Command {
	var by string
	since := durationFlag(24 * time.Hour)
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count jobs by state, per queue and in all, or what has ended by kind",
		Long: `Count jobs by state, per queue and in all. With --by kind it counts the jobs that ended within --since,
by kind: what they came to, the share that succeeded of those that ran, and how long their last attempts
took. Jobs that retention has removed are not among them.`,
		Example: `  warren stats --by kind --since 7d`,
		Args:    cobra.NoArgs,
	}
	cmd.RunE = env.answer(func(ctx context.Context, out format, a *app.App) error {
		switch {
		case by == "kind":
			if since == 0 {
				return usagef("--since 0s is no time; leave it out for a day")
			}
			list, err := a.Store.EndedByKind(ctx, time.Duration(since))
			if err != nil {
				return err
			}
			return printEnded(env.Stdout, out, list)
		case by != "queue":
			return usagef("--by %q is neither queue nor kind", by)
		case cmd.Flags().Changed("since"):
			return usagef("--since is about what has ended: add --by kind")
		}
		stats, err := a.Store.Stats(ctx)
		if err != nil {
			return err
		}
		switch out {
		case formatJSON:
			return printJSON(env.Stdout, stats)
		case formatLines:
			return json.NewEncoder(env.Stdout).Encode(stats)
		case formatTable:
		}
		return printStats(env.Stdout, stats)
	})
	cmd.Flags().StringVar(&by, "by", "queue", "queue, or kind for what has ended")
	cmd.Flags().Var(&since, "since", "with --by kind: how far back")
	addOutputFlag(cmd)
	return cmd
}

func printEnded(w io.Writer, f format, list []jobstore.KindEnded) error {
	header := []string{"KIND", "FINISHED", "FAILED", "QUARANTINED", "CANCELLED", "REDUNDANT", "SUCCESS", "MEAN", "LONGEST", "LAST"}
	return printList(w, f, list, header, func(k jobstore.KindEnded) []string {
		success := ""
		if k.Success != nil {
			success = fmt.Sprintf("%.1f%%", 100**k.Success)
		}
		cells := []string{k.Kind}
		for _, s := range []jobstore.State{jobstore.Finished, jobstore.PermanentlyFailed, jobstore.Quarantined, jobstore.Cancelled, jobstore.Redundant} {
			cells = append(cells, strconv.FormatInt(k.States[s], 10))
		}
		mean := time.Duration(k.MeanMS * float64(time.Millisecond)).Round(time.Millisecond)
		return append(cells, success, mean.String(), (time.Duration(k.MostMS) * time.Millisecond).String(), k.Last.Local().Format(time.DateTime))
	})
}

// printStats has one line a state and one column a queue.
func printStats(w io.Writer, s jobstore.Stats) error {
	queues := make([]string, 0, len(s.Queues))
	for q := range s.Queues {
		queues = append(queues, q)
	}
	slices.Sort(queues)
	header := append([]string{"STATE"}, queues...)
	header = append(header, "TOTAL")
	return printList(w, formatTable, jobstore.States(), header, func(state jobstore.State) []string {
		cells := []string{string(state)}
		for _, q := range queues {
			cells = append(cells, strconv.FormatInt(s.Queues[q][state], 10))
		}
		return append(cells, strconv.FormatInt(s.Total[state], 10))
	})
}
