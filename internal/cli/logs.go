package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/terminal"
	"github.com/warrenq/warren/jobstore"
)

// jobLogs is what a job has said: what its row keeps, and its log.
type jobLogs struct {
	ID     jobstore.ID             `json:"id"`
	Error  string                  `json:"error,omitempty"`
	Errors []jobstore.AttemptError `json:"errors"`
	Output json.RawMessage         `json:"output,omitempty"`
	Lines  []jobstore.Line         `json:"lines"`
}

// clearedLines are what jobs logs --clear has removed.
type clearedLines struct {
	Verb  string      `json:"verb"`
	Job   jobstore.ID `json:"job"`
	Lines int         `json:"lines"`
}

// logFlags say which lines, and what is done with them.
type logFlags struct {
	follow, clear bool
	tail, attempt int
	level, file   string
}

func jobsLogsCmd(env *Env) *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:   "logs ID",
		Short: "What a job said: its log, its errors in full, and its output",
		Long: `What a job said: the lines of its log as its handler wrote them, a command's stderr included, with
what happened to the job in between; the errors of its last 20 failed attempts in full; and its
output. It follows a job that runs anywhere, through the database; a line is there within a second.
With -o json it is one object, with -o jsonl one object a line of the log.`,
		Example: `  warren jobs logs 17 --follow
  warren jobs logs 17 --level warn --attempt 2
  warren jobs logs 17 --download job-17.log`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := f.filter()
			if err != nil {
				return err
			}
			return env.withJob(cmd, args, func(ctx context.Context, out format, a *app.App, job *jobstore.Job) error {
				filter.Job = job.ID
				return env.logs(ctx, out, a.Store, job, f, filter)
			})
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.follow, "follow", "f", false, "go on with what the job says, until it has ended")
	fl.IntVar(&f.tail, "tail", 0, "only the last so many lines (default: all)")
	fl.StringVar(&f.level, "level", "", "only lines of this level or above: debug, info, warn, error")
	fl.IntVar(&f.attempt, "attempt", 0, "only lines of this attempt")
	fl.StringVar(&f.file, "download", "", "write the log as text to this file, - for the standard output")
	fl.BoolVar(&f.clear, "clear", false, "remove the lines of the log; errors and output stay")
	cmd.MarkFlagsMutuallyExclusive("follow", "download", "clear")
	addOutputFlag(cmd)
	return cmd
}

func (f *logFlags) filter() (out jobstore.LineFilter, err error) {
	if f.tail < 0 || f.attempt < 0 {
		return out, usagef("--tail %d, --attempt %d: neither may be negative", f.tail, f.attempt)
	}
	if f.level != "" {
		if out.Levels = jobstore.Levels(jobstore.Level(strings.ToLower(f.level))); out.Levels == nil {
			return out, usagef("--level %.20q is none of debug, info, warn, error", f.level)
		}
	}
	if f.clear && (f.tail > 0 || f.attempt > 0 || f.level != "") {
		return out, usagef("--clear removes all lines; leave --tail, --level and --attempt out")
	}
	out.Last, out.Attempt = f.tail, f.attempt
	return out, nil
}

func (e *Env) logs(ctx context.Context, out format, store jobstore.Store, job *jobstore.Job, f logFlags, filter jobstore.LineFilter) error {
	switch {
	case f.clear:
		n, err := store.ClearLines(ctx, job.ID)
		if err != nil {
			return err
		}
		return say(e.Stdout, out, clearedLines{"clear", job.ID, n}, "removed %d lines of the log of job %d", n, job.ID)
	case f.file != "":
		return e.downloadLog(ctx, store, filter, f.file)
	case f.follow:
		return e.followLog(ctx, out, store, job, filter)
	}
	if out == formatLines {
		enc := json.NewEncoder(e.Stdout)
		return eachLine(ctx, store, filter, func(l *jobstore.Line) error { return enc.Encode(l) })
	}
	logs := jobLogs{ID: job.ID, Error: job.Error, Errors: job.Errors, Output: job.Output, Lines: []jobstore.Line{}}
	if logs.Errors == nil {
		logs.Errors = []jobstore.AttemptError{}
	}
	err := eachLine(ctx, store, filter, func(l *jobstore.Line) error {
		logs.Lines = append(logs.Lines, *l)
		return nil
	})
	if err != nil {
		return err
	}
	if out == formatJSON {
		return printJSON(e.Stdout, logs)
	}
	return showLogs(e.Stdout, job, logs.Lines)
}

// eachLine hands over the lines that a filter selects, a page at a time.
func eachLine(ctx context.Context, store jobstore.LogKeeper, f jobstore.LineFilter, each func(l *jobstore.Line) error) error {
	for {
		lines, err := store.Lines(ctx, f)
		if err != nil {
			return err
		}
		for i := range lines {
			if err := each(&lines[i]); err != nil {
				return err
			}
		}
		if f.Last > 0 || len(lines) < f.Most() {
			return nil
		}
		f.After = lines[len(lines)-1].Mark()
	}
}

