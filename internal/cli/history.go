package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/jobstore"
)

// occurrence is one line of a job's history.
type occurrence struct {
	At      time.Time      `json:"at"`
	Event   string         `json:"event"`
	Attempt int            `json:"attempt,omitempty"`
	State   jobstore.State `json:"state,omitempty"`
	Text    string         `json:"text,omitempty"`
}

// historyOf tells a job's life from what its row keeps: the last errors, the last attempt, the end.
func historyOf(j *jobstore.Job) []occurrence {
	list := []occurrence{{At: j.CreatedAt, Event: "published", Text: j.Kind + " in queue " + j.Queue}}
	for _, e := range j.Errors {
		list = append(list, occurrence{At: e.At, Event: "failed", Attempt: e.Attempt, State: e.State, Text: e.Error})
	}
	recorded := len(j.Errors) > 0 && j.AttemptedAt != nil && !j.Errors[len(j.Errors)-1].At.Before(*j.AttemptedAt)
	if j.AttemptedAt != nil && !recorded {
		o := occurrence{At: *j.AttemptedAt, Event: "started", Attempt: j.Attempts}
		if j.Host != "" {
			o.Text = fmt.Sprintf("on %s, pid %d", j.Host, j.PID)
		}
		list = append(list, o)
	}
	switch {
	case j.FinishedAt != nil && recorded && j.State == jobstore.PermanentlyFailed: // its last error says so
	case j.FinishedAt != nil:
		o := occurrence{At: *j.FinishedAt, Event: "ended", State: j.State, Text: j.Error}
		if j.DurationMS != nil && j.State == jobstore.Finished {
			o.Text = "after " + (time.Duration(*j.DurationMS) * time.Millisecond).String()
			if j.Error != "" {
				o.Text += ": " + j.Error
			}
		}
		list = append(list, o)
	case j.FinishedAt == nil && j.State != jobstore.Processing:
		list = append(list, occurrence{At: j.AvailableAt, Event: "due", State: j.State})
	}
	return list
}

func jobsHistoryCmd(env *Env) *cobra.Command {
	return oneJobCmd(env, &cobra.Command{
		Use:   "history ID",
		Short: "What happened to one job, and when",
		Long: `What happened to one job, and when, as far as its row tells: when it was published, its last 20
failed attempts, its last start, its end, or when it is due next.`,
	}, func(w io.Writer, f format, j *jobstore.Job) error {
		header := []string{"TIME", "EVENT", "ATTEMPT", "STATE", "TEXT"}
		return printList(w, f, historyOf(j), header, func(o occurrence) []string {
			attempt := ""
			if o.Attempt > 0 {
				attempt = strconv.Itoa(o.Attempt)
			}
			return []string{o.At.Local().Format(time.RFC3339), o.Event, attempt, string(o.State), shorten(o.Text, 200)}
		})
	})
}

// oneJobCmd makes a command that prints something about the job it is given.
func oneJobCmd(env *Env, cmd *cobra.Command, show func(w io.Writer, f format, j *jobstore.Job) error) *cobra.Command {
	cmd.Args = cobra.ExactArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return env.withJob(cmd, args, func(_ context.Context, f format, _ *app.App, job *jobstore.Job) error {
			return show(env.Stdout, f, job)
		})
	}
	addOutputFlag(cmd)
	return cmd
}
