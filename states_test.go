package warren_test

import (
	"context"
	"errors"
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

// An operator's UPDATE makes a job run again, now and from the beginning, whatever state it was in.
func TestBackToBroker(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		r := handle(func(context.Context, *warren.Job[mail]) error { return nil })
		client, err := warren.NewClient(warren.ClientConfig{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		sent := map[jobstore.ID]jobstore.State{}
		for _, state := range jobstore.States() {
			if state == jobstore.Processing {
				continue // refused: TestMovesByHand
			}
			id := publish(t, client, "", warren.PublishOpts{Delay: time.Hour})
			exec(t, store, "UPDATE warren.jobs SET state = $2, attempts = 7, crashes = 2 WHERE id = $1", id, string(state))
			if job := awaitState(t, store, id, state); (job.FinishedAt != nil) != state.Final() {
				t.Errorf("%s by hand: finished_at is %v", state, job.FinishedAt)
			}
			sent[id] = state
		}
		for id, state := range sent {
			exec(t, store, "UPDATE warren.jobs SET state = 'BACK_TO_BROKER' WHERE id = $1", id)
			job := awaitState(t, store, id, jobstore.BackToBroker)
			if state == jobstore.BackToBroker {
				continue // it had nothing to begin anew
			}
			if job.FinishedAt != nil || job.Attempts != 0 || job.Crashes != 0 || job.AvailableAt.After(job.CreatedAt.Add(time.Minute)) {
				t.Errorf("%s sent back is %+v", state, job)
			}
		}
		consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r})
		for id, state := range sent {
			if job := awaitState(t, store, id, jobstore.Finished); job.LeaseNo != 1 || job.Attempts < 1 {
				t.Errorf("%s sent back ran with lease %d, attempt %d", state, job.LeaseNo, job.Attempts)
			}
		}
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
