package dispatch_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenq/warren/internal/dispatch"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// polled makes a feed by order and starts it.
func (r *rig) polled(cfg dispatch.PolledConfig) *dispatch.PolledFeed {
	r.t.Helper()
	cfg.Claim = r.claim
	feed := dispatch.NewPolledFeed(cfg)
	r.run(feed)
	return feed
}

func TestPolledClaimsInOrderAsManyAsSlotsAreFree(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		feed := r.polled(dispatch.PolledConfig{Tick: time.Hour})
		r.slot(2)
		r.add(20, 1, 2, 3)
		r.add(10, 4)
		r.diary.forget()
		feed.Wake()
		r.says("claim next 2")
		r.gets(1, 4)
		r.slot(3)
		r.gets(2, 3)
		for _, c := range r.claims() {
			if c.n > 3 {
				t.Errorf("claimed %d for 3 slots", c.n)
			}
		}
	})
}

func TestPolledDoesNothingWhileNoSlotIsFree(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		feed := r.polled(dispatch.PolledConfig{})
		r.add(10, 1, 2)
		for range 100 {
			feed.Wake()
			pass(time.Second)
		}
		if n := len(r.claims()); n != 0 {
			t.Errorf("%d claims without a free slot", n)
		}
	})
}

func TestPolledLooksAtTheTickAndAtAWake(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		feed := r.polled(dispatch.PolledConfig{Tick: 10 * time.Second})
		r.slot(3)
		r.forgetCalls()
		r.add(10, 1)
		pass(9 * time.Second)
		r.gets()
		pass(2 * time.Second)
		r.gets(1)
		r.add(10, 2)
		feed.Wake()
		r.gets(2)
		pass(59 * time.Second)
		if n := len(r.claims()); n < 6 || n > 8 {
			t.Errorf("%d claims in 70 s with nothing to do, want one a tick", n)
		}
		feed.Hearing(true)
		feed.Wake()
		r.forgetCalls()
		pass(100 * time.Second)
		if n := len(r.claims()); n != 3 {
			t.Errorf("%d claims in 100 s while wakes are heard, want one every 30 s", n)
		}
	})
}

func TestAWakeDuringAClaimIsNotLost(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.set(func() { r.gate = make(chan struct{}) })
		feed := r.polled(dispatch.PolledConfig{Tick: time.Hour})
		r.slot(1)
		feed.Wake() // for a row that this claim does not see
		r.gate <- struct{}{}
		synctest.Wait()
		r.add(10, 1)
		r.gate <- struct{}{}
		r.gets(1)
	})
}

func TestUntilEmptyEndsWhenNothingIsLeftAndNothingRuns(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.add(10, 1)
		r.polled(dispatch.PolledConfig{UntilEmpty: true})
		r.slot(2)
		works := r.gets(1)
		pass(time.Minute)
		if n := r.seen().left; n != 0 {
			t.Errorf("%d slots were told that all is done although job 1 runs", n)
		}
		r.add(10, 2) // by the job that runs
		works[0].Term.Drop(1, 1)
		pass(time.Second)
		for _, w := range r.gets(2) {
			w.Term.Drop(2, 1)
		}
		if _, err := r.feed.Next(r.t.Context()); !errors.Is(err, worker.ErrDone) {
			t.Errorf("Next = %v, want ErrDone", err)
		}
		calls := r.claims()
		if whole := calls[len(calls)-1].by.Whole; !whole {
			t.Error("the claim that found nothing has not looked at everything")
		}
		select {
		case <-r.done:
			t.Error("Run returned before it was stopped")
		default:
		}
	})
}

func TestUntilEmptyIsNotEndedByRowsThatOthersHaveLocked(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.before = func(n int) error {
			if n <= 5 {
				return jobstore.ErrBusy
			}
			return nil
		}
		r.add(10, 1)
		r.polled(dispatch.PolledConfig{UntilEmpty: true})
		r.slot(1)
		pass(time.Second)
		r.gets(1)
		if n := len(r.seen().known); n != 0 {
			t.Errorf("%d releases: an answer was taken for a lost reply", n)
		}
	})
}

func TestAJobThatEndsDuringAClaimLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.add(10, 1)
		r.polled(dispatch.PolledConfig{UntilEmpty: true})
		r.slot(1)
		works := r.gets(1)
		last := len(r.claims()) + 1
		r.set(func() {
			r.lose = func(n int) error {
				if n == last { // this claim has seen nothing; then job 1 ends and releases job 2
					r.add(10, 2)
					works[0].Term.Drop(1, 1)
				}
				return nil
			}
		})
		r.slot(1)
		pass(time.Second)
		r.gets(2)
	})
}

func TestThePolledBudgetEndsTheFeed(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.add(10, 1, 2, 3, 4, 5)
		r.polled(dispatch.PolledConfig{Budget: 3})
		r.slot(5)
		r.gets(1, 2, 3)
		if n := r.seen().left; n != 2 {
			t.Errorf("%d slots were told that all is done, want 2", n)
		}
		total := 0
		for _, c := range r.claims() {
			total += c.n
		}
		if total != 3 {
			t.Errorf("claims for %d jobs, want 3", total)
		}
	})
}

