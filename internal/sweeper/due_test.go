package sweeper_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/jobstore"
)

// A look that finds a due row says nothing of the row that is due after it.
func TestAnotherLookFollowsRowsThatWereDue(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.due = refs(1, 1)
		if next := r.once(r.s.TickOnce); next > 20*time.Millisecond {
			t.Errorf("the next look is in %s: a row that is due meanwhile is late", next)
		}
		if next := r.once(r.s.TickOnce); next != 500*time.Millisecond {
			t.Errorf("with nothing due the next look is in %s", next)
		}
	})
}

func TestDueRowsAreMadeReadyAndAnnounced(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.due = refs(1, 1200) // more than two batches
		if next := r.once(r.s.TickOnce); next != 20*time.Millisecond {
			t.Errorf("the next tick is in %s", next)
		}
		if n := len(r.told()); n != 1200 || r.count("due") != 3 {
			t.Errorf("%d announced by %d statements, want 1200 by 3", n, r.count("due"))
		}
		if n := r.count("announced", "unannounced", "outbox"); n != 0 {
			t.Errorf("%d statements about the outbox without one", n)
		}
	})
}

func TestATickGoesOnWhenOneOfItsPartsFails(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"settle flows", "due schedules"} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				r.look, r.broken = jobstore.Look{Flows: true, Schedules: true}, part
				r.due, r.outbox = refs(1, 3), refs(7, 8)
				if _, err := r.s.TickOnce(t.Context()); err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("the tick says %v", err)
				}
				r.tells(1, 2, 3, 7, 8)
			})
		})
	}
}

func TestATickLeavesTheRestToTheNextAtOnce(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.due = refs(1, 10_500)
		if next := r.once(r.s.TickOnce); next != 0 || len(r.due) != 500 {
			t.Errorf("the next tick is in %s with %d left; want at once, so that other parts have a turn between", next, len(r.due))
		}
	})
}

func TestTheNextTickComesWhenTheNextRowIsDue(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		for next, want := range map[time.Duration]time.Duration{
			0: 500 * time.Millisecond, 120 * time.Millisecond: 120 * time.Millisecond,
			time.Hour: 500 * time.Millisecond, time.Microsecond: 20 * time.Millisecond,
		} {
			r.look = jobstore.Look{Next: next}
			if got := r.once(r.s.TickOnce); got != want {
				t.Errorf("a row due in %s: the next tick is in %s, want %s", next, got, want)
			}
		}
		if n := r.count(); n != r.count("look") {
			t.Errorf("%d statements with nothing to do, want looks only", n)
		}
	})
}

func TestTheOutboxIsClearedAfterTheConfirmNeverBefore(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.outbox = refs(1, 600)
		r.once(r.s.TickOnce)
		if want := []string{"announced", "cleared", "announced", "cleared"}; !slices.Equal(r.lines, want) {
			t.Errorf("got %q, want %q", r.lines, want)
		}
		if len(r.outbox) != 0 || len(r.told()) != 600 {
			t.Errorf("%d left in the outbox", len(r.outbox))
		}
	})
}

func TestWhatWasNotConfirmedStaysInTheOutbox(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.outbox, r.deaf = refs(1, 3), true
		r.once(r.s.TickOnce)
		if len(r.outbox) != 3 || r.count("announced") != 0 {
			t.Errorf("%d left, %d clearings; want 3 and none", len(r.outbox), r.count("announced"))
		}
	})
}

func TestABrokerThatFailsIsLeftInPeaceMoreAndMore(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.outbox, r.deaf = refs(1, 3), true
		r.start()
		pass(time.Minute)
		if n := len(r.at); n < 35 || n > 62 {
			t.Errorf("%d tries in a minute, want about one a second", n)
		}
		for i := range r.at[1:] {
			if gap := r.at[i+1].Sub(r.at[i]); i > 5 && gap < time.Second {
				t.Errorf("try %d came %s after the one before", i, gap)
			}
		}
		if n := r.logs.FilterMessageSnippet("cannot announce").Len(); n != 1 {
			t.Errorf("said %d times, want once", n)
		}
		r.set(func() { r.deaf = false })
		pass(6 * time.Second)
		if len(r.outbox) != 0 {
			t.Error("the outbox was not emptied when the broker was back")
		}
	})
}

