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

// A handler that stops its consumer says with the error inside what becomes of the job. Then what runs
// comes to its end, nothing more is taken, and Run returns nil: the program exits 0.
func TestStop(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]struct {
		inside   error
		state    jobstore.State
		attempts int
	}{
		"bare":        {nil, jobstore.PermanentlyFailed, 1},
		"temporary":   {errors.New("the disk is full"), jobstore.TemporarilyFailed, 1},
		"permanent":   {warren.Permanent(errors.New("no")), jobstore.PermanentlyFailed, 1},
		"wait":        {warren.Wait(time.Hour, errors.New("later")), jobstore.Waiting, 0},
		"retry after": {warren.RetryAfter(time.Hour, errors.New("busy")), jobstore.TemporarilyFailed, 1},
		"skip":        {warren.Skip("not needed"), jobstore.Finished, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
				t.Helper()
				stopping(t, store, b, end.inside, end.state, end.attempts)
			})
		})
	}
}

func stopping(t *testing.T, store *postgres.Store, b broker.Broker, inside error, state jobstore.State, attempts int) {
	t.Helper()
	say, begun, finish := make(chan struct{}), make(chan struct{}), make(chan struct{})
	r := handle(func(_ context.Context, job *warren.Job[mail]) error {
		switch job.Args.To {
		case "stop":
			<-say
			return warren.StopConsumer(inside)
		case "other":
			close(begun)
			<-finish
		}
		return nil
	})
	c, err := warren.NewConsumer(warren.ConsumerConfig{
		Store: store, Broker: b, Registry: r, Concurrency: 2, Sweep: quick(), Log: testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Run(t.Context()) }()
	stop, other := publish(t, c.Client(), "stop"), publish(t, c.Client(), "other")
	awaitState(t, store, stop, jobstore.Processing)
	select {
	case <-begun: // what is only claimed is handed back
	case <-time.After(patience):
		t.Fatal("the other job did not begin")
	}
	rest := publish(t, c.Client(), "rest")
	close(say)
	if job := awaitState(t, store, stop, state); job.Attempts != attempts {
		t.Errorf("the job that stopped its consumer has %d attempts, want %d", job.Attempts, attempts)
	}
	select {
	case err := <-done:
		t.Fatalf("Run returned %v while a handler runs", err)
	default:
	}
	close(finish)
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Run did not return")
	}
	if job, err := store.Get(t.Context(), other); err != nil || job.State != jobstore.Finished || job.Attempts != 1 {
		t.Errorf("what ran beside it is %s (%v)", job.State, err)
	}
	if job, err := store.Get(t.Context(), rest); err != nil || job.State != jobstore.Ready || job.Attempts != 0 {
		t.Errorf("what had not started is %s with %d attempts (%v)", job.State, job.Attempts, err)
	}
}
