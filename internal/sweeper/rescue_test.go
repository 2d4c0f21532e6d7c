package sweeper_test

import (
	"slices"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/sweeper"
	"github.com/warrenq/warren/jobstore"
)

func TestRescueGoesOnUntilNothingIsLeft(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.rescue = []jobstore.Rescued{
			{Released: refs(1, 2)},
			{Quarantined: []jobstore.ID{3}},
			{Released: refs(4, 4)},
			{Consumers: 1},
			{Released: refs(99, 99)}, // of somebody who dies later
		}
		if next := r.once(r.s.RescueOnce); next != 5*time.Second {
			t.Errorf("the next rescue is in %s, want 5 s", next)
		}
		r.tells(1, 2, 4)
	})
}

func TestRescueIsTimedToTheNextExpiry(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		for next, want := range map[time.Duration]time.Duration{
			0: 5 * time.Second, time.Second: 1050 * time.Millisecond, time.Hour: 5 * time.Second, time.Millisecond: 200 * time.Millisecond,
		} {
			r.next = next
			if got := r.once(r.s.RescueOnce); got != want {
				t.Errorf("an expiry in %s: the next rescue is in %s, want %s", next, got, want)
			}
		}
	})
}

func TestAfterAnOutageLivingProcessesRenewFirst(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		pass(12 * time.Second)
		r.set(func() { r.err = errAway })
		pass(time.Minute)
		r.set(func() { r.err = nil; r.calls = map[string]int{}; r.rescue = []jobstore.Rescued{{Released: refs(1, 1)}} })
		back := time.Now()
		pass(19 * time.Second)
		if n := r.count("rescue"); n != 0 {
			t.Errorf("rescued %s after the outage: what living processes hold", time.Since(back))
		}
		pass(11 * time.Second)
		r.tells(1)
	})
}

func TestTheSweepIsBackSoonAfterTheDatabase(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		for i := range 20 {
			pass(time.Minute)
			r.set(func() { r.err = errAway })
			pass(time.Minute + time.Duration(i)*370*time.Millisecond)
			r.set(func() { r.err = nil; r.calls = map[string]int{} })
			pass(2100 * time.Millisecond)
			if n := r.count("look"); n == 0 {
				t.Errorf("outage %d: no sweep within two seconds after the database is back", i)
			}
		}
	})
}

func TestAnOutageIsReportedOnceAndItsEndOnce(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		pass(12 * time.Second)
		r.set(func() { r.err, r.calls = errAway, map[string]int{} })
		pass(10 * time.Minute)
		if n := r.logs.FilterMessageSnippet("could not do its work").Len(); n != 1 {
			t.Errorf("reported %d times, want once", n)
		}
		if n := r.count(); n > 10*60*2 {
			t.Errorf("%d statements in ten minutes without a database, want at most two a second", n)
		}
		r.set(func() { r.err = nil })
		pass(time.Minute)
		if n := r.logs.FilterMessageSnippet("works again").Len(); n != 1 {
			t.Errorf("its end was reported %d times, want once", n)
		}
	})
}

func TestAnOutageThatIsLongOverDoesNotDelayTheRescueOfANewLeader(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.leader, r.until = "other", time.Now().Add(24*time.Hour)
		r.start()
		pass(time.Minute)
		r.set(func() { r.err = errAway })
		pass(time.Minute)
		r.set(func() { r.err = nil })
		pass(time.Hour)
		r.set(func() { r.until = time.Time{}; r.rescue = []jobstore.Rescued{{Released: refs(1, 1)}} }) // the leader was killed
		r.s.Heartbeat(true, nil)
		pass(time.Second)
		r.tells(1)
	})
}

// The leader's lease ends during an outage. Who takes over saw it by its heartbeat only, and has to let the
// others renew first.
func TestAnOutageThatOnlyAHeartbeatSawDelaysTheRescueOfANewLeader(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.leader, r.until = "other", time.Now().Add(20*time.Second)
		r.start()
		pass(time.Second)
		r.s.Heartbeat(false, nil)
		r.set(func() { r.err = errAway })
		pass(4 * time.Second)
		r.s.Heartbeat(false, errAway)
		pass(18 * time.Second)
		r.set(func() { r.err = nil; r.rescue = []jobstore.Rescued{{Released: refs(1, 1)}} })
		r.s.Heartbeat(true, nil)
		pass(15 * time.Second)
		if r.leader != "me" {
			t.Fatalf("the leader is %s", r.leader)
		}
		r.tells()
		pass(15 * time.Second)
		r.tells(1)
	})
}

