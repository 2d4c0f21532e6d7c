package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func scheduleTests() []test {
	return []test{
		{"a schedule is made once, with its row that waits", scheduleMake},
		{"the sweep is told of schedules whose time has come", scheduleDue},
		{"of moves at once one is carried out", scheduleRace},
		{"a tick has one row", scheduleTick},
		{"a row that waits is withdrawn, one that was let go is not", scheduleWithdraw},
		{"a move is carried out in full or not at all", scheduleAtomic},
		{"a schedule is removed with its row that waits", scheduleRemove},
		{"the last runs are remembered", scheduleRuns},
	}
}

// planting is the row of a tick this long from now, or ago.
func (w *world) planting(in time.Duration, next bool) jobstore.Planting {
	w.Helper()
	_, now, err := w.store.Schedules(w.Context())
	w.check("schedules", err)
	tick := now.Add(in).Truncate(time.Second)
	j := plain()
	j.AvailableAt, j.Outbox = tick, true
	return jobstore.Planting{Tick: tick, Next: next, Job: j}
}

// waiting is a move that makes a schedule whose row waits for an hour.
func (w *world) waiting(name string) jobstore.ScheduleMove {
	w.Helper()
	p := w.planting(long, true)
	return jobstore.ScheduleMove{
		Name: name, Definition: json.RawMessage(`{"cron": "@hourly"}`), Declared: "digest", Tick: p.Tick, LookAt: p.Tick, Plant: []jobstore.Planting{p},
	}
}

func (w *world) move(moves ...jobstore.ScheduleMove) []string {
	w.Helper()
	moved, err := w.store.MoveSchedules(w.Context(), moves)
	w.check("move schedules", err)
	return moved
}

// moves is a move that must be carried out, and the schedule after it.
func (w *world) moves(m jobstore.ScheduleMove) jobstore.Schedule {
	w.Helper()
	if moved := w.move(m); !slices.Equal(moved, []string{m.Name}) {
		w.Fatalf("moved %v, want %s", moved, m.Name)
	}
	return w.schedule(m.Name)
}

func (w *world) schedule(name string) jobstore.Schedule {
	w.Helper()
	list, _, err := w.store.Schedules(w.Context(), name)
	w.check("schedules", err)
	if len(list) != 1 {
		w.Fatalf("there are %d schedules %s", len(list), name)
	}
	return list[0]
}

// again is a move that leaves the schedule as it is.
func again(s jobstore.Schedule) jobstore.ScheduleMove {
	return jobstore.ScheduleMove{
		Name: s.Name, Version: s.Version, Definition: s.Definition, Declared: s.Declared, Paused: s.Paused, Tick: s.Tick, Job: s.Job, LookAt: s.LookAt,
	}
}

func scheduleMake(w *world) {
	list, now, err := w.store.Schedules(w.Context())
	w.check("schedules", err)
	if len(list) != 0 || now.IsZero() {
		w.Fatalf("without schedules: %+v at %s", list, now)
	}
	m := w.waiting("b")
	s := w.moves(m)
	if s.Version != 1 || s.Declared != "digest" || s.Paused || !s.Tick.Equal(m.Tick) || !s.LookAt.Equal(m.Tick) || s.JobState != jobstore.Scheduled ||
		s.CreatedAt.IsZero() || !s.MissedAt.IsZero() || !s.DeclaredAt.IsZero() || len(s.Definition) == 0 {
		w.Fatalf("the schedule is %+v", s)
	}
	if j := w.get(s.Job); j.State != jobstore.Scheduled || !j.AvailableAt.Equal(m.Tick) || j.Kind != "k" {
		w.Fatalf("its row is %+v", j)
	}
	if moved := w.move(m); len(moved) != 0 || w.jobs() != 1 {
		w.Fatalf("made a second time: %v, %d jobs", moved, w.jobs())
	}
	w.moves(w.waiting("a"))
	w.check("see", w.store.SeeSchedules(w.Context(), []string{"a", "nobody"}))
	list, _, err = w.store.Schedules(w.Context())
	w.check("schedules", err)
	if len(list) != 2 || list[0].Name != "a" || list[0].DeclaredAt.IsZero() || list[0].Version != 1 || !list[1].DeclaredAt.IsZero() {
		w.Fatalf("both: %+v", list)
	}
	list, _, err = w.store.Schedules(w.Context(), "nobody")
	w.check("schedules", err)
	if len(list) != 0 {
		w.Fatalf("nobody: %+v", list)
	}
	change := again(s)
	change.Definition, change.Paused, change.Missed, change.Seen = json.RawMessage(`{"every": "1h"}`), true, true, true
	if c := w.moves(change); c.Version != 2 || !c.Paused || c.MissedAt.IsZero() || c.DeclaredAt.IsZero() || string(c.Definition) != `{"every": "1h"}` || c.Job != s.Job {
		w.Fatalf("changed: %+v", c)
	}
}

