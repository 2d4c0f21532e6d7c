package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/jobstore"
)

// try is one attempt of a job, as far as anything is known of it.
type try struct {
	Attempt  int             `json:"attempt"`
	At       time.Time       `json:"ended_at"`
	Came     string          `json:"came_to"`
	Error    string          `json:"error,omitempty"`
	Took     *int64          `json:"duration_ms,omitempty"`
	Host     string          `json:"host,omitempty"`
	Build    string          `json:"build,omitempty"`
	Args     json.RawMessage `json:"args"`
	Priority int             `json:"priority"`
	Queue    string          `json:"queue"`
}

// tryOf finds the last attempt with a number: a retry counts anew. What was edited since is taken back.
func tryOf(j *jobstore.Job, events []jobstore.JobEvent, attempt int) (t try, ok bool) {
	list := historyOf(j, events)
	t = try{Attempt: attempt, Args: j.Args, Priority: j.Priority, Queue: j.Queue}
	i := len(list) - 1
	for ; i >= 0 && (list[i].Attempt != attempt || list[i].Subject != ""); i-- {
		var was struct {
			Args     json.RawMessage
			Priority *int
			Queue    string
		}
		if list[i].Event == jobstore.EventEdited && json.Unmarshal(list[i].Was, &was) == nil {
			t.Queue = cmp.Or(was.Queue, t.Queue)
			if was.Args != nil {
				t.Args = was.Args
			}
			if was.Priority != nil {
				t.Priority = *was.Priority
			}
		}
	}
	if i < 0 {
		return t, false
	}
	o := &list[i]
	t.At, t.Came, t.Error, t.Took, t.Host, t.Build = o.At, o.Event, cmp.Or(o.Text, o.Note), o.DurationMS, o.Host, o.Build
	if o.Event == "started" { // of which only the row tells: its end, too
		t.Error, t.Took, t.Came = j.Error, j.DurationMS, string(j.State)
		if j.FinishedAt != nil {
			t.At = *j.FinishedAt
		}
	}
	return t, true
}

func jobsDiffCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff ID ATTEMPT ATTEMPT",
		Short: "Compare two attempts of a job",
		Long: `Compare two attempts of a job: what they came to, how long they took, where and in which version they
ran, and what was edited between them. Of attempts with the same number, because a retry counts anew, the
last one counts. The version of an attempt that succeeded is known only of kinds with 'history: all'.`,
		Example: `  warren jobs diff 17 2 3`,
		Args:    cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := outputFormat(cmd)
			if err != nil {
				return err
			}
			var numbers []int
			for _, text := range args[1:] {
				n, err := strconv.ParseInt(text, 10, 31)
				if err != nil || n < 1 {
					return usagef("%q is not the number of an attempt: a whole number such as 2", text)
				}
				numbers = append(numbers, int(n))
			}
			return env.withHistory(cmd, args[0], func(j *jobstore.Job, events []jobstore.JobEvent) error {
				var tries []try
				for _, n := range numbers {
					t, ok := tryOf(j, events, n)
					if !ok {
						return fmt.Errorf("nothing is known of attempt %d of job %d: %w; 'warren jobs history %d' lists what is", n, j.ID, jobstore.ErrNotFound, j.ID)
					}
					tries = append(tries, t)
				}
				if f != formatTable {
					return printList(env.Stdout, f, tries, nil, nil)
				}
				return printList(env.Stdout, f, compare(tries[0], tries[1]), []string{"", args[1], args[2]}, func(row [3]string) []string { return row[:] })
			})
		},
	}
	addOutputFlag(cmd)
	return cmd
}

// compare has a line for each thing; what is the same on both sides, and edits that were none, are left out, except
// how they ended.
func compare(a, b try) [][3]string {
	took := func(t try) string {
		if t.Took == nil {
			return "unknown"
		}
		return (time.Duration(*t.Took) * time.Millisecond).String()
	}
	rows := [][3]string{
		{"came to", a.Came, b.Came},
		{"at", a.At.Local().Format(time.RFC3339), b.At.Local().Format(time.RFC3339)},
		{"took", took(a), took(b)},
		{"error", shorten(a.Error, 80), shorten(b.Error, 80)},
		{"host", a.Host, b.Host},
		{"version", cmp.Or(a.Build, "unknown"), cmp.Or(b.Build, "unknown")},
	}
	for _, edited := range [][3]string{
		{"queue", a.Queue, b.Queue},
		{"priority", strconv.Itoa(a.Priority), strconv.Itoa(b.Priority)},
		{"args", string(a.Args), string(b.Args)},
	} {
		if edited[1] != edited[2] {
			rows = append(rows, edited)
		}
	}
	return rows
}
