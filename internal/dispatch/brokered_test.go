package dispatch_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/brokertest"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

func TestTheBestPriorityIsClaimedFirstThenTheEarliest(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(10, 0)
		r.hint(20, 1)
		r.hint(20, 2)
		r.hint(10, 3)
		r.hint(10, 4, 5)
		for _, id := range []jobstore.ID{3, 4, 5, 1, 2} {
			r.slot(1)
			r.gets(id)
		}
	})
}

func TestAClaimIsAsLargeAsTheSlotsThatWaitWhenItIsMade(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(10, 0)
		for range 5 { // the feed waits for a hint since the first of them
			r.slot(1)
		}
		r.hint(10, 1, 2, 3, 4, 5, 6)
		r.says("claim [1 2 3 4 5]")
	})
}

func TestABetterPriorityOvertakesWhatIsHeld(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(10, 0)
		r.hint(20, 1, 2, 3)
		r.slot(1)
		r.gets(1)
		r.hint(10, 4)
		r.slot(1)
		r.gets(4)
		r.slot(1)
		r.gets(2)
	})
}

func TestAHintIsAckedAfterTheClaimOfItsLastNumber(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(10, 0)
		r.slot(2)
		r.hint(10, 1, 2, 3)
		r.hint(10, 4)
		r.says("claim [1 2]")
		r.set(func() { r.gate = make(chan struct{}) })
		r.slot(1)
		r.says() // the claim is under way: nothing is acked
		r.gate <- struct{}{}
		r.says("claim [3]", "ack [1 2 3]")
		r.slot(1)
		r.gate <- struct{}{}
		r.says("claim [4]", "ack [4]")
		r.gets(1, 2, 3, 4)
	})
}

func TestRefusedNumbersAreAckedAndForgotten(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(10, 0)
		r.slot(3)
		r.add(10, 1)
		r.rows[1].holder = 77 // somebody else has it
		r.add(10, 2, 900)
		r.server.Inject(band(10), []byte("1 2 900"))
		r.says("claim [1 2 900]", "ack [1 2 900]")
		r.gets(2)
		if r.seen().unknown != 1 {
			t.Errorf("%d of an unknown kind, want 1", r.seen().unknown)
		}
	})
}

func TestAClaimTakesNoMoreThanThereAreFreeSlots(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(10, 0)
		r.hint(10, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		r.hint(20, 11, 12, 13, 14)
		if n := len(r.claims()); n != 0 {
			t.Errorf("%d claims without a free slot", n)
		}
		for _, free := range []int{1, 2, 3, 4} {
			r.forgetCalls()
			r.slot(free)
			total := 0
			for _, c := range r.claims() {
				total += len(c.ids)
			}
			if total != free {
				t.Errorf("%d numbers claimed for %d free slots", total, free)
			}
		}
	})
}

func (r *rig) forgetCalls() {
	r.claims()
	r.set(func() { r.calls = nil })
}

func TestWhatNoSlotTakesIsHandedOnAfterAQuarterOfASecond(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(10, 0)
		other, err := r.broker.Subscribe([]broker.Band{band(10), band(20)}, 10)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Pause(r.t.Context()); err != nil {
			t.Fatal(err)
		}
		r.hint(10, 1, 2, 3)
		r.slot(1)
		r.says("claim [1]")
		pass(240 * time.Millisecond)
		r.says()
		pass(20 * time.Millisecond)
		r.says("pause", "confirmed 10 [2 3]", "ack [1 2 3]")
		if err := other.Resume(r.t.Context()); err != nil {
			t.Fatal(err)
		}
		if d, ok := other.TryNext(); !ok || !slices.Equal(d.Numbers, []int64{2, 3}) {
			t.Errorf("another consumer got %v, want 2 and 3", d.Numbers)
		}
		pass(time.Minute)
		r.says() // and nothing comes back to us
	})
}

func TestTheFlowIsResumedWhenASlotIsFree(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(10, 0)
		r.hint(10, 1, 2)
		r.slot(1)
		pass(time.Second)
		r.diary.forget()
		r.slot(1)
		r.says("resume", "claim [2]", "ack [2]")
		r.gets(1, 2)
	})
}

func TestAnOldWakeUpDoesNotPauseTheFlow(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(10, 0)
		r.slot(2) // both leave word that they are free
		r.hint(10, 1, 2, 3, 4)
		r.slot(1)
		pass(200 * time.Millisecond)
		for _, line := range r.read() {
			if line == "pause" {
				t.Errorf("paused before a quarter of a second without a free slot: %q", r.lines)
			}
		}
		r.gets(1, 2, 3)
	})
}

