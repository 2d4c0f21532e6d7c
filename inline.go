package warren

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// Publisher is what code needs that publishes and does not care how: a Client, an Inline or a Discard.
type Publisher interface {
	Publish(ctx context.Context, args Args, opts ...PublishOpts) (Published, error)
	PublishRaw(ctx context.Context, kind string, args any, opts ...PublishOpts) (Published, error)
	PublishMany(ctx context.Context, items []Item) ([]Published, error)
}

var (
	_ Publisher = (*Client)(nil)
	_ Publisher = (*Inline)(nil)
	_ Publisher = (*Discard)(nil)
)

// InlineConfig is how an Inline or a Discard is made. An Inline needs a Registry. The fields are as in ClientConfig.
type InlineConfig struct {
	Registry     *Registry
	Priorities   []int
	DefaultQueue string
	MaxArgs      int
	Keys         *KeyRing
	PublishHooks []PublishHook
	Log          *zap.Logger
}

func (c InlineConfig) rules() (rules, *zap.Logger, error) {
	full := ClientConfig{
		Registry: c.Registry, Priorities: c.Priorities, DefaultQueue: c.DefaultQueue, MaxArgs: c.MaxArgs, Keys: c.Keys,
		PublishHooks: c.PublishHooks, Log: c.Log,
	}.withDefaults()
	errs := []error{checkPriorities(full.Priorities), checkQueue(full.DefaultQueue)}
	if c.Registry != nil {
		errs = append(errs, c.Registry.err)
	}
	return full.rules(), full.Log, errors.Join(errs...)
}

// Inline runs jobs when they are published, in the goroutine that publishes them and without a database: for
// command lines, scripts and development. Checks, middleware, panics and timeouts are those of a consumer.
// What needs rows is not there: a job runs now whatever its time, its key and its group, once whatever its error, with
// no guards, and nothing of it is kept. warrentest runs jobs inline with a database.
type Inline struct {
	rules rules
	kinds map[string]worker.Kind
	log   *zap.Logger
	last  atomic.Int64
}

// NewInline makes an Inline.
func NewInline(cfg InlineConfig) (*Inline, error) {
	if cfg.Registry == nil {
		return nil, errors.New("no registry is given; an Inline runs the handlers that are registered in it")
	}
	r, log, err := cfg.rules()
	if err != nil {
		return nil, err
	}
	return &Inline{rules: r, kinds: cfg.Registry.workers(guarding{}, cfg.Keys, nil), log: log}, nil
}

// Publish runs a job. Its error is the handler's, whatever its class, and State says what would have become of the
// job: FINISHED, TEMPORARILY_FAILED, WAITING or PERMANENTLY_FAILED. Numbers count from 1.
func (c *Inline) Publish(ctx context.Context, args Args, opts ...PublishOpts) (Published, error) {
	return c.PublishRaw(ctx, args.Kind(), args, opts...)
}

// PublishRaw is Publish for a kind without a Go type.
func (c *Inline) PublishRaw(ctx context.Context, kind string, args any, opts ...PublishOpts) (Published, error) {
	done, err := c.PublishMany(ctx, []Item{{Kind: kind, Args: args, Opts: firstOpts(opts)}})
	if len(done) == 0 {
		return Published{}, err
	}
	return done[0], err
}

// PublishMany runs jobs in order. When one fails the rest is run all the same; errors are joined, and name the index.
func (c *Inline) PublishMany(ctx context.Context, items []Item) ([]Published, error) {
	jobs, err := c.rules.newJobs(ctx, items)
	if err != nil {
		return nil, err
	}
	for i := range jobs {
		if _, known := c.kinds[jobs[i].Kind]; !known {
			return nil, invalidJobError{inField("kind", fmt.Errorf("kind %s has no handler here, and an Inline has nobody else to run it", jobs[i].Kind))}
		}
	}
	done := make([]Published, len(jobs))
	var errs []error
	for i := range jobs {
		var failed error
		if done[i], failed = c.run(ctx, &jobs[i]); failed != nil && len(jobs) > 1 {
			failed = &ItemError{Index: i, Err: failed}
		}
		errs = append(errs, failed)
	}
	return done, errors.Join(errs...)
}

func (c *Inline) run(ctx context.Context, j *jobstore.NewJob) (Published, error) {
	kind := c.kinds[j.Kind]
	now := time.Now()
	row := jobstore.Job{
		ID: jobstore.ID(c.last.Add(1)), Queue: j.Queue, Priority: j.Priority, Kind: j.Kind, Args: j.Args, State: jobstore.Processing,
		SerialGroup: j.SerialGroup, Coalesce: j.Coalesce, Identifier: j.Identifier, Mode: j.Mode, Every: j.Every, Attempts: 1,
		MaxAttempts: j.MaxAttempts, LeaseNo: 1, AvailableAt: now, CreatedAt: now, AttemptedAt: &now, Timeout: j.Timeout,
		Metadata: j.Metadata, Tags: j.Tags,
	}
	timeout := j.Timeout
	if timeout == 0 {
		timeout = kind.Timeout
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, ErrTimeout)
		defer cancel()
	}
	err := caught(worker.WithScope(ctx, worker.NewScope(&row, c.log)), kind.Handle, &row)
	outcome := worker.Decide(&jobstore.Lease{Job: row}, err, worker.Cause(ctx), kind.Policy).Outcome
	if outcome.State == jobstore.Finished {
		err = nil // done, or skipped
	}
	return Published{ID: row.ID, State: outcome.State, Queue: row.Queue, Priority: row.Priority}, err
}

// caught calls a handler; a panic is an error.
func caught(ctx context.Context, handle worker.Handler, job *jobstore.Job) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = worker.NewPanicError(v)
		}
	}()
	return handle(ctx, job)
}

// Discard checks jobs and drops them: for programs that are to publish nothing, a rehearsal say.
type Discard struct{ rules rules }

// NewDiscard makes a Discard.
func NewDiscard(cfg InlineConfig) (*Discard, error) {
	r, _, err := cfg.rules()
	if err != nil {
		return nil, err
	}
	return &Discard{rules: r}, nil
}

// Publish checks a job as a Client does. What it returns has no number, and is CANCELLED.
func (c *Discard) Publish(ctx context.Context, args Args, opts ...PublishOpts) (Published, error) {
	return c.PublishRaw(ctx, args.Kind(), args, opts...)
}

// PublishRaw is Publish for a kind without a Go type.
func (c *Discard) PublishRaw(ctx context.Context, kind string, args any, opts ...PublishOpts) (Published, error) {
	done, err := c.PublishMany(ctx, []Item{{Kind: kind, Args: args, Opts: firstOpts(opts)}})
	if err != nil {
		return Published{}, err
	}
	return done[0], nil
}

// PublishMany checks jobs.
func (c *Discard) PublishMany(ctx context.Context, items []Item) ([]Published, error) {
	jobs, err := c.rules.newJobs(ctx, items)
	if err != nil {
		return nil, err
	}
	done := make([]Published, len(jobs))
	for i := range jobs {
		done[i] = Published{State: jobstore.Cancelled, Queue: jobs[i].Queue, Priority: jobs[i].Priority}
	}
	return done, nil
}
