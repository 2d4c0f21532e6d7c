package storetest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func groupTests() []test {
	return []test{
		{"the canonical order, by number", func(w *world) { groupOrder(w, false) }},
		{"the canonical order, by ClaimNext", func(w *world) { groupOrder(w, true) }},
		{"one member in a batch, and none while one runs", groupOne},
		{"a better member does not start while one runs", groupBetterMember},
		{"a member that backs off blocks, unless it may be passed", groupBackOff},
		{"a scheduled member blocks", groupScheduled},
		{"a member that failed for good does not block", func(w *world) {
			by := w.consumer()
			ids := w.insert(inGroup("g", 10), inGroup("g", 10))
			released := w.recorded(by, outcome(w.claimOne(by, ids[0]), jobstore.PermanentlyFailed))
			w.same("released", refIDs(released), ids[1])
			w.claimOne(by, ids[1])
		}},
		{"what is released is what can be claimed", groupReleased},
		{"heads are those that somebody takes", groupHeads},
		{"coalesce makes waiting members redundant", groupCoalesce},
		{"coalesce leaves members alone that have started before", groupCoalesceStarted},
		{"never two at once", groupExclusion},
	}
}

// groupHeads: a look at a few heads must not see those only that nobody may claim.
func groupHeads(w *world) {
	register := func(kind, queue string, priority int) {
		_, err := w.store.Register(w.Context(), jobstore.Consumer{
			Host: "host", PID: 7, Kinds: []string{kind}, Queues: []string{queue}, Priorities: []int{priority},
		}, long)
		w.check("register", err)
	}
	foreign, strange, worse, ours := inGroup("a", 10), inGroup("b", 10), inGroup("c", 20), inGroup("d", 20)
	foreign.Queue, strange.Kind, worse.Queue = "media", "other", "media"
	ids := w.insert(foreign, strange, worse, ours)
	register("k", "default", 20)
	register("other", "media", 10)
	heads, err := w.store.Heads(w.Context(), 1)
	w.check("heads", err)
	w.same("of four heads the one that a consumer takes as it is", refIDs(heads), ids[3])
	register("k", "media", 20)
	heads, err = w.store.Heads(w.Context(), 10)
	w.check("heads", err)
	w.same("heads that consumers take", refIDs(heads), ids[2], ids[3])
}

// groupOrder: a1 b1 c2 d1 e1 f2 g1, the digit is the priority, c, f and g are of no group.
//
// They run as a b d e g c f: members of one group of priority 1 before those of priority 2.
func groupOrder(w *world, next bool) {
	names := map[jobstore.ID]string{}
	var ids []jobstore.ID
	for s := range strings.FieldsSeq("a1 b1 c2 d1 e1 f2 g1") {
		priority := 10
		if s[1] == '2' {
			priority = 20
		}
		id := w.insert(inGroup("g", priority))[0]
		names[id] = s[:1]
		ids = append(ids, id)
	}
	var order []string
	for len(order) < len(ids) {
		by := w.consumer()
		var got []jobstore.Lease
		if next {
			got = w.next(by, 5)
		} else {
			got = w.claim(by, ids...)
		}
		if len(got) != 1 {
			w.Fatalf("after %v a claim took %v, want one member", order, idsOf(got))
		}
		order = append(order, names[got[0].Job.ID])
		w.finish(by, got[0])
	}
	if got := strings.Join(order, " "); got != "a b d e g c f" {
		w.Fatalf("the group ran as %s", got)
	}
}

func groupOne(w *world) {
	by, other := w.consumer(), w.consumer()
	ids := w.insert(inGroup("g", 10), inGroup("g", 10), inGroup("h", 10), plain())
	w.same("not the head", idsOf(w.claim(by, ids[1])))
	got := w.claim(by, ids...)
	w.same("one of each group", idsOf(got), ids[0], ids[2], ids[3])
	w.same("blocked", idsOf(w.claim(other, ids...)))
	w.same("blocked in order", idsOf(w.next(other, 10)))
	w.finish(by, got...)
	w.same("freed", idsOf(w.next(other, 10)), ids[1])
}

func groupBetterMember(w *world) {
	by := w.consumer()
	running := w.claimOne(by, w.insert(inGroup("g", 20))[0])
	better := w.insert(inGroup("g", 10))[0]
	w.same("claimed", idsOf(w.claim(by, better)))
	w.same("next", idsOf(w.next(by, 10)))
	w.same("released", refIDs(w.finish(by, running)), better)
	w.claimOne(by, better)
}

func groupBackOff(w *world) {
	for _, skip := range []bool{false, true} {
		for _, state := range []jobstore.State{jobstore.TemporarilyFailed, jobstore.Waiting} {
			by := w.consumer()
			group := string(state) + map[bool]string{true: " passed", false: " blocks"}[skip]
			first, second := inGroup(group, 10), inGroup(group, 10)
			first.GroupSkip = skip
			ids := w.insert(first, second)
			o := outcome(w.claimOne(by, ids[0]), state)
			o.Delay = time.Hour
			released := w.recorded(by, o)
			var want []jobstore.ID
			if skip {
				want = ids[1:]
			}
			w.same("released, "+group, refIDs(released), want...)
			w.same("claimed, "+group, idsOf(w.claim(by, ids[1])), want...)
			if skip {
				w.finish(by, jobstore.Lease{Job: w.get(ids[1])})
			}
		}
	}
}

