package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/jobstore"
)

func queuesCmd(env *Env) *cobra.Command {
	return group(&cobra.Command{Use: "queues", Short: "Queues: what they hold, pause, resume, clear"},
		queuesListCmd(env), queuesPauseCmd(env), queuesResumeCmd(env), queuesClearCmd(env))
}

// queueLine is a queue at one priority.
type queueLine struct {
	Queue  string     `json:"queue"`
	Paused bool       `json:"paused"`
	Until  *time.Time `json:"paused_until,omitempty"`
	*jobstore.BandInfo
	Oldest float64 `json:"oldest_ready_seconds"`
}

func queueLines(list []jobstore.QueueInfo) []queueLine {
	lines := []queueLine{}
	for _, q := range list {
		for i := range q.Bands {
			lines = append(lines, queueLine{q.Queue, q.Paused, q.Until, &q.Bands[i], q.Bands[i].Oldest.Seconds()})
		}
		if len(q.Bands) == 0 {
			lines = append(lines, queueLine{Queue: q.Queue, Paused: q.Paused, Until: q.Until})
		}
	}
	return lines
}

func queuesListCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "What each queue holds at each priority",
		Long: `What each queue holds at each priority: jobs by state, how long the oldest READY one has been due,
whether the queue is paused, and how many living consumers take it. FAILED are those that failed
for good, quarantined ones included.`,
		Args: cobra.NoArgs,
		RunE: env.answer(func(ctx context.Context, f format, a *app.App) error {
			list, err := a.Store.Queues(ctx)
			if err != nil {
				return err
			}
			header := []string{"QUEUE", "PRIORITY", "READY", "OLDEST", "SCHEDULED", "WAITING", "RETRYING", "PROCESSING", "FAILED", "CONSUMERS", "PAUSED"}
			return printList(env.Stdout, f, queueLines(list), header, queueCells)
		}),
	}
	addOutputFlag(cmd)
	return cmd
}

func queueCells(q queueLine) []string {
	cells := []string{q.Queue}
	b := q.BandInfo
	if b == nil {
		b = &jobstore.BandInfo{}
		cells = append(cells, "-", "0", "-")
	} else {
		oldest := "-"
		if b.Ready > 0 {
			oldest = ageText(b.Oldest)
		}
		cells = append(cells, strconv.Itoa(b.Priority), strconv.Itoa(b.Ready), oldest)
	}
	for _, n := range []int{b.Scheduled, b.Waiting, b.Retrying, b.Processing, b.Failed, b.Consumers} {
		cells = append(cells, strconv.Itoa(n))
	}
	paused := "no"
	switch {
	case q.Until != nil:
		paused = "until " + q.Until.Local().Format(time.DateTime)
	case q.Paused:
		paused = "yes"
	}
	return append(cells, paused)
}

// eachQueue runs do for every queue that is named, after it has looked at all of the names, and says what came of it.
func (e *Env) eachQueue(cmd *cobra.Command, queues []string, do func(a *app.App, queue string) (string, error)) error {
	out, err := outputFormat(cmd)
	if err != nil {
		return err
	}
	a, err := e.open(cmd, "warren")
	if err != nil {
		return err
	}
	defer a.Close()
	for _, q := range queues {
		if err := a.CheckQueue(q); err != nil {
			return usage(err)
		}
	}
	t := tally{w: e.Stdout, out: out}
	for _, q := range queues {
		text, err := do(a, q)
		if err == nil {
			err = t.add(done{string(jobstore.PauseOfQueue), q, text})
		}
		if err != nil {
			return t.end(err)
		}
	}
	return t.end(nil)
}

func queuesPauseCmd(env *Env) *cobra.Command {
	var span durationFlag
	cmd := &cobra.Command{
		Use:   "pause QUEUE…",
		Short: "Let nobody start jobs of a queue",
		Long: `Let nobody start jobs of a queue, until it is resumed or --for is over. Jobs that run go on.
Publishing goes on too. Jobs of other queues that wait for one of this queue in a serial group
wait as well. Consumers older than this command do not know of pauses.

When --for is over, the jobs that waited start within half a minute, thousands of them bit by bit;
'warren queues resume' has them all start at once.`,
		Example: `  warren queues pause media --for 2h`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("for") && span == 0 {
				return usagef("--for 0s is no time; leave it out to pause until the queue is resumed")
			}
			return env.eachQueue(cmd, args, func(a *app.App, queue string) (string, error) {
				known, err := a.Store.Pause(cmd.Context(), queue, time.Duration(span))
				if err != nil {
					return "", err
				}
				if !known {
					fmt.Fprintf(env.Stderr, "note: no consumer takes queue %s and no job is READY in it; is the name right?\n", queue)
				}
				until := "until it is resumed"
				if span > 0 {
					until = "for " + config.FormatDuration(time.Duration(span))
				}
				return "queue " + queue + " is paused " + until, nil
			})
		},
	}
	addOutputFlag(cmd)
	cmd.Flags().Var(&span, "for", "resume by itself after this time, such as 2h (default: not)")
	return cmd
}

func queuesResumeCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume QUEUE…",
		Short: "Let jobs of a paused queue start again",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.eachQueue(cmd, args, func(a *app.App, queue string) (string, error) {
				was, n, err := a.Resume(cmd.Context(), queue)
				if err != nil {
					return "", err
				}
				text := "queue " + queue + " was not paused"
				if was {
					text = "queue " + queue + " goes on"
				}
				if n > 0 {
					text += ": " + count(n) + " announced again"
				}
				return text, nil
			})
		},
	}
	addOutputFlag(cmd)
	return cmd
}

func queuesClearCmd(env *Env) *cobra.Command {
	o := &order{verb: "cancel", past: "cancelled", takes: pending}
	for _, s := range liveStates() {
		if s != jobstore.Processing {
			o.states = append(o.states, s)
		}
	}
	o.filter.unlimited = true
	cmd := &cobra.Command{
		Use:   "clear QUEUE…",
		Short: "Cancel everything that waits in a queue",
		Long: `Cancel everything that waits in a queue, whenever it is due: the jobs become CANCELLED and stay in
the history, and the series of recurring jobs end. Jobs that run go on.`,
		Example: `  warren queues clear media --dry-run`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.filter.queues = args
			return o.run(env, cmd, nil, plain(jobstore.VerbCancel))
		},
	}
	o.pace.add(cmd, o.verb)
	addMassFlags(cmd, &o.dryRun, &o.yes)
	addOutputFlag(cmd)
	return cmd
}
