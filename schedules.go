package warren

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/warrenq/warren/internal/schedule"
	"github.com/warrenq/warren/jobstore"
)

// ScheduleStore is what schedules need of a database: *postgres.Store has it.
type ScheduleStore interface {
	jobstore.Scheduler
}

// Schedules looks at the schedules of an installation and changes them while it runs. It is safe for
// concurrent use, by several processes too: of two changes at once the second sees the first.
type Schedules struct {
	rules rules
	store ScheduleStore
}

// Schedules returns what changes the schedules of a database. Their jobs are checked, and get defaults, as
// those that this client publishes.
func (c *Client) Schedules(store ScheduleStore) *Schedules {
	return &Schedules{rules: c.rules, store: store}
}

// ScheduleInfo is a schedule as it is in the database.
type ScheduleInfo struct {
	Schedule

	// Next is the time of the next run and Job its row; zero when there is none. State is that of the row,
	// "" when it was deleted: CANCELLED means that somebody wants this run left out.
	Next  time.Time
	Job   jobstore.ID
	State jobstore.State
	// Declared says that code or configuration has it, Edited that it was changed since, which holds
	// until they say something else. DeclaredAt is when a program last said that it has it.
	Declared, Edited bool
	DeclaredAt       time.Time
	// MissedAt is when runs were last found that did not happen in time; zero = never.
	MissedAt             time.Time
	CreatedAt, ChangedAt time.Time
}

// tries bounds how often a change is made anew because another came first.
const tries = 50

// List returns the schedules with these names, or all, by name. A name that none has is left out.
func (s *Schedules) List(ctx context.Context, names ...string) ([]ScheduleInfo, error) {
	rows, _, err := s.store.Schedules(ctx, names...)
	if err != nil {
		return nil, err
	}
	list := make([]ScheduleInfo, 0, len(rows))
	for i := range rows {
		info, err := infoOf(&rows[i])
		if err != nil {
			return nil, err
		}
		list = append(list, info)
	}
	return list, nil
}

func infoOf(row *jobstore.Schedule) (ScheduleInfo, error) {
	s, err := scheduleOf(row)
	info := ScheduleInfo{
		Schedule: s, Next: row.Tick, Job: row.Job, State: row.JobState, Declared: row.Declared != "", DeclaredAt: row.DeclaredAt,
		MissedAt: row.MissedAt, CreatedAt: row.CreatedAt, ChangedAt: row.ChangedAt,
	}
	if err != nil || !info.Declared {
		return info, err
	}
	d, err := schedule.Parse(row.Definition)
	if err != nil {
		return info, err
	}
	digest, err := d.Digest()
	info.Edited = digest != row.Declared
	return info, err
}

// Get returns one schedule, or jobstore.ErrNotFound.
func (s *Schedules) Get(ctx context.Context, name string) (ScheduleInfo, error) {
	list, err := s.List(ctx, name)
	if err != nil {
		return ScheduleInfo{}, err
	}
	if len(list) == 0 {
		return ScheduleInfo{}, noSchedule(name)
	}
	return list[0], nil
}

func noSchedule(name string) error {
	return fmt.Errorf("schedule %.140q: %w", name, jobstore.ErrNotFound)
}

// Add makes a schedule. jobstore.ErrRefused when there is one with its name, ErrInvalidJob when it asks
// for what cannot be, a time that has passed included.
func (s *Schedules) Add(ctx context.Context, def Schedule) (ScheduleInfo, error) {
	d, err := s.rules.definition(def)
	if err != nil {
		return ScheduleInfo{}, err
	}
	rows, now, err := s.store.Schedules(ctx, def.Name)
	if err != nil {
		return ScheduleInfo{}, err
	}
	exists := fmt.Errorf("schedule %s: %w: there is one with this name; edit or delete it", def.Name, jobstore.ErrRefused)
	if len(rows) > 0 {
		return ScheduleInfo{}, exists
	}
	move, err := begin(&jobstore.Schedule{Name: def.Name}, d, def.Paused, now)
	if err != nil {
		return ScheduleInfo{}, err
	}
	if !d.Once.IsZero() && !d.Once.After(now) {
		return ScheduleInfo{}, invalidJobError{fmt.Errorf("schedule %s: once %s has passed; it would never run", def.Name, d.Once.Format(time.RFC3339))}
	}
	moved, err := s.store.MoveSchedules(ctx, []jobstore.ScheduleMove{move})
	if err != nil {
		return ScheduleInfo{}, err
	}
	if len(moved) == 0 {
		return ScheduleInfo{}, exists
	}
	return s.Get(ctx, def.Name)
}

