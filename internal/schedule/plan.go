package schedule

import (
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// grace is how late a run may be that is not made up for, and not worth a word.
const grace = time.Minute

// again is when a schedule is looked at again that this program cannot read: a newer one may lead then.
const again = 30 * time.Second

// Plan is what there is to do about a schedule.
type Plan struct {
	Move jobstore.ScheduleMove
	// Missed says that ticks were not run in time: those that CatchUp allows are made up for.
	Missed bool
}

// Random returns a number from 0 to n-1, n at least 1.
type Random func(n int64) int64

// Advance is for a schedule whose LookAt has passed: its ticks that have passed without a row are made up
// for as far as CatchUp goes, and the row of the next one is planted. The row that waits is let go, unless
// later ticks take its place, or it is too late and nothing is made up for.
func Advance(s *jobstore.Schedule, now time.Time, random Random) (Plan, error) {
	d, err := Parse(s.Definition)
	if err != nil {
		return Plan{Move: Postpone(s, now)}, err
	}
	times, err := d.Times()
	if err != nil {
		return Plan{Move: Postpone(s, now)}, err
	}
	move := keep(s)
	move.Job, move.Tick, move.LookAt = 0, time.Time{}, time.Time{}
	tick := s.Tick
	if tick.IsZero() {
		tick = s.LookAt
	}
	catchUp := max(d.CatchUp, 1)
	passed := latest(times, tick, now, catchUp+1)
	run := passed[max(0, len(passed)-catchUp):]
	if d.CatchUp == 0 && len(run) > 0 && late(run[0], now) {
		run = nil
	}
	plan := Plan{Missed: len(run) < len(passed) || len(run) > 0 && late(run[0], now)}

	overdue := s.JobState == jobstore.Scheduled && now.After(tick.Add(time.Duration(d.Jitter)))
	switch {
	case !overdue: // it runs, has run, or its jitter is not over
	case len(passed) > 0 && len(run)+1 > d.CatchUp:
		move.Withdraw, move.WithdrawTick, move.Reason = s.Job, s.Tick, "later runs of its schedule take the place of this one, which was missed"
		plan.Missed = true
	case len(passed) == 0 && d.CatchUp == 0 && late(tick.Add(time.Duration(d.Jitter)), now):
		move.Withdraw, move.WithdrawTick, move.Reason = s.Job, s.Tick, "this run was missed, and its schedule makes up for none"
		plan.Missed = true
	case late(tick.Add(time.Duration(d.Jitter)), now):
		plan.Missed = true
	}
	move.Missed = plan.Missed
	for _, t := range run {
		if err := plant(&move, d, t, t, false); err != nil {
			return Plan{Move: Postpone(s, now)}, err
		}
	}
	if err := next(&move, d, times, later(now, tick), random); err != nil {
		return Plan{Move: Postpone(s, now)}, err
	}
	plan.Move = move
	return plan, nil
}

// Start is for a schedule that is new, resumed, or whose definition has changed: the row that waits, if
// there is one, goes, and that of the first tick from now on is planted. Ticks of the past are not missed.
func Start(s *jobstore.Schedule, d *Definition, now time.Time, random Random) (jobstore.ScheduleMove, error) {
	move, err := Stop(s, d, "its schedule was changed")
	if err != nil {
		return move, err
	}
	move.Paused = false
	times, err := d.Times()
	if err != nil {
		return move, err
	}
	return move, next(&move, d, times, now, random)
}

// Stop is for a schedule that is paused: the row that waits goes.
func Stop(s *jobstore.Schedule, d *Definition, reason string) (jobstore.ScheduleMove, error) {
	move := keep(s)
	move.Withdraw, move.WithdrawTick, move.Reason = s.Job, s.Tick, reason
	move.Job, move.Tick, move.LookAt, move.Paused = 0, time.Time{}, time.Time{}, true
	var err error
	move.Definition, err = d.Text()
	return move, err
}

// Run is for a schedule whose job is to run now, too. Its ticks stay as they are.
func Run(s *jobstore.Schedule, now time.Time) (jobstore.ScheduleMove, error) {
	move := keep(s)
	d, err := Parse(s.Definition)
	if err != nil {
		return move, err
	}
	return move, plant(&move, d, now, time.Time{}, true)
}

// keep is a move that changes nothing.
func keep(s *jobstore.Schedule) jobstore.ScheduleMove {
	return jobstore.ScheduleMove{
		Name: s.Name, Version: s.Version, Definition: s.Definition, Declared: s.Declared, Paused: s.Paused,
		Tick: s.Tick, Job: s.Job, LookAt: s.LookAt,
	}
}

// Postpone leaves a schedule as it is for a while.
func Postpone(s *jobstore.Schedule, now time.Time) jobstore.ScheduleMove {
	move := keep(s)
	move.LookAt = now.Add(again)
	return move
}

// next plants the row of the first tick after an instant.
func next(move *jobstore.ScheduleMove, d *Definition, times Times, after time.Time, random Random) error {
	tick := times.Next(after)
	if tick.IsZero() {
		return nil
	}
	at := tick
	if d.Jitter > 0 {
		at = at.Add(time.Duration(random(int64(time.Duration(d.Jitter)/time.Millisecond)+1)) * time.Millisecond)
	}
	move.Tick, move.LookAt = tick, tick
	if err := plant(move, d, tick, at, false); err != nil {
		return err
	}
	move.Plant[len(move.Plant)-1].Next = true
	return nil
}

func plant(move *jobstore.ScheduleMove, d *Definition, tick, at time.Time, manual bool) error {
	job, err := d.job(Mark{Name: move.Name, Tick: tick.UTC(), Manual: manual}, at)
	move.Plant = append(move.Plant, jobstore.Planting{Tick: tick, Manual: manual, Job: job})
	return err
}

func late(tick, now time.Time) bool { return now.Sub(tick) > grace }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// latest returns at most n ticks after one instant and not after another: the last ones, in order. It looks
// back in steps that grow, so that a year of minutes is not walked through for the last of them.
func latest(times Times, after, until time.Time, n int) []time.Time {
	for back := time.Hour; ; back *= 4 {
		from := until.Add(-back)
		all := from.Before(after) || back > longest
		if all {
			from = after
		}
		var list []time.Time
		for t := times.Next(from); !t.IsZero() && !t.After(until); t = times.Next(t) {
			if list = append(list, t); len(list) >= 2*n {
				list = slices.Delete(list, 0, len(list)-n)
			}
		}
		if list = list[max(0, len(list)-n):]; all || len(list) == n {
			return list
		}
	}
}
