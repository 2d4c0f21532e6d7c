package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/jobstore"
)

func consumersCmd(env *Env) *cobra.Command {
	list := &cobra.Command{
		Use:   "list",
		Short: "List the registered consumers",
		Long: `List the registered consumers. One whose state is dead has not renewed its registration in time: what
it held is handed back within seconds, and then it disappears from the list.`,
		Args: cobra.NoArgs,
		RunE: env.answer(func(ctx context.Context, f format, a *app.App) error {
			list, err := a.Store.Consumers(ctx)
			if err != nil {
				return err
			}
			header := []string{"ID", "HOST", "PID", "VERSION", "STATE", "RUNNING", "QUEUES", "PRIORITIES", "KINDS", "STARTED", "HEARTBEAT", "NAME"}
			return printList(env.Stdout, f, list, header, consumerCells)
		}),
	}
	addOutputFlag(list)
	return group(&cobra.Command{Use: "consumers", Short: "The processes that run jobs"}, list)
}

func consumerCells(c jobstore.ConsumerInfo) []string {
	state := "alive"
	switch {
	case !c.Alive:
		state = "dead"
	case c.Restarting:
		state = "restarting"
	}
	var priorities []string
	for _, p := range c.Priorities {
		priorities = append(priorities, strconv.Itoa(p))
	}
	return []string{
		strconv.FormatInt(int64(c.ID), 10), c.Host, strconv.Itoa(c.PID), c.Version, state, fmt.Sprintf("%d/%d", c.Running, c.Slots),
		strings.Join(c.Queues, ","), strings.Join(priorities, ","), strings.Join(c.Kinds, ","),
		c.StartedAt.Local().Format(time.DateTime), c.HeartbeatAt.Local().Format(time.DateTime), c.Name,
	}
}

func reloadConsumersCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload-consumers QUEUE NUMBER",
		Short: "Have exactly so many consumers of a queue restarted",
		Long: `Have exactly NUMBER of the living consumers that take QUEUE finish what they hold and exit with code
0, so that their supervisor starts them again; the others go on. The consumers learn of it with
their next heartbeat, within seconds. The longest-running ones are chosen, and such as were told
before do not count. When fewer are alive, nobody is told (exit code 4).`,
		Example: `  warren reload-consumers default 2`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.ParseInt(args[1], 10, 31)
			if err != nil || n < 1 {
				return usagef("%q is not a number of consumers: a whole number such as 2", args[1])
			}
			return env.answer(func(ctx context.Context, out format, a *app.App) error {
				if err := a.CheckQueue(args[0]); err != nil {
					return usage(err)
				}
				told, err := a.Store.Restart(ctx, args[0], int(n))
				if err != nil {
					return err
				}
				return sayTold(env.Stdout, out, told)
			})(cmd, nil)
		},
	}
	addOutputFlag(cmd)
	return cmd
}
