package app

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/internal/lifecycle"
)

const (
	benchBulk = 1000 // jobs a call of publish
	// The latency part publishes 50 jobs a second for four seconds.
	benchPace   = 20 * time.Millisecond
	benchProbes = 200
)

// benchArgs are those of the jobs of a bench.
type benchArgs struct {
	Sent int64 `json:"sent"` // when publish was called, in Unix nanoseconds
}

// Kind implements warren.Args.
func (benchArgs) Kind() string { return "bench" }

// tally is what the handler of a bench has seen.
type tally struct {
	mu          sync.Mutex
	want, n     int
	first, last time.Time
	waits       []time.Duration // from publish to here
	done        chan struct{}   // closed when want jobs were handled
}

func newTally(want int) *tally { return &tally{want: want, done: make(chan struct{})} }

func (t *tally) handle(a benchArgs) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
	if t.n == 1 {
		t.first = now
	}
	t.waits = append(t.waits, now.Sub(time.Unix(0, a.Sent)))
	if t.n == t.want { // at least once: there may be more
		t.last = now
		close(t.done)
	}
}

// await waits for all jobs.
func (t *tally) await(ctx context.Context) error {
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wait is the time that at least the part q of all jobs did not exceed, in milliseconds.
func (t *tally) wait(q float64) float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	sorted := slices.Sorted(slices.Values(t.waits))
	at := max(int(math.Ceil(q*float64(len(sorted))))-1, 0)
	return float64(sorted[at].Microseconds()) / 1000
}

// measure publishes, then consumes what it has published, then publishes in a steady pace to the idle consumer.
func (a *App) measure(ctx context.Context, jobs int) (m Measured, err error) {
	b, err := a.Broker() //nolint:contextcheck // it connects to nothing; its Run gets a context
	if err != nil {
		return m, err
	}
	if m.Publish, err = a.measurePublish(ctx, b, jobs); err != nil {
		return m, err
	}
	// Each broker value has one Run.
	if b, err = a.Broker(); err != nil { //nolint:contextcheck // as above
		return m, err
	}
	work, probes := newTally(jobs), newTally(benchProbes)
	registry := &warren.Registry{}
	warren.RegisterFunc(registry, func(_ context.Context, job *warren.Job[benchArgs]) error {
		if job.Args.Sent == 0 {
			work.handle(job.Args)
		} else {
			probes.handle(job.Args)
		}
		return nil
	})
	consumer, err := warren.NewConsumer(warren.ConsumerConfig{ //nolint:contextcheck // it starts nothing; its Run gets a context
		Store: a.Store, Broker: b, Registry: registry, Priorities: a.Config.Priorities, DefaultQueue: a.Config.DefaultQueue,
		HintSize: a.Config.HintSize, Concurrency: a.Config.Concurrency, Version: a.opts.Version, Log: a.Log,
	})
	if err != nil {
		return m, usageError{err}
	}
	err = lifecycle.Run(ctx, lifecycle.Part{Name: "consumer", Run: consumer.Run}, lifecycle.Part{Name: "bench", Run: func(ctx context.Context) error {
		if err := work.await(ctx); err != nil {
			return err
		}
		m.Work = perSecond(jobs, work.last.Sub(work.first))
		if err := publishProbes(ctx, consumer.Client(), probes); err != nil {
			return err
		}
		m.P50, m.P99 = probes.wait(0.5), probes.wait(0.99)
		return nil
	}})
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("the bench was broken off: %w", context.Cause(ctx))
	}
	return m, err
}

// measurePublish publishes in bulk, and waits until all of it is announced: the consumer is to find what it would find
// in an installation that has run for a while. The rate is that of the commits.
func (a *App) measurePublish(ctx context.Context, b broker.Broker, jobs int) (rate float64, err error) {
	client, err := warren.NewClient(a.clientConfig(nil, b))
	if err != nil {
		return 0, usageError{err}
	}
	items := make([]warren.Item, benchBulk)
	for i := range items {
		items[i].Args = benchArgs{}
		items[i].Kind = benchArgs{}.Kind()
	}
	err = lifecycle.Run(ctx, lifecycle.Part{Name: "client", Run: client.Run}, lifecycle.Part{Name: "publishing", Run: func(ctx context.Context) error {
		if err := client.AwaitRun(ctx); err != nil {
			return err
		}
		began := time.Now()
		for left := jobs; left > 0; left -= benchBulk {
			if _, err := client.PublishMany(ctx, items[:min(left, benchBulk)]); err != nil {
				return err
			}
		}
		rate = perSecond(jobs, time.Since(began))
		return client.Drain(ctx)
	}})
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("the bench was broken off: %w", context.Cause(ctx))
	}
	return rate, err
}

// publishProbes publishes in a steady pace to a consumer that has nothing else to do.
func publishProbes(ctx context.Context, client *warren.Client, seen *tally) error {
	tick := time.NewTicker(benchPace)
	defer tick.Stop()
	for range benchProbes {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if _, err := client.Publish(ctx, benchArgs{Sent: time.Now().UnixNano()}); err != nil {
			return err
		}
	}
	return seen.await(ctx)
}

func perSecond(n int, d time.Duration) float64 {
	return math.Round(float64(n) / max(d, time.Microsecond).Seconds())
}
