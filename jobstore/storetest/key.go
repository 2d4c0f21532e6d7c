package storetest

import (
	"sync"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func keyTests() []test {
	return []test{
		{"the second unique job is REDUNDANT", uniqueSecond},
		{"the key is free when its job has ended", uniqueFreed},
		{"the key is kept for a period, or for ever", uniqueFor},
		{"racing publishers cannot both win", uniqueRace},
		{"a recurring job has a successor, whatever its end", recurringEnds},
		{"a series has one job", recurringOnce},
		{"cancelling ends the series", recurringCancelled},
		{"a retry of a recurring job makes no successor", recurringRetry},
	}
}

func (w *world) insertOne(j jobstore.NewJob) jobstore.Inserted {
	w.Helper()
	got, err := w.store.Insert(w.Context(), []jobstore.NewJob{j})
	w.check("insert", err)
	return got[0]
}

func (w *world) wantRedundant(in jobstore.Inserted, holder jobstore.ID) {
	w.Helper()
	if in.State != jobstore.Redundant || in.Existing != holder {
		w.Fatalf("inserted %+v, want REDUNDANT because of job %d", in, holder)
	}
	if j := w.get(in.ID); j.State != jobstore.Redundant || j.FinishedAt == nil {
		w.Fatalf("the redundant row is %+v", j)
	}
}

func uniqueSecond(w *world) {
	u := withKey(jobstore.Unique, "x")
	got, err := w.store.Insert(w.Context(), []jobstore.NewJob{plain(), u, u, plain(), u})
	w.check("insert", err)
	if got[1].State != jobstore.Ready || got[0].State != jobstore.Ready || got[3].State != jobstore.Ready {
		w.Fatalf("inserted %+v", got)
	}
	first := got[1].ID
	w.wantRedundant(got[2], first)
	w.wantRedundant(got[4], first)
	w.wantRedundant(w.insertOne(u), first)
	otherKind, otherIdentifier, normal := u, u, u
	otherKind.Kind, otherIdentifier.Identifier, normal.Mode = "other", "y", jobstore.Normal
	for _, j := range []jobstore.NewJob{otherKind, otherIdentifier, normal} {
		if in := w.insertOne(j); in.State != jobstore.Ready || in.Existing != 0 {
			w.Fatalf("%+v became %+v", j, in)
		}
	}
	by := w.consumer()
	w.claimOne(by, first)
	w.wantRedundant(w.insertOne(u), first)
}

func uniqueFreed(w *world) {
	by := w.consumer()
	u := withKey(jobstore.Unique, "x")
	for _, state := range []jobstore.State{jobstore.Finished, jobstore.PermanentlyFailed, jobstore.Cancelled} {
		in := w.insertOne(u)
		if in.State != jobstore.Ready {
			w.Fatalf("before %s the key was not free: %+v", state, in)
		}
		w.recorded(by, outcome(w.claimOne(by, in.ID), state))
	}
	in := w.insertOne(u)
	o := outcome(w.claimOne(by, in.ID), jobstore.TemporarilyFailed)
	o.Delay = time.Hour
	w.recorded(by, o)
	w.wantRedundant(w.insertOne(u), in.ID)
}

func uniqueFor(w *world) {
	by := w.consumer()
	for _, period := range []time.Duration{jobstore.Forever, time.Hour} {
		u := withKey(jobstore.Unique, "kept "+period.String())
		u.UniqueFor = period
		in := w.insertOne(u)
		w.finish(by, w.claimOne(by, in.ID))
		w.wantRedundant(w.insertOne(u), in.ID)
	}
	u := withKey(jobstore.Unique, "short")
	u.UniqueFor = time.Millisecond
	w.finish(by, w.claimOne(by, w.insertOne(u).ID))
	w.eventually("the period passes", func() bool { return w.insertOne(u).State == jobstore.Ready })
}

func uniqueRace(w *world) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	winners := map[string]int{}
	for range 16 {
		wg.Go(func() {
			batch := []jobstore.NewJob{
				withKey(jobstore.Unique, "a"), withKey(jobstore.Unique, "b"), withKey(jobstore.Unique, "c"), withKey(jobstore.Recurring, "d"),
			}
			got, err := w.store.Insert(w.Context(), batch)
			if err != nil {
				w.Errorf("insert: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for i, in := range got {
				if in.State == jobstore.Ready {
					winners[batch[i].Identifier]++
				}
			}
		})
	}
	wg.Wait()
	for _, id := range []string{"a", "b", "c", "d"} {
		if winners[id] != 1 {
			w.Fatalf("winners: %v, want one of each", winners)
		}
	}
}

// series returns the live job of a recurring series.
func (w *world) series(identifier string) []jobstore.Job {
	w.Helper()
	jobs, err := w.store.List(w.Context(), jobstore.Filter{Identifiers: []string{identifier}})
	w.check("list", err)
	var live []jobstore.Job
	for _, j := range jobs {
		if !j.State.Final() {
			live = append(live, j)
		}
	}
	return live
}

func recurringEnds(w *world) {
	by := w.consumer()
	for _, state := range []jobstore.State{jobstore.Finished, jobstore.PermanentlyFailed, jobstore.Quarantined} {
		in := withKey(jobstore.Recurring, string(state))
		in.SerialGroup, in.Queue, in.Priority, in.Tags = string(state), "media", 20, []string{"t"}
		in.Timeout, in.MaxAttempts, in.GroupSkip = time.Minute, 3, true
		first := w.insertOne(in).ID
		w.recorded(by, outcome(w.claimOne(by, first), state))
		live := w.series(in.Identifier)
		if len(live) != 1 {
			w.Fatalf("after %s the series has %d live jobs", state, len(live))
		}
		next, ended := live[0], w.get(first)
		if next.ID == first || next.State != jobstore.Scheduled || next.AvailableAt.Sub(*ended.FinishedAt) != in.Every ||
			next.Every != in.Every || next.SerialGroup != in.SerialGroup || next.Queue != in.Queue || next.Priority != in.Priority ||
			next.Attempts != 0 || next.LeaseNo != 0 || next.MaxAttempts != 3 || next.Timeout != time.Minute ||
			!sameJSON(next.Args, in.Args) || len(next.Tags) != 1 || next.Mode != jobstore.Recurring {
			w.Fatalf("the successor after %s is %+v", state, next)
		}
	}
}

func recurringOnce(w *world) {
	by := w.consumer()
	r := withKey(jobstore.Recurring, "x")
	r.Every = time.Millisecond
	id := w.insertOne(r).ID
	w.wantRedundant(w.insertOne(r), id)
	for range 5 {
		l := w.claimOne(by, id)
		w.finish(by, l)
		w.finish(by, l) // a lost reply
		live := w.series("x")
		if len(live) != 1 {
			w.Fatalf("the series has %d live jobs", len(live))
		}
		id = live[0].ID
		w.wantRedundant(w.insertOne(r), id)
		w.due(id)
	}
}

func recurringCancelled(w *world) {
	by := w.consumer()
	r := withKey(jobstore.Recurring, "x")
	w.recorded(by, outcome(w.claimOne(by, w.insertOne(r).ID), jobstore.Cancelled))
	if live := w.series("x"); len(live) != 0 {
		w.Fatalf("a cancelled series goes on: %+v", live)
	}
	if in := w.insertOne(r); in.State != jobstore.Ready {
		w.Fatalf("a new series became %+v", in)
	}
}

func recurringRetry(w *world) {
	by := w.consumer()
	id := w.insertOne(withKey(jobstore.Recurring, "x")).ID
	for range 3 {
		w.recorded(by, outcome(w.claimOne(by, id), jobstore.TemporarilyFailed))
		if live := w.series("x"); len(live) != 1 || live[0].ID != id {
			w.Fatalf("after a failure the series has %+v", live)
		}
		w.due(id)
	}
}
