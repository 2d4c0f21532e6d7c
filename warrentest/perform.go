package warrentest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/sqlite"
)

// PerformOpts says more about the attempt of Perform. The zero value is the first attempt of a job
// that takes every default.
type PerformOpts struct {
	// Attempt is which attempt of the job this is, from 1, the default, to its max attempts.
	Attempt int
	// Kind is what the program registers the handler with: timeout, backoff, middleware and so on.
	Kind warren.KindOpts
	// Job is what the job was published with: metadata, tags, max attempts and so on. Its delay has
	// passed.
	Job warren.PublishOpts
	// Batch lets the job be the only member of a batch, and Chain the first step of a chain: see Attempt.Flow.
	Batch, Chain bool
	// Env is of the installation that the attempt runs in.
	Env Opts
}

// Perform runs one attempt of a handler and tells what came of it. The attempt takes the real way:
// args are encoded and decoded, the job is claimed, a panic is caught, the timeout counts, and the
// outcome is decided and recorded. At most one PerformOpts counts.
func Perform[A warren.Args](tb testing.TB, h warren.Handler[A], args A, opts ...PerformOpts) Attempt {
	tb.Helper()
	var o PerformOpts
	if len(opts) > 0 {
		o = opts[0]
	}
	o.Env.Inline = false // it would run before its attempts are set
	var registry warren.Registry
	warren.Register(&registry, h, o.Kind)
	env := New(tb, &registry, o.Env)
	ctx, cancel := env.patience()
	defer cancel()
	attempt, err := env.perform(ctx, args, o)
	if err != nil {
		tb.Fatalf("warrentest: perform: %v", err)
		return Attempt{} // for a TB whose Fatalf returns
	}
	return *attempt
}

// PerformFunc is Perform for a plain function.
func PerformFunc[A warren.Args](tb testing.TB, f func(ctx context.Context, job *warren.Job[A]) error, args A, opts ...PerformOpts) Attempt {
	tb.Helper()
	return Perform(tb, warren.HandlerFunc[A](f), args, opts...)
}

// perform publishes a job and runs one attempt of it.
func (e *Env) perform(ctx context.Context, args warren.Args, o PerformOpts) (*Attempt, error) {
	id, err := e.publish(ctx, args, o)
	if err != nil {
		return nil, err
	}
	job, err := e.store.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if o.Attempt != 0 {
		if err := e.setAttempt(ctx, &job, o.Attempt); err != nil {
			return nil, err
		}
	}
	e.advanceTo(job.AvailableAt)
	attempt, err := e.next(ctx)
	if err == nil && attempt == nil {
		err = errors.New("the job did not run") // a hook that has changed its row, say
	}
	return attempt, err
}

// publish makes the job of an attempt, alone or in a flow.
func (e *Env) publish(ctx context.Context, args warren.Args, o PerformOpts) (jobstore.ID, error) {
	item := warren.Item{Args: args, Opts: o.Job}
	var f warren.Flow
	switch {
	case o.Batch:
		f = warren.Batch("test", item)
	case o.Chain:
		f = warren.Chain(item)
	default:
		published, err := e.client.Publish(ctx, args, o.Job)
		return published.ID, err
	}
	if _, err := e.client.PublishFlow(ctx, f); err != nil {
		return 0, err
	}
	jobs, err := e.store.List(ctx, jobstore.Filter{Limit: 1}) // it is the only one there is
	if err != nil || len(jobs) == 0 {
		return 0, err
	}
	return jobs[0].ID, nil
}

// setAttempt lets the next attempt of a job have a number.
func (e *Env) setAttempt(ctx context.Context, job *jobstore.Job, number int) error {
	if number < 1 || job.MaxAttempts > 0 && number > job.MaxAttempts {
		return fmt.Errorf("attempt %d does not happen: a job of kind %s has attempts 1 to %d; change Kind.MaxAttempts or Job.MaxAttempts",
			number, job.Kind, job.MaxAttempts)
	}
	return e.store.InTx(ctx, func(ctx context.Context, tx jobstore.Tx) error {
		own, err := sqlite.From(tx)
		if err != nil {
			return err
		}
		_, err = own.ExecContext(ctx, "UPDATE jobs SET attempts = ?1 WHERE id = ?2", number-1, job.ID)
		return err
	})
}
