package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/health"
)

// listening checks --listen and --pprof before anything is connected to.
func (f *runFlags) listening(o *app.ConsumerOptions) error {
	if f.listen == "" {
		if f.pprof {
			return errors.New("--pprof needs --listen, such as --listen 9090")
		}
		return nil
	}
	addr, err := health.Address(f.listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	if f.pprof && !health.Loopback(addr) {
		return fmt.Errorf("--pprof on %s would show this program's memory, secrets included, to others; listen on 127.0.0.1, or leave --pprof out", addr)
	}
	o.Listen, o.Profiles = addr, f.pprof
	return nil
}

func healthCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "health ADDR",
		Short: "Ask a consumer that listens whether it is alive",
		Long: `Ask a consumer that listens whether it is alive: exit 0 when its loops go round, else 1 with the reason.

For health checks of containers without a shell.`,
		Example: `  consumer health 9090`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			addr, err := health.Address(args[0])
			if err != nil {
				return usage(err)
			}
			if err := health.Ask(cmd.Context(), addr); err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.Stdout, "ok")
			return err
		},
	}
}
