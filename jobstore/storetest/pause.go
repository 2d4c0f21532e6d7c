package storetest

import (
	"time"

	"github.com/warrenq/warren/jobstore"
)

func pauseTests() []test {
	return []test{
		{"a kind", pauseKind},
		{"a serial group", pauseGroup},
		{"everything, but for a consumer with force", pauseAll},
		{"for a time", pauseForATime},
		{"listed and explained", pauseListed},
	}
}

// paused pauses until it is resumed.
func (w *world) paused(of jobstore.PauseOf, name string) {
	w.Helper()
	w.check("pause", w.store.PauseOf(w.Context(), of, name, 0))
}

func (w *world) resumed(of jobstore.PauseOf, name string) {
	w.Helper()
	was, err := w.store.ResumeOf(w.Context(), of, name)
	w.check("resume", err)
	if !was {
		w.Fatalf("%s %s was not paused", of, name)
	}
}

// claims checks which of the jobs can be claimed, by number and by order.
func (w *world) claims(by jobstore.Claimant, ids []jobstore.ID, want ...jobstore.ID) {
	w.Helper()
	got := w.claim(by, ids...)
	w.same("claimed by number", idsOf(got), want...)
	w.returned(by, got)
	got = w.next(by, len(ids))
	w.same("claimed by order", idsOf(got), want...)
	w.returned(by, got)
}

// returned hands leases back.
func (w *world) returned(by jobstore.Claimant, leases []jobstore.Lease) {
	w.Helper()
	back := map[jobstore.ID]int64{}
	for _, l := range leases {
		back[l.Job.ID] = l.Job.LeaseNo
	}
	_, err := w.store.Return(w.Context(), by.Holder, back)
	w.check("return", err)
}

func pauseKind(w *world) {
	other := plain()
	other.Kind = "other"
	ids := append(w.insert(plain()), w.insert(other)...)
	by := w.consumer()
	w.paused(jobstore.PauseOfKind, "k")
	w.claims(by, ids, ids[1])
	w.paused(jobstore.PauseOfKind, "k") // twice is once
	w.claims(by, ids, ids[1])
	w.resumed(jobstore.PauseOfKind, "k")
	w.claims(by, ids, ids...)
	if was, err := w.store.ResumeOf(w.Context(), jobstore.PauseOfKind, "k"); was || err != nil {
		w.Fatalf("resumed twice: %t, %v", was, err)
	}
}

func pauseGroup(w *world) {
	ids := append(w.insert(plain(), inGroup("g", 10)), w.insert(inGroup("h", 10))...)
	by := w.consumer()
	w.paused(jobstore.PauseOfGroup, "g")
	w.claims(by, ids, ids[0], ids[2])
	w.resumed(jobstore.PauseOfGroup, "g")
	w.claims(by, ids, ids...)
}

func pauseAll(w *world) {
	ids := w.insert(plain(), inGroup("g", 10))
	by := w.consumer()
	w.paused(jobstore.PauseOfAll, "")
	w.claims(by, ids)
	holder, err := w.store.Register(w.Context(), jobstore.Consumer{
		Host: "host", PID: 8, Version: "v1", Kinds: kinds(), Queues: queues(), Priorities: priorities(), Slots: 4, Force: true,
	}, long)
	w.check("register", err)
	forced := by
	forced.Holder = holder
	w.claims(forced, ids, ids...)
	w.paused(jobstore.PauseOfKind, "k") // which force does not concern
	w.claims(forced, ids)
	w.resumed(jobstore.PauseOfKind, "k")
	w.resumed(jobstore.PauseOfAll, "")
	w.claims(by, ids, ids...)
}

func pauseForATime(w *world) {
	ids := w.insert(plain())
	by := w.consumer()
	w.check("pause", w.store.PauseOf(w.Context(), jobstore.PauseOfKind, "k", time.Millisecond))
	w.eventually("the pause is over by itself", func() bool { return len(w.claim(by, ids...)) == 1 })
	w.resumed(jobstore.PauseOfKind, "k") // so that what waited is announced
}

func pauseListed(w *world) {
	j := inGroup("g", 10)
	id := w.insert(j)[0]
	w.consumer()
	w.paused(jobstore.PauseOfAll, "")
	w.paused(jobstore.PauseOfGroup, "g")
	w.paused(jobstore.PauseOfGroup, "another")
	w.check("pause", w.store.PauseOf(w.Context(), jobstore.PauseOfKind, "k", time.Hour))
	_, err := w.store.Pause(w.Context(), "media", 0)
	w.check("pause a queue", err)
	list, err := w.store.Pauses(w.Context())
	w.check("list", err)
	if len(list) != 5 || list[0].Of != jobstore.PauseOfAll || list[3].Of != jobstore.PauseOfKind || list[3].Until == nil ||
		list[4].Name != "media" || list[4].Until != nil || list[4].At.IsZero() {
		w.Fatalf("pauses %+v", list)
	}
	facts, err := w.store.Explain(w.Context(), id)
	w.check("explain", err)
	if len(facts.Pauses) != 3 {
		w.Fatalf("pauses of the job: %+v", facts.Pauses)
	}
	blocking := 0
	for _, g := range facts.Gates(jobstore.BrokerView{}) {
		if g.Name == jobstore.GatePaused && g.Blocking {
			blocking++
		}
	}
	if blocking != 3 {
		w.Fatalf("%d pauses are in the way, want 3: %+v", blocking, facts.Gates(jobstore.BrokerView{}))
	}
}
