package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The peers.
const (
	river = "river"
	asynq = "asynq"
)

// contender is a system under test. All are driven by the same code, in this process, one at a time.
type contender interface {
	name() string
	// database names the tables; two modes of one system may share them.
	database() string
	// programs are the server processes whose CPU time counts.
	programs() []string
	// plays reports whether the system has what a test needs.
	plays(test string) bool
	// settings are those worth trying for a test. The best is kept.
	settings(test string) []setting
	// use takes a setting for what follows.
	use(ctx context.Context, s setting) error
	// reset empties the tables but for so many finished jobs, and gathers their statistics.
	reset(ctx context.Context, finished int) error
	// settle brings the statistics up to date, and writes out what would else be written while it is measured.
	settle(ctx context.Context) error
	insert(ctx context.Context, a args) error
	// insertMany publishes n jobs in one call; fast by the quickest way there is.
	insertMany(ctx context.Context, n int, fast bool) error
	// flushed waits until what goes on in the background of inserting is over.
	flushed(ctx context.Context) error
	// work starts a consumer and returns when it is ready. stop returns when it is gone.
	work(ctx context.Context, handle func(args)) (stop func() error, err error)
	// unfinished reports whether a job has no recorded outcome yet.
	unfinished(ctx context.Context) (bool, error)
	close()
}

// setting is what River is swept over. Other contenders have one.
type setting struct {
	Workers  int           `json:"workers,omitempty"`
	Cooldown time.Duration `json:"fetch_cooldown,omitempty"`
	Poll     time.Duration `json:"fetch_poll_interval,omitempty"`
	Conns    int           `json:"connections,omitempty"`
	Note     string        `json:"note,omitempty"` // how it was found, where that is not as it should be
}

// fetchesLike reports whether only the numbers of workers and connections differ.
func (s setting) fetchesLike(other setting) bool {
	return s.Cooldown == other.Cooldown && s.Poll == other.Poll
}

func (s setting) String() string {
	var parts []string
	if s.Workers > 0 {
		parts = append(parts, fmt.Sprintf("%d workers", s.Workers))
	}
	if s.Cooldown > 0 {
		parts = append(parts, fmt.Sprintf("FetchCooldown %s", s.Cooldown))
	}
	if s.Poll > 0 {
		parts = append(parts, fmt.Sprintf("FetchPollInterval %s", s.Poll))
	}
	if s.Conns > 0 {
		parts = append(parts, fmt.Sprintf("%d connections", s.Conns))
	}
	if s.Note != "" {
		parts = append(parts, s.Note)
	}
	return strings.Join(parts, ", ")
}

// kind is that of every job.
const kind = "bench"

// argsBytes is how long the args of a job are as JSON.
const argsBytes = 200

// args are the args of every job.
type args struct {
	Sent int64  `json:"sent"` // when it was published, in Unix nanoseconds
	Pad  string `json:"pad"`
}

// Kind implements warren.Args and river.JobArgs.
func (args) Kind() string { return kind }

// newArgs are args of argsBytes.
func newArgs() args {
	a := args{Sent: time.Now().UnixNano()}
	bare, err := json.Marshal(a)
	if err != nil {
		panic(err) // two plain fields
	}
	a.Pad = strings.Repeat("x", argsBytes-len(bare))
	return a
}

// counter counts handled jobs.
type counter struct {
	want  int64
	n     atomic.Int64
	first atomic.Int64 // when the first began, in Unix nanoseconds
	done  chan struct{}
	once  sync.Once
}

func newCounter(want int) *counter { return &counter{want: int64(want), done: make(chan struct{})} }

func (c *counter) handle(args) {
	n := c.n.Add(1)
	if n == 1 {
		c.first.Store(time.Now().UnixNano())
	}
	if n >= c.want {
		c.once.Do(func() { close(c.done) })
	}
}

// handled waits until all jobs were handled.
func (c *counter) handled(ctx context.Context) error {
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d of %d jobs were handled: %w", c.n.Load(), c.want, ctx.Err())
	}
}

// finished waits until all jobs were handled, and their outcomes are committed.
func (c *counter) finished(ctx context.Context, who contender) error {
	if err := c.handled(ctx); err != nil {
		return err
	}
	return until(ctx, func() (bool, error) {
		left, err := who.unfinished(ctx)
		return !left, err
	})
}

// atWork starts a consumer and returns when it has done a first job, which handle does not see: what comes then does
// not wait for the consumer's start.
func atWork(ctx context.Context, c contender, handle func(args)) (stop func() error, err error) {
	first := newCounter(1)
	var begun atomic.Bool
	stop, err = c.work(ctx, func(a args) {
		if begun.Load() {
			handle(a)
		} else {
			first.handle(a)
		}
	})
	if err != nil {
		return nil, err
	}
	if err := c.insert(ctx, newArgs()); err != nil {
		return nil, errors.Join(err, stop())
	}
	if err := first.finished(ctx, c); err != nil {
		return nil, errors.Join(err, stop())
	}
	begun.Store(true)
	return stop, nil
}