// begin is a move to a definition.
func begin(row *jobstore.Schedule, d *schedule.Definition, paused bool, now time.Time) (jobstore.ScheduleMove, error) {
	if paused {
		return schedule.Stop(row, d, "its schedule was changed")
	}
	return schedule.Start(row, d, now, rand.N[int64])
}

// Edit changes a schedule: change gets it as it is. The run that waits is cancelled and the next one planted
// anew. An edit of a declared schedule holds until its declaration changes. jobstore.ErrNotFound when there
// is none, and whatever change returns.
func (s *Schedules) Edit(ctx context.Context, name string, change func(*Schedule) error) (ScheduleInfo, error) {
	err := s.move(ctx, name, func(row *jobstore.Schedule, now time.Time) (jobstore.ScheduleMove, error) {
		def, err := scheduleOf(row)
		if err != nil {
			return jobstore.ScheduleMove{}, err
		}
		if err := change(&def); err != nil {
			return jobstore.ScheduleMove{}, err
		}
		def.Name = name
		d, err := s.rules.definition(def)
		if err != nil {
			return jobstore.ScheduleMove{}, err
		}
		return begin(row, d, def.Paused, now)
	})
	if err != nil {
		return ScheduleInfo{}, err
	}
	return s.Get(ctx, name)
}

// Pause keeps a schedule from running until it is resumed: the run that waits is cancelled, what has begun
// goes on. Declaring it anew does not end a pause.
func (s *Schedules) Pause(ctx context.Context, name string) (ScheduleInfo, error) {
	return s.setPaused(ctx, name, true)
}

// Resume ends a pause: the next run is the first from now on. Runs of the time of the pause are not missed.
// A schedule that is not paused is planned anew, too.
func (s *Schedules) Resume(ctx context.Context, name string) (ScheduleInfo, error) {
	return s.setPaused(ctx, name, false)
}

// setPaused leaves the definition as it is, which this client's settings need not allow.
func (s *Schedules) setPaused(ctx context.Context, name string, paused bool) (ScheduleInfo, error) {
	err := s.move(ctx, name, func(row *jobstore.Schedule, now time.Time) (jobstore.ScheduleMove, error) {
		d, err := schedule.Parse(row.Definition)
		if err != nil {
			return jobstore.ScheduleMove{}, fmt.Errorf("schedule %s: %w", name, err)
		}
		return begin(row, d, paused, now)
	})
	if err != nil {
		return ScheduleInfo{}, err
	}
	return s.Get(ctx, name)
}

// Run publishes the job of a schedule now, besides its other runs, also while it is paused.
func (s *Schedules) Run(ctx context.Context, name string) (jobstore.ID, error) {
	var asked time.Time
	err := s.move(ctx, name, func(row *jobstore.Schedule, now time.Time) (jobstore.ScheduleMove, error) {
		asked = now.Truncate(time.Millisecond)
		return schedule.Run(row, asked)
	})
	if err != nil {
		return 0, err
	}
	runs, err := s.store.ScheduleRuns(ctx, name, jobstore.RunsKept)
	if err != nil {
		return 0, err
	}
	for _, run := range runs {
		if run.Manual && run.Tick.Equal(asked) {
			return run.Job, nil
		}
	}
	return 0, fmt.Errorf("schedule %s was asked to run, and its run is forgotten already", name)
}

// Delete removes a schedule and cancels the run that waits. One that code or configuration declares would be
// back when the next program starts; it is refused with jobstore.ErrRefused unless force is set.
func (s *Schedules) Delete(ctx context.Context, name string, force bool) error {
	return s.move(ctx, name, func(row *jobstore.Schedule, _ time.Time) (jobstore.ScheduleMove, error) {
		if row.Declared != "" && !force {
			return jobstore.ScheduleMove{}, fmt.Errorf(
				"schedule %s: %w: code or configuration declares it, and it would be back with the next start of a consumer; pause it, or take it out there first",
				name, jobstore.ErrRefused)
		}
		return jobstore.ScheduleMove{
			Name: name, Version: row.Version, Delete: true, Withdraw: row.Job, WithdrawTick: row.Tick, Reason: "its schedule was deleted",
		}, nil
	})
}

