package warren_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
	"github.com/warrenq/warren/jobstore/sqlite"
)

// write is a statement of the handler's own, in either database.
func write(ctx context.Context, tx jobstore.Tx, text string) error {
	if own, err := sqlite.From(tx); err == nil {
		_, err = own.ExecContext(ctx, text)
		return err
	}
	own, err := postgres.From(tx)
	if err != nil {
		return err
	}
	_, err = own.Exec(ctx, text)
	return err
}

// notes are the rows that handlers have written.
func notes(t *testing.T, store jobstore.Store) (n int) {
	t.Helper()
	const text = "SELECT count(*) FROM notes"
	err := store.InTx(t.Context(), func(ctx context.Context, tx jobstore.Tx) error {
		if own, err := sqlite.From(tx); err == nil {
			return own.QueryRowContext(ctx, text).Scan(&n)
		}
		own, err := postgres.From(tx)
		if err != nil {
			return err
		}
		return own.QueryRow(ctx, text).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// completing is a consumer whose handlers write a note and are done in one transaction, and then go on.
func completing(t *testing.T, store jobstore.Store, b broker.Broker, inTx, after func(ctx context.Context, job *warren.Job[mail]) error) *warren.Consumer {
	t.Helper()
	err := store.InTx(t.Context(), func(ctx context.Context, tx jobstore.Tx) error {
		return write(ctx, tx, "CREATE TABLE notes (job_id bigint)")
	})
	if err != nil {
		t.Fatal(err)
	}
	r := handle(func(ctx context.Context, job *warren.Job[mail]) error {
		err := store.InTx(ctx, func(ctx context.Context, tx jobstore.Tx) error {
			if err := write(ctx, tx, fmt.Sprintf("INSERT INTO notes VALUES (%d)", job.ID)); err != nil {
				return err
			}
			if err := inTx(ctx, job); err != nil {
				return err
			}
			if err := warren.CompleteTx(ctx, tx); err != nil {
				return err
			}
			if job.Args.To == "rollback" {
				return errors.New("rolled back")
			}
			return nil
		})
		if err != nil {
			return err
		}
		return after(ctx, job)
	}, warren.KindOpts{Backoff: func(int) time.Duration { return time.Hour }})
	return consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r})
}

func nothing(context.Context, *warren.Job[mail]) error { return nil }

func awaitJob(t *testing.T, store jobstore.Store, id jobstore.ID, want jobstore.State) (job jobstore.Job) {
	t.Helper()
	await(t, fmt.Sprintf("job %d to be %s", id, want), func() bool {
		var err error
		job, err = store.Get(t.Context(), id)
		return err == nil && job.State == want
	})
	return job
}

// What the handler wrote and its job's end are committed together. Its job is FINISHED while the handler still
// runs, stays so whatever that returns, and those behind it in the serial group go on.
func TestAHandlerCompletesInItsOwnTransaction(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, store jobstore.Store, b broker.Broker) {
		t.Helper()
		free := make(chan struct{})
		c := completing(t, store, b, func(ctx context.Context, _ *warren.Job[mail]) error {
			return errors.Join(warren.SetOutput(ctx, "sent"), warren.SetMetadata(ctx, map[string]any{"by": "post"}))
		}, func(_ context.Context, job *warren.Job[mail]) error {
			if job.Args.To == "first" {
				<-free
				return errors.New("too late to fail")
			}
			return nil
		})
		first := publish(t, c.Client(), "first", warren.PublishOpts{SerialGroup: "g"})
		second := publish(t, c.Client(), "second", warren.PublishOpts{SerialGroup: "g"})
		job := awaitJob(t, store, first, jobstore.Finished)
		if string(job.Output) != `"sent"` || !json.Valid(job.Metadata) || job.Attempts != 1 || job.DurationMS == nil {
			t.Errorf("the finished job is %+v", job)
		}
		close(free)
		awaitJob(t, store, second, jobstore.Finished)
		if job, err := store.Get(t.Context(), first); err != nil || job.State != jobstore.Finished || job.Error != "" {
			t.Errorf("after its handler's error the job is %s, with the error %q (%v)", job.State, job.Error, err)
		}
		if n := notes(t, store); n != 2 {
			t.Errorf("%d notes were written, want 2", n)
		}
	})
}

// After a rollback nothing has happened: the handler's error counts, and neither its note nor its end is there.
// A transaction that finds its lease gone is told so.
func TestATransactionThatDoesNotCommitCompletesNothing(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, store jobstore.Store, b broker.Broker) {
		t.Helper()
		lost := make(chan error, 1)
		c := completing(t, store, b, nothing, nothing)
		failed := publish(t, c.Client(), "rollback")
		job := awaitJob(t, store, failed, jobstore.TemporarilyFailed)
		if job.Error != "rolled back" || job.Attempts != 1 {
			t.Errorf("after a rollback the job is %+v", job)
		}
		if n := notes(t, store); n != 0 {
			t.Errorf("%d notes are there, want none", n)
		}

		late := warren.RawHandler(func(ctx context.Context, job *jobstore.Job) error {
			if job.LeaseNo > 1 {
				return nil
			}
			// Somebody hands the job back behind this attempt's back, as a rescue would.
			if _, err := store.Return(ctx, job.Holder, map[jobstore.ID]int64{job.ID: job.LeaseNo}); err != nil {
				return err
			}
			lost <- store.InTx(ctx, warren.CompleteTx)
			return nil
		})
		var r warren.Registry
		r.Raw("late", late, warren.KindOpts{Queue: "late"})
		other := consumerOf(t, warren.ConsumerConfig{Store: store, Registry: &r})
		p, err := other.Client().PublishRaw(t.Context(), "late", nil)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-lost:
			if !errors.Is(err, warren.ErrLeaseLost) {
				t.Errorf("without its lease the transaction is told %v", err)
			}
		case <-time.After(patience):
			t.Fatal("the handler did not come to its transaction")
		}
		awaitJob(t, store, p.ID, jobstore.Finished)
	})
}

func TestCompleteTxIsForHandlers(t *testing.T) {
	t.Parallel()
	if err := warren.CompleteTx(t.Context(), jobstore.Tx{}); err == nil || err.Error() != "no consumer runs a job in this context" {
		t.Errorf("outside of a handler the error is %v", err)
	}
}

func ExampleCompleteTx() {
	store := exampleStore()
	defer store.Close()
	var registry warren.Registry
	warren.RegisterFunc(&registry, func(ctx context.Context, _ *warren.Job[mail]) error {
		// In a program of yours the transaction is that of your pool: postgres.Tx(tx).
		err := store.InTx(ctx, func(ctx context.Context, tx jobstore.Tx) error {
			if err := write(ctx, tx, "CREATE TABLE sent AS SELECT 1"); err != nil {
				return err
			}
			return warren.CompleteTx(ctx, tx)
		})
		fmt.Println("sent and done:", err == nil)
		return err
	})
	client, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: &registry})
	if err != nil {
		panic(err)
	}
	if _, err := client.Publish(context.Background(), mail{To: "a@b.c"}); err != nil {
		panic(err)
	}
	exampleRun(store, &registry)
	// Output: sent and done: true
}
