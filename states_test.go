package warren_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// consumerOf makes and runs a consumer with the periods of tests.
func consumerOf(t *testing.T, cfg warren.ConsumerConfig) *warren.Consumer {
	t.Helper()
	cfg.Sweep, cfg.Log = quick(), testLog(t)
	c, err := warren.NewConsumer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, c)
	return c
}

// exec runs a statement as an operator would.
func exec(t *testing.T, store *postgres.Store, sql string, args ...any) {
	t.Helper()
	err := store.InTx(t.Context(), func(ctx context.Context, own jobstore.Tx) error {
		tx, err := postgres.From(own)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, sql, args...)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// An operator's UPDATE makes a job run again, from any final state.
func TestBackToBrokerFromEveryFinalState(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		var r warren.Registry
		warren.RegisterFunc(&r, func(context.Context, *warren.Job[mail]) error { return nil })
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: &r})
		for _, state := range jobstore.States() {
			if !state.Final() {
				continue
			}
			p, err := c.Client().Publish(t.Context(), mail{}, warren.PublishOpts{Delay: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			exec(t, store, "UPDATE warren.jobs SET state = $2 WHERE id = $1", p.ID, string(state))
			job := awaitState(t, store, p.ID, state)
			if job.FinishedAt == nil {
				t.Errorf("%s by hand: finished_at is not set", state)
			}
			exec(t, store, "UPDATE warren.jobs SET state = 'BACK_TO_BROKER' WHERE id = $1", p.ID)
			await(t, fmt.Sprintf("job %d to run again after %s", p.ID, state), func() bool {
				job, err := store.Get(t.Context(), p.ID)
				return err == nil && job.State == jobstore.Finished && job.LeaseNo == 1 && job.Attempts == 1
			})
		}
	})
}

// In a serial group order is (priority, id) and one runs at a time, over any number of consumers.
func TestSerialGroupOrder(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		var mu sync.Mutex
		var order []string
		var running atomic.Int32
		var r warren.Registry
		warren.RegisterFunc(&r, func(_ context.Context, job *warren.Job[mail]) error {
			if running.Add(1) != 1 {
				t.Error("two members of one group run at a time")
			}
			defer running.Add(-1)
			mu.Lock()
			defer mu.Unlock()
			order = append(order, job.Args.To)
			return nil
		})
		client, err := warren.NewClient(warren.ClientConfig{Store: store, Priorities: []int{1, 2}})
		if err != nil {
			t.Fatal(err)
		}
		var items []warren.Item
		for _, m := range []string{"a1", "b1", "c2", "d1", "e1", "f2", "g1"} {
			items = append(items, warren.Item{Args: mail{To: m[:1]}, Opts: warren.PublishOpts{
				SerialGroup: "g", Priority: new(int(m[1] - '0')),
			}})
		}
		if _, err := client.PublishMany(t.Context(), items); err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			var own broker.Broker
			if i == 0 { // one Broker value belongs to one consumer
				own = b
			} else if b != nil {
				own = again(t, b)
			}
			consumerOf(t, warren.ConsumerConfig{Store: store, Broker: own, Registry: &r, Priorities: []int{1, 2}})
		}
		await(t, "the group to finish", func() bool {
			s, err := store.Stats(t.Context())
			return err == nil && s.Total[jobstore.Finished] == 7
		})
		if want := []string{"a", "b", "d", "e", "g", "c", "f"}; !slices.Equal(order, want) {
			t.Errorf("ran in the order %v, want %v", order, want)
		}
	})
}

// Racing publishers of a unique job: exactly one runs, and again one after it has ended.
func TestUniqueUnderARace(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	var runs atomic.Int32
	var r warren.Registry
	warren.RegisterFunc(&r, func(context.Context, *warren.Job[mail]) error { runs.Add(1); return nil })
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	for round := range int32(2) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, err := client.Publish(t.Context(), mail{}, warren.PublishOpts{Mode: jobstore.Unique, Identifier: "only"})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		c, err := warren.NewConsumer(warren.ConsumerConfig{Store: store, Registry: &r, UntilEmpty: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := runs.Load(); got != round+1 {
			t.Fatalf("round %d: %d runs in all, want %d", round, got, round+1)
		}
	}
}

// A recurring job goes on after failures and an operator's hand, never two at a time, and ends when
// it is cancelled.
func TestRecurringNeverStops(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		var runs, running atomic.Int32
		var r warren.Registry
		warren.RegisterFunc(&r, func(context.Context, *warren.Job[mail]) error {
			if running.Add(1) != 1 {
				t.Error("two turns of a recurring job run at a time")
			}
			defer running.Add(-1)
			if n := runs.Add(1); n%2 == 0 {
				return warren.Permanent(errors.New("this turn fails"))
			}
			return nil
		})
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: &r})
		_, err := c.Client().Publish(t.Context(), mail{}, warren.PublishOpts{
			Mode: jobstore.Recurring, Identifier: "tick", Every: 200 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		await(t, "six turns", func() bool { return runs.Load() >= 6 })
		exec(t, store, "UPDATE warren.jobs SET state = 'CANCELLED' WHERE identifier = 'tick' AND state IN ('SCHEDULED', 'READY')")
		await(t, "the series to end", func() bool {
			s, err := store.Stats(t.Context())
			live := s.Total[jobstore.Ready] + s.Total[jobstore.Scheduled] + s.Total[jobstore.Processing]
			if err == nil && live > 0 { // a turn that just ran has left a successor
				exec(t, store, "UPDATE warren.jobs SET state = 'CANCELLED' WHERE identifier = 'tick' AND state IN ('SCHEDULED', 'READY')")
			}
			return err == nil && live == 0
		})
	})
}

