package warren_test

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
	"github.com/warrenq/warren/jobstore/sqlite"
)

// everywhere runs a test with every store, and with a broker.
func everywhere(t *testing.T, test func(t *testing.T, store jobstore.Store, b broker.Broker)) {
	t.Helper()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		test(t, store, b)
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "jobs.db"), sqlite.Config{Log: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		if err := store.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, store, nil)
	})
}

// Bands that all have jobs waiting are served in proportion to their weights: of the first jobs to begin,
// however many one looks at, each band has its share.
func TestBandsAreServedInTurn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		cfg   warren.ConsumerConfig
		share map[string]float64 // of each band
	}{
		{"weighted", warren.ConsumerConfig{
			Order: warren.OrderWeighted, Weights: warren.Weights{Queues: map[string]int{"b": 2}},
		}, map[string]float64{"a/10": 3, "a/20": 2, "a/30": 1, "b/10": 6, "b/20": 4, "b/30": 2}},
		{"fair", warren.ConsumerConfig{Order: warren.OrderFair}, map[string]float64{"a/10": 1, "a/20": 1, "a/30": 1, "b/10": 1, "b/20": 1, "b/30": 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			everywhere(t, func(t *testing.T, store jobstore.Store, b broker.Broker) {
				t.Helper()
				const each = 400
				var mu sync.Mutex
				var begun []string
				early := 0 // jobs of the bands that were delivered first, before there was a choice
				deliveries := make(chan struct{})
				r := handle(func(_ context.Context, job *warren.Job[mail]) error {
					var counts bool
					select {
					case <-deliveries:
						counts = true
					case <-time.After(20 * time.Millisecond): // while every slot is busy for long, nothing is delivered
					}
					mu.Lock()
					defer mu.Unlock()
					if counts {
						begun = append(begun, fmt.Sprintf("%s/%d", job.Queue, job.Priority))
					} else {
						early++
					}
					return nil
				})
				cfg := c.cfg
				cfg.Store, cfg.Broker, cfg.Registry, cfg.Concurrency = store, b, r, 4
				cfg.Queues, cfg.Priorities = []string{"a", "b"}, []int{10, 20, 30}
				publishBands(t, store, b, each)
				consumerOf(t, cfg)
				if b != nil {
					awaitDeliveries(t, b, each)
				}
				close(deliveries)
				await(t, "every job to begin", func() bool {
					mu.Lock()
					defer mu.Unlock()
					return early+len(begun) == 6*each
				})
				wantShares(t, begun, c.share, 60)
			})
		})
	}
}

// publishBands returns when jobs of every band wait, and their hints in the queues of the broker, if there is one: so no
// band has jobs before the others.
func publishBands(t *testing.T, store jobstore.Store, b broker.Broker, each int) {
	t.Helper()
	cfg := warren.ClientConfig{Store: store, Log: testLog(t)}
	if b != nil {
		cfg.Broker = again(t, b)
	}
	client, err := warren.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	if b != nil {
		await(t, "the broker", cfg.Broker.Up)
	}
	var items []warren.Item
	for _, queue := range []string{"a", "b"} {
		for _, p := range []int{10, 20, 30} {
			for range each {
				items = append(items, warren.Item{Args: mail{}, Opts: warren.PublishOpts{Queue: queue, Priority: new(p)}})
			}
		}
	}
	if _, err := client.PublishMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	if err := client.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// awaitDeliveries waits until hints of every band have arrived. The queues are subscribed to one after the other, and
// their messages on their way.
func awaitDeliveries(t *testing.T, b broker.Broker, each int) {
	t.Helper()
	for _, queue := range []string{"a", "b"} {
		for _, p := range []int{10, 20, 30} {
			await(t, fmt.Sprintf("a delivery of %s/%d", queue, p), func() bool {
				n, err := b.Depth(t.Context(), broker.Band{Queue: queue, Priority: p})
				return err == nil && n < each/50 // numbers in a message
			})
		}
	}
}

// wantShares looks at every beginning of what has begun, up to where the first band had no job left.
func wantShares(t *testing.T, begun []string, share map[string]float64, slack float64) {
	t.Helper()
	all := map[string]int{}
	for _, band := range begun {
		all[band]++
	}
	sum := 0.0
	for _, s := range share {
		sum += s
	}
	count := map[string]int{}
	worst := 0.0
	for i, band := range begun {
		if count[band]++; count[band] == all[band] {
			break
		}
		for band, s := range share {
			off := math.Abs(float64(count[band]) - float64(i+1)*s/sum)
			worst = max(worst, off)
			if off > slack {
				t.Fatalf("of the first %d jobs %d are of %s, want %.1f ± %.0f: %v", i+1, count[band], band, float64(i+1)*s/sum, slack, count)
			}
		}
	}
	t.Logf("at most %.1f jobs off", worst)
}

func TestBadConsumerSettings(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	for want, cfg := range map[string]warren.ConsumerConfig{
		"poll interval -1s is not from 50ms to 30s; leave it out for 1 s":      {PollInterval: -time.Second},
		"poll interval 1h0m0s is not from 50ms to 30s; leave it out for 1 s":   {PollInterval: time.Hour},
		`order "random" is none of strict, weighted, fair`:                     {Order: "random"},
		"weights are for order weighted; the order is fair":                    {Order: warren.OrderFair, Weights: warren.Weights{Priorities: map[int]int{10: 1}}},
		"weights are for order weighted; the order is strict":                  {Weights: warren.Weights{Priorities: map[int]int{10: 1}}},
		`queue "media" has a weight and is not taken; name one of ["default"]`: {Order: warren.OrderWeighted, Weights: warren.Weights{Queues: map[string]int{"media": 1}}},
		"priority 10 has a weight and is not taken; name one of 20":            {Order: warren.OrderWeighted, Take: []int{20}, Weights: warren.Weights{Priorities: map[int]int{10: 1}}},
		"the weight of priority 10 is 0; give it one from 1 to 1000":           {Order: warren.OrderWeighted, Weights: warren.Weights{Priorities: map[int]int{10: 0}}},
		"the weight of queue default is 100000; give it one from 1 to 1000":    {Order: warren.OrderWeighted, Weights: warren.Weights{Queues: map[string]int{"default": 100_000}}},
	} {
		cfg.Store, cfg.Registry = store, handle(func(context.Context, *warren.Job[mail]) error { return nil })
		_, err := warren.NewConsumer(cfg)
		if err == nil || err.Error() != want {
			t.Errorf("the error is %v, want %s", err, want)
		}
	}
}

// looks counts how often a consumer has found nothing.
type looks struct{ atomic.Int64 }

func (l *looks) Observe(_ context.Context, e warren.Event) {
	if e.Kind == warren.ConsumerIdle {
		l.Add(1)
	}
}

// By default, ten looks take longer than the test waits.
func TestAConsumerWithoutABrokerLooksAsOftenAsItIsTold(t *testing.T) {
	t.Parallel()
	var seen looks
	r := handle(func(context.Context, *warren.Job[mail]) error { return nil })
	consumerOf(t, warren.ConsumerConfig{Store: newStore(t), Registry: r, PollInterval: 50 * time.Millisecond, Observer: &seen})
	await(t, "ten looks", func() bool { return seen.Load() >= 10 })
}
