package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/terminal"
	"github.com/warrenq/warren/jobstore"
)

func schedulesCmd(env *Env) *cobra.Command {
	return group(&cobra.Command{
		Use:   "schedules",
		Short: "Jobs at set times: list, add, edit, pause, resume, run, delete",
		Long: `Jobs at set times: list, add, edit, pause, resume, run, delete.

Schedules are declared by programs and by the configuration (schedules:), or made here. An edit holds
until the declaration changes; a pause holds until it is ended. The next run of each is a job like
others: 'warren jobs list --tag schedule:NAME' shows it, 'warren jobs cancel' leaves that one run out.`,
	}, schedulesListCmd(env), schedulesShowCmd(env), schedulesAddCmd(env), schedulesEditCmd(env), schedulesPauseCmd(env),
		schedulesResumeCmd(env), schedulesRunCmd(env), schedulesDeleteCmd(env), schedulesNextCmd(env))
}

// scheduleLine is a schedule as it is printed.
type scheduleLine struct {
	Name        string         `json:"name"`
	When        string         `json:"when"`
	Zone        string         `json:"zone,omitempty"`
	Jitter      string         `json:"jitter,omitempty"`
	CatchUp     int            `json:"catch_up"`
	Paused      bool           `json:"paused"`
	Kind        string         `json:"kind"`
	Args        any            `json:"args"`
	Queue       string         `json:"queue"`
	Priority    int            `json:"priority"`
	SerialGroup string         `json:"serial_group,omitempty"`
	MaxAttempts int            `json:"max_attempts"`
	Timeout     string         `json:"timeout,omitempty"`
	Metadata    any            `json:"metadata,omitempty"`
	Tags        []string       `json:"tags,omitempty"`
	Next        *time.Time     `json:"next,omitempty"`
	Job         jobstore.ID    `json:"job,omitempty"`
	State       jobstore.State `json:"state,omitempty"`
	Declared    bool           `json:"declared"`
	Edited      bool           `json:"edited"`
	MissedAt    *time.Time     `json:"missed_at,omitempty"`
	ChangedAt   time.Time      `json:"changed_at"`
	DeclaredAt  *time.Time     `json:"declared_at,omitempty"`
	Runs        []scheduledRun `json:"runs,omitempty"`
}

// scheduledRun is a run of a schedule as it is printed.
type scheduledRun = jobstore.ScheduleRun

func lineOf(s *warren.ScheduleInfo) scheduleLine {
	l := scheduleLine{
		Name: s.Name, When: s.When.String(), Zone: s.Zone, CatchUp: *s.CatchUp, Paused: s.Paused, Kind: s.Kind, Args: s.Args,
		Queue: s.Opts.Queue, Priority: *s.Opts.Priority, SerialGroup: s.Opts.SerialGroup, MaxAttempts: max(s.Opts.MaxAttempts, 0),
		Metadata: s.Opts.Metadata, Tags: s.Opts.Tags, Next: timeOrNil(s.Next), Job: s.Job, State: s.State,
		Declared: s.Declared, Edited: s.Edited, MissedAt: timeOrNil(s.MissedAt), ChangedAt: s.ChangedAt, DeclaredAt: timeOrNil(s.DeclaredAt),
	}
	if s.Jitter > 0 {
		l.Jitter = s.Jitter.String()
	}
	if s.Opts.Timeout > 0 {
		l.Timeout = s.Opts.Timeout.String()
	}
	return l
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// origin says who made it.
func (l *scheduleLine) origin() string {
	switch {
	case l.Edited:
		return "declared, edited"
	case l.Declared:
		return "declared"
	}
	return "operator"
}

// next says when it runs, in the local zone.
func (l *scheduleLine) next() string {
	switch {
	case l.Paused:
		return "paused"
	case l.Next == nil:
		return "-"
	}
	text := l.Next.Local().Format(time.DateTime)
	if l.State != jobstore.Scheduled {
		text += " (left out)" // somebody has cancelled or deleted its row
	}
	return text
}

// withSchedules opens the database for a command about schedules.
func (e *Env) withSchedules(cmd *cobra.Command, do func(ctx context.Context, out format, s *warren.Schedules) error) error {
	out, err := outputFormat(cmd)
	if err != nil {
		return err
	}
	a, err := e.open(cmd, "warren")
	if err != nil {
		return err
	}
	defer a.Close()
	s, err := a.Schedules()
	if errors.Is(err, app.ErrUsage) {
		return usage(err)
	}
	if err != nil {
		return err
	}
	return publishError(do(cmd.Context(), out, s))
}

func schedulesListCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List schedules and when each runs next",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return env.withSchedules(cmd, func(ctx context.Context, out format, s *warren.Schedules) error {
				list, err := s.List(ctx)
				if err != nil {
					return err
				}
				lines := make([]scheduleLine, len(list))
				for i := range list {
					lines[i] = lineOf(&list[i])
				}
				header := []string{"NAME", "WHEN", "ZONE", "KIND", "NEXT", "JOB", "MISSED", "MADE BY"}
				return printList(env.Stdout, out, lines, header, func(l scheduleLine) []string {
					job, missed, zone := "-", "-", l.Zone
					if l.Job != 0 {
						job = strconv.FormatInt(int64(l.Job), 10)
					}
					if l.MissedAt != nil {
						missed = l.MissedAt.Local().Format(time.DateTime)
					}
					if zone == "" {
						zone = "UTC"
					}
					return []string{l.Name, l.When, zone, l.Kind, l.next(), job, missed, l.origin()}
				})
			})
		},
	}
	addOutputFlag(cmd)
	return cmd
}

