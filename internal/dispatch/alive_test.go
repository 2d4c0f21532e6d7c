package dispatch_test

import (
	"testing"
	"time"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/internal/dispatch"
	"github.com/warrenq/warren/internal/lifecycle"
)

// limit is how long a feed may stand still before a probe takes it for dead.
const limit = time.Minute

func (r *rig) pulse() *lifecycle.Pulse {
	r.t.Helper()
	p, ok := r.feed.(interface{ Pulse() *lifecycle.Pulse })
	if !ok {
		r.t.Fatalf("%T has no pulse", r.feed)
	}
	return p.Pulse()
}

// slowest is the longest time without a beat in the course of d.
func (r *rig) slowest(d time.Duration) time.Duration {
	var longest time.Duration
	for end := time.Now().Add(d); time.Now().Before(end); pass(time.Second) {
		longest = max(longest, r.pulse().Since())
	}
	return longest
}

func feeds() map[string]func(r *rig) {
	return map[string]func(r *rig){
		"by number": func(r *rig) { r.brokered(10, 0); r.hint(10, 1) },
		"by order":  func(r *rig) { r.add(10, 1); r.run(dispatch.NewPolledFeed(dispatch.PolledConfig{Claim: r.claim})) },
	}
}

// A feed with nothing to do lives, and so does one whose database or registration is away: a restart
// would not help.
func TestAFeedWithoutWorkIsAlive(t *testing.T) {
	t.Parallel()
	for name, start := range feeds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				start(r)
				r.slot(2)
				if d := r.slowest(10 * time.Minute); d > limit {
					t.Errorf("idle, it stood still for %s", d)
				}
				r.set(func() { r.before = func(int) error { return errAway } })
				r.hint(10, 2) // a row, too, for who goes by order
				if d := r.slowest(10 * time.Minute); d > limit {
					t.Errorf("without its database, it stood still for %s", d)
				}
			})
		})
	}
}

// A claim that never returns, whatever its context says, is what a restart is for.
func TestAFeedThatHangsIsNotAlive(t *testing.T) {
	t.Parallel()
	for name, start := range feeds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				r.set(func() { r.takes = 10 * time.Minute })
				start(r)
				r.slot(1)
				pass(limit + time.Second)
				if d := r.pulse().Since(); d <= limit {
					t.Errorf("it hangs, and beat %s ago", d)
				}
				pass(9 * time.Minute)
			})
		})
	}
}

// What a claim had nothing to do about is counted; what it granted, or has no handler for, is not.
func TestRefusedNumbersAreCounted(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		refused := 0
		r.claim.Refused = func(n int) { r.set(func() { refused += n }) }
		r.brokered(10, 0)
		r.slot(9)
		r.hint(10, 1, 2, 900)
		pass(time.Second)
		r.add(10, 3)
		again, err := broker.FormatBody([]int64{1, 2, 3})
		if err != nil {
			t.Fatal(err)
		}
		r.server.Inject(band(10), again)
		pass(time.Second)
		r.set(func() {
			if refused != 2 {
				t.Errorf("%d numbers were refused, want the two that run already", refused)
			}
		})
	})
}
