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

// A job that runs is cancelled from anywhere: its handler's context ends, and only that one's.
func TestCancelRunning(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		causes, finish := make(chan error, 1), make(chan struct{})
		cfg := warren.ConsumerConfig{Store: store, Broker: b, Concurrency: 3, Registry: handle(func(ctx context.Context, job *warren.Job[mail]) error {
			select {
			case <-ctx.Done():
			case <-finish:
				return nil
			}
			if job.Args.To == "obstinate" {
				return nil // it has done its work all the same
			}
			causes <- context.Cause(ctx)
			return warren.RetryAfter(time.Hour, ctx.Err())
		})}
		cfg.Heartbeat.Every = 50 * time.Millisecond
		c := consumerOf(t, cfg)
		ids := []jobstore.ID{publish(t, c.Client(), "ada"), publish(t, c.Client(), "obstinate"), publish(t, c.Client(), "bob")}
		for _, id := range ids {
			awaitState(t, store, id, jobstore.Processing)
		}
		got, err := store.AskCancel(t.Context(), append(ids[:2:2], 1<<40))
		if err != nil || len(got.Done) != 2 || len(got.Refused) != 1 {
			t.Fatalf("asked: %+v, %v", got, err)
		}
		job := awaitState(t, store, ids[0], jobstore.Cancelled)
		if cause := <-causes; !errors.Is(cause, warren.ErrCancelled) || job.Attempts != 1 || job.Error == "" {
			t.Errorf("cause %v, attempts %d, error %q", cause, job.Attempts, job.Error)
		}
		awaitState(t, store, ids[1], jobstore.Finished)
		if job, err := store.Get(t.Context(), ids[2]); err != nil || job.State != jobstore.Processing {
			t.Errorf("the job beside it is %s (%v)", job.State, err)
		}
		close(finish)
		awaitState(t, store, ids[2], jobstore.Finished)
	})
}
