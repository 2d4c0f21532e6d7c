package storetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func holdTests() []test {
	return []test{
		{"a registration is listed and renewed", holdRegister},
		{"an expired registration is never renewed", func(w *world) {
			by := w.consumerFor(time.Millisecond)
			w.eventually("it expires", func() bool {
				_, err := w.store.Renew(w.Context(), by.Holder, time.Millisecond)
				return err != nil
			})
			_, err := w.store.Renew(w.Context(), by.Holder, long)
			w.wantErr("renew", err, jobstore.ErrHolderGone)
			_, err = w.store.Renew(w.Context(), 1<<40, long)
			w.wantErr("renew nobody", err, jobstore.ErrHolderGone)
		}},
		{"what a dead consumer held is handed back", rescueBack},
		{"a job that takes its consumers down is quarantined", rescueQuarantine},
		{"the living keep what they hold", rescueLiving},
		{"rescue goes in bounded steps", rescueBounded},
		{"deregistering hands back at once", holdDeregister},
		{"one leader, and an epoch for each change", leader},
		{"one leader of many", leaderRace},
		{"a heartbeat sees that nobody leads the sweep", vacancy},
	}
}

func holdRegister(w *world) {
	by := w.consumer()
	if o, err := w.store.Renew(w.Context(), by.Holder, long); err != nil || o.Restart {
		w.Fatalf("renew: %+v, %v", o, err)
	}
	w.claimOne(by, w.insert(plain())[0])
	list, err := w.store.Consumers(w.Context())
	w.check("consumers", err)
	if len(list) != 1 {
		w.Fatalf("consumers: %+v", list)
	}
	c := list[0]
	if c.ID != by.Holder || c.Host != "host" || c.PID != 7 || c.Version != "v1" || !slices.Equal(c.Kinds, kinds()) ||
		!slices.Equal(c.Queues, queues()) || !slices.Equal(c.Priorities, priorities()) || c.Slots != 4 || c.Name != "shop/mail" || c.Running != 1 ||
		!c.ExpiresAt.After(c.HeartbeatAt) {
		w.Fatalf("the consumer is %+v", c)
	}
	bands, err := w.store.LiveBands(w.Context())
	w.check("live bands", err)
	if len(bands) != len(queues())*len(priorities()) {
		w.Fatalf("live bands: %v", bands)
	}
	w.check("deregister twice", w.store.Deregister(w.Context(), 1<<40))
}

// rescueAll runs rescues until no registration has expired, and adds up.
func (w *world) rescueAll(maxCrashes int, until func(jobstore.Rescued) bool) jobstore.Rescued {
	w.Helper()
	var sum jobstore.Rescued
	w.eventually("the rescue", func() bool {
		r, err := w.store.Rescue(w.Context(), 100, maxCrashes)
		w.check("rescue", err)
		sum.Released = append(sum.Released, r.Released...)
		sum.Quarantined = append(sum.Quarantined, r.Quarantined...)
		sum.Consumers += r.Consumers
		sum.Next = r.Next
		return until(sum)
	})
	return sum
}

func oneGone(r jobstore.Rescued) bool { return r.Consumers > 0 }

func rescueBack(w *world) {
	by := w.consumer()
	ids := w.insert(plain(), inGroup("g", 10), inGroup("g", 10))
	w.claim(by, ids...)
	w.dies(by)
	sum := w.rescueAll(3, oneGone)
	w.same("released", refIDs(sum.Released), ids[0], ids[1])
	if len(sum.Quarantined) != 0 || sum.Consumers != 1 {
		w.Fatalf("rescued %+v", sum)
	}
	for _, id := range ids[:2] {
		if j := w.get(id); j.State != jobstore.Ready || j.Crashes != 1 || j.Attempts != 1 || j.Holder != 0 || j.LeaseNo != 1 {
			w.Fatalf("a rescued row is %+v", j)
		}
	}
	list, err := w.store.Consumers(w.Context())
	w.check("consumers", err)
	if len(list) != 0 {
		w.Fatalf("consumers after the rescue: %+v", list)
	}
	w.same("claimed", idsOf(w.claim(w.consumer(), ids...)), ids[0], ids[1])
}

func rescueQuarantine(w *world) {
	ids := w.insert(inGroup("g", 10), inGroup("g", 10))
	for crash := 1; crash <= 3; crash++ {
		by := w.consumer()
		w.claimOne(by, ids[0])
		w.dies(by)
		sum := w.rescueAll(3, oneGone)
		if crash < 3 {
			w.same("released", refIDs(sum.Released), ids[0])
			continue
		}
		w.same("quarantined", sum.Quarantined, ids[0])
		w.same("released", refIDs(sum.Released), ids[1])
	}
	if j := w.get(ids[0]); j.State != jobstore.Quarantined || j.Crashes != 3 || j.FinishedAt == nil || j.Error == "" {
		w.Fatalf("the quarantined row is %+v", j)
	}
	w.claimOne(w.consumer(), ids[1])
}

