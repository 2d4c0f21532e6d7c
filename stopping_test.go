package warren_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// told keeps what a consumer says, and does something at the first event of a kind.
type told struct {
	mu     sync.Mutex
	events []warren.Event
	first  map[warren.EventKind]func()
}

func (o *told) Observe(_ context.Context, e warren.Event) {
	o.mu.Lock()
	o.events = append(o.events, e)
	do := o.first[e.Kind]
	delete(o.first, e.Kind)
	o.mu.Unlock()
	if do != nil {
		go do() // an observer must return at once
	}
}

func (o *told) of(kind warren.EventKind) (found []warren.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.events {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

// Why a consumer stops is in its events and its own answer, whoever stopped it.
func TestStopReasons(t *testing.T) {
	t.Parallel()
	for want, how := range map[warren.StopReason]struct {
		cfg   warren.ConsumerConfig
		to    string // whom a job is for
		opts  warren.PublishOpts
		first func(t *testing.T, c *warren.Consumer, store warren.ConsumerStore)
	}{
		warren.StopAsked:     {first: func(_ *testing.T, c *warren.Consumer, _ warren.ConsumerStore) { c.Drain() }},
		warren.StopRestart:   {first: restart},
		warren.StopHandler:   {to: "stop"},
		warren.StopMaxJobs:   {to: "ada", cfg: warren.ConsumerConfig{MaxJobs: 1}},
		warren.StopMaxTime:   {cfg: warren.ConsumerConfig{MaxTime: time.Millisecond}},
		warren.StopMaxMemory: {cfg: warren.ConsumerConfig{MaxMemory: 1}},
		warren.StopStuck:     {to: "hang", opts: warren.PublishOpts{Timeout: time.Millisecond}, cfg: warren.ConsumerConfig{MaxStuck: 1, Grace: time.Millisecond}},
		warren.StopEmpty:     {to: "ada", cfg: warren.ConsumerConfig{UntilEmpty: true}},
	} {
		t.Run(string(want), func(t *testing.T) {
			t.Parallel()
			store, observer := newStore(t), &told{first: map[warren.EventKind]func(){}}
			how.cfg.Store, how.cfg.Sweep, how.cfg.Log, how.cfg.Observer = store, quick(), testLog(t), observer
			how.cfg.Heartbeat.Every = 50 * time.Millisecond
			how.cfg.Registry = handle(func(_ context.Context, job *warren.Job[mail]) error {
				switch job.Args.To {
				case "stop":
					return warren.StopConsumer(nil)
				case "hang":
					<-t.Context().Done()
				}
				return nil
			})
			c, err := warren.NewConsumer(how.cfg)
			if err != nil {
				t.Fatal(err)
			}
			if how.first != nil {
				observer.first[warren.ConsumerIdle] = func() { how.first(t, c, store) }
			}
			if how.to != "" {
				publish(t, c.Client(), how.to, how.opts)
			}
			if reason := c.StopReason(); reason != "" {
				t.Errorf("it stops before it runs: %s", reason)
			}
			if err := c.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := c.StopReason(); got != want {
				t.Errorf("stopped because of %q, want %q", got, want)
			}
			for _, kind := range []warren.EventKind{warren.ConsumerStopping, warren.ConsumerStopped} {
				if list := observer.of(kind); len(list) != 1 || list[0].Reason != want {
					t.Errorf("events %s: %+v", kind, list)
				}
			}
		})
	}
}

func restart(t *testing.T, c *warren.Consumer, store warren.ConsumerStore) {
	t.Helper()
	queues, ok := store.(jobstore.Queues)
	if !ok {
		t.Error("the store takes no orders")
		return
	}
	if _, err := queues.Restart(t.Context(), c.Queues()[0], 1); err != nil {
		t.Error(err)
	}
}

// A consumer until nothing has been due for a time takes what comes meanwhile.
func TestEmptyFor(t *testing.T) {
	t.Parallel()
	store, observer := newStore(t), &told{first: map[warren.EventKind]func(){}}
	ran := make(chan string, 2)
	c, err := warren.NewConsumer(warren.ConsumerConfig{
		Store: store, Sweep: quick(), Log: testLog(t), Observer: observer, UntilEmpty: true, EmptyFor: 2 * time.Second,
		Registry: handle(func(_ context.Context, job *warren.Job[mail]) error {
			ran <- job.Args.To
			return nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	observer.first[warren.ConsumerIdle] = func() {
		if _, err := c.Client().Publish(context.WithoutCancel(t.Context()), mail{To: "late"}); err != nil {
			t.Error(err)
		}
	}
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case to := <-ran:
		if to != "late" {
			t.Errorf("%q ran", to)
		}
	default:
		t.Error("it ended before the time was up")
	}
	if c.StopReason() != warren.StopEmpty {
		t.Errorf("stopped because of %q", c.StopReason())
	}
}

// One stream tells of every stage of a job and of its consumer, in their order.
func TestEventsInOrder(t *testing.T) {
	t.Parallel()
	store, observer := newStore(t), &told{}
	c, err := warren.NewConsumer(warren.ConsumerConfig{
		Store: store, Sweep: quick(), Log: testLog(t), Observer: observer, UntilEmpty: true,
		Registry: handle(func(context.Context, *warren.Job[mail]) error { return nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, c.Client(), "ada")
	if err := c.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	var kinds []warren.EventKind
	for _, e := range observer.events {
		if e.Kind != warren.SweepEnded && e.Kind != warren.ConsumerIdle {
			kinds = append(kinds, e.Kind)
		}
	}
	want := []warren.EventKind{
		warren.JobPublished, warren.ConsumerStarted, warren.JobsClaimed, warren.JobStarted, warren.JobEnded,
		warren.ConsumerStopping, warren.ConsumerStopped,
	}
	if !slices.Equal(kinds, want) {
		t.Errorf("told %v\nwant %v", kinds, want)
	}
	if len(observer.of(warren.ConsumerIdle)) == 0 {
		t.Error("it was never idle")
	}
}
