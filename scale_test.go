package warren_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/jobstore"
)

// A consumer opens slots while jobs wait, never more than its most, and shuts them when they are not in use.
func TestSlotsFollowWhatWaits(t *testing.T) {
	t.Parallel()
	for _, by := range []warren.ScaleBy{warren.ScaleByWait, warren.ScaleBySize} {
		t.Run(string(by), func(t *testing.T) {
			t.Parallel()
			everywhere(t, func(t *testing.T, store jobstore.Store, b broker.Broker) {
				t.Helper()
				const least, most, jobs = 2, 7, 40
				var running, peak atomic.Int64
				free := make(chan struct{})
				r := handle(func(context.Context, *warren.Job[mail]) error {
					now := running.Add(1)
					defer running.Add(-1)
					for old := peak.Load(); now > old; old = peak.Load() {
						peak.CompareAndSwap(old, now)
					}
					<-free
					return nil
				})
				seen := &told{}
				c := consumerOf(t, warren.ConsumerConfig{
					Store: store, Broker: b, Registry: r, Observer: seen,
					Scale: &warren.Scale{Min: least, Max: most, By: by, Step: 2, Cooldown: 100 * time.Millisecond, Wait: 50 * time.Millisecond},
				})
				for range jobs {
					publish(t, c.Client(), "")
				}
				await(t, "all slots to be in use", func() bool { return running.Load() == most })
				close(free)
				await(t, "every job to end", func() bool {
					s, err := store.Stats(t.Context())
					return err == nil && s.Total[jobstore.Finished] == jobs
				})
				await(t, "the slots to be shut again", func() bool { return slots(seen)[len(slots(seen))-1] == least })
				if peak.Load() > most {
					t.Errorf("%d handlers ran at a time, want at most %d", peak.Load(), most)
				}
				before := least
				for _, open := range slots(seen) {
					if open < least || open > most || open > before+2 || open < before-2 {
						t.Errorf("slots went from %d to %d, want steps of at most 2 between %d and %d", before, open, least, most)
					}
					before = open
				}
				again := publish(t, c.Client(), "")
				await(t, "a job to run in what is open", func() bool {
					job, err := store.Get(t.Context(), again)
					return err == nil && job.State == jobstore.Finished
				})
			})
		})
	}
}

// slots are how many were open, after each change.
func slots(seen *told) (open []int) {
	for _, e := range seen.of(warren.ConsumerScaled) {
		open = append(open, e.Count)
	}
	return open
}

func TestBadScales(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]warren.Scale{
		"scale from 0 to 4 slots; give min and max from 1 to 10000, min not above max": {Max: 4},
		"scale from 5 to 4 slots; give min and max from 1 to 10000, min not above max": {Min: 5, Max: 4},
		`scale by "cpu"; it is wait or size`:                                           {Min: 1, Max: 4, By: "cpu"},
		"scale in steps of -1 slots; give 1 to 10000":                                  {Min: 1, Max: 4, Step: -1},
		"scale with a cooldown of 1ms; give 100ms to 1h":                               {Min: 1, Max: 4, Cooldown: time.Millisecond},
		"scale when jobs wait for -1s; give a time up to 24h":                          {Min: 1, Max: 4, Wait: -time.Second},
	} {
		if err := s.Validate(); err == nil || err.Error() != want {
			t.Errorf("the error is %v, want %s", err, want)
		}
	}
	r := handle(func(context.Context, *warren.Job[mail]) error { return nil })
	_, err := warren.NewConsumer(warren.ConsumerConfig{Store: newStore(t), Registry: r, Concurrency: 3, Scale: &warren.Scale{Min: 1, Max: 4}})
	if err == nil || err.Error() != "concurrency 3 and scale are both set; keep one" {
		t.Errorf("the error is %v", err)
	}
}
