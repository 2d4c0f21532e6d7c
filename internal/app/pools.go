package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/internal/lifecycle"
)

// member is one consumer of a process.
type member struct {
	pool string // "" when there are no pools
	*warren.Consumer
}

// crew are the consumers of a process: one, or one a pool. They share the store, the broker's connections, and
// everything that watches them; each has its slots and its lease.
type crew struct {
	members []member
	broker  broker.Broker // that the members borrow; nil = none, or the only member's own
	log     *zap.Logger
}

// borrowed is a broker that somebody else runs.
type borrowed struct{ broker.Broker }

func (borrowed) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// crew makes the consumers that o asks for.
func (a *App) crew(o ConsumerOptions, w *watch) (*crew, error) {
	pools, err := a.pools(o)
	if err != nil {
		return nil, err
	}
	if len(pools) == 0 {
		only, err := a.consumer(o, w, w.broker, a.alone(o))
		if err != nil {
			return nil, err
		}
		return &crew{members: []member{{Consumer: only}}, log: a.Log}, nil
	}
	c := &crew{broker: w.broker, log: a.Log}
	shared := w.broker
	if shared != nil {
		shared = borrowed{shared}
	}
	for i := range pools {
		consumer, err := a.consumer(o, w, shared, pools[i])
		if err != nil {
			return nil, usageError{fmt.Errorf("pool %s: %w", pools[i].Name, err)}
		}
		c.members = append(c.members, member{pool: pools[i].Name, Consumer: consumer})
	}
	return c, nil
}

// pools are those that o asks for, and all that are not paused when it names none.
func (a *App) pools(o ConsumerOptions) ([]config.Pool, error) {
	if o.NoPools {
		return nil, nil
	}
	known := a.Config.Pools
	var names []string
	for _, p := range known {
		names = append(names, p.Name)
	}
	for _, name := range o.Pools {
		if !slices.Contains(names, name) {
			return nil, usageError{fmt.Errorf("pool %q is not configured; there are: %s", name, nonEmpty(strings.Join(names, ", "), "none"))}
		}
	}
	if len(known) == 0 {
		return nil, nil
	}
	if len(o.Queues) > 0 || len(o.Take) > 0 || o.MaxJobs > 0 {
		return nil, usageError{fmt.Errorf("there are pools (%s), which say themselves what they take and for how many jobs: leave out --queue, -p, -j and --once, "+
			"or take pools out of the configuration", strings.Join(names, ", "))}
	}
	var run []config.Pool
	for _, p := range known {
		if len(o.Pools) == 0 && !p.Paused || slices.Contains(o.Pools, p.Name) {
			run = append(run, p)
		}
	}
	if len(run) == 0 {
		return nil, usageError{fmt.Errorf("every pool is paused (%s); name one with --pool", strings.Join(names, ", "))}
	}
	return run, nil
}