// Runs lists the runs of a schedule, the next one included, the latest first; about the last hundred are
// remembered.
func (s *Schedules) Runs(ctx context.Context, name string, limit int) ([]jobstore.ScheduleRun, error) {
	return s.store.ScheduleRuns(ctx, name, limit)
}

// move makes a change of one schedule, anew when another change came first.
func (s *Schedules) move(ctx context.Context, name string, change func(row *jobstore.Schedule, now time.Time) (jobstore.ScheduleMove, error)) error {
	for range tries {
		rows, now, err := s.store.Schedules(ctx, name)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return noSchedule(name)
		}
		move, err := change(&rows[0], now)
		if err != nil {
			return err
		}
		moved, err := s.store.MoveSchedules(ctx, []jobstore.ScheduleMove{move})
		if err != nil || len(moved) > 0 {
			return err
		}
	}
	return fmt.Errorf("schedule %s is changed by others all the time; try again", name)
}

// Declare makes sure that the schedules of a program exist, as a consumer does with ConsumerConfig.Schedules
// when it starts. One that is new is made; one whose declaration differs from the last one is changed to it,
// whatever was edited meanwhile; any other is left as it is, edits and pauses included. Nothing is removed:
// other programs have schedules of their own.
func (s *Schedules) Declare(ctx context.Context, list ...Schedule) error {
	declared, err := s.rules.declare(list)
	if err != nil || len(declared) == 0 {
		return err
	}
	var seen []string
	for range tries {
		names := make([]string, len(declared))
		for i, d := range declared {
			names[i] = d.name
		}
		rows, now, err := s.store.Schedules(ctx, names...)
		if err != nil {
			return err
		}
		moves, same, err := pending(declared, rows, now)
		if err != nil {
			return err
		}
		seen = append(seen, same...)
		moved, err := s.store.MoveSchedules(ctx, moves)
		if err != nil {
			return err
		}
		// What was moved is as it should be, whatever another program makes of it a moment later.
		declared = slices.DeleteFunc(declared, func(d declaration) bool {
			return slices.Contains(moved, d.name) || slices.Contains(same, d.name)
		})
		if len(declared) == 0 {
			return s.see(ctx, seen)
		}
	}
	return errors.New("the schedules of this program are changed by others all the time; is another version of it starting again and again?")
}

func (s *Schedules) see(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	return s.store.SeeSchedules(ctx, names)
}

// declaration is a schedule of a program.
type declaration struct {
	name, digest string
	paused       bool
	definition   *schedule.Definition
}

func (r *rules) declare(list []Schedule) ([]declaration, error) {
	out, seen := make([]declaration, 0, len(list)), map[string]bool{}
	var errs []error
	for _, def := range list {
		d, err := r.definition(def)
		if err == nil && seen[def.Name] {
			err = invalidJobError{fmt.Errorf("schedule %q is declared twice; give one of them another name", def.Name)}
		}
		seen[def.Name] = true
		var digest string
		if err == nil {
			digest, err = d.Digest()
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, declaration{def.Name, digest, def.Paused, d})
	}
	return out, errors.Join(errs...)
}

// pending are the moves that make rows what is declared, and the names of those that are.
func pending(declared []declaration, rows []jobstore.Schedule, now time.Time) (moves []jobstore.ScheduleMove, seen []string, err error) {
	found := make(map[string]*jobstore.Schedule, len(rows))
	for i := range rows {
		found[rows[i].Name] = &rows[i]
	}
	for _, d := range declared {
		row := found[d.name]
		switch {
		case row == nil:
			row = &jobstore.Schedule{Name: d.name, Paused: d.paused}
		case row.Declared == d.digest:
			seen = append(seen, d.name)
			continue
		}
		move, err := begin(row, d.definition, row.Paused, now)
		if err != nil {
			return nil, nil, err
		}
		move.Declared, move.Seen = d.digest, true
		moves = append(moves, move)
	}
	return moves, seen, nil
}