func TestThePolledFeedHandsBackWhatNobodyTook(t *testing.T) {
	t.Parallel()
	for name, drain := range map[string]bool{"stopped": false, "the pool drains": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				r.set(func() { r.gate = make(chan struct{}) })
				r.add(10, 1, 2)
				r.polled(dispatch.PolledConfig{})
				leave := r.slot(2)
				leave()
				if drain {
					r.feed.Drain()
				} else {
					r.stop()
				}
				synctest.Wait()
				if r.seen().cutOff != 0 {
					t.Error("the claim was cut off")
				}
				close(r.gate)
				if len(r.seen().back) == 0 || len(r.term().Held()) != 0 {
					t.Errorf("handed back %v, held %v", r.seen().back, r.term().Held())
				}
				n := len(r.claims())
				pass(time.Minute)
				if m := len(r.claims()); m != n {
					t.Errorf("%d claims for a pool that drains", m-n)
				}
			})
		})
	}
}

func TestASlotThatIsToldToStopTakesNothing(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.add(10, 1)
		r.set(func() { r.gate = make(chan struct{}) })
		r.polled(dispatch.PolledConfig{})
		leave := r.slot(1)
		leave()
		close(r.gate) // the job is there for a slot that stops
		r.gets()
		r.slot(1)
		r.gets(1)
	})
}

func TestAnnouncedJobsWakeTheFeedOnce(t *testing.T) {
	t.Parallel()
	var woken [][]jobstore.Band
	local := 0
	a := dispatch.NewPolled(wakes(func(bands []jobstore.Band) error { woken = append(woken, bands); return errAway }), func([]jobstore.Ref) bool { local++; return false })
	x, y := jobstore.Band{Queue: "x", Priority: 1}, jobstore.Band{Queue: "y", Priority: 1}
	failed, err := a.Announce(t.Context(), []jobstore.Ref{{ID: 1, Band: x}, {ID: 2, Band: y}, {ID: 3, Band: x}})
	if len(failed) != 0 || !errors.Is(err, errAway) {
		t.Errorf("failed %v, %v; want nothing for the outbox: the rows are what consumers look at", failed, err)
	}
	if local != 1 || len(woken) != 1 || !slices.Equal(woken[0], []jobstore.Band{x, y}) {
		t.Errorf("woke ourselves %d times, others with %v", local, woken)
	}
	taken := dispatch.NewPolled(wakes(func(bands []jobstore.Band) error { woken = append(woken, bands); return nil }), func([]jobstore.Ref) bool { return true })
	if _, err := taken.Announce(t.Context(), []jobstore.Ref{{ID: 1, Band: x}}); err != nil || len(woken) != 1 {
		t.Errorf("woke others for a job that the own feed takes: %v, %v", woken, err)
	}
	if _, err := dispatch.NewPolled(wakes(func([]jobstore.Band) error { return nil }), nil).Announce(t.Context(), nil); err != nil {
		t.Errorf("without a feed of our own: %v", err)
	}
}

// What a free slot here can take wakes nobody else; what this feed does not get, or cannot take,
// does.
func TestOfferedJobsAreClaimedHereOrPassedOn(t *testing.T) {
	t.Parallel()
	ref := func(priority int, id jobstore.ID) jobstore.Ref {
		return jobstore.Ref{ID: id, Band: jobstore.Band{Queue: "q", Priority: priority}}
	}
	bubble(t, func(r *rig) {
		var passed []jobstore.Ref
		feed := r.polled(dispatch.PolledConfig{Tick: time.Hour, Pass: func(refs []jobstore.Ref) { passed = append(passed, refs...) }})
		if feed.Offer([]jobstore.Ref{ref(20, 9)}) {
			t.Error("took a job over without a free slot")
		}
		r.slot(2)
		synctest.Wait()
		if feed.Offer([]jobstore.Ref{ref(99, 9)}) {
			t.Error("took a job of a band that is not its own over")
		}
		synctest.Wait()
		if feed.Offer([]jobstore.Ref{ref(20, 7), ref(20, 8), ref(20, 9)}) {
			t.Error("took three jobs over with two free slots")
		}
		synctest.Wait()
		r.add(20, 1)
		if !feed.Offer([]jobstore.Ref{ref(20, 1), ref(20, 2)}) {
			t.Error("did not take two jobs over with two free slots")
		}
		r.gets(1)
		synctest.Wait()
		if !slices.Equal(passed, []jobstore.Ref{ref(20, 2)}) {
			t.Errorf("passed %v on, want job 2, which it did not get", passed)
		}
	})
}

// An offer that was taken when the feed is told to end is passed on: others hear of it now, not at
// their tick.
func TestOfferedJobsArePassedOnWhenTheFeedEnds(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		var passed []jobstore.Ref
		feed := r.polled(dispatch.PolledConfig{Tick: time.Hour, Pass: func(refs []jobstore.Ref) { passed = append(passed, refs...) }})
		r.slot(1)
		synctest.Wait()
		offered := []jobstore.Ref{{ID: 1, Band: jobstore.Band{Queue: "q", Priority: 20}}}
		if !feed.Offer(offered) {
			t.Fatal("did not take a job over with a free slot")
		}
		feed.Drain()
		synctest.Wait()
		if !slices.Equal(passed, offered) {
			t.Errorf("passed %v on, want %v", passed, offered)
		}
	})
}
