package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/jobstore"
)

func doctorCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine the installation: versions, settings, rights, topology, who works, what waits",
		Long: `Examine the installation: versions, settings, rights, topology, who works, what waits.

Nothing is changed. Every finding that is not ok says what to do. The exit code is 1 when
something fails, and 0 when there are only warnings.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return env.doctor(cmd) },
	}
	addOutputFlag(cmd)
	return cmd
}

func (e *Env) doctor(cmd *cobra.Command) error {
	out, err := outputFormat(cmd)
	if err != nil {
		return err
	}
	cfg, err := e.load(cmd)
	if err != nil {
		return err
	}
	findings, err := app.Doctor(cmd.Context(), cfg, e.options("warren"))
	if err != nil {
		return asUsage(err)
	}
	err = printList(e.Stdout, out, findings, []string{"CHECK", "STATUS", "VALUE", "REMEDY"}, func(f jobstore.Finding) []string {
		return []string{f.Check, f.Status, f.Value, f.Remedy}
	})
	if err != nil {
		return err
	}
	failed := 0
	for _, f := range findings {
		if f.Status == jobstore.StatusFail {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(findings))
	}
	return nil
}
