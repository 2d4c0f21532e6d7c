package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/jobstore"
)

func restartCmd(env *Env) *cobra.Command {
	var queues []string
	var wait bool
	patience := durationFlag(2 * time.Minute)
	cmd := &cobra.Command{
		Use:   "restart",
		Short: "Have all consumers restarted, after a deploy",
		Long: `Have all living consumers, or those of some queues, finish what they hold and exit with code 0, so
that their supervisor starts them again. They learn of it with their next heartbeat, within seconds.
With --wait it returns when they are gone; those that are not after --timeout are named (exit code 4).
To restart only some, see reload-consumers.`,
		Example: `  warren restart --wait`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := env.open(cmd, "warren")
			if err != nil {
				return err
			}
			defer a.Close()
			for _, q := range queues {
				if err := a.CheckQueue(q); err != nil {
					return usage(err)
				}
			}
			told, err := a.Restart(cmd.Context(), queues)
			if err != nil {
				return err
			}
			fmt.Fprintf(env.Stdout, "told to restart: %s\n", holders(told))
			if !wait {
				return nil
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Duration(patience))
			defer cancel()
			left, err := a.AwaitGone(ctx, told)
			if err == nil && len(left) > 0 {
				err = refusedf("not gone yet: consumers %s; they finish what they hold first", holders(left))
			}
			return err
		},
	}
	cmd.Flags().StringArrayVar(&queues, "queue", nil, "only consumers that take this queue; may be repeated")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until they are gone")
	cmd.Flags().Var(&patience, "timeout", "how long to wait")
	return cmd
}

func holders(ids []jobstore.HolderID) string {
	if len(ids) == 0 {
		return "nobody"
	}
	var list []string
	for _, id := range ids {
		list = append(list, strconv.FormatInt(int64(id), 10))
	}
	return strings.Join(list, ", ")
}
