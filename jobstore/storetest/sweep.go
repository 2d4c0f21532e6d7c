package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func sweepTests() []test {
	return []test{
		{"look sees what is due and when the next one is", sweepLook},
		{"due rows become READY, in bounded steps", sweepDue},
		{"two sweeps at once make a row due once", sweepTwice},
		{"the outbox", sweepOutbox},
		{"oldest and ready-from list claimable rows", sweepOldest},
		{"retention removes what is old enough", sweepRetain},
		{"wake reaches who listens", sweepWake},
	}
}

func (w *world) look() jobstore.Look {
	w.Helper()
	l, err := w.store.Look(w.Context())
	w.check("look", err)
	return l
}

func sweepLook(w *world) {
	if l := w.look(); l != (jobstore.Look{}) {
		w.Fatalf("look at nothing: %+v", l)
	}
	later := plain()
	later.Delay = time.Hour
	w.insert(plain(), later)
	if l := w.look(); l.Due || l.Outbox || l.Next <= 0 || l.Next > time.Hour {
		w.Fatalf("look with a job due in an hour: %+v", l)
	}
	soon, out := plain(), plain()
	soon.Delay, out.Outbox = time.Millisecond, true
	w.insert(soon, out)
	w.eventually("the job is due", func() bool { return w.look().Due })
	if l := w.look(); !l.Outbox {
		w.Fatalf("look with a row in the outbox: %+v", l)
	}
}

func sweepDue(w *world) {
	var jobs []jobstore.NewJob
	for range 10 {
		j := plain()
		j.Delay = time.Millisecond
		jobs = append(jobs, j)
	}
	later := plain()
	later.Delay = time.Hour
	ids := w.insert(append(jobs, later)...)
	seen := map[jobstore.ID]bool{}
	w.eventually("all are due", func() bool {
		refs, err := w.store.Due(w.Context(), 4)
		w.check("due", err)
		if len(refs) > 4 {
			w.Fatalf("due made %d rows ready, the limit is 4", len(refs))
		}
		for _, r := range refs {
			if seen[r.ID] || r.Queue != "default" || r.Priority != 10 {
				w.Fatalf("due returned %+v", r)
			}
			seen[r.ID] = true
		}
		return len(seen) == 10
	})
	w.wantState(jobstore.Ready, ids[:10]...)
	w.wantState(jobstore.Scheduled, ids[10])
	by := w.consumer()
	if got := w.claim(by, ids...); len(got) != 10 {
		w.Fatalf("claimed %v", idsOf(got))
	}
}