// downloadLog writes plain text. A file is not there before it is whole.
func (e *Env) downloadLog(ctx context.Context, store jobstore.LogKeeper, f jobstore.LineFilter, name string) (err error) {
	if name == "-" {
		return eachLine(ctx, store, f, func(l *jobstore.Line) error { return printed(fmt.Fprintln(e.Stdout, l.Plain())) })
	}
	return writeFile(name, func(w io.Writer) error {
		return eachLine(ctx, store, f, func(l *jobstore.Line) error { return printed(fmt.Fprintln(w, l.Plain())) })
	})
}

func printed(_ int, err error) error { return err }

// lastLooks is how often the log of a job that has ended is looked at: its last lines are written soon after.
const lastLooks = 3

// followLog prints lines as they come until the job has ended.
func (e *Env) followLog(ctx context.Context, out format, store jobstore.Store, job *jobstore.Job, f jobstore.LineFilter) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	enc := json.NewEncoder(e.Stdout)
	show := func(l *jobstore.Line) error {
		f.After = l.Mark()
		if out != formatTable {
			return enc.Encode(l)
		}
		return printed(fmt.Fprintln(e.Stdout, lineText(l)))
	}
	for looks := 0; looks < lastLooks; looks++ {
		if err := eachLine(ctx, store, f, show); err != nil {
			return err
		}
		f.Last = 0
		select {
		case <-look.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if job.State.Final() {
			continue
		}
		looks = 0
		next, err := store.Get(ctx, job.ID)
		if err != nil {
			return err
		}
		job = &next
	}
	if out == formatTable {
		_, err := fmt.Fprintln(e.Stdout, standing(job))
		return err
	}
	return nil
}

// lineText is a line for people.
func lineText(l *jobstore.Line) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %-5s [%d] %s", l.At.Local().Format("2006-01-02 15:04:05.000"), strings.ToUpper(string(l.Level)), l.Attempt, terminal.Printable(l.Text))
	var fields map[string]json.RawMessage
	if json.Unmarshal(l.Fields, &fields) == nil {
		names := make([]string, 0, len(fields))
		for name := range fields {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			fmt.Fprintf(&b, " %s=%s", terminal.OneLine(name), terminal.OneLine(string(fields[name])))
		}
	}
	return b.String()
}

// showLogs prints the log with what happened to the job in between, as far as its row tells, and then what it left.
func showLogs(w io.Writer, j *jobstore.Job, lines []jobstore.Line) error {
	type entry struct {
		at   time.Time
		text string
	}
	var all []entry
	for i := range lines {
		all = append(all, entry{lines[i].At, lineText(&lines[i])})
	}
	if len(lines) > 0 {
		for _, o := range historyOf(j, nil) {
			text := o.Event
			if o.Attempt > 0 {
				text += fmt.Sprintf(", attempt %d", o.Attempt)
			}
			if o.State != "" {
				text += ", " + string(o.State)
			}
			if o.Text != "" {
				text += ": " + shorten(o.Text, 200)
			}
			all = append(all, entry{o.At, fmt.Sprintf("%s ----- %s", o.At.Local().Format("2006-01-02 15:04:05.000"), terminal.OneLine(text))})
		}
		slices.SortStableFunc(all, func(a, b entry) int { return cmp.Compare(a.at.UnixMilli(), b.at.UnixMilli()) })
	}
	for _, e := range all {
		fmt.Fprintln(w, e.text)
	}
	return showLeft(w, j, len(lines) > 0)
}

// showLeft prints the errors in full and the output.
func showLeft(w io.Writer, j *jobstore.Job, said bool) error {
	for _, e := range j.Errors {
		fmt.Fprintf(w, "attempt %d, %s, %s:\n%s\n", e.Attempt, e.At.Local().Format(time.RFC3339), e.State, terminal.Printable(e.Error))
	}
	last := len(j.Errors) - 1
	if j.Error != "" && (last < 0 || j.Errors[last].Error != j.Error) {
		fmt.Fprintf(w, "%s: %s\n", j.State, terminal.Printable(j.Error))
	}
	if len(j.Output) > 0 {
		fmt.Fprintf(w, "output:\n%s\n", terminal.Printable(string(j.Output)))
	}
	if said || last >= 0 || j.Error != "" || len(j.Output) > 0 {
		return nil
	}
	fmt.Fprintf(w, "job %d is %s and has left neither lines nor an error nor an output", j.ID, j.State)
	if j.Host != "" {
		fmt.Fprintf(w, "; its last attempt ran on %s, pid %d", j.Host, j.PID)
	}
	fmt.Fprintln(w)
	return nil
}
