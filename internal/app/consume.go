package app

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/handlers/command"
	"github.com/warrenq/warren/internal/lifecycle"
	"github.com/warrenq/warren/internal/sdnotify"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// ConsumerOptions are what `consumer run` adds to the configuration.
type ConsumerOptions struct {
	Queues     []string
	Take       []int
	MaxJobs    int
	UntilEmpty bool
	EmptyFor   time.Duration
	Force      bool // go on while everything is paused
	MaxTime    time.Duration
	MaxMemory  int64
	MaxStuck   int
	// Pools names those that run; none: all that are not paused. NoPools runs none of them, but one consumer.
	Pools   []string
	NoPools bool
	// Second, when closed, hands back at once what still runs.
	Second <-chan struct{}
	// Listen is where probes and metrics are served; "" = nowhere. Profiles adds pprof there.
	Listen   string
	Profiles bool
	// Metrics makes what is served as metrics; nil = probes only.
	Metrics func(MetricsConfig) Metrics
	// Systemd is told how the consumer is doing.
	Systemd sdnotify.Notifier
	// Observer is told what happens too; nil = nobody.
	Observer warren.Observer
	// Before are parts that begin before the consumer and end after it.
	Before []lifecycle.Part
	// Publishing makes parts that publish over the consumer's client: they begin after it and end
	// before it. nil = none.
	Publishing func(client *warren.Client) []lifecycle.Part
}

// Consume runs jobs until ctx ends or a limit of o is reached.
func (a *App) Consume(ctx context.Context, o ConsumerOptions) error {
	b, err := a.Broker() //nolint:contextcheck // it connects to nothing; its Run gets a context
	if err != nil {
		return err
	}
	w := a.watch(o, b)
	crew, err := a.crew(o, w) //nolint:contextcheck // it starts nothing; its Run gets a context
	if err != nil {
		return err
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-o.Second:
			crew.Release()
		case <-done:
		}
	}()
	err = w.run(ctx, crew)
	command.KillAll()
	if err == nil {
		a.Log.Info("drained", zap.String("reason", crew.reason()))
	}
	return err
}

// Process is one pass: without a broker everything due runs, with one a single sweep offers what
// is due to the consumers.
func (a *App) Process(ctx context.Context, limit int, second <-chan struct{}) error {
	b, err := a.Broker() //nolint:contextcheck // it connects to nothing; its Run gets a context
	if err != nil {
		return err
	}
	if b == nil {
		return a.Consume(ctx, ConsumerOptions{MaxJobs: limit, UntilEmpty: true, NoPools: true, Second: second})
	}
	w := a.watch(ConsumerOptions{}, nil)
	a.observer = w
	return w.around(ctx, nil, func(ctx context.Context) error {
		return a.Publishing(ctx, announceWait, func(ctx context.Context, client *warren.Client) error {
			if err := client.Schedules(a.Store).Declare(ctx, a.Config.Schedules...); err != nil {
				return err
			}
			return client.SweepOnce(ctx, a.Store, a.Config.Retention)
		})
	})
}

// announceWait is how long a pass waits for the broker before it leaves the rest to the next one.
const announceWait = 2 * time.Second

// HeldError says that another process is at it.
type HeldError struct{ Name string }

func (e *HeldError) Error() string {
	return fmt.Sprintf("another %q is running; try again when it has ended", e.Name)
}

// exclusiveTTL is how long the lease of a pass lasts: a process that was killed blocks the next
// ones no longer than that.
const exclusiveTTL = 20 * time.Second

// Exclusively runs fn while no other process runs the same name, or returns a HeldError at once.
// When the lease cannot be kept, fn's context ends.
func (a *App) Exclusively(ctx context.Context, name string, fn func(ctx context.Context) error) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	// The process id alone could be another's after a reboot, or in another container.
	self := fmt.Sprintf("%s:%d:%x", host, os.Getpid(), rand.Uint32())
	_, ok, err := a.Store.Lead(ctx, name, self, exclusiveTTL)
	if err != nil {
		return err
	}
	if !ok {
		return &HeldError{Name: name}
	}
	ctx, cancel := context.WithCancel(ctx)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		a.renew(ctx, cancel, name, self)
	}()
	err = fn(ctx)
	cancel()
	<-renewed
	bye, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer stop()
	return errors.Join(err, a.Store.Resign(bye, name, self))
}

// renew keeps the lease until ctx ends, and ends it when the lease was lost.
func (a *App) renew(ctx context.Context, cancel context.CancelFunc, name, self string) {
	good := time.Now()
	for worker.Sleep(ctx, exclusiveTTL/4) == nil {
		sent := time.Now()
		_, ok, err := a.Store.Lead(ctx, name, self, exclusiveTTL)
		switch {
		case err == nil && ok:
			good = sent
		case err == nil, time.Since(good) > exclusiveTTL-2*time.Second:
			a.Log.Warn("lost the lease of this pass; stopping", zap.String("lease", name), zap.Error(err))
			cancel()
			return
		}
	}
}

// jobLog is Config.MaxJobLog as a consumer takes it.
func (a *App) jobLog() int64 {
	if a.Config.MaxJobLog == 0 {
		return -1 // where 0 is the default
	}
	return a.Config.MaxJobLog
}

// Files is where the content of jobs' files is.
func (a *App) Files() jobstore.FileStore {
	if a.Config.FilesDir == "" {
		return a.Store
	}
	return warren.FileDir(a.Config.FilesDir)
}
