package sweeper_test

import (
	"errors"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/sweeper"
	"github.com/warrenq/warren/jobstore"
)

// A sweep lives whether it leads or not, with its database or without; one that hangs does not.
func TestTheSweepIsAlive(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		slowest := func() (longest time.Duration) {
			for range 600 {
				pass(time.Second)
				longest = max(longest, r.s.Pulse().Since())
			}
			return longest
		}
		if d := slowest(); d > time.Minute {
			t.Errorf("it stood still for %s", d)
		}
		r.set(func() { r.err = errors.New("away") })
		if d := slowest(); d > time.Minute {
			t.Errorf("without its database it stood still for %s", d)
		}
		r.set(func() { r.err = nil; r.slow["rescue"] = 10 * time.Minute })
		if d := slowest(); d <= time.Minute {
			t.Errorf("it hung, and stood still for %s at most", d)
		}
	})
}

// Whoever asked is told what was rescued, and how long every part took.
func TestTheSweepTells(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		crashed, quarantined, consumers := 0, 0, 0
		parts := map[string]time.Duration{}
		r.cfg.Rescued = func(d jobstore.Rescued) {
			crashed, quarantined, consumers = crashed+d.Crashed, quarantined+len(d.Quarantined), consumers+d.Consumers
		}
		r.cfg.Swept = func(part string, took time.Duration) { parts[part] += took }
		r.s = sweeper.New(r.cfg)
		r.slow["rescue"] = time.Second
		r.rescue = []jobstore.Rescued{
			{Crashed: 3}, {Released: refs(1, 2), Crashed: 2}, {Quarantined: []jobstore.ID{3}, Crashed: 1}, {Consumers: 1}, {}, {Released: refs(9, 9)},
		}
		if err := r.s.Once(t.Context()); err != nil {
			t.Error(err)
		}
		if crashed != 6 || quarantined != 1 || consumers != 1 {
			t.Errorf("told of %d crashed jobs, %d quarantined, %d consumers", crashed, quarantined, consumers)
		}
		for _, part := range []string{"due and outbox", "rescue", "heads of serial groups", "retention", "lost hints"} {
			if _, ok := parts[part]; !ok {
				t.Errorf("nothing was told of %s: %v", part, parts)
			}
		}
		if parts["rescue"] < time.Second {
			t.Errorf("the rescue took %s, want at least a second", parts["rescue"])
		}
	})
}