func groupScheduled(w *world) {
	by := w.consumer()
	for _, skip := range []bool{false, true} {
		group := map[bool]string{true: "passed", false: "blocks"}[skip]
		first := inGroup(group, 10)
		first.Delay, first.GroupSkip = time.Hour, skip
		ids := w.insert(first, inGroup(group, 10))
		var want []jobstore.ID
		if skip {
			want = ids[1:]
		}
		w.same("claimed, "+group, idsOf(w.claim(by, ids...)), want...)
	}
	w.same("next", idsOf(w.next(by, 10)))
}

func groupReleased(w *world) {
	by := w.consumer()
	ids := w.insert(inGroup("g", 10), inGroup("g", 20), inGroup("g", 10))
	for _, want := range []jobstore.ID{ids[2], ids[1]} {
		head := w.next(by, 10)
		if len(head) != 1 {
			w.Fatalf("next took %v", idsOf(head))
		}
		w.same("released", refIDs(w.finish(by, head...)), want)
		heads, err := w.store.Heads(w.Context(), 10)
		w.check("heads", err)
		w.same("heads", refIDs(heads), want)
	}
	back := outcome(w.claimOne(by, ids[1]), jobstore.Ready)
	back.Uncount = true
	w.same("handed back", refIDs(w.recorded(by, back)), ids[1])
}

func groupCoalesce(w *world) {
	by := w.consumer()
	job := func(n int64, priority int) jobstore.NewJob {
		j := inGroup("g", priority)
		j.Coalesce = &n
		return j
	}
	late := job(9, 10)
	late.Delay = time.Hour
	elsewhere := job(9, 10)
	elsewhere.SerialGroup = "h"
	retried := w.insert(job(9, 10))[0]
	o := outcome(w.claimOne(by, retried), jobstore.TemporarilyFailed)
	w.recorded(by, o) // has started once: it stays
	ids := w.insert(job(5, 20), job(4, 20), job(5, 20), job(7, 20), inGroup("g", 20), elsewhere)
	scheduled := w.insert(late)[0]
	w.due(retried)
	w.finish(by, w.claimOne(by, retried))
	w.wantState(jobstore.Redundant, scheduled) // 9 absorbs 9
	w.wantState(jobstore.Ready, ids...)        // and nothing below
	running := w.claimOne(by, ids[0])
	w.wantState(jobstore.Redundant, ids[2], ids[3])
	w.wantState(jobstore.Ready, ids[1], ids[4], ids[5])
	w.wantState(jobstore.Processing, ids[0])
	if j := w.get(ids[2]); j.FinishedAt == nil || j.Attempts != 0 {
		w.Fatalf("an absorbed job is %+v", j)
	}
	w.same("released", refIDs(w.finish(by, running)), ids[1])
}

func groupCoalesceStarted(w *world) {
	by := w.consumer()
	nine, one := int64(9), int64(1)
	started, better := inGroup("g", 20), inGroup("g", 10)
	started.Coalesce, better.Coalesce = &nine, &one
	id := w.insert(started)[0]
	back := outcome(w.claimOne(by, id), jobstore.Ready)
	back.Uncount = true
	w.recorded(by, back)
	w.claimOne(by, w.insert(better)[0])
	w.wantState(jobstore.Ready, id)
}

// groupExclusion is a race of claims by number and in order over a few groups, with a ledger of
// who is inside.
func groupExclusion(w *world) {
	const groups, members = 4, 30
	var jobs []jobstore.NewJob
	for i := range groups * members {
		jobs = append(jobs, inGroup(string(rune('a'+i%groups)), 10+10*(i%3)))
	}
	ids := w.insert(jobs...)
	ctx, cancel := context.WithTimeout(w.Context(), 4*patience) // a group that is stuck must fail, not hang
	defer cancel()
	var inside [groups]atomic.Int32
	var overlaps, done atomic.Int64
	var wg sync.WaitGroup
	for c := range 8 {
		by := w.consumer()
		wg.Go(func() {
			for done.Load() < int64(len(ids)) && ctx.Err() == nil && !w.Failed() {
				got, err := w.grab(ctx, by, c%2 == 0, ids)
				if err != nil {
					w.Errorf("claim: %v", err)
					return
				}
				for _, l := range got {
					if inside[l.Job.SerialGroup[0]-'a'].Add(1) > 1 {
						overlaps.Add(1)
					}
				}
				for _, l := range got {
					inside[l.Job.SerialGroup[0]-'a'].Add(-1)
					rec, err := w.store.Record(ctx, by.Holder, []jobstore.Outcome{outcome(l, jobstore.Finished)})
					if err != nil || len(rec.Fenced) > 0 {
						w.Errorf("record: %+v, %v", rec, err)
						return
					}
					done.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if overlaps.Load() > 0 || done.Load() != int64(len(ids)) {
		w.Fatalf("%d overlaps, %d of %d jobs done", overlaps.Load(), done.Load(), len(ids))
	}
}

func (w *world) grab(ctx context.Context, by jobstore.Claimant, byNumber bool, ids []jobstore.ID) ([]jobstore.Lease, error) {
	if !byNumber {
		got, err := w.store.ClaimNext(ctx, by, 6)
		if errors.Is(err, jobstore.ErrBusy) {
			err = nil
		}
		return got, err
	}
	got, err := w.store.Claim(ctx, by, ids)
	return got.Leases, err
}
