package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/jobstore"
)

// occurrence is one line of a job's history.
type occurrence struct {
	jobstore.JobEvent

	State jobstore.State `json:"state,omitempty"`
	Text  string         `json:"text,omitempty"`
}

// mostEvents is how many events a history shows, the last ones.
const mostEvents = 1000

// historyOf tells a job's life from what its row keeps and from the events that were noted. An error's text is in the
// row only, and so is the error of an attempt from before events were noted.
func historyOf(j *jobstore.Job, events []jobstore.JobEvent) []occurrence {
	list := []occurrence{{JobEvent: jobstore.JobEvent{At: j.CreatedAt, Event: "published"}, Text: j.Kind + " in queue " + j.Queue}}
	told := map[int]bool{} // errors that an event stands for
	for _, e := range events {
		o := occurrence{JobEvent: e}
		if i := errorOf(j, &e); i >= 0 {
			told[i], o.State, o.Text = true, j.Errors[i].State, j.Errors[i].Error
		}
		list = append(list, o)
	}
	for i, e := range j.Errors {
		if !told[i] {
			event := jobstore.JobEvent{At: e.At, Event: jobstore.EventFailed, Attempt: e.Attempt}
			list = append(list, occurrence{JobEvent: event, State: e.State, Text: e.Error})
		}
	}
	slices.SortStableFunc(list, func(a, b occurrence) int { return a.At.Compare(b.At) })
	return append(list, lately(j, list)...)
}

// errorOf finds the error that a failed attempt has left in the row: both were written at one moment.
func errorOf(j *jobstore.Job, e *jobstore.JobEvent) int {
	if e.Event != jobstore.EventFailed {
		return -1
	}
	return slices.IndexFunc(j.Errors, func(err jobstore.AttemptError) bool {
		return err.Attempt == e.Attempt && err.At.Sub(e.At).Abs() < time.Millisecond
	})
}

// lately is what only the row says: its last attempt when nothing was noted of it, its end, or when it is due.
func lately(j *jobstore.Job, before []occurrence) (list []occurrence) {
	last := before[len(before)-1]
	recorded := j.AttemptedAt != nil && slices.ContainsFunc(before, func(o occurrence) bool { return o.Attempt > 0 && !o.At.Before(*j.AttemptedAt) })
	if j.AttemptedAt != nil && !recorded {
		o := occurrence{JobEvent: jobstore.JobEvent{At: *j.AttemptedAt, Event: "started", Attempt: j.Attempts, Host: j.Host}}
		if j.Host != "" {
			o.Text = fmt.Sprintf("on %s, pid %d", j.Host, j.PID)
		}
		list = append(list, o)
	}
	switch {
	case j.FinishedAt != nil && (strings.EqualFold(last.Event, string(j.State)) || last.State == j.State): // which has said so
	case j.FinishedAt != nil:
		o := occurrence{JobEvent: jobstore.JobEvent{At: *j.FinishedAt, Event: "ended"}, State: j.State, Text: j.Error}
		if j.DurationMS != nil && j.State == jobstore.Finished {
			o.Text = strings.TrimSuffix("after "+(time.Duration(*j.DurationMS)*time.Millisecond).String()+": "+j.Error, ": ")
		}
		list = append(list, o)
	case j.State != jobstore.Processing:
		list = append(list, occurrence{JobEvent: jobstore.JobEvent{At: j.AvailableAt, Event: "due"}, State: j.State})
	}
	return list
}

func jobsHistoryCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history ID",
		Short: "What happened to one job, when, where and by whom",
		Long: `What happened to one job, when, where and by whom: when it was published, attempts that failed, waited or
were handed back, with their consumer's host and version, what people have ordered, pauses of its kind, queue or
group meanwhile, its last start, its end, or when it is due next. Attempts that succeed are noted only of
kinds with 'history: all'. Events are kept for 90 days, and longer than the job when it was deleted.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := outputFormat(cmd)
			if err != nil {
				return err
			}
			return env.withHistory(cmd, args[0], func(j *jobstore.Job, events []jobstore.JobEvent) error {
				list := historyOf(j, events)
				if j.CreatedAt.IsZero() { // it was deleted, and only its events are left
					list = list[1 : len(events)+1]
				}
				return printList(env.Stdout, f, list, []string{"TIME", "EVENT", "ATTEMPT", "STATE", "BY", "WHERE", "TEXT"}, historyCells)
			})
		},
	}
	addOutputFlag(cmd)
	return cmd
}

func historyCells(o occurrence) []string {
	attempt := ""
	if o.Attempt > 0 {
		attempt = strconv.Itoa(o.Attempt)
	}
	words := []string{o.Subject, o.Note, shorten(o.Text, 200)}
	if o.Change > 0 {
		words = append(words, fmt.Sprintf("change %d", o.Change))
	}
	if len(o.Was) > 0 {
		words = append(words, "before: "+shorten(string(o.Was), 200))
	}
	text := strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), "; ")
	return []string{
		o.At.Local().Format(time.RFC3339), o.Event, attempt, string(o.State), o.By, strings.TrimSpace(o.Host + " " + o.Build), text,
	}
}

// withHistory finds a job, or, when it was deleted, what is left of it, with its events.
func (e *Env) withHistory(cmd *cobra.Command, number string, do func(j *jobstore.Job, events []jobstore.JobEvent) error) error {
	id, err := parseID(number)
	if err != nil {
		return err
	}
	a, err := e.open(cmd, "warren")
	if err != nil {
		return err
	}
	defer a.Close()
	job, err := a.Store.Get(cmd.Context(), id)
	gone := errors.Is(err, jobstore.ErrNotFound)
	if err != nil && !gone {
		return err
	}
	job.ID = id
	events, late := a.Store.History(cmd.Context(), &job, mostEvents)
	if late != nil {
		return late
	}
	if gone && len(events) == 0 {
		return err
	}
	return do(&job, events)
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
