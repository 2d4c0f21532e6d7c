package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func settleTests() []test {
	return []test{
		{"a key that is kept until the start is free from the start on", untilStart},
		{"a job that ended after its key was taken leaves the key alone", untilStartEnds},
		{"a retry keeps a key until the start", untilStartRetried},
		{"racing publishers leave one job that waits", untilStartRace},
		{"what is published as a job starts waits for the next one", untilStartNeverLost},
		{"a new job replaces what a waiting one has", replaceWaiting},
		{"only what is asked for is replaced", replaceSome},
		{"a job that runs is not replaced", replaceRunning},
		{"a batch may replace its own jobs", replaceInBatch},
		{"a replaced time has a limit", replaceMaxWait},
		{"one of many that are put off runs once", debounceRace},
		{"a transaction that rolls back has replaced nothing", replaceTx},
	}
}

func untilStartJob(identifier string) jobstore.NewJob {
	j := withKey(jobstore.Unique, identifier)
	j.UniqueFor = jobstore.UntilStart
	return j
}

func debounced(identifier string, delay, limit time.Duration) jobstore.NewJob {
	j := untilStartJob(identifier)
	j.Replace, j.Delay, j.MaxWait = jobstore.ReplaceAll, delay, limit
	return j
}

func (w *world) wantInserted(in jobstore.Inserted) jobstore.ID {
	w.Helper()
	if in.State != jobstore.Ready || in.Existing != 0 {
		w.Fatalf("inserted %+v, want a new READY job", in)
	}
	return in.ID
}

func untilStart(w *world) {
	by := w.consumer()
	u := untilStartJob("x")
	first := w.wantInserted(w.insertOne(u))
	w.wantRedundant(w.insertOne(u), first)
	lease := w.claimOne(by, first)
	second := w.wantInserted(w.insertOne(u))
	w.wantRedundant(w.insertOne(u), second)
	o := outcome(lease, jobstore.TemporarilyFailed)
	w.recorded(by, o) // it may run again, but it has started
	w.wantRedundant(w.insertOne(u), second)

	whole := withKey(jobstore.Unique, "y") // until it has ended
	third := w.insertOne(whole).ID
	w.claimOne(by, third)
	yes := untilStartJob("y")
	w.wantRedundant(w.insertOne(yes), third)
}

func untilStartEnds(w *world) {
	by := w.consumer()
	u := untilStartJob("x")
	lease := w.claimOne(by, w.insertOne(u).ID)
	second := w.insertOne(u).ID
	w.finish(by, lease)
	w.wantRedundant(w.insertOne(u), second)
	w.finish(by, w.claimOne(by, second))
	w.wantInserted(w.insertOne(u))
}

func untilStartRetried(w *world) {
	u := untilStartJob("x")
	id := w.insertOne(u).ID
	for _, order := range []func(context.Context, []jobstore.ID) (jobstore.Changed, error){w.store.Cancel, w.store.Retry} {
		got, err := order(w.Context(), []jobstore.ID{id})
		w.check("order", err)
		if len(got.Done) != 1 {
			w.Fatalf("order: %+v", got)
		}
	}
	w.wantRedundant(w.insertOne(u), id)
}