func TestAnUnconfirmedHandOnKeepsTheHint(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(1, 0)
		r.hint(10, 1, 2, 3)
		r.server.OnPublish(func(broker.Hint) brokertest.Verdict { return brokertest.Reject })
		r.slot(1)
		pass(10 * time.Second)
		lines := r.read()
		if slices.ContainsFunc(lines, func(l string) bool { return l == "ack [1 2 3]" }) {
			t.Errorf("acked without a confirm: %q", lines)
		}
		if n := len(lines); n > 20 {
			t.Errorf("%d lines in ten seconds: a hot loop", n)
		}
		r.diary.forget()
		r.slot(2)
		pass(2 * time.Second)
		if got := r.read(); !slices.Contains(got, "resume") || !slices.Contains(got, "ack [1 2 3]") {
			t.Errorf("got %q, want the hint claimed to its end and acked", got)
		}
		// The prefetch of one is free again: forgotten, the hint would have taken it up for ever.
		r.hint(10, 4)
		r.slot(1)
		r.gets(1, 2, 3, 4)
	})
}

// mute is a broker that is short of memory: it says nothing about what is published.
type mute struct{ offers atomic.Int32 }

func (m *mute) Publish(ctx context.Context, hints []broker.Hint) []error {
	m.offers.Add(1)
	select {
	case <-ctx.Done():
	case <-time.After(5 * time.Second):
	}
	return slices.Repeat([]error{broker.ErrUnavailable}, len(hints))
}

func TestABrokerThatTakesNothingKeepsNoSlotFromWork(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		m := &mute{}
		r.publisher = m
		r.brokered(10, 0)
		taken := r.working(1, func(int) time.Duration { return 300 * time.Millisecond })
		r.hint(10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
		pass(5 * time.Second)
		if got := taken(); len(got) != 10 {
			t.Errorf("%v were run in five seconds, want all ten", got)
		}
		if n := m.offers.Load(); n < 1 || n > 3 {
			t.Errorf("%d offers in five seconds to a broker that took none, want few", n)
		}
	})
}

// The flow has stopped although nobody said so in time: it has to be started again.
func TestAPauseThatIsCutShortIsUndone(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.slowPause = time.Minute
		r.brokered(10, 0)
		taken := r.working(1, func(int) time.Duration { return 300 * time.Millisecond })
		r.hint(10, 1, 2)
		pass(time.Second)
		r.hint(10, 3)
		pass(time.Second)
		if got := taken(); len(got) != 3 {
			t.Errorf("%v were run, want three", got)
		}
	})
}

func TestOnlyWhatWasConfirmedIsAcked(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(10, 0)
		r.server.OnPublish(func(h broker.Hint) brokertest.Verdict {
			if h.Priority == 10 {
				return brokertest.Unconfirmed
			}
			return brokertest.Accept
		})
		r.hint(10, 1, 2)
		r.hint(20, 5, 6)
		r.slot(1)
		pass(300 * time.Millisecond)
		r.says("claim [1]", "pause", "not confirmed 10 [2]", "confirmed 20 [5 6]", "ack [5 6]")
		r.slot(3)
		pass(2 * time.Second)
		r.gets(1, 2, 5, 6)
	})
}

