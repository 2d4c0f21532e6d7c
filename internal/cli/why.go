package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/terminal"
)

func whyCmd(env *Env) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "why ID",
		Short: "Say why a job does not run, or when it will",
		Long: `Say why a job does not run, or when it will.

The conditions that a claim checks are evaluated on the database as it is. "runnable" means that
the job starts within a second; anything else names every condition that is in the way.

With --watch the answer is printed again whenever it has changed, until the job has ended.`,
		Example: `  warren why 42
  warren why 42 --watch
  warren why 42 -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := outputFormat(cmd)
			if err != nil {
				return err
			}
			if watch && out == formatJSON {
				return usagef("--watch prints one answer after the other; use -o jsonl with it")
			}
			id, err := parseID(args[0])
			if err != nil {
				return err
			}
			a, err := env.open(cmd, "warren")
			if err != nil {
				return err
			}
			defer a.Close()
			if watch {
				return a.WatchWhy(cmd.Context(), id, func(why app.Explanation) error { return printWhy(env.Stdout, out, &why) })
			}
			why, err := a.Why(cmd.Context(), id)
			if err != nil {
				return err
			}
			return printWhy(env.Stdout, out, &why)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "print the answer again whenever it has changed, until the job has ended")
	addOutputFlag(cmd)
	return cmd
}

func printWhy(w io.Writer, out format, why *app.Explanation) error {
	switch out {
	case formatJSON:
		return printJSON(w, why)
	case formatLines:
		return json.NewEncoder(w).Encode(why)
	case formatTable:
	}
	var text bytes.Buffer
	showWhy(&text, why)
	_, err := w.Write(text.Bytes())
	return err
}

// showWhy prints what is in the way first, then what is merely worth knowing.
func showWhy(w io.Writer, why *app.Explanation) {
	j := &why.Job
	fmt.Fprintf(w, "job %d (%s, queue %s, priority %d) is %s: %s\n", why.ID, terminal.OneLine(j.Kind), terminal.OneLine(j.Queue), j.Priority, why.State, why.Verdict)
	for _, blocking := range []bool{true, false} {
		for _, g := range why.Gates {
			if g.Blocking == blocking {
				fmt.Fprintf(w, "  %-12s  %s\n", g.Name, terminal.OneLine(g.Text))
			}
		}
	}
	if why.Verdict == "runnable" {
		fmt.Fprintln(w, "  nothing is in its way: it starts within a second")
	}
}
