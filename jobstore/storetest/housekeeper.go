package storetest

import (
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func housekeeperTests() []test {
	return []test{
		{"clearing goes by state and age, in bounded steps", housekeeperClear},
		{"the backlog is what is due", housekeeperBacklog},
	}
}

// finished makes n jobs and finishes them one after the other.
func (w *world) finished(n int) []jobstore.ID {
	w.Helper()
	by := w.consumer()
	ids := w.insert(slices.Repeat([]jobstore.NewJob{plain()}, n)...)
	for _, id := range ids {
		w.finish(by, w.claimOne(by, id))
	}
	return ids
}

func housekeeperClear(w *world) {
	ids := w.finished(5)
	failed := w.inState(jobstore.PermanentlyFailed)
	ready := w.insert(plain())[0]
	step := func(age time.Duration, from time.Time, want int) time.Time {
		w.Helper()
		gone, next, err := w.store.Clear(w.Context(), jobstore.Finished, age, from, 2)
		w.check("clear", err)
		if gone != want {
			w.Fatalf("%d jobs went, want %d", gone, want)
		}
		return next
	}
	count := func(age time.Duration, want int) {
		w.Helper()
		if n, err := w.store.Ended(w.Context(), jobstore.Finished, age); err != nil || n != want {
			w.Fatalf("%d have ended, %v; want %d", n, err, want)
		}
	}
	count(time.Hour, 0)
	count(0, 5)
	step(time.Hour, time.Time{}, 0)
	next := step(0, time.Time{}, 2)
	_, err := w.store.Get(w.Context(), ids[1])
	w.wantErr("the oldest went first", err, jobstore.ErrNotFound)
	w.wantState(jobstore.Finished, ids[2:]...)
	next = step(0, next, 2)
	next = step(0, next, 1)
	step(0, next, 0)
	count(0, 0)
	if _, err := w.store.Compact(w.Context()); err != nil {
		w.Fatalf("compact: %v", err)
	}
	w.wantState(jobstore.PermanentlyFailed, failed)
	w.wantState(jobstore.Ready, ready)
}

func housekeeperBacklog(w *world) {
	backlog := func() []jobstore.Backlog {
		w.Helper()
		got, err := w.store.Backlog(w.Context())
		w.check("backlog", err)
		return got
	}
	if got := backlog(); len(got) != 0 {
		w.Fatalf("the backlog of an empty store is %+v", got)
	}
	later, media := plain(), plain()
	later.Delay, media.Queue, media.Priority = time.Hour, "media", 20
	late := inGroup("g", 10)
	late.AvailableAt = w.get(w.insert(plain())[0]).CreatedAt.Add(-time.Hour)
	w.insert(plain(), later, media, late)
	by := w.consumer()
	w.claimOne(by, w.insert(media)[0])
	got := backlog()
	want := []jobstore.Band{{Queue: "default", Priority: 10}, {Queue: "media", Priority: 20}}
	if len(got) != 2 || got[0].Band != want[0] || got[1].Band != want[1] || got[0].Due != 3 || got[1].Due != 1 {
		w.Fatalf("the backlog is %+v", got)
	}
	if got[0].Oldest < time.Hour || got[1].Oldest >= time.Hour || got[0].Paused {
		w.Fatalf("the ages are wrong: %+v", got)
	}
}
