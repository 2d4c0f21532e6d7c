package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/terminal"
)

// scheduleFlags say what a schedule is to be.
type scheduleFlags struct {
	publishFlags // those of the job

	cron, from, to, once, zone, kind string
	every, jitter                    durationFlag
	manual, paused                   bool
	catchUp                          int
}

// addWhen gives cmd the flags about when it runs.
func (f *scheduleFlags) addWhen(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.cron, "cron", "", `five fields, "30 2 * * MON-FRI", or @hourly, @daily, …`)
	fl.Var(&f.every, "every", "a period such as 15m, at its multiples since 1970")
	fl.StringVar(&f.from, "from", "", "with --every: the first time of each day, 05:00")
	fl.StringVar(&f.to, "to", "", "with --every: the last time of each day, 23:00")
	fl.StringVar(&f.once, "once", "", "one time, as RFC 3339: 2026-11-21T20:00:00Z")
	fl.BoolVar(&f.manual, "manual", false, "only when 'warren schedules run' says so")
	fl.StringVar(&f.zone, "zone", "", "time zone of --cron, --from and --to, such as Europe/Berlin (default UTC)")
	fl.Var(&f.jitter, "jitter", "delay each run by a random time up to this")
	cmd.MarkFlagsMutuallyExclusive("cron", "every", "once", "manual")
}

// addJob gives cmd the flags about the job.
func (f *scheduleFlags) addJob(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.IntVar(&f.catchUp, "catch-up", 1, "how many of the latest missed runs are made up for, 0 to 1000")
	fl.StringVar(&f.kind, "kind", "", "which handler runs the jobs")
	fl.StringVar(&f.args, "args", "", "the jobs' args, a JSON value (default {})")
	fl.StringVar(&f.argsFile, "args-file", "", "read the args from a file; - is standard input")
	fl.StringVar(&f.queue, "queue", "", "queue (default: the kind's, else the configured default)")
	fl.IntVar(&f.priority, "priority", 0, "one of the configured priorities (default: the kind's, else the first)")
	fl.StringVar(&f.group, "serial-group", "", "at most one job of a group runs at a time: no run begins before the last one has ended")
	fl.IntVar(&f.maxAttempts, "max-attempts", 25, "attempts before a job fails for good; 0 = no limit (default: the kind's)")
	fl.Var(&f.timeout, "timeout", "how long one attempt may take (default: the kind's)")
	fl.StringVar(&f.metadata, "metadata", "", "a JSON object kept with each job")
	fl.StringArrayVar(&f.tags, "tag", nil, "a tag of each job; may be repeated")
	cmd.MarkFlagsMutuallyExclusive("args", "args-file")
	addOutputFlag(cmd)
}

// changes returns what lays the flags that were given over a schedule, once or, when somebody else is at it too, again.
func (f *scheduleFlags) changes(env *Env, cmd *cobra.Command) (apply func(s *warren.Schedule) error, err error) {
	args, o, err := env.publishOpts(cmd, &f.publishFlags)
	if err != nil {
		return nil, err
	}
	return func(s *warren.Schedule) error { return f.apply(cmd.Flags().Changed, args, o, s) }, nil
}

func (f *scheduleFlags) apply(typed func(string) bool, args json.RawMessage, o warren.PublishOpts, s *warren.Schedule) error {
	if err := f.applyWhen(typed, s); err != nil {
		return err
	}
	if typed("catch-up") {
		s.CatchUp = &f.catchUp
	}
	if typed("kind") {
		s.Kind = f.kind
	}
	if typed("args") || typed("args-file") {
		s.Args = args
	}
	for name, set := range map[string]func(){
		"queue":        func() { s.Opts.Queue = o.Queue },
		"priority":     func() { s.Opts.Priority = o.Priority },
		"serial-group": func() { s.Opts.SerialGroup = o.SerialGroup },
		"max-attempts": func() { s.Opts.MaxAttempts = o.MaxAttempts },
		"timeout":      func() { s.Opts.Timeout = o.Timeout },
		"metadata":     func() { s.Opts.Metadata = o.Metadata },
		"tag":          func() { s.Opts.Tags = o.Tags },
	} {
		if typed(name) {
			set()
		}
	}
	return nil
}

func (f *scheduleFlags) applyWhen(typed func(string) bool, s *warren.Schedule) error {
	switch window := typed("from") || typed("to"); {
	case window && !typed("every"):
		return usagef("--from and --to need --every: how often inside of the window")
	case typed("cron"):
		s.When = warren.Cron(f.cron)
	case typed("every") && window:
		s.When = warren.Every(time.Duration(f.every)).Between(f.from, f.to)
	case typed("every"):
		s.When = warren.Every(time.Duration(f.every))
	case typed("once"):
		at, err := parseTime(f.once)
		if err != nil {
			return err
		}
		s.When = warren.Once(at)
	case f.manual:
		s.When = warren.Manual()
	}
	if typed("zone") {
		s.Zone = f.zone
	}
	if typed("jitter") {
		s.Jitter = time.Duration(f.jitter)
	}
	return nil
}

