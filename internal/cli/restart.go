package cli

import (
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
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
		RunE: env.answer(func(ctx context.Context, out format, a *app.App) error {
			for _, q := range queues {
				if err := a.CheckQueue(q); err != nil {
					return usage(err)
				}
			}
			told, err := a.Restart(ctx, queues)
			if err != nil {
				return err
			}
			if err := sayTold(env.Stdout, out, told); err != nil || !wait {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, time.Duration(patience))
			defer cancel()
			left, err := a.AwaitGone(ctx, told)
			if err == nil && len(left) > 0 {
				err = refusedf("not gone yet: consumers %s; they finish what they hold first", holders(left))
			}
			return err
		}),
	}
	cmd.Flags().StringArrayVar(&queues, "queue", nil, "only consumers that take this queue; may be repeated")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until they are gone")
	cmd.Flags().Var(&patience, "timeout", "how long to wait")
	addOutputFlag(cmd)
	return cmd
}

// sayTold prints which consumers were told to restart.
func sayTold(w io.Writer, out format, told []jobstore.HolderID) error {
	if told == nil {
		told = []jobstore.HolderID{} // programs want a list
	}
	return say(w, out, struct {
		Told []jobstore.HolderID `json:"told"`
	}{told}, "told to restart: %s", holders(told))
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
