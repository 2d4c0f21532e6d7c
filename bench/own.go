package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
)

// limit stands in a peer's place where a figure is compared with what is promised instead: at most so much.
const limit = "limit"

// ownTests measure what is promised whoever else does better or worse. A figure is to stay below its limit.
func ownTests() []test {
	own := func(name, what, unit string, most float64, run func(context.Context, *plan, *ours) (sample, error)) test {
		return test{
			name: name, what: what, unit: unit, lower: true, figures: []string{name}, rounds: 3, most: most,
			run: func(ctx context.Context, p *plan, c contender) (sample, error) { return run(ctx, p, c.(*ours)) }, //nolint:forcetypeassert // nobody else plays
		}
	}
	return []test{
		own("inversions", "5 loaded bands, 8 handlers of 1 ms: jobs that begin while a better one waits", "%", 1, inversions),
		own("spread", "4 idle consumers of 4 slots, 64 jobs of 1 s published in one call: until all have ended", "s", 5, spread),
		own("due", "50 delayed jobs a second while 1 M others are scheduled (quick: 100,000): how late they begin, p99", "ms", 50, dueInTime),
		own("enqueue", "20 calls of warren.enqueue() a second: from the call to the handler's start, p99", "ms", 600, enqueued),
		once(own("backlog", "1 M jobs that wait for a consumer whose slots are taken: rows that are written, in a minute", "rows", 1, backlog)),
		own("processes", "1, 4 and 16 consumers with 200 slots in all: the best rate over the worst", "times", 1.05, consumers), // never below 0.95 of its own best
	}
}

// once is a test of one round.
func once(t test) test {
	t.rounds = 1
	return t
}

// consume starts consumers of so many slots each, and returns when all are ready.
func (w *ours) consume(ctx context.Context, n, slots int, handle func(context.Context, *warren.Job[args]) error) (stop func() error, err error) {
	var stops []func() error
	stop = func() (err error) {
		for _, s := range stops {
			err = errors.Join(err, s())
		}
		return err
	}
	var registry warren.Registry
	warren.RegisterFunc(&registry, handle)
	for range n {
		var b broker.Broker
		if b, err = w.broker(); err != nil {
			return nil, errors.Join(err, stop())
		}
		c, err := warren.NewConsumer(warren.ConsumerConfig{Store: w.store, Broker: b, Registry: &registry, Concurrency: slots})
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		stops = append(stops, background(ctx, c.Run))
		if err := until(ctx, func() (bool, error) { return c.Ready(ctx) == nil, nil }); err != nil {
			return nil, errors.Join(err, stop())
		}
	}
	return stop, nil
}

// inversions has jobs wait in every band before the consumer comes, mixed, and counts those that begin too early.
func inversions(ctx context.Context, p *plan, w *ours) (s sample, err error) {
	n := p.size(20_000, 4_000)
	bands := []int{10, 20, 30, 40, 50}
	items := make([]warren.Item, n)
	for i := range items {
		items[i] = warren.Item{Args: newArgs(), Kind: kind, Opts: warren.PublishOpts{Priority: &bands[i%len(bands)]}}
	}
	for chunk := range slices.Chunk(items, bulkSize) {
		if _, err := w.client.PublishMany(ctx, chunk); err != nil {
			return s, err
		}
	}
	if err := errors.Join(w.flushed(ctx), w.settle(ctx)); err != nil {
		return s, err
	}
	count := newCounter(n)
	var mu sync.Mutex
	var begun []int
	var stop func() error
	s, err = timed(w, n, func() (err error) {
		stop, err = w.consume(ctx, 1, 8, func(ctx context.Context, job *warren.Job[args]) error {
			mu.Lock()
			begun = append(begun, job.Priority)
			mu.Unlock()
			err := wait(ctx, time.Millisecond)
			count.handle(job.Args)
			return err
		})
		if err != nil {
			return err
		}
		return count.finished(ctx, w)
	}, nothing)
	if stop != nil {
		err = errors.Join(err, stop())
	}
	s.values = []float64{100 * float64(early(begun)) / float64(n)}
	return s, err
}

// early counts the jobs that began before the last of a better priority did.
func early(begun []int) (n int) {
	best := 1 << 30
	for _, p := range slices.Backward(begun) {
		if p > best {
			n++
		}
		best = min(best, p)
	}
	return n
}

// spread is what hints of many numbers must not harm: idle consumers share what comes in one call.
func spread(ctx context.Context, _ *plan, w *ours) (s sample, err error) {
	const jobs = 64
	count := newCounter(jobs)
	stop, err := w.consume(ctx, 4, 4, func(ctx context.Context, job *warren.Job[args]) error {
		err := wait(ctx, time.Second)
		count.handle(job.Args)
		return err
	})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	began := time.Now()
	s, err = timed(w, jobs, func() error {
		return errors.Join(w.insertMany(ctx, jobs, false), count.finished(ctx, w))
	}, nothing)
	if err == nil {
		s.values = []float64{s.ended.Sub(began).Seconds()}
	}
	return s, err
}