func nonEmpty(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// alone is the only consumer of a process without pools.
func (a *App) alone(o ConsumerOptions) config.Pool {
	cfg := a.Config
	return config.Pool{
		Queues: o.Queues, Take: o.Take, Concurrency: cfg.Concurrency, Order: cfg.Order, Weights: cfg.Weights, DrainTimeout: cfg.DrainTimeout,
		PollInterval: cfg.PollInterval, MaxJobs: o.MaxJobs,
	}
}

// consumer makes one consumer. What o says of time and memory is about the process, and counts beside what
// the pool says.
func (a *App) consumer(o ConsumerOptions, w *watch, b broker.Broker, p config.Pool) (*warren.Consumer, error) {
	registry, err := a.registry(&p)
	if err != nil {
		return nil, err
	}
	name := strings.Trim(a.Config.Name+"/"+p.Name, "/")
	concurrency := p.Concurrency
	if p.Scale != nil {
		concurrency = 0 // it says that itself
	}
	consumer, err := warren.NewConsumer(warren.ConsumerConfig{
		Observer: w, Name: name,
		Store: a.Store, Broker: b, Registry: registry, Queues: p.Queues, Take: p.Take,
		Order: warren.Order(p.Order), Weights: p.Weights, PollInterval: p.PollInterval,
		Priorities: a.Config.Priorities, DefaultQueue: a.Config.DefaultQueue, MaxArgs: a.Config.MaxArgs,
		HintSize: a.Config.HintSize, Concurrency: concurrency, Scale: p.Scale, MaxJobs: p.MaxJobs, UntilEmpty: o.UntilEmpty, EmptyFor: o.EmptyFor, Force: o.Force,
		MaxTime: least(o.MaxTime, p.MaxTime), MaxMemory: least(o.MaxMemory, p.MaxMemory), MaxStuck: least(o.MaxStuck, p.MaxStuck), MaxJobLog: a.jobLog(), Files: a.Files(), MaxFile: a.Config.MaxFile,
		DrainTimeout: max(p.DrainTimeout, time.Nanosecond), Schedules: a.Config.Schedules,
		Keys: a.keys(), Retention: a.Config.Retention, Version: a.opts.Version, Log: a.Log,
	})
	if err != nil {
		return nil, usageError{err}
	}
	a.Log.Info("consuming", zap.String("name", name), zap.Strings("queues", consumer.Queues()), zap.Ints("priorities", consumer.Priorities()),
		zap.Int("concurrency", p.Concurrency), zap.Strings("kinds", registry.Kinds()), zap.Bool("broker", b != nil))
	return consumer, nil
}

// least is the smaller of two limits of which 0 is none.
func least[T int | int64 | time.Duration](a, b T) T {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// Run runs all members. One that comes to a limit, is told to restart or fails has the others drain as well, so
// that the process ends and is started again; one that has nothing left to do waits for the others.
func (c *crew) Run(ctx context.Context) error {
	if len(c.members) == 1 && c.broker == nil {
		return c.members[0].Run(ctx)
	}
	var parts []lifecycle.Part
	if c.broker != nil {
		parts = append(parts, lifecycle.Part{Name: "broker", Run: c.broker.Run})
	}
	var failed error
	err := lifecycle.Run(ctx, append(parts, lifecycle.Part{Name: "pools", Run: func(ctx context.Context) error {
		failed = c.all(ctx)
		return nil
	}})...)
	return errors.Join(failed, err)
}

func (c *crew) all(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(c.members))
	var running sync.WaitGroup
	for i, m := range c.members {
		running.Go(func() {
			if err := m.Run(ctx); err != nil {
				errs[i] = fmt.Errorf("pool %s: %w", m.pool, err)
			}
			c.log.Info("the pool has ended", zap.String("pool", m.pool), zap.String("reason", string(m.StopReason())))
			if m.StopReason() != warren.StopEmpty {
				stop()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// Release cuts the drain of all members short.
func (c *crew) Release() {
	for _, m := range c.members {
		m.Release()
	}
}

// Alive and Ready are the first complaint of a member.
func (c *crew) Alive() error { return c.first(func(m member) error { return m.Alive() }) }

// Ready implements what a probe asks.
func (c *crew) Ready(ctx context.Context) error {
	return c.first(func(m member) error { return m.Ready(ctx) })
}

func (c *crew) first(ask func(m member) error) error {
	for _, m := range c.members {
		if err := ask(m); err != nil {
			if m.pool != "" {
				return fmt.Errorf("pool %s: %w", m.pool, err)
			}
			return err
		}
	}
	return nil
}

// Queues and Priorities are those of all members.
func (c *crew) Queues() []string {
	return union(c.members, func(m member) []string { return m.Queues() })
}

// Priorities are those of all members.
func (c *crew) Priorities() []int {
	return union(c.members, func(m member) []int { return m.Priorities() })
}

func union[T cmp.Ordered](members []member, of func(m member) []T) (all []T) {
	for _, m := range members {
		all = append(all, of(m)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// reason is why the process ends: the first reason that is not somebody else's.
func (c *crew) reason() string {
	reason := c.members[0].StopReason()
	for _, m := range c.members {
		if r := m.StopReason(); r != warren.StopAsked && r != warren.StopEmpty {
			return string(r)
		}
	}
	return string(reason)
}

// slots is how many handlers run at a time in the process.
func (a *App) slots(o ConsumerOptions) (n int) {
	pools, err := a.pools(o)
	if err != nil || len(pools) == 0 {
		return a.Config.Concurrency
	}
	for _, p := range pools {
		n += p.Concurrency
	}
	return n
}