// A heartbeat that was lost alone is no outage: rescue is not put off.
func TestABlipThatAHeartbeatSawDoesNotDelayTheRescue(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.leader, r.until = "other", time.Now().Add(31*time.Second)
		r.start()
		pass(28 * time.Second)
		r.s.Heartbeat(false, nil)
		pass(2 * time.Second)
		r.set(func() { r.err = errAway })
		r.s.Heartbeat(false, errAway)
		pass(time.Millisecond)
		r.set(func() { r.err = nil; r.rescue = []jobstore.Rescued{{Released: refs(1, 1)}} })
		pass(3 * time.Second)
		r.s.Heartbeat(true, nil)
		pass(3 * time.Second)
		r.tells(1)
	})
}

func TestRetentionLeavesTimeForDueJobs(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.old = 1_000_000
		r.slow["retain"] = 100 * time.Millisecond
		r.start()
		pass(61 * time.Second) // retention begins after a minute
		r.set(func() { r.calls = map[string]int{} })
		pass(10 * time.Second)
		if n := r.count("retain"); n < 20 {
			t.Errorf("%d batches removed in ten seconds", n)
		}
		if n := r.count("look"); n < 12 {
			t.Errorf("%d looks for due jobs in ten seconds of retention, want about twenty", n)
		}
		pass(2 * time.Minute)
		if r.old != 0 {
			t.Errorf("%d rows left", r.old)
		}
		r.set(func() { r.calls = map[string]int{} })
		pass(8 * time.Minute)
		if n := r.count("retain"); n > 1 {
			t.Errorf("%d looks for old rows in eight minutes, want one at most", n)
		}
	})
}

func TestFlowsAreRemovedAsFastAsTheyEnd(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.oldFlows = 100_000
		r.slow["prune flows"] = 100 * time.Millisecond
		r.start()
		pass(61 * time.Second) // retention begins after a minute
		r.set(func() { r.calls = map[string]int{} })
		pass(10 * time.Second)
		if n := r.count("look"); n < 12 {
			t.Errorf("%d looks for due jobs in ten seconds of retention, want about twenty", n)
		}
		pass(2 * time.Minute)
		if r.oldFlows != 0 {
			t.Errorf("%d flows left", r.oldFlows)
		}
		r.set(func() { r.calls = map[string]int{} })
		pass(8 * time.Minute)
		if n := r.count("prune flows"); n > 1 {
			t.Errorf("%d looks for old flows in eight minutes, want one at most", n)
		}
	})
}

// A flow is kept for as long as the job of it that is kept the longest.
func TestFlowsAreKeptAsLongAsTheirJobs(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		finished, failed, quarantined, cancelled time.Duration // 0 = for ever
		want                                     jobstore.FlowAges
	}{
		"finished":             {3 * day, 2 * day, day, 0, jobstore.FlowAges{Finished: 3 * day}},
		"failed":               {day, 3 * day, 2 * day, day, jobstore.FlowAges{Finished: 3 * day, Cancelled: day}},
		"quarantined":          {day, 2 * day, 3 * day, 4 * day, jobstore.FlowAges{Finished: 3 * day, Cancelled: 4 * day}},
		"failed for ever":      {day, 0, day, day, jobstore.FlowAges{Cancelled: day}},
		"finished for ever":    {0, day, day, 0, jobstore.FlowAges{}},
		"quarantined for ever": {day, day, 0, 0, jobstore.FlowAges{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				r.cfg.Retention = jobstore.Retention{}
				for state, age := range map[jobstore.State]time.Duration{
					jobstore.Finished: c.finished, jobstore.PermanentlyFailed: c.failed, jobstore.Quarantined: c.quarantined, jobstore.Cancelled: c.cancelled,
				} {
					if age > 0 {
						r.cfg.Retention[state] = age
					}
				}
				r.once(sweeper.New(r.cfg).RetainOnce)
				if r.ages != c.want {
					t.Errorf("flows are pruned by %+v, want %+v", r.ages, c.want)
				}
			})
		})
	}
}

func TestOnceDoesEveryPart(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.due, r.outbox, r.old = refs(1, 1), refs(2, 2), 10
		r.rescue = []jobstore.Rescued{{Released: refs(3, 3)}}
		if err := r.s.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := r.told()
		slices.Sort(got)
		if !slices.Equal(got, []jobstore.ID{1, 2, 3}) || r.old != 0 || r.count("heads") != 1 {
			t.Errorf("announced %v, %d rows left, %d looks at heads", got, r.old, r.count("heads"))
		}
		r.err = errAway
		if err := r.s.Once(t.Context()); err == nil {
			t.Error("Once says nothing of a database that is away")
		}
	})
}

// Outages that no lease can expire in, however often they come, do not keep the jobs of the dead from
// being handed back.
func TestShortOutagesDoNotPutOffRescue(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		pass(12 * time.Second)
		r.set(func() { r.rescue = []jobstore.Rescued{{Released: refs(1, 1)}} })
		for range 3 {
			r.set(func() { r.err = errAway })
			pass(2 * time.Second)
			r.set(func() { r.err = nil })
			pass(8 * time.Second)
		}
		r.tells(1)
	})
}
