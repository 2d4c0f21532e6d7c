package storetest

import (
	"time"

	"github.com/warrenq/warren/jobstore"
)

func auditTests() []test {
	return []test{
		{"a system that works has no faults", auditSound},
		{"a dead consumer's jobs are a fault until they are rescued", auditOrphan},
		{"what could be claimed, and what a hint is good for", auditClaimable},
		{"of a serial group its head, when nothing runs", auditHeads},
		{"paused queues and later announcements are nobody's fault", auditPaused},
	}
}

func (w *world) faults() []jobstore.Fault {
	w.Helper()
	got, err := w.store.Faults(w.Context())
	w.check("faults", err)
	return got
}

func (w *world) wantFaults(fault string, ids ...jobstore.ID) {
	w.Helper()
	var got []jobstore.ID
	for _, f := range w.faults() {
		if f.Fault != fault {
			w.Fatalf("unexpected fault %+v", f)
		}
		got = append(got, f.ID)
	}
	w.same(fault, got, ids...)
}

func auditSound(w *world) {
	by := w.consumer()
	later := plain()
	later.Delay = time.Hour
	ids := w.insert(plain(), inGroup("g", 10), inGroup("g", 10), withKey(jobstore.Unique, "u"), withKey(jobstore.Recurring, "r"), later)
	for _, id := range ids[1:5] {
		if id != ids[2] {
			w.claimOne(by, id)
		}
	}
	w.wantFaults("")
	w.check("mend what is sound", w.store.Mend(w.Context(), []jobstore.Fault{
		{Fault: jobstore.FaultOrphan, Ref: jobstore.Ref{ID: ids[1]}},
		{Fault: jobstore.FaultGroupRow, Ref: jobstore.Ref{ID: ids[1]}},
		{Fault: jobstore.FaultMember, Ref: jobstore.Ref{ID: ids[1]}},
		{Fault: jobstore.FaultKey, Ref: jobstore.Ref{ID: ids[3]}},
	}))
	w.wantState(jobstore.Processing, ids[1], ids[3], ids[4])
	w.wantState(jobstore.Redundant, w.insert(withKey(jobstore.Unique, "u"))...)
	if got := w.claim(by, ids[2]); len(got) != 0 {
		w.Fatalf("a second member runs")
	}
}

func auditOrphan(w *world) {
	by := w.consumer()
	ids := w.insert(plain(), inGroup("g", 10))
	w.claim(by, ids...)
	w.dies(by)
	w.eventually("the registration expires", func() bool { return len(w.faults()) == 2 })
	w.wantFaults(jobstore.FaultOrphan, ids...)
	_, err := w.store.Rescue(w.Context(), 10, 3)
	w.check("rescue", err)
	w.wantFaults("")
	w.wantState(jobstore.Ready, ids...)
}

func auditClaimable(w *world) {
	band := jobstore.Band{Queue: "default", Priority: 10}
	later, elsewhere := plain(), plain()
	later.Delay, elsewhere.Priority = time.Hour, 20
	ids := w.insert(plain(), plain(), plain(), later, elsewhere, inGroup("g", 10))
	w.claimOne(w.consumer(), ids[1])
	page := func(after jobstore.ID, limit int) []jobstore.ID {
		w.Helper()
		got, err := w.store.Claimable(w.Context(), band, after, limit)
		w.check("claimable", err)
		return got
	}
	w.same("claimable", page(0, 10), ids[0], ids[2])
	w.same("the first page", page(0, 1), ids[0])
	w.same("the second page", page(ids[0], 1), ids[2])
	w.same("after the last", page(ids[2], 1))
	got, err := w.store.ClaimableOf(w.Context(), band, append(ids, ids[5]+1000))
	w.check("claimable of", err)
	w.same("claimable of all", got, ids[0], ids[2], ids[5])
	got, err = w.store.ReadyOf(w.Context(), band, append(ids, ids[5]+1000))
	w.check("ready of", err)
	w.same("ready of all", got, ids[0], ids[2], ids[5])
}

func auditHeads(w *world) {
	band := jobstore.Band{Queue: "default", Priority: 10}
	by := w.consumer()
	ids := w.insert(inGroup("a", 10), inGroup("a", 10), inGroup("b", 10), inGroup("b", 10))
	w.claimOne(by, ids[2])
	heads, err := w.store.ClaimableHeads(w.Context())
	w.check("heads", err)
	w.same("heads", refIDs(heads), ids[0])
	if heads[0].Band != band {
		w.Fatalf("the head is in band %v", heads[0].Band)
	}
	got, err := w.store.ClaimableOf(w.Context(), band, ids)
	w.check("claimable of", err)
	w.same("claimable of members", got, ids[0])
	got, err = w.store.ReadyOf(w.Context(), band, ids)
	w.check("ready of", err)
	w.same("ready of members", got, ids[0], ids[1], ids[3])
}

func auditPaused(w *world) {
	band := jobstore.Band{Queue: "default", Priority: 10}
	ids := w.insert(plain(), inGroup("g", 10))
	w.check("put into the outbox", w.store.Unannounced(w.Context(), ids))
	got, err := w.store.ClaimableOf(w.Context(), band, ids)
	w.check("claimable of", err)
	w.same("in the outbox", got)
	heads, err := w.store.ClaimableHeads(w.Context())
	w.check("heads", err)
	w.same("heads in the outbox", refIDs(heads))
	w.wantFaults("")

	w.check("announced", w.store.Announced(w.Context(), ids))
	w.pause("default", 0, true)
	got, err = w.store.Claimable(w.Context(), band, 0, 10)
	w.check("claimable", err)
	w.same("in a paused queue", got)
	got, err = w.store.ReadyOf(w.Context(), band, ids)
	w.check("ready of", err)
	w.same("ready in a paused queue", got, ids...)
}
