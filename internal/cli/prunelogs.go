package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/jobstore"
)

// pruneAtOnce is how many lines one statement removes.
const pruneAtOnce = 5000

// prunedLines are what prune logs has removed, or would remove.
type prunedLines struct {
	Verb   string `json:"verb"`
	DryRun bool   `json:"dry_run"`
	Lines  int    `json:"lines"`
}

func pruneLogsCmd(env *Env) *cobra.Command {
	var older durationFlag
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use:   "logs --older D",
		Short: "Remove lines of jobs' logs that are older than so long",
		Long: `Remove lines of jobs' logs that are older than so long, of whatever jobs; the jobs stay. It goes in
small steps that hold up nobody. A log goes with its job anyway. On a terminal it asks first; for cron,
it does not. --dry-run reads the logs of all jobs that are old enough, which takes a while.`,
		Example: "  warren prune logs --older 30d",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if older <= 0 {
				return usagef("--older is needed: how old lines must be to go, such as 30d")
			}
			return env.answer(func(ctx context.Context, out format, a *app.App) error {
				return env.pruneLogs(ctx, out, a, time.Duration(older), dryRun, yes)
			})(cmd, nil)
		},
	}
	cmd.Flags().Var(&older, "older", "remove lines that were said at least this long ago")
	addMassFlags(cmd, &dryRun, &yes)
	addOutputFlag(cmd)
	return cmd
}

func (e *Env) pruneLogs(ctx context.Context, out format, a *app.App, older time.Duration, dryRun, yes bool) error {
	did, remove := "removed", pruneLines
	switch {
	case dryRun:
		did, remove = "would remove", countLines
	case !yes && e.interactive() && !e.confirm("remove the lines of all jobs that are older than "+config.FormatDuration(older)+"?"):
		return refusedf("not confirmed; nothing was changed")
	}
	n, err := remove(ctx, a.Store, older)
	if err != nil {
		return err
	}
	return say(e.Stdout, out, prunedLines{"prune", dryRun, n}, "%s %d lines", did, n)
}

func pruneLines(ctx context.Context, store jobstore.Store, older time.Duration) (total int, err error) {
	for {
		n, err := store.PruneLines(ctx, older, pruneAtOnce)
		if total += n; err != nil || n < pruneAtOnce {
			return total, err
		}
	}
}

// countLines looks at every job that was there when such lines were said.
func countLines(ctx context.Context, store jobstore.Store, older time.Duration) (total int, err error) {
	before := time.Now().Add(-older)
	for f := (jobstore.Filter{OlderThan: older, Limit: batch}); ; {
		jobs, err := store.Find(ctx, f)
		if err != nil {
			return 0, err
		}
		for _, job := range jobs {
			err := eachLine(ctx, store, jobstore.LineFilter{Job: job.ID}, func(l *jobstore.Line) error {
				if !l.At.After(before) {
					total++
				}
				return nil
			})
			if err != nil {
				return 0, err
			}
		}
		if len(jobs) < f.Limit {
			return total, nil
		}
		f.After = jobs[len(jobs)-1].ID
	}
}