func TestWhileTheBrokerFailsDueRowsWaitInTheOutbox(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.due, r.deaf = refs(1, 2000), true
		r.start()
		pass(100 * time.Millisecond)
		if len(r.due) != 0 || len(r.outbox) != 2000 || len(r.at) != 1 {
			t.Errorf("%d due, %d in the outbox, %d tries; want none, all and one", len(r.due), len(r.outbox), len(r.at))
		}
		r.set(func() { r.deaf = false })
		pass(6 * time.Second)
		if n := len(r.outbox); n != 0 {
			t.Errorf("%d left in the outbox", n)
		}
	})
}

// of are refs of another band than the usual one.
func of(queue string, from, to jobstore.ID) []jobstore.Ref {
	list := refs(from, to)
	for i := range list {
		list[i].Queue = queue
	}
	return list
}

// A queue may be missing for days, where others may make queues and Warren may not; or be full.
func TestABandThatCannotBeAnnouncedIsInNobodysWay(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"refused":       fmt.Errorf("no queue: %w", broker.ErrConfig),
		"not taken":     fmt.Errorf("%w: %w", broker.ErrUnavailable, broker.ErrRejected),
		"not confirmed": broker.ErrUnavailable,
		"a bad name":    errors.New("a name of 300 characters"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				bad := jobstore.Band{Queue: "bad", Priority: 10}
				r.mute = map[jobstore.Band]error{bad: err}
				r.outbox = append(of("bad", 1, 600), refs(601, 610)...)
				r.due = refs(611, 611)
				r.start()
				pass(3 * time.Second)
				heard := slices.Sorted(slices.Values(r.heard))
				if want := refs(601, 611); len(heard) != len(want) || heard[0] != 601 || heard[len(heard)-1] != 611 {
					t.Errorf("arrived: %v, want 601 to 611", heard)
				}
				r.told()
				r.set(func() { r.due = append(of("bad", 701, 710), refs(711, 711)...) })
				pass(time.Second)
				if !slices.Contains(r.heard, 711) {
					t.Error("a due row waits for those of the band that cannot be announced")
				}
				r.told()
				for id := range jobstore.ID(24) {
					r.set(func() { r.due = refs(801+id, 801+id) })
					pass(5 * time.Second)
				}
				tries := 0
				for _, ids := range r.announced {
					if slices.ContainsFunc(ids, func(id jobstore.ID) bool { return id <= 600 || id > 700 && id <= 710 }) {
						tries++
					}
				}
				if tries > 20 {
					t.Errorf("%d announcements in two minutes to a band that takes none", tries)
				}
				if n := r.logs.FilterMessageSnippet("of a band cannot be announced").Len(); n != 1 {
					t.Errorf("said %d times, want once", n)
				}
				r.set(func() { r.mute = nil })
				pass(33 * time.Second)
				if len(r.outbox) != 0 || len(r.heard) != 646 {
					t.Errorf("%d left in the outbox, %d arrived; want all of 646 once the queue is there", len(r.outbox), len(r.heard))
				}
			})
		})
	}
}

// What was published while a connection broke waits no longer for it.
func TestAnAnnouncementThatBreaksOffIsRepeatedSoon(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.mute = map[jobstore.Band]error{{Queue: "late", Priority: 10}: broker.ErrUnavailable}
		r.outbox = append(refs(1, 3), of("late", 4, 6)...)
		r.start()
		pass(100 * time.Millisecond)
		r.set(func() { r.mute = nil })
		pass(2 * time.Second)
		if len(r.outbox) != 0 {
			t.Errorf("%v wait in the outbox", r.outbox)
		}
	})
}

func TestADueRowStartsInTime(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		pass(10*time.Second + 300*time.Millisecond)
		r.told()
		r.set(func() { r.due = refs(1, 1) }) // since the last tick
		pass(500 * time.Millisecond)
		r.tells(1)
		r.set(func() { r.look.Next = 30 * time.Millisecond })
		pass(time.Second) // the next tick knows
		r.set(func() { r.due = refs(2, 2) })
		pass(50 * time.Millisecond)
		r.tells(2)
	})
}