// dueInTime publishes jobs with delays of half a second and more, beside many that are due some time next year.
func dueInTime(ctx context.Context, p *plan, w *ours) (s sample, err error) {
	_, err = w.pool.Exec(ctx, `INSERT INTO warren.jobs (priority, state, queue, kind, args, available_at)
		SELECT 10, 'SCHEDULED', 'default', $1, $2, now() + interval '1 year' + n * interval '1 s' FROM generate_series(1, $3::int) n`,
		kind, newArgs(), p.size(1_000_000, 100_000))
	if err := errors.Join(err, w.settle(ctx)); err != nil {
		return s, err
	}
	n := int(p.seconds(20, 4) / pace)
	return started(ctx, w, n, pace, func(a args) error {
		delay := 500 * time.Millisecond
		a.Sent += delay.Nanoseconds()
		_, err := w.client.Publish(ctx, a, warren.PublishOpts{Delay: delay})
		return err
	})
}

// backlog counts what is written to the jobs while nothing can begin. The sweep looks for lost hints and for what is due
// all the while.
func backlog(ctx context.Context, p *plan, w *ours) (s sample, err error) {
	_, err = w.pool.Exec(ctx, `INSERT INTO warren.jobs (priority, queue, kind, args) SELECT 10, 'default', $1, $2 FROM generate_series(1, $3::int) n`,
		kind, newArgs(), p.size(1_000_000, 100_000))
	if err := errors.Join(err, w.settle(ctx)); err != nil {
		return s, err
	}
	const slots = 4
	release, begun := make(chan struct{}), newCounter(slots)
	stop, err := w.consume(ctx, 1, slots, func(_ context.Context, job *warren.Job[args]) error {
		begun.handle(job.Args)
		<-release
		return nil
	})
	if err != nil {
		return s, err
	}
	defer func() {
		close(release)
		err = errors.Join(err, stop())
	}()
	span := p.seconds(90, 10)
	// What was claimed ahead is handed back, and counted: an idle backend tells of what it did after ten seconds.
	if err := errors.Join(begun.handled(ctx), wait(ctx, max(span/6, 12*time.Second))); err != nil {
		return s, err
	}
	var before, after float64
	s, err = timed(w, int(span.Seconds()), func() (err error) {
		if before, err = w.written(ctx); err != nil {
			return err
		}
		if err = wait(ctx, span); err != nil {
			return err
		}
		after, err = w.written(ctx)
		return err
	}, nothing)
	s.values = []float64{(after - before) / span.Minutes()}
	return s, err
}

// written is how many rows of jobs were written so far, as far as backends have told.
func (w *ours) written(ctx context.Context) (n float64, err error) {
	err = w.pool.QueryRow(ctx, "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables WHERE relname LIKE 'jobs\\_%'").Scan(&n)
	return n, err
}

// enqueued publishes as a program does that knows SQL and nothing else.
func enqueued(ctx context.Context, p *plan, w *ours) (sample, error) {
	const pace = 50 * time.Millisecond
	return started(ctx, w, int(p.seconds(20, 4)/pace), pace, func(a args) error {
		_, err := w.pool.Exec(ctx, "SELECT warren.enqueue($1, $2)", kind, a)
		return err
	})
}

// started publishes n jobs, one each pace, and says how long after Sent 99 of 100 began.
func started(ctx context.Context, w *ours, n int, pace time.Duration, publish func(args) error) (s sample, err error) {
	var mu sync.Mutex
	var took []float64
	count := newCounter(n)
	var begun atomic.Bool
	first := newCounter(1)
	stop, err := w.work(ctx, func(a args) {
		if !begun.Load() {
			first.handle(a)
			return
		}
		d := time.Since(time.Unix(0, a.Sent))
		mu.Lock()
		took = append(took, float64(d.Microseconds())/1000)
		mu.Unlock()
		count.handle(a)
	})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	// A first job has the consumer awake. Nobody waits for its outcome: jobs that are due next year have none.
	if err := errors.Join(w.insert(ctx, newArgs()), first.handled(ctx)); err != nil {
		return s, err
	}
	begun.Store(true)
	s, err = timed(w, n, func() error {
		t := time.NewTicker(pace)
		defer t.Stop()
		for range n {
			select {
			case <-t.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := publish(newArgs()); err != nil {
				return err
			}
		}
		return count.handled(ctx)
	}, nothing)
	if err == nil {
		mu.Lock()
		defer mu.Unlock()
		s.values = []float64{quantile(took, 0.99)}
	}
	return s, err
}

// consumers works the same jobs off by one, four and sixteen consumers.
func consumers(ctx context.Context, p *plan, w *ours) (s sample, err error) {
	n := p.size(50_000, 10_000)
	var rates []float64
	for _, c := range []int{1, 4, 16} {
		if err := errors.Join(insertBulk(ctx, w, n, true), w.flushed(ctx), w.settle(ctx)); err != nil {
			return s, err
		}
		count, begin := newCounter(n), make(chan struct{})
		stop, err := w.consume(ctx, c, w.slots/c, func(_ context.Context, job *warren.Job[args]) error {
			<-begin // the start of so many consumers is not what this is about
			count.handle(job.Args)
			return nil
		})
		if err != nil {
			return s, err
		}
		s, err = timed(w, n, func() error {
			close(begin)
			return count.finished(ctx, w)
		}, nothing)
		if err := errors.Join(err, stop()); err != nil {
			return s, err
		}
		rates = append(rates, s.values[0])
	}
	s.values = []float64{slices.Max(rates) / slices.Min(rates)}
	return s, nil
}