func rescueLiving(w *world) {
	alive := w.consumer()
	ids := w.insert(plain(), plain())
	w.claimOne(alive, ids[0])
	dead := w.consumer()
	w.claimOne(dead, ids[1])
	w.dies(dead)
	sum := w.rescueAll(3, oneGone)
	w.same("released", refIDs(sum.Released), ids[1])
	if sum.Next <= 0 || sum.Next > long {
		w.Fatalf("the next expiry is in %s", sum.Next)
	}
	w.wantState(jobstore.Processing, ids[0])
}

func rescueBounded(w *world) {
	by := w.consumer()
	var jobs []jobstore.NewJob
	for range 25 {
		jobs = append(jobs, plain())
	}
	w.claim(by, w.insert(jobs...)...)
	w.check("deregister", w.store.Deregister(w.Context(), by.Holder))
	seen, rounds := 0, 0
	w.eventually("all are handed back", func() bool {
		r, err := w.store.Rescue(w.Context(), 10, 0)
		w.check("rescue", err)
		if len(r.Released) > 10 {
			w.Fatalf("one round handed back %d", len(r.Released))
		}
		seen += len(r.Released)
		rounds++
		return r.Consumers == 1
	})
	if seen != 25 || rounds < 3 {
		w.Fatalf("%d handed back in %d rounds", seen, rounds)
	}
}

func holdDeregister(w *world) {
	by := w.consumer()
	id := w.insert(plain())[0]
	l := w.claimOne(by, id)
	w.check("deregister", w.store.Deregister(w.Context(), by.Holder))
	_, err := w.store.Renew(w.Context(), by.Holder, long)
	w.wantErr("renew", err, jobstore.ErrHolderGone)
	_, err = w.store.Claim(w.Context(), by, []jobstore.ID{id})
	w.wantErr("claim", err, jobstore.ErrHolderGone)
	r, err := w.store.Rescue(w.Context(), 10, 3)
	w.check("rescue", err)
	w.same("released", refIDs(r.Released), id)
	w.same("fenced", w.record(by, outcome(l, jobstore.Finished)).Fenced, id)
	idle := w.consumer()
	w.check("deregister", w.store.Deregister(w.Context(), idle.Holder))
	list, err := w.store.Consumers(w.Context())
	w.check("consumers", err)
	if len(list) != 0 {
		w.Fatalf("consumers: %+v", list)
	}
}

// vacancy is what a heartbeat tells of the sweep's leader.
func vacancy(w *world) {
	by := w.consumer()
	tells := func(want bool) {
		w.Helper()
		orders, err := w.store.Renew(w.Context(), by.Holder, long)
		w.check("renew", err)
		if orders.Leaderless != want {
			w.Fatalf("a heartbeat says that nobody leads: %t, want %t", orders.Leaderless, want)
		}
	}
	lead := func(name string, ttl time.Duration) {
		_, ok, err := w.store.Lead(w.Context(), name, "a", ttl)
		if err != nil || !ok {
			w.Fatalf("lead %s: %t, %v", name, ok, err)
		}
	}
	tells(true)
	lead("another name", long)
	tells(true)
	lead("sweep", long)
	tells(false)
	w.check("resign", w.store.Resign(w.Context(), "sweep", "a"))
	tells(true)
	lead("sweep", time.Millisecond)
	w.eventually("an expired lease is vacant", func() bool {
		orders, err := w.store.Renew(w.Context(), by.Holder, long)
		w.check("renew", err)
		return orders.Leaderless
	})
}

func leader(w *world) {
	lead := func(who string, ttl time.Duration) (int64, bool) {
		epoch, ok, err := w.store.Lead(w.Context(), "sweep", who, ttl)
		w.check("lead", err)
		return epoch, ok
	}
	first, ok := lead("a", long)
	if !ok || first < 1 {
		w.Fatalf("nobody leads and a does not: epoch %d", first)
	}
	if again, ok := lead("a", long); !ok || again != first {
		w.Fatalf("a renews: epoch %d, %t, want %d", again, ok, first)
	}
	if _, ok := lead("b", long); ok {
		w.Fatal("b leads while a does")
	}
	if _, ok, err := w.store.Lead(w.Context(), "another name", "b", long); err != nil || !ok {
		w.Fatalf("another name: %t, %v", ok, err)
	}
	w.check("resign of one who does not lead", w.store.Resign(w.Context(), "sweep", "b"))
	if _, ok := lead("b", long); ok {
		w.Fatal("b's resigning took a's lease")
	}
	w.check("resign", w.store.Resign(w.Context(), "sweep", "a"))
	second, ok := lead("b", time.Millisecond)
	if !ok || second <= first {
		w.Fatalf("after a resigned: epoch %d after %d, %t", second, first, ok)
	}
	var third int64
	w.eventually("b's lease expires", func() bool {
		var ok bool
		third, ok = lead("c", long)
		return ok
	})
	if third <= second {
		w.Fatalf("epoch %d follows %d", third, second)
	}
}

func leaderRace(w *world) {
	var mu sync.Mutex
	leaders := 0
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			_, ok, err := w.store.Lead(w.Context(), "sweep", fmt.Sprint("process ", i), long)
			if err != nil {
				w.Errorf("lead: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			if ok {
				leaders++
			}
		})
	}
	wg.Wait()
	if leaders != 1 {
		w.Fatalf("%d leaders", leaders)
	}
}
