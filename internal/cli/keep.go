package cli

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/jobstore"
)

// maxDays keeps a number of days inside of a duration.
const maxDays = math.MaxInt64 / int64(24*time.Hour)

func clearFinishedCmd(env *Env) *cobra.Command {
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use:   "clear-finished [DAYS]",
		Short: "Remove FINISHED jobs: all, or those that finished more than DAYS days ago",
		Long: `Remove FINISHED jobs: all, or those that finished more than DAYS days ago. Jobs that ended in
another way stay; see prune. It goes in small steps that hold up nobody. On a terminal it asks
first; for cron, it does not.`,
		Example: `  warren clear-finished 14`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			keep := jobstore.Retention{jobstore.Finished: 0}
			if len(args) == 1 {
				days, err := strconv.ParseInt(args[0], 10, 64)
				if err != nil || days < 0 || days > maxDays {
					return usagef("%q is not a number of days: a whole number such as 14", args[0])
				}
				keep[jobstore.Finished] = time.Duration(days) * 24 * time.Hour
			}
			return env.clear(cmd, dryRun, yes, func(*app.App) jobstore.Retention { return keep })
		},
	}
	addMassFlags(cmd, &dryRun, &yes)
	addOutputFlag(cmd)
	return cmd
}

func pruneCmd(env *Env) *cobra.Command {
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove jobs past the configured retention now",
		Long: `Remove jobs past the configured retention now. Consumers do the same every ten minutes in smaller
portions. It goes in small steps that hold up nobody. On a terminal it asks first; for cron, it does
not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.clear(cmd, dryRun, yes, func(a *app.App) jobstore.Retention { return a.Config.Retention })
		},
	}
	addMassFlags(cmd, &dryRun, &yes)
	addOutputFlag(cmd)
	cmd.AddCommand(pruneLogsCmd(env))
	return cmd
}

// clear removes, or counts, what is older than keep says, and prints how many there were.
func (e *Env) clear(cmd *cobra.Command, dryRun, yes bool, keep func(a *app.App) jobstore.Retention) error {
	out, err := outputFormat(cmd)
	if err != nil {
		return err
	}
	a, err := e.open(cmd, "warren")
	if err != nil {
		return err
	}
	defer a.Close()
	past := keep(a)
	list, compacted := []app.Cleared(nil), true
	if dryRun || !yes && e.interactive() {
		if list, err = a.Clearable(cmd.Context(), past); err != nil {
			return err
		}
		if n := sum(list); !dryRun && n > 0 && !e.confirm(fmt.Sprintf("remove %s?", count(n))) {
			return refusedf("not confirmed; nothing was changed")
		}
	}
	if !dryRun {
		list, compacted, err = a.Clear(cmd.Context(), past)
	}
	if !compacted && err == nil {
		fmt.Fprintln(e.Stderr, "the space is left to the database's own vacuum: this user may not, or did not get to it in time")
	}
	header := []string{"STATE", "KEPT FOR", "REMOVED"}
	if dryRun {
		header[2] = "TO REMOVE"
	}
	printed := printList(e.Stdout, out, list, header, func(c app.Cleared) []string {
		return []string{string(c.State), config.FormatDuration(past[c.State]), strconv.Itoa(c.Jobs)}
	})
	if err != nil {
		return err
	}
	return printed
}

func sum(list []app.Cleared) (n int) {
	for _, c := range list {
		n += c.Jobs
	}
	return n
}