// lastRuns is how many runs are shown.
const lastRuns = 10

func schedulesShowCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show one schedule and its last runs",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.withSchedules(cmd, func(ctx context.Context, out format, s *warren.Schedules) error {
				info, err := s.Get(ctx, args[0])
				if err != nil {
					return err
				}
				line := lineOf(&info)
				if line.Runs, err = s.Runs(ctx, args[0], lastRuns); err != nil {
					return err
				}
				return env.printSchedule(out, &line)
			})
		},
	}
	addOutputFlag(cmd)
	return cmd
}

// printSchedule prints one as people read it: what is empty is left out.
func (e *Env) printSchedule(out format, l *scheduleLine) error {
	switch out {
	case formatJSON:
		return printJSON(e.Stdout, l)
	case formatLines:
		return json.NewEncoder(e.Stdout).Encode(l)
	case formatTable:
	}
	line := func(name, value string) {
		if value != "" && value != "null" {
			fmt.Fprintf(e.Stdout, "%-13s %s\n", name, terminal.Printable(value))
		}
	}
	line("name", l.Name)
	line("when", l.When)
	line("zone", l.Zone)
	line("jitter", l.Jitter)
	line("catch-up", strconv.Itoa(l.CatchUp))
	line("made by", l.origin())
	line("kind", l.Kind)
	line("args", jsonText(l.Args))
	line("queue", l.Queue)
	line("priority", strconv.Itoa(l.Priority))
	line("serial group", l.SerialGroup)
	line("max attempts", strconv.Itoa(l.MaxAttempts))
	line("timeout", l.Timeout)
	line("metadata", jsonText(l.Metadata))
	for _, tag := range l.Tags {
		line("tag", tag)
	}
	line("next", l.next())
	if l.MissedAt != nil {
		line("missed", l.MissedAt.Local().Format(time.RFC3339))
	}
	for _, r := range l.Runs {
		text := fmt.Sprintf("%s  job %d  %s", r.Tick.Local().Format(time.RFC3339), r.Job, r.State)
		if r.State == "" {
			text += "(removed)"
		}
		if r.Manual {
			text += ", asked for"
		}
		line("run", text)
	}
	return nil
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil { // it came from the database as JSON
		return ""
	}
	return string(b)
}

// eachSchedule does one thing to every schedule that is named, and says so.
func (e *Env) eachSchedule(cmd *cobra.Command, names []string, do func(ctx context.Context, s *warren.Schedules, name string) (string, error)) error {
	return e.withSchedules(cmd, func(ctx context.Context, out format, s *warren.Schedules) error {
		t := tally{w: e.Stdout, out: out}
		for _, name := range names {
			text, err := do(ctx, s, name)
			if err == nil {
				err = t.add(done{Name: name, Result: text})
			}
			if err != nil {
				return t.end(err)
			}
		}
		return t.end(nil)
	})
}

func schedulesPauseCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pause NAME…",
		Short: "Let schedules not run until they are resumed",
		Long: `Let schedules not run until they are resumed. The run that waits is cancelled; one that has begun goes
on. A declaration that changes does not end a pause.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.eachSchedule(cmd, args, func(ctx context.Context, s *warren.Schedules, name string) (string, error) {
				_, err := s.Pause(ctx, name)
				return "schedule " + name + " is paused", err
			})
		},
	}
	addOutputFlag(cmd)
	return cmd
}

func schedulesResumeCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume NAME…",
		Short: "Let paused schedules run again, from now on",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.eachSchedule(cmd, args, func(ctx context.Context, s *warren.Schedules, name string) (string, error) {
				info, err := s.Resume(ctx, name)
				line := scheduleLine{Next: timeOrNil(info.Next), State: info.State}
				return "schedule " + name + " goes on: " + line.next(), err
			})
		},
	}
	addOutputFlag(cmd)
	return cmd
}

func schedulesRunCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run NAME",
		Short: "Publish the job of a schedule now, besides its other runs, and print its number",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.eachSchedule(cmd, args, func(ctx context.Context, s *warren.Schedules, name string) (string, error) {
				id, err := s.Run(ctx, name)
				return strconv.FormatInt(int64(id), 10), err
			})
		},
	}
	addOutputFlag(cmd)
	return cmd
}

func schedulesDeleteCmd(env *Env) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "delete NAME…",
		Short: "Remove schedules, and cancel the runs that wait",
		Long: `Remove schedules, and cancel the runs that wait. One that a program or the configuration declares would be
back with the next start of a consumer: pause it, or take it out there first.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.eachSchedule(cmd, args, func(ctx context.Context, s *warren.Schedules, name string) (string, error) {
				return "schedule " + name + " is removed", s.Delete(ctx, name, force)
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also one that is declared")
	addOutputFlag(cmd)
	return cmd
}
