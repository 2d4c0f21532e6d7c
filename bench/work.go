package main

import (
	"context"
	"errors"
	"time"
)

// workTests measure consuming. The clock stops when the last outcome is committed.
func workTests() []test {
	return []test{
		{
			name: "work", weight: 5, what: "work off jobs that wait", unit: perSecond, figures: []string{"work"},
			run: func(ctx context.Context, p *plan, c contender) (sample, error) {
				return working(ctx, c, p.size(100_000, 10_000))
			},
		},
		{
			name: "e2e_bulk", weight: 4, what: "publish 1000 a call and work off, at the same time", unit: perSecond, figures: []string{"e2e_bulk"}, like: "work",
			run: func(ctx context.Context, p *plan, c contender) (sample, error) {
				return endToEnd(ctx, c, p.size(100_000, 10_000), func(ctx context.Context, n int) error { return insertBulk(ctx, c, n, true) })
			},
		},
		{
			name: "e2e_singles", weight: 3, what: "publish one by one from 64 callers and work off, at the same time", unit: perSecond, figures: []string{"e2e_singles"}, like: "work",
			run: func(ctx context.Context, p *plan, c contender) (sample, error) {
				return endToEnd(ctx, c, p.size(40_000, 4_000), func(ctx context.Context, n int) error { return insertSingly(ctx, c, n, 64) })
			},
		},
		{
			name: "history", weight: 7, what: "work off jobs that wait, beside 10 M finished ones (quick: 1 M)", unit: perSecond, figures: []string{"history"}, like: "work", asLike: true,
			finished: func(p *plan) int { return p.size(10_000_000, 1_000_000) },
			run: func(ctx context.Context, p *plan, c contender) (sample, error) {
				return working(ctx, c, p.size(100_000, 10_000))
			},
		},
		{
			name: "pending", weight: 3, what: "work off the first 100,000 of 1 M jobs that wait (quick: 10,000 of 100,000)", unit: perSecond, figures: []string{"pending"},
			like: "work", asLike: true, rounds: 1,
			run: func(ctx context.Context, p *plan, c contender) (sample, error) {
				many, n := p.size(1_000_000, 100_000), p.size(100_000, 10_000)
				if own, ok := c.(*ours); ok && own.alone {
					many = n
				}
				return firstOf(ctx, c, many, n)
			},
		},
	}
}

// firstOf has many jobs wait, and measures how soon the first n of them have been handled.
func firstOf(ctx context.Context, c contender, many, n int) (sample, error) {
	for left := many; left > 0; left -= 50_000 { // so that nothing announces more than it may hold
		if err := errors.Join(insertBulk(ctx, c, min(left, 50_000), true), c.flushed(ctx)); err != nil {
			return sample{}, err
		}
	}
	if err := c.settle(ctx); err != nil {
		return sample{}, err
	}
	return consuming(ctx, c, n, func(count *counter, ctx context.Context, _ contender) error { return count.handled(ctx) })
}

// working has n jobs wait, starts a consumer, and measures from the first handler's start on.
func working(ctx context.Context, c contender, n int) (sample, error) {
	if err := errors.Join(insertBulk(ctx, c, n, true), c.flushed(ctx), c.settle(ctx)); err != nil {
		return sample{}, err
	}
	return consuming(ctx, c, n, (*counter).finished)
}

// consuming starts a consumer and measures from the first handler's start until what is waited for. A consumer's start is
// not what this is about.
func consuming(ctx context.Context, c contender, n int, until func(*counter, context.Context, contender) error) (sample, error) {
	count := newCounter(n)
	var stop func() error
	s, err := timed(c, n, func() (err error) {
		if stop, err = c.work(ctx, count.handle); err != nil {
			return err
		}
		return until(count, ctx, c)
	}, nothing)
	if stop != nil {
		err = errors.Join(err, stop())
	}
	if err == nil {
		s.values[0] = float64(n) / s.ended.Sub(time.Unix(0, count.first.Load())).Seconds()
	}
	return s, err
}

// endToEnd publishes n jobs while a consumer works, and measures from the first publish on.
func endToEnd(ctx context.Context, c contender, n int, publish func(context.Context, int) error) (s sample, err error) {
	count := newCounter(n)
	stop, err := atWork(ctx, c, count.handle)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return timed(c, n, func() error {
		if err := publish(ctx, n); err != nil {
			return err
		}
		return count.finished(ctx, c)
	}, nothing)
}

func nothing() error { return nil }