func untilStartRace(w *world) {
	by := w.consumer()
	for round := range 3 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var won []jobstore.ID
		for range 16 {
			wg.Go(func() {
				got, err := w.store.Insert(w.Context(), []jobstore.NewJob{untilStartJob("x"), untilStartJob(fmt.Sprint("of round ", round))})
				if err != nil {
					w.Errorf("insert: %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if got[0].State == jobstore.Ready {
					won = append(won, got[0].ID)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			w.Fatalf("round %d: jobs %v wait, want one", round, won)
		}
		w.claimOne(by, won[0]) // runs on, while the next round waits
	}
}

// A publisher changes data before it publishes, and a job reads them when it starts. Whoever was told that
// another job will do must be right: it has to start afterwards.
func untilStartNeverLost(w *world) {
	by := w.consumer()
	var data, seen atomic.Int64
	ctx, stop := context.WithCancel(w.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		defer stop()
		for range 100 {
			data.Add(1)
			if _, err := w.store.Insert(w.Context(), []jobstore.NewJob{untilStartJob("x")}); err != nil {
				w.Errorf("insert: %v", err)
			}
		}
	})
	run := func() bool {
		got, err := w.store.ClaimNext(w.Context(), by, 1)
		if err != nil && !errors.Is(err, jobstore.ErrBusy) {
			w.Fatalf("claim next: %v", err)
		}
		if len(got) == 0 {
			return false
		}
		seen.Store(data.Load())
		w.finish(by, got[0])
		return true
	}
	for ctx.Err() == nil {
		run()
	}
	wg.Wait()
	w.eventually("nothing waits", func() bool { return !run() })
	if seen.Load() != data.Load() {
		w.Fatalf("the last job saw change %d of %d", seen.Load(), data.Load())
	}
}

func replaceWaiting(w *world) {
	by := w.consumer()
	first := withKey(jobstore.Unique, "x")
	first.Delay, first.Metadata = time.Hour, json.RawMessage(`{"a": 1}`)
	id := w.insertOne(first).ID
	next := withKey(jobstore.Unique, "x")
	next.Replace, next.Args, next.Priority, next.Queue = jobstore.ReplaceAll, json.RawMessage(`{"n": 2}`), 20, "media"
	next.Metadata, next.Tags = json.RawMessage(`{"b": 1}`), []string{"t"}
	in := w.insertOne(next)
	if in.ID != id || in.Existing != id || in.Queue != "media" || in.Priority != 20 || in.State == jobstore.Redundant {
		w.Fatalf("replacing returned %+v for job %d", in, id)
	}
	w.wantTotal(1)
	j := w.get(id)
	if !sameJSON(j.Args, next.Args) || !sameJSON(j.Metadata, next.Metadata) || len(j.Tags) != 1 || j.Queue != "media" || j.Priority != 20 {
		w.Fatalf("the job is %+v", j)
	}
	w.due(id)
	w.finish(by, w.claimOne(by, id))
	later := next
	later.Delay = time.Hour
	again := w.wantInserted(w.insertOne(next))
	if in := w.insertOne(later); in.ID != again || in.State != jobstore.Scheduled {
		w.Fatalf("a READY job that is put off is %+v", in)
	}
	w.same("claimed", idsOf(w.claim(by, again)))
}

func replaceSome(w *world) {
	first := withKey(jobstore.Unique, "x")
	first.Delay = time.Hour
	id := w.insertOne(first).ID
	before := w.get(id)
	next := first
	next.Args, next.Priority, next.Delay = json.RawMessage(`{"n": 2}`), 20, 0
	next.Replace = jobstore.ReplacePriority
	w.insertOne(next)
	if j := w.get(id); j.Priority != 20 || !sameJSON(j.Args, before.Args) || !j.AvailableAt.Equal(before.AvailableAt) {
		w.Fatalf("with its priority replaced the job is %+v", j)
	}
	next.Replace, next.Priority = jobstore.ReplaceArgs, 30
	w.insertOne(next)
	if j := w.get(id); j.Priority != 20 || !sameJSON(j.Args, next.Args) || !j.AvailableAt.Equal(before.AvailableAt) {
		w.Fatalf("with its args replaced the job is %+v", j)
	}
	next.Replace, next.Args = jobstore.ReplaceTime, json.RawMessage(`{"n": 3}`)
	w.insertOne(next)
	if j := w.get(id); !j.AvailableAt.Before(before.AvailableAt) || sameJSON(j.Args, next.Args) {
		w.Fatalf("with its time replaced the job is %+v", j)
	}
	w.due(id)
	w.same("claimed", idsOf(w.claim(w.consumer(), id)), id)
}

func replaceRunning(w *world) {
	by := w.consumer()
	next := withKey(jobstore.Unique, "x")
	next.Replace, next.Args = jobstore.ReplaceAll, json.RawMessage(`{"n": 2}`)
	id := w.insertOne(withKey(jobstore.Unique, "x")).ID
	w.claimOne(by, id)
	w.wantRedundant(w.insertOne(next), id)
	if j := w.get(id); sameJSON(j.Args, next.Args) {
		w.Fatal("the args of a job that runs were replaced")
	}
}

func replaceInBatch(w *world) {
	a, b := debounced("x", time.Hour, 0), debounced("x", time.Hour, 0)
	b.Args = json.RawMessage(`{"n": 2}`)
	got, err := w.store.Insert(w.Context(), []jobstore.NewJob{debounced("z", time.Hour, 0), a, plain(), b, debounced("a", 0, 0)})
	w.check("insert", err)
	if got[3].ID != got[1].ID || got[1].Existing != 0 || got[3].Existing != got[1].ID || got[4].State != jobstore.Ready ||
		got[2].State != jobstore.Ready || got[0].State != jobstore.Scheduled {
		w.Fatalf("inserted %+v", got)
	}
	w.wantTotal(4)
	if j := w.get(got[1].ID); !sameJSON(j.Args, b.Args) {
		w.Fatalf("the job is %+v", j)
	}
}

func replaceMaxWait(w *world) {
	id := w.insertOne(debounced("x", time.Hour, 90*time.Minute)).ID
	first := w.get(id)
	for _, delay := range []time.Duration{80 * time.Minute, 5 * time.Hour} {
		w.insertOne(debounced("x", delay, 90*time.Minute))
	}
	if got := w.get(id); !got.AvailableAt.Equal(first.CreatedAt.Add(90 * time.Minute)) {
		w.Fatalf("created at %s, due at %s, want 90 minutes between them", first.CreatedAt, got.AvailableAt)
	}
	// The limit has passed: it is due.
	w.insertOne(debounced("x", time.Hour, time.Millisecond))
	w.due(id)
	w.wantState(jobstore.Ready, id)
}

func debounceRace(w *world) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids := map[jobstore.ID]int{}
	for range 16 {
		wg.Go(func() {
			for range 4 {
				got, err := w.store.Insert(w.Context(), []jobstore.NewJob{debounced("x", 20*time.Millisecond, time.Hour)})
				if err != nil {
					w.Errorf("insert: %v", err)
					return
				}
				mu.Lock()
				ids[got[0].ID]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(ids) != 1 {
		w.Fatalf("one job was to be put off again and again, and there are %v", ids)
	}
	w.wantTotal(1)
	by := w.consumer()
	for id := range ids {
		w.due(id)
		w.finish(by, w.claimOne(by, id))
	}
	leases, err := w.store.ClaimNext(w.Context(), by, 10)
	w.check("claim next", err)
	if len(leases) != 0 {
		w.Fatalf("more jobs ran: %v", idsOf(leases))
	}
}

func replaceTx(w *world) {
	no := errors.New("no")
	id := w.insertOne(debounced("x", time.Hour, 0)).ID
	next := debounced("x", 0, 0)
	next.Args = json.RawMessage(`{"n": 2}`)
	err := w.store.InTx(w.Context(), func(ctx context.Context, tx jobstore.Tx) error {
		got, err := w.store.InsertTx(ctx, tx, []jobstore.NewJob{next})
		if err == nil && got[0].ID != id {
			w.Errorf("replaced %+v, want job %d", got, id)
		}
		return no
	})
	w.wantErr("rolled back", err, no)
	if j := w.get(id); sameJSON(j.Args, next.Args) || j.State != jobstore.Scheduled {
		w.Fatalf("after the rollback the job is %+v", j)
	}
}
