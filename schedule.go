package warren

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/warrenq/warren/internal/schedule"
	"github.com/warrenq/warren/jobstore"
)

// Schedule publishes a job at set times: one for each time, whatever the number of consumers. The row of
// the next time is always there, as a SCHEDULED job that can be looked at, edited and cancelled.
type Schedule struct {
	// Name is what it is known by: 1 to 128 letters, digits and _ . : / -
	Name string
	// When is one of Cron, Every, Once and Manual.
	When When
	// Zone is the time zone of a Cron and of a window, by its IANA name. Default UTC.
	Zone string
	// Jitter delays each run by a random time up to this. Default 0, at most 24 h, less than Every.
	Jitter time.Duration
	// CatchUp is how many of the latest runs that were missed, because nobody was there to start them,
	// are made up for: 0 to 1000. Default 1. With new(0) a run that could not begin within a minute is
	// left out.
	CatchUp *int
	// Paused makes it without a next run. It counts for a schedule that is new.
	Paused bool

	// Kind of the jobs. Default: that of Args, when it is an Args.
	Kind string
	// Args of the jobs: an Args, or anything that encodes to JSON. Default {}.
	Args any
	// Opts are as in a publish. What says when the job runs (Delay, At, Mode, Every) or relates it to others
	// by more than a serial group (Identifier, UniqueFor, Coalesce) is the schedule's business and refused.
	Opts PublishOpts
}

// When says at what times a schedule has a job to run.
type When struct {
	d   schedule.Definition
	err error // of a value that the definition cannot tell from one that was not given
}

// Cron is a time by the clock, in the five fields of crontab: minute, hour, day of month, month, day of
// week; names (MON, JAN), lists, ranges, steps, L, 15W, FRI#2 and @hourly … @yearly are known. A job is due
// on days that fit the day of month or the day of week when both are given, as in crontab.
//
// Where clocks are set forward, the times that they pass over are one run, right after the change. Where they
// are set back, a time that comes twice runs once, the first time. A cron for every hour (* in its second
// field) goes on evenly instead.
func Cron(fields string) When {
	if fields == "" {
		return When{err: errors.New("cron is empty; give its five fields: minute hour day-of-month month day-of-week")}
	}
	return When{d: schedule.Definition{Cron: fields}}
}

// Every is at the multiples of a period, at least a second, since 1970: Every(15*time.Minute) is at :00,
// :15, :30 and :45. See Between.
func Every(period time.Duration) When {
	if period == 0 {
		return When{err: errors.New("every 0s is no period; the shortest is 1s")}
	}
	return When{d: schedule.Definition{Every: schedule.Duration(period)}}
}

// Between makes an Every begin anew each day, at a time such as 05:00 of the schedule's zone, and end at
// another, which is a run, too, when the period meets it.
func (w When) Between(from, to string) When {
	w.d.From, w.d.To = from, to
	return w
}

// Once is one instant, in milliseconds. What was missed while nobody was there runs later, unless CatchUp is 0.
func Once(at time.Time) When { return When{d: schedule.Definition{Once: at.UTC()}} }

// Manual never runs by itself, only by Schedules.Run or 'warren schedules run'.
func Manual() When { return When{d: schedule.Definition{Manual: true}} }

// String says it as people read it: "cron 0 3 * * *", "every 15m0s from 05:00 to 23:00".
func (w When) String() string {
	switch d := &w.d; {
	case d.Cron != "":
		return "cron " + d.Cron
	case d.Every != 0 && d.From+d.To != "":
		return fmt.Sprintf("every %s from %s to %s", time.Duration(d.Every), d.From, d.To)
	case d.Every != 0:
		return fmt.Sprintf("every %s", time.Duration(d.Every))
	case !d.Once.IsZero():
		return "once " + d.Once.Format(time.RFC3339)
	case d.Manual:
		return "manual"
	}
	return "never"
}

// Next is the first time of the schedule after an instant, jitter left out; the zero time when there is
// none. It fails when the schedule does not say properly when it runs.
func (s Schedule) Next(after time.Time) (time.Time, error) {
	d := s.when()
	if err := s.checkWhen(&d); err != nil {
		return time.Time{}, invalidJobError{err}
	}
	times, err := d.Times()
	if err != nil {
		return time.Time{}, invalidJobError{err}
	}
	return times.Next(after), nil
}

func (s Schedule) checkWhen(d *schedule.Definition) error {
	if s.When.err != nil {
		return s.When.err
	}
	return d.Check()
}

func (s Schedule) when() schedule.Definition {
	d := s.When.d
	d.Zone, d.Jitter, d.CatchUp = s.Zone, schedule.Duration(s.Jitter), 1
	if s.CatchUp != nil {
		d.CatchUp = *s.CatchUp
	}
	return d
}

