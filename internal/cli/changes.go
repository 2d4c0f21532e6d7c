package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/jobstore"
)

func changesCmd(env *Env) *cobra.Command {
	return group(&cobra.Command{Use: "changes", Short: "Mass changes: what was done to many jobs, and taking it back"},
		changesListCmd(env), changesUndoCmd(env))
}

func changesListCmd(env *Env) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the mass changes of the last seven days, the newest first",
		Long: `List the mass changes of the last seven days, the newest first. One that is running although nobody
is at it was broken off: the same command goes on with it, 'warren changes undo' takes it back.`,
		Args: cobra.NoArgs,
		RunE: env.answer(func(ctx context.Context, f format, a *app.App) error {
			if limit < 1 {
				return usagef("--limit %d is not positive", limit)
			}
			list, err := a.Store.Changes(ctx, 0, limit)
			if err != nil {
				return err
			}
			header := []string{"ID", "STARTED", "BY", "STATE", "CHANGED", "REFUSED", "UNDONE", "COMMAND", "NOTE"}
			return printList(env.Stdout, f, list, header, func(c jobstore.Change) []string {
				return []string{
					strconv.FormatInt(int64(c.ID), 10), c.StartedAt.Local().Format(time.DateTime), c.By, string(c.State),
					strconv.Itoa(c.Changed), strconv.Itoa(c.Refused), strconv.Itoa(c.Undone), typed(c.Spec), c.Note,
				}
			})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "at most so many")
	addOutputFlag(cmd)
	return cmd
}

// typed is what specOf has written, as a line.
func typed(spec json.RawMessage) string {
	var s struct{ Command []string }
	if json.Unmarshal(spec, &s) != nil || len(s.Command) == 0 {
		return string(spec)
	}
	return strings.Join(s.Command, " ")
}

func changesUndoCmd(env *Env) *cobra.Command {
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use:   "undo CHANGE",
		Short: "Make the jobs of a mass change what they were before",
		Long: `Make the jobs of a mass change what they were before, as far as they have not started since. Those
that have, and those that somebody else has changed since, are left alone (exit code 4). What was
deleted is gone. When the command is killed, the same one goes on.`,
		Example: `  warren changes undo 3`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := outputFormat(cmd)
			if err != nil {
				return err
			}
			n, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || n < 1 {
				return usagef("%q is not the number of a change; see 'warren changes list'", args[0])
			}
			if !yes && !dryRun && !env.interactive() {
				return usagef("to undo a change without a terminal to ask on needs --yes; --dry-run says how many jobs it is about")
			}
			a, err := env.open(cmd, "warren")
			if err != nil {
				return err
			}
			defer a.Close()
			return env.undo(cmd.Context(), a, jobstore.ChangeID(n), dryRun, yes, out)
		},
	}
	addMassFlags(cmd, &dryRun, &yes)
	addOutputFlag(cmd)
	return cmd
}

func (e *Env) undo(ctx context.Context, a *app.App, id jobstore.ChangeID, dryRun, yes bool, out format) error {
	list, err := a.Store.Changes(ctx, id, 1)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fmt.Errorf("there is no change %d: %w; it may be more than seven days old", id, jobstore.ErrNotFound)
	}
	left := list[0].Changed - list[0].Undone
	if dryRun {
		return say(e.Stdout, out, result{Verb: "undo", DryRun: true, Jobs: left, IDs: []jobstore.ID{}, Refused: []jobstore.Refusal{}},
			"would undo %s, those that have not started since", count(left))
	}
	if !yes && left > 0 && !e.confirm(fmt.Sprintf("undo change %d, which was about %s?", id, count(left))) {
		return refusedf("not confirmed; nothing was changed")
	}
	res := &result{Verb: "undo", IDs: []jobstore.ID{}, Refused: []jobstore.Refusal{}, past: "undone"}
	err = massError(a.UndoChange(ctx, id, res.add))
	if err != nil && res.Jobs == 0 {
		return err
	}
	printed := res.print(e.Stdout, out)
	if err == nil {
		err = res.err()
	}
	if err == nil {
		err = printed
	}
	return err
}
