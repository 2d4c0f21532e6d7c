package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
)

func topologyCmd(env *Env) *cobra.Command {
	apply := &cobra.Command{
		Use:   "apply",
		Short: "Make what the broker lacks: exchanges, and a queue for each configured queue and priority",
		Long: `Make what the broker lacks: exchanges, and a queue for each configured queue and priority.

Nothing that exists is changed. Consumers and producers do the same for what they use, so this is
for brokers where they may not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return env.applyTopology(cmd) },
	}
	addOutputFlag(apply)
	var vhost string
	export := &cobra.Command{
		Use:   "export",
		Short: "Print the topology as definitions.json, for 'rabbitmqctl import_definitions'",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := env.load(cmd)
			if err != nil {
				return err
			}
			text, err := app.ExportTopology(cfg, vhost)
			if err != nil {
				return asUsage(err)
			}
			_, err = env.Stdout.Write(text)
			return err
		},
	}
	export.Flags().StringVar(&vhost, "vhost", "", `virtual host (default that of AMQP_URL, else "/")`)
	return group(&cobra.Command{Use: "topology", Short: "Exchanges and queues of the broker"}, apply, export)
}

func (e *Env) applyTopology(cmd *cobra.Command) error {
	out, err := outputFormat(cmd)
	if err != nil {
		return err
	}
	cfg, err := e.load(cmd)
	if err != nil {
		return err
	}
	items, err := app.ApplyTopology(cmd.Context(), cfg, e.options("warren"))
	if err != nil {
		return asUsage(err)
	}
	err = printList(e.Stdout, out, items, []string{"WHAT", "NAME", "RESULT", "DETAIL"}, func(i app.TopologyItem) []string {
		return []string{i.What, i.Name, i.Result, i.Detail}
	})
	if err != nil {
		return err
	}
	refused := 0
	for _, i := range items {
		if app.RefusedItem(i) {
			refused++
		}
	}
	if refused > 0 {
		return fmt.Errorf("the broker refused %d of %d; grant this user the right to configure and bind them, or load the output of 'warren topology export' as an administrator", refused, len(items))
	}
	return nil
}

// asUsage gives complaints about the configuration their exit code.
func asUsage(err error) error {
	if errors.Is(err, app.ErrUsage) {
		return usage(err)
	}
	return err
}