func schedulesAddCmd(env *Env) *cobra.Command {
	f := &scheduleFlags{}
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a schedule",
		Example: `  warren schedules add nightly --cron "30 2 * * *" --zone Europe/Berlin --kind cleanup --args '{"older_than":"30d"}'
  warren schedules add import --every 15m --from 05:00 --to 23:00 --zone Europe/Berlin --kind import
  warren schedules add launch --once 2026-12-01T08:00:00+01:00 --kind mail`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s := warren.Schedule{Name: args[0], Paused: f.paused}
			apply, err := f.changes(env, cmd)
			if err == nil {
				err = apply(&s)
			}
			if err != nil {
				return err
			}
			return env.withSchedules(cmd, func(ctx context.Context, out format, all *warren.Schedules) error {
				info, err := all.Add(ctx, s)
				if err != nil {
					return err
				}
				return env.changed(out, "added", &info)
			})
		},
	}
	f.addWhen(cmd)
	f.addJob(cmd)
	cmd.Flags().BoolVar(&f.paused, "paused", false, "do not run before it is resumed")
	return cmd
}

func schedulesEditCmd(env *Env) *cobra.Command {
	f := &scheduleFlags{}
	cmd := &cobra.Command{
		Use:   "edit NAME",
		Short: "Change a schedule: what is given replaces what was there",
		Long: `Change a schedule: what is given replaces what was there. The run that waits is cancelled, and the next one is
planted anew, also when nothing is given. An edit of a schedule that a program or the configuration declares
holds until the declaration changes.`,
		Example: `  warren schedules edit nightly --cron "0 4 * * *" --priority 30`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			apply, err := f.changes(env, cmd)
			if err != nil {
				return err
			}
			return env.withSchedules(cmd, func(ctx context.Context, out format, all *warren.Schedules) error {
				info, err := all.Edit(ctx, args[0], apply)
				if err != nil {
					return err
				}
				return env.changed(out, "changed", &info)
			})
		},
	}
	f.addWhen(cmd)
	f.addJob(cmd)
	return cmd
}

// changed says what became of a schedule.
func (e *Env) changed(out format, did string, info *warren.ScheduleInfo) error {
	line := lineOf(info)
	switch out {
	case formatJSON:
		return printJSON(e.Stdout, line)
	case formatLines:
		return json.NewEncoder(e.Stdout).Encode(line)
	case formatTable:
	}
	next := line.next()
	if line.Next != nil {
		next = fmt.Sprintf("next %s, job %d", next, line.Job)
	}
	_, err := fmt.Fprintf(e.Stdout, "%s schedule %s (%s): %s\n", did, line.Name, terminal.OneLine(line.When), next)
	return err
}

// mostNext bounds how many times are printed.
const mostNext = 1000

func schedulesNextCmd(env *Env) *cobra.Command {
	f := &scheduleFlags{}
	var n int
	var after string
	cmd := &cobra.Command{
		Use:   "next [NAME]",
		Short: "Print the next times of a schedule, or of what the flags say, without changing anything",
		Example: `  warren schedules next nightly -n 3
  warren schedules next --cron "30 2 * * *" --zone Europe/Berlin --after 2027-03-27T00:00:00Z`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if n < 1 || n > mostNext {
				return usagef("-n %d is not from 1 to %d", n, mostNext)
			}
			from := time.Now()
			if after != "" {
				var err error
				if from, err = parseTime(after); err != nil {
					return err
				}
			}
			var s warren.Schedule
			if len(args) == 1 {
				err := env.withSchedules(cmd, func(ctx context.Context, _ format, all *warren.Schedules) error {
					info, err := all.Get(ctx, args[0])
					s = info.Schedule
					return err
				})
				if err != nil {
					return err
				}
			}
			if err := f.applyWhen(cmd.Flags().Changed, &s); err != nil {
				return err
			}
			return env.printNext(cmd, &s, from, n)
		},
	}
	f.addWhen(cmd)
	cmd.Flags().IntVarP(&n, "number", "n", 5, "how many times")
	cmd.Flags().StringVar(&after, "after", "", "from this time on, as RFC 3339 (default: now)")
	addOutputFlag(cmd)
	return cmd
}

// printNext prints times as the zone of the schedule has them.
func (e *Env) printNext(cmd *cobra.Command, s *warren.Schedule, from time.Time, n int) error {
	out, err := outputFormat(cmd)
	if err != nil {
		return err
	}
	loc, err := time.LoadLocation(s.Zone)
	if err != nil {
		loc = time.UTC // Next says what is wrong with it
	}
	type line struct {
		Next time.Time `json:"next"`
	}
	var lines []line
	for range n {
		if from, err = s.Next(from); err != nil {
			return usage(err)
		}
		if from.IsZero() {
			break
		}
		lines = append(lines, line{from.In(loc)})
	}
	return printList(e.Stdout, out, lines, []string{"NEXT"}, func(l line) []string { return []string{l.Next.Format(time.RFC3339)} })
}
