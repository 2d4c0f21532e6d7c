package sweeper_test

import (
	"slices"
	"strings"
	"testing"
	"time"

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
