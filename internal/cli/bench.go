package cli

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
)

func benchCmd(env *Env) *cobra.Command {
	var jobs int
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure your own servers: how fast jobs are published, worked off and started",
		Long: `Measure your own servers with jobs that do nothing: how many a second are published (1000 a call),
how many a second one consumer works off, and how long it takes from the call of publish to the
start of the handler, at 50 jobs a second.

The configured schema is not touched. The jobs are in a schema of their own (its name and _bench),
hints in queues of their own (the prefix and -bench); both are removed at the end, and refused with
exit code 4 when they are there already. With SQLite it is a file of its own beside the database.
The servers are loaded as fully as they can be: do not run it beside work that matters.`,
		Example: `  warren bench --jobs 100000 --concurrency 50 -o json`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if jobs < 1 {
				return usagef("--jobs %d: at least 1 is needed", jobs)
			}
			return env.bench(cmd, jobs)
		},
	}
	cmd.Flags().IntVar(&jobs, "jobs", 10_000, "how many jobs are published and worked off")
	cmd.Flags().IntP("concurrency", "c", 10, "handlers that run at a time")
	asConfig(cmd, "concurrency")
	addOutputFlag(cmd)
	return cmd
}

func (e *Env) bench(cmd *cobra.Command, jobs int) error {
	out, err := outputFormat(cmd)
	if err != nil {
		return err
	}
	cfg, err := e.load(cmd)
	if err != nil {
		return err
	}
	m, err := app.Bench(cmd.Context(), cfg, e.options("warren"), jobs)
	if err != nil {
		return asUsage(err)
	}
	if out == formatJSON {
		return printJSON(e.Stdout, m)
	}
	header := []string{"DATABASE", "BROKER", "JOBS", "CONCURRENCY", "PUBLISHED/S", "WORKED/S", "P50 MS", "P99 MS"}
	return printList(e.Stdout, out, []app.Measured{m}, header, func(m app.Measured) []string {
		broker := "no"
		if m.Broker {
			broker = "yes"
		}
		return []string{
			m.Database, broker, strconv.Itoa(m.Jobs), strconv.Itoa(m.Concurrency), strconv.FormatFloat(m.Publish, 'f', 0, 64),
			strconv.FormatFloat(m.Work, 'f', 0, 64), strconv.FormatFloat(m.P50, 'f', 2, 64), strconv.FormatFloat(m.P99, 'f', 2, 64),
		}
	})
}