func scheduleDue(w *world) {
	w.moves(w.waiting("later"))
	if w.look().Schedules {
		w.Fatal("the sweep is told of a schedule that is not due")
	}
	m := w.waiting("now")
	m.LookAt = w.planting(-time.Second, false).Tick
	s := w.moves(m)
	idle := w.waiting("idle")
	idle.LookAt = time.Time{}
	w.moves(idle)
	if !w.look().Schedules {
		w.Fatal("the sweep is not told of a schedule that is due")
	}
	list, now, err := w.store.DueSchedules(w.Context(), 10)
	w.check("due schedules", err)
	if len(list) != 1 || list[0].Name != "now" || list[0].Job != s.Job || list[0].JobState != jobstore.Scheduled || list[0].LookAt.After(now) {
		w.Fatalf("due at %s: %+v", now, list)
	}
	next := again(s)
	next.LookAt = m.Tick
	w.moves(next)
	if w.look().Schedules {
		w.Fatal("the sweep is told of a schedule that was looked at")
	}
}

// Two leaders, or a leader and a person: each has read the same version and plants the same ticks.
func scheduleRace(w *world) {
	var read []jobstore.Schedule
	for i := range 5 {
		read = append(read, w.moves(w.waiting(fmt.Sprint("s", i))))
	}
	const racers = 6
	next, late := w.planting(2*long, true), w.planting(-time.Minute, false)
	won := make([]int, racers)
	var wg sync.WaitGroup
	for r := range racers {
		wg.Go(func() {
			var moves []jobstore.ScheduleMove
			for i := range read {
				m := again(read[(i+r)%len(read)]) // each in an order of its own
				m.Tick, m.LookAt, m.Plant = next.Tick, next.Tick, []jobstore.Planting{late, next}
				moves = append(moves, m)
			}
			moved, err := w.store.MoveSchedules(w.Context(), moves)
			if err != nil {
				w.Errorf("racer %d: %v", r, err)
			}
			won[r] = len(moved)
		})
	}
	wg.Wait()
	sum := 0
	for _, n := range won {
		sum += n
	}
	if n := w.jobs(); sum != 5 || n != 15 {
		w.Fatalf("%d moves were carried out by %v, and there are %d jobs; want 5 and 15", sum, won, n)
	}
	for _, s := range read {
		if got := w.schedule(s.Name); got.Version != 2 || got.Job == s.Job || got.JobState != jobstore.Scheduled || !got.Tick.Equal(next.Tick) {
			w.Fatalf("%s is %+v", s.Name, got)
		}
	}
}

func scheduleTick(w *world) {
	s := w.moves(w.waiting("s"))
	same := again(s)
	p := w.planting(0, true)
	p.Tick = s.Tick
	same.Plant = []jobstore.Planting{p}
	if got := w.moves(same); w.jobs() != 1 || got.Job != s.Job || got.Version != 2 {
		w.Fatalf("its tick was planted again: %d jobs, %+v", w.jobs(), got)
	}
	p.Manual, p.Next = true, false
	for range 2 {
		m := again(w.schedule("s"))
		m.Plant = []jobstore.Planting{p}
		if got := w.moves(m); got.Job != s.Job {
			w.Fatalf("after a run that somebody asked for: %+v", got)
		}
	}
	if n := w.jobs(); n != 3 {
		w.Fatalf("%d jobs, want the one that waits and two that were asked for", n)
	}
	// What is due at once waits for its announcement.
	refs, err := w.store.Outbox(w.Context(), 10)
	w.check("outbox", err)
	if len(refs) != 2 {
		w.Fatalf("the outbox has %v, want two", refs)
	}
	other := w.waiting("other")
	other.Plant[0].Tick = s.Tick
	w.moves(other)
	if n := w.jobs(); n != 4 {
		w.Fatalf("%d jobs: another schedule has the same tick", n)
	}
}