// definition checks a schedule as a publish is checked and applies every default of the kind, because
// whoever leads the sweep plants its rows, and need not know the kind.
func (r *rules) definition(s Schedule) (*schedule.Definition, error) {
	kind := s.Kind
	if typed, ok := s.Args.(Args); ok && kind == "" {
		kind = typed.Kind()
	}
	if s.Args == nil {
		s.Args = json.RawMessage("{}")
	}
	d := s.when()
	errs := []error{schedule.CheckName(s.Name), r.scheduledJob(kind, s, &d)}
	if len(d.Tags) >= maxTags {
		errs = append(errs, fmt.Errorf("%d tags are too many: the jobs of a schedule have one more, and at most %d", len(d.Tags), maxTags))
	}
	if len(d.Metadata) > maxMetadata/2 {
		errs = append(errs, fmt.Errorf("metadata has %d bytes; at most %d are allowed for a schedule", len(d.Metadata), maxMetadata/2))
	}
	if err := errors.Join(append(errs, s.checkWhen(&d))...); err != nil {
		return nil, invalidJobError{fmt.Errorf("schedule %.140q: %w", s.Name, err)}
	}
	return &d, nil
}

// scheduledJob puts the job into the definition.
func (r *rules) scheduledJob(kind string, s Schedule, d *schedule.Definition) error {
	if len(r.registry.opts(kind).UniqueBy) > 0 {
		return fmt.Errorf("kind %s is unique by fields of its args, and the run that waits would hold the key until its time; "+
			"schedule another kind, whose handler publishes this one", kind)
	}
	if r.registry.opts(kind).Encrypted {
		return fmt.Errorf("kind %s is encrypted, and a schedule keeps its args for longer than their key may last; "+
			"schedule another kind, whose handler publishes this one", kind)
	}
	o := s.Opts
	o.Now = o.Now || o.Delay == 0 && o.At.IsZero() && o.Debounce == 0 // a delay of the kind is not of its schedules
	job, err := r.newJob(kind, s.Args, o)
	if err != nil {
		return err
	}
	d.Kind, d.Args, d.Queue, d.Priority, d.SerialGroup = job.Kind, job.Args, job.Queue, job.Priority, job.SerialGroup
	d.MaxAttempts, d.Timeout, d.Metadata, d.Tags = job.MaxAttempts, schedule.Duration(job.Timeout), job.Metadata, job.Tags
	return onlyScheduled(&job)
}

// onlyScheduled refuses what a job of a schedule cannot have, whatever options there are.
func onlyScheduled(job *jobstore.NewJob) error {
	kept := jobstore.NewJob{
		Kind: job.Kind, Args: job.Args, Queue: job.Queue, Priority: job.Priority, SerialGroup: job.SerialGroup,
		GroupSkip: job.GroupSkip, Mode: jobstore.Normal, MaxAttempts: job.MaxAttempts, Timeout: job.Timeout, Metadata: job.Metadata, Tags: job.Tags,
	}
	if reflect.DeepEqual(*job, kept) {
		return nil
	}
	return errors.New("the jobs of a schedule take queue, priority, serial group, attempts, timeout, metadata and tags; " +
		"what else is said in the options is for single jobs")
}

// scheduleOf reads a row back.
func scheduleOf(row *jobstore.Schedule) (Schedule, error) {
	d, err := schedule.Parse(row.Definition)
	if err != nil {
		return Schedule{}, fmt.Errorf("schedule %s: %w", row.Name, err)
	}
	s := Schedule{
		Name: row.Name, Zone: d.Zone, Jitter: time.Duration(d.Jitter), CatchUp: new(d.CatchUp), Paused: row.Paused,
		When: When{d: schedule.Definition{Cron: d.Cron, Every: d.Every, From: d.From, To: d.To, Once: d.Once, Manual: d.Manual}},
		Kind: d.Kind, Args: d.Args,
		Opts: PublishOpts{
			Queue: d.Queue, Priority: new(d.Priority), SerialGroup: d.SerialGroup, MaxAttempts: d.MaxAttempts,
			Timeout: time.Duration(d.Timeout), Tags: slices.Clone(d.Tags),
		},
	}
	if d.MaxAttempts == 0 {
		s.Opts.MaxAttempts = Unlimited
	}
	if d.Metadata != nil {
		s.Opts.Metadata = d.Metadata
	}
	return s, nil
}

// TickOf tells a handler which time of which schedule its job stands for; ok is false for a job that was
// published otherwise. The tick of a run that somebody asked for is when that was.
func TickOf(job *jobstore.Job) (name string, tick time.Time, ok bool) {
	m, ok := schedule.MarkOf(job.Metadata)
	return m.Name, m.Tick, ok
}