func sweepTwice(w *world) {
	var jobs []jobstore.NewJob
	for range 50 {
		j := plain()
		j.Delay = time.Millisecond
		jobs = append(jobs, j)
	}
	ids := w.insert(jobs...)
	w.eventually("the first is due", func() bool { return w.look().Due })
	var mu sync.Mutex
	times := map[jobstore.ID]int{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				refs, err := w.store.Due(w.Context(), 10)
				if err != nil {
					w.Errorf("due: %v", err)
				}
				mu.Lock()
				for _, r := range refs {
					times[r.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if times[id] != 1 {
			w.Fatalf("job %d became due %d times", id, times[id])
		}
	}
}

func (w *world) outbox(limit int) []jobstore.ID {
	w.Helper()
	refs, err := w.store.Outbox(w.Context(), limit)
	w.check("outbox", err)
	return refIDs(refs)
}

func sweepOutbox(w *world) {
	out := plain()
	out.Outbox = true
	later := out
	later.Delay = time.Hour
	ids := w.insert(out, plain(), out, later, out)
	w.same("outbox", w.outbox(10), ids[0], ids[2], ids[4])
	if got := w.outbox(2); len(got) != 2 {
		w.Fatalf("an outbox of at most 2: %v", got)
	}
	w.same("outbox again: looking writes nothing", w.outbox(10), ids[0], ids[2], ids[4])
	w.check("announced", w.store.Announced(w.Context(), []jobstore.ID{ids[0], 1 << 40}))
	w.same("after one was announced", w.outbox(10), ids[2], ids[4])
	w.check("unannounced", w.store.Unannounced(w.Context(), []jobstore.ID{ids[1], ids[3], 1 << 40}))
	w.same("after announcing failed", w.outbox(10), ids[1], ids[2], ids[4])
	w.check("announce later", w.store.AnnounceLater(w.Context(), []jobstore.ID{ids[1], ids[0], 1 << 40}, time.Hour))
	w.same("put off", w.outbox(10), ids[2], ids[4])
	if w.get(ids[0]).AnnounceAt != nil {
		w.Fatal("a job that was announced was put off")
	}
	w.check("announced", w.store.Announced(w.Context(), []jobstore.ID{ids[1]}))
	w.same("what was put off stays in the outbox", w.outbox(10), ids[2], ids[4])
	w.check("announce later", w.store.AnnounceLater(w.Context(), []jobstore.ID{ids[2]}, time.Millisecond))
	w.eventually("what was put off is due again, behind others", func() bool { got := w.outbox(10); return len(got) == 2 && got[1] == ids[2] })
	by := w.consumer()
	w.finish(by, w.claimOne(by, ids[2]))
	w.claimOne(by, ids[4])
	w.same("claimed rows leave the outbox", w.outbox(10))
	strange := plain()
	strange.Kind = "strange"
	id := w.insert(strange)[0]
	w.claim(by, id)
	w.check("announced", w.store.Announced(w.Context(), []jobstore.ID{id}))
	if w.get(id).AnnounceAt == nil {
		w.Fatal("an announcement in flight has taken a job of an unknown kind out of the outbox before its time")
	}
}

func sweepOldest(w *world) {
	band := jobstore.Band{Queue: "default", Priority: 10}
	later, foreign := plain(), plain()
	later.Delay, foreign.Queue = time.Hour, "media"
	ids := w.insert(inGroup("g", 10), later, plain(), foreign, plain(), plain())
	bands := []jobstore.Band{band, {Queue: "media", Priority: 10}, {Queue: "media", Priority: 20}}
	refs, err := w.store.Oldest(w.Context(), bands)
	w.check("oldest", err)
	w.same("oldest", refIDs(refs), ids[2], ids[3])
	refs, next, err := w.store.ReadyFrom(w.Context(), band, ids[4], 10)
	w.check("ready from", err)
	w.same("ready from, without a consumer", append(refIDs(refs), next), 0)
	by := w.consumer()
	refs, next, err = w.store.ReadyFrom(w.Context(), band, ids[4], 10)
	w.check("ready from", err)
	w.same("ready from", append(refIDs(refs), next), ids[4], ids[5], 0)
	refs, next, err = w.store.ReadyFrom(w.Context(), band, 0, 1)
	w.check("ready from", err)
	w.same("ready from, one", append(refIDs(refs), next), ids[2], ids[2]+1)
	strange := plain()
	strange.Kind = "strange"
	w.insert(strange)
	refs, next, err = w.store.ReadyFrom(w.Context(), band, ids[5], 2)
	w.check("ready from", err)
	w.same("ready from, one of two of a kind that somebody has", refIDs(refs), ids[5])
	w.same("and where to go on", []jobstore.ID{next}, ids[5]+2)
	kind := plain().Kind
	w.check("pause the kind", w.store.PauseOf(w.Context(), jobstore.PauseOfKind, kind, 0))
	refs, next, err = w.store.ReadyFrom(w.Context(), band, 0, 2)
	w.check("ready from", err)
	w.same("ready from, of a kind that is paused", append(refIDs(refs), next), ids[4]+1)
	heads, err := w.store.Heads(w.Context(), 10)
	w.check("heads", err)
	w.same("heads of a kind that is paused", refIDs(heads))
	_, err = w.store.ResumeOf(w.Context(), jobstore.PauseOfKind, kind)
	w.check("resume the kind", err)
	w.claimOne(by, ids[2])
	refs, err = w.store.Oldest(w.Context(), bands[:1])
	w.check("oldest", err)
	w.same("oldest after a claim", refIDs(refs), ids[4])
	heads, err = w.store.Heads(w.Context(), 10)
	w.check("heads", err)
	w.same("heads", refIDs(heads), ids[0])
}

func sweepRetain(w *world) {
	by := w.consumer()
	states := []jobstore.State{jobstore.Finished, jobstore.Finished, jobstore.Finished, jobstore.PermanentlyFailed, jobstore.Cancelled}
	var ids []jobstore.ID
	for _, s := range states {
		id := w.insert(plain())[0]
		w.recorded(by, outcome(w.claimOne(by, id), s))
		ids = append(ids, id)
	}
	ready := w.insert(plain())[0]
	retain := func(keep jobstore.Retention, limit int) int {
		n, err := w.store.Retain(w.Context(), keep, limit)
		w.check("retain", err)
		return n
	}
	if n := retain(jobstore.Retention{jobstore.Finished: time.Hour, jobstore.Ready: 0}, 100); n != 0 {
		w.Fatalf("retention removed %d rows that were not old", n)
	}
	keep := jobstore.Retention{jobstore.Finished: 0, jobstore.Cancelled: 0}
	if n := retain(keep, 3); n != 3 {
		w.Fatalf("retention removed %d rows, want its limit of 3", n)
	}
	if n := retain(keep, 3); n != 1 {
		w.Fatalf("retention removed %d rows, want the last one", n)
	}
	w.wantState(jobstore.PermanentlyFailed, ids[3])
	w.wantState(jobstore.Ready, ready)
	_, err := w.store.Get(w.Context(), ids[0])
	w.wantErr("get", err, jobstore.ErrNotFound)
	w.wantTotal(2)
}

func sweepWake(w *world) {
	ctx, cancel := context.WithCancel(w.Context())
	woken := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- w.store.Listen(ctx, func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	}()
	for _, what := range []string{"the listener hears", "a wake arrives"} {
		w.eventually(what, func() bool {
			select {
			case <-woken:
				return true
			case err := <-ended:
				w.Fatalf("listen: %v", err)
			default:
			}
			return false
		})
		w.check("wake", w.store.Wake(w.Context(), []jobstore.Band{{Queue: "default", Priority: 10}}))
	}
	cancel()
	w.wantErr("listen", <-ended, context.Canceled)
}