// Idle consumers share what one has too much of: it goes in parts as small as what a consumer runs at a time. The
// original is acked when each of them is confirmed.
func TestWhatIsHandedOnGoesInParts(t *testing.T) {
	t.Parallel()
	for _, refused := range []bool{false, true} {
		bubble(t, func(r *rig) {
			r.brokered(10, 0)
			other, err := r.broker.Subscribe([]broker.Band{band(10)}, 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := other.Pause(r.t.Context()); err != nil {
				t.Fatal(err)
			}
			r.server.OnPublish(func(h broker.Hint) brokertest.Verdict {
				if refused && len(h.Numbers) == 1 {
					return brokertest.Unconfirmed
				}
				return brokertest.Accept
			})
			r.hint(10, 1, 2, 3, 4, 5, 6)
			r.slot(1)
			pass(300 * time.Millisecond)
			if refused {
				r.says("claim [1]", "pause", "confirmed 10 [2 3]", "confirmed 10 [4 5]", "not confirmed 10 [6]")
				return
			}
			r.says("claim [1]", "pause", "confirmed 10 [2 3]", "confirmed 10 [4 5]", "confirmed 10 [6]", "ack [1 2 3 4 5 6]")
		})
	}
}

func TestTheEndHandsEverythingOn(t *testing.T) {
	t.Parallel()
	for name, drain := range map[string]bool{"stopped": false, "the pool drains": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				r.brokered(10, 0)
				r.hint(10, 1, 2, 3)
				r.hint(20, 4)
				leave := r.slot(1)
				r.says("claim [1]")
				leave()
				if drain {
					r.feed.Drain()
				} else {
					r.stop()
				}
				pass(time.Millisecond) // at once, although job 1 may run for hours
				if got := r.read(); !slices.Contains(got, "close") || !slices.Contains(got, "confirmed 10 [2 3]") {
					t.Errorf("got %q, want the rest handed on and the subscription closed", got)
				}
				if waiting := r.server.Waiting(band(10)); !slices.Equal(waiting, []int64{2, 3}) {
					t.Errorf("%v wait, want 2 and 3", waiting)
				}
				if waiting := r.server.Waiting(band(20)); !slices.Equal(waiting, []int64{4}) {
					t.Errorf("%v wait, want 4", waiting)
				}
				select {
				case <-r.done:
					if drain {
						t.Error("Run returned before it was stopped, which would stop everything else")
					}
				default:
				}
			})
		})
	}
}

func TestALeaseGrantedDuringTheShutdownIsHandedBack(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.set(func() { r.gate = make(chan struct{}) })
		r.brokered(10, 0)
		r.hint(10, 1)
		leave := r.slot(1)
		leave()
		r.stop()
		synctest.Wait()
		if r.seen().cutOff != 0 {
			t.Error("the shutdown has cut off a claim: its rows are leased to nobody")
		}
		r.gate <- struct{}{}
		<-r.done
		if !slices.Equal(r.seen().back, []jobstore.ID{1}) || len(r.term().Held()) != 0 {
			t.Errorf("handed back %v, held %v; want job 1 back", r.seen().back, r.term().Held())
		}
		r.says("claim [1]", "ack [1]", "pause", "close")
	})
}

func TestNumbersOfAClaimThatIsGivenUpAreOfferedAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.set(func() { r.before = func(int) error { return errAway } })
		r.brokered(10, 0)
		r.hint(10, 1, 2, 3, 4)
		leave := r.slot(2)
		pass(10 * time.Second)
		if n := len(r.claims()); n < 3 || n > 20 {
			t.Errorf("%d tries in ten seconds, want a few", n)
		}
		leave()
		r.stop()
		<-r.done
		waiting := r.server.Waiting(band(10))
		slices.Sort(waiting)
		if !slices.Equal(slices.Compact(waiting), []int64{1, 2, 3, 4}) {
			t.Errorf("%v wait in the broker, want 1 to 4: the rest was acked with its hint", waiting)
		}
	})
}

func TestTheBudgetEndsTheFeed(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(10, 3)
		r.slot(5)
		r.hint(10, 1, 2, 3, 4, 5)
		r.gets(1, 2, 3)
		if _, err := r.feed.Next(r.t.Context()); !errors.Is(err, worker.ErrDone) {
			t.Errorf("Next = %v, want ErrDone", err)
		}
		r.says("claim [1 2 3]", "pause", "confirmed 10 [4 5]", "ack [1 2 3 4 5]")
	})
}

func TestABrokerThatRefusesIsNoHotLoop(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(10, 0)
		r.slot(1)
		for range 10 {
			r.server.Refuse(errors.New("no rights"))
			pass(time.Second)
		}
		r.server.Refuse(nil)
		r.hint(10, 1)
		pass(10 * time.Second)
		r.gets(1)
	})
}

// One band may be refused for as long as nobody looks after it. The others are none the worse.
func TestARefusalIsNoPause(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(10, 0)
		r.slot(1)
		r.server.Refuse(errors.New("no rights"))
		pass(100 * time.Millisecond)
		r.server.Refuse(nil)
		r.hint(10, 1)
		pass(time.Second)
		r.gets(1)
	})
}

func TestALostSessionCostsDuplicatesOnly(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(10, 0)
		r.hint(10, 1, 2, 3)
		r.slot(1)
		r.gets(1)
		r.server.Disconnect() // 2 and 3 are held, their hint comes again
		r.slot(4)
		pass(time.Second)
		r.gets(2, 3)
		if got := r.server.Waiting(band(10)); len(got) != 0 {
			t.Errorf("%v wait, want none", got)
		}
	})
}