// A kind that nobody here knows stays READY and unharmed until a consumer that knows it comes.
func TestUnknownKindWaitsForANewerConsumer(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		var older, newer warren.Registry
		older.Raw("other", func(context.Context, *jobstore.Job) error { return nil })
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: &older})
		p, err := c.Client().Publish(t.Context(), mail{})
		if err != nil {
			t.Fatal(err)
		}
		if b != nil {
			await(t, "the older consumer to refuse it", func() bool {
				job, err := store.Get(t.Context(), p.ID)
				return err == nil && job.AnnounceAt != nil && job.State == jobstore.Ready
			})
		}
		warren.RegisterFunc(&newer, func(context.Context, *warren.Job[mail]) error { return nil })
		var own broker.Broker
		if b != nil {
			own = again(t, b)
		}
		consumerOf(t, warren.ConsumerConfig{Store: store, Broker: own, Registry: &newer})
		if job := awaitState(t, store, p.ID, jobstore.Finished); job.Attempts != 1 || job.Crashes != 0 {
			t.Errorf("attempts %d, crashes %d", job.Attempts, job.Crashes)
		}
	})
}

// A job exists if and only if its transaction commits; in SQL as in Go.
func TestPublishInATransaction(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		var r warren.Registry
		warren.RegisterFunc(&r, func(context.Context, *warren.Job[mail]) error { return nil })
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: &r})
		errRollback := errors.New("roll back")
		for _, end := range []error{nil, errRollback} {
			var ids []jobstore.ID
			err := c.Client().InTx(t.Context(), func(ctx context.Context, own *warren.Tx) error {
				first, err := own.Publish(ctx, mail{To: "in tx"})
				if err != nil {
					return err
				}
				second, err := c.Client().PublishTx(ctx, own.Tx, mail{To: "tx"})
				if err != nil {
					return err
				}
				tx, err := postgres.From(own.Tx)
				if err != nil {
					return err
				}
				var third int64
				if err := tx.QueryRow(ctx, `SELECT warren.enqueue('mail', '{"to":"sql"}')`).Scan(&third); err != nil {
					return err
				}
				ids = []jobstore.ID{first.ID, second.ID, jobstore.ID(third)}
				return end
			})
			if !errors.Is(err, end) {
				t.Fatal(err)
			}
			for _, id := range ids {
				if end == nil {
					awaitState(t, store, id, jobstore.Finished)
				} else if _, err := store.Get(t.Context(), id); !errors.Is(err, jobstore.ErrNotFound) {
					t.Errorf("job %d of a rolled-back transaction: %v", id, err)
				}
			}
		}
	})
}

// A running system may change sides: rows stay, hints are made again by the sweep.
func TestModeMayChange(t *testing.T) {
	t.Parallel()
	store, b := newStore(t), newBroker(t)
	var r warren.Registry
	warren.RegisterFunc(&r, func(context.Context, *warren.Job[mail]) error { return nil })
	alone, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- alone.Run(ctx) }()
	if err := alone.AwaitRun(ctx); err != nil {
		t.Fatal(err)
	}
	// Announced to nobody: there is no hint for it, and no outbox row.
	p, err := alone.Publish(t.Context(), mail{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: &r})
	awaitState(t, store, p.ID, jobstore.Finished)

	// And back: what only a hint stands for is found without a broker.
	p, err = alone.Publish(t.Context(), mail{}, warren.PublishOpts{Delay: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	consumerOf(t, warren.ConsumerConfig{Store: store, Registry: &r})
	awaitState(t, store, p.ID, jobstore.Finished)
}

// A timeout ends the handler's context with its cause and counts as a failed attempt.
func TestTimeout(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	var cause error
	var r warren.Registry
	warren.RegisterFunc(&r, func(ctx context.Context, _ *warren.Job[mail]) error {
		<-ctx.Done()
		cause = context.Cause(ctx)
		return ctx.Err()
	}, warren.KindOpts{Timeout: 50 * time.Millisecond, MaxAttempts: 1})
	client, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: &r})
	if err != nil {
		t.Fatal(err)
	}
	p, err := client.Publish(t.Context(), mail{})
	if err != nil {
		t.Fatal(err)
	}
	exampleRun(store, &r)
	job := awaitState(t, store, p.ID, jobstore.PermanentlyFailed)
	if !errors.Is(cause, warren.ErrTimeout) {
		t.Errorf("the context's cause is %v", cause)
	}
	if len(job.Errors) != 1 || job.Errors[0].Attempt != 1 {
		t.Errorf("history %+v", job.Errors)
	}
}