func scheduleWithdraw(w *world) {
	s := w.moves(w.waiting("s"))
	m := again(s)
	m.Withdraw, m.WithdrawTick, m.Reason = s.Job, s.Tick, "it was changed"
	m.Plant = []jobstore.Planting{w.planting(0, true)}
	m.Plant[0].Tick = s.Tick
	m.Plant[0].Job.AvailableAt = s.Tick
	next := w.moves(m)
	if j := w.get(s.Job); j.State != jobstore.Cancelled || j.Error != "it was changed" || j.FinishedAt == nil {
		w.Fatalf("withdrawn: %+v", j)
	}
	if next.Job == s.Job || next.JobState != jobstore.Scheduled {
		w.Fatalf("its tick was not planted again: %+v", next)
	}
	_, err := w.store.Cancel(w.Context(), []jobstore.ID{next.Job})
	w.check("cancel", err)
	m = again(w.schedule("s"))
	m.Job, m.Tick, m.LookAt, m.Paused, m.Withdraw, m.WithdrawTick, m.Reason = 0, time.Time{}, time.Time{}, true, next.Job, next.Tick, "paused"
	if got := w.moves(m); got.Job != 0 || !got.Tick.IsZero() || !got.LookAt.IsZero() || got.JobState != "" {
		w.Fatalf("paused: %+v", got)
	}
	if j := w.get(next.Job); j.Error != "" {
		w.Fatalf("a job that a person had cancelled was withdrawn: %+v", j)
	}
	soon := w.waiting("soon")
	soon.Plant[0].Job.AvailableAt, soon.Plant[0].Job.Delay = time.Time{}, time.Millisecond
	s = w.moves(soon)
	w.due(s.Job)
	m = again(s)
	m.Withdraw, m.WithdrawTick, m.Reason = s.Job, s.Tick, "too late"
	w.moves(m)
	w.wantState(jobstore.Ready, s.Job)
}

func scheduleAtomic(w *world) {
	good, s := w.waiting("good"), w.moves(w.waiting("s"))
	bad := again(s)
	bad.Withdraw, bad.WithdrawTick = s.Job, s.Tick
	p := w.planting(2*long, true)
	p.Job.Priority = 5000
	bad.Plant = []jobstore.Planting{p}
	_, err := w.store.MoveSchedules(w.Context(), []jobstore.ScheduleMove{good, bad})
	w.wantErr("a move with a job that cannot be stored", err, jobstore.ErrInvalid)
	if got := w.schedule("s"); got.Version != 1 || got.JobState != jobstore.Scheduled || w.jobs() != 1 {
		w.Fatalf("after the failure: %+v, %d jobs", got, w.jobs())
	}
	list, _, err := w.store.Schedules(w.Context(), "good")
	w.check("schedules", err)
	if len(list) != 0 {
		w.Fatalf("the other one was made: %+v", list)
	}
	// A move of a version that is gone does nothing, and the others of its call are carried out.
	old := again(s)
	old.Version, old.Plant, old.Withdraw = 7, []jobstore.Planting{w.planting(0, false)}, s.Job
	if moved := w.move(old, good); !slices.Equal(moved, []string{"good"}) || w.jobs() != 2 {
		w.Fatalf("moved %v, %d jobs", moved, w.jobs())
	}
	w.wantState(jobstore.Scheduled, s.Job)
}

func scheduleRemove(w *world) {
	s := w.moves(w.waiting("s"))
	if moved := w.move(jobstore.ScheduleMove{Name: "s", Version: 9, Delete: true, Withdraw: s.Job}); len(moved) != 0 {
		w.Fatal("another version was removed")
	}
	gone := jobstore.ScheduleMove{Name: "s", Version: s.Version, Delete: true, Withdraw: s.Job, WithdrawTick: s.Tick, Reason: "its schedule was removed"}
	if moved := w.move(gone); len(moved) != 1 {
		w.Fatal("it was not removed")
	}
	w.wantState(jobstore.Cancelled, s.Job)
	list, _, err := w.store.Schedules(w.Context())
	w.check("schedules", err)
	runs, err := w.store.ScheduleRuns(w.Context(), "s", 10)
	w.check("runs", err)
	if len(list) != 0 || len(runs) != 0 {
		w.Fatalf("there are %+v with %+v", list, runs)
	}
	w.moves(w.waiting("s"))
}

func scheduleRuns(w *world) {
	m := w.waiting("s")
	m.Plant = nil
	for i := range 150 {
		m.Plant = append(m.Plant, w.planting(time.Duration(i-200)*time.Hour, false))
	}
	m.Plant = append(m.Plant, w.planting(long, true))
	s := w.moves(m)
	runs, err := w.store.ScheduleRuns(w.Context(), "s", 1000)
	w.check("runs", err)
	if len(runs) < jobstore.RunsKept || len(runs) > jobstore.RunsKept+5 || runs[0].Job != s.Job || runs[0].State != jobstore.Scheduled ||
		runs[1].State != jobstore.Ready || !runs[1].Tick.Before(runs[0].Tick) || !runs[1].Tick.Equal(m.Plant[149].Tick) {
		w.Fatalf("%d runs, the last of them %+v", len(runs), runs[:2])
	}
	if runs, err = w.store.ScheduleRuns(w.Context(), "s", 3); err != nil || len(runs) != 3 {
		w.Fatalf("three runs: %+v, %v", runs, err)
	}
}
