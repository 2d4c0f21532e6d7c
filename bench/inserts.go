package main

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// bulkSize is how many jobs a call of the bulk tests publishes.
const bulkSize = 1000

// insertTests measure publishing alone: no consumer runs. The clock stops at the last commit; CPU time counts until
// what goes on in the background, such as announcing, is over too.
func insertTests() []test {
	singles := func(name, what string, callers, full, quick int) test {
		return test{
			name: name, what: what, unit: perSecond, figures: []string{name}, like: "insert16",
			run: func(ctx context.Context, p *plan, c contender) (sample, error) {
				return inserting(ctx, c, p.size(full, quick), func(ctx context.Context, n int) error { return insertSingly(ctx, c, n, callers) })
			},
		}
	}
	bulk := func(name, what string, fast bool) test {
		return test{
			name: name, what: what, unit: perSecond, figures: []string{name},
			run: func(ctx context.Context, p *plan, c contender) (sample, error) {
				return inserting(ctx, c, p.size(200_000, 20_000), func(ctx context.Context, n int) error { return insertBulk(ctx, c, n, fast) })
			},
		}
	}
	return []test{
		singles("insert1", "publish one by one, 1 caller", 1, 3_000, 800),
		singles("insert16", "publish one by one, 16 callers", 16, 20_000, 4_000),
		singles("insert64", "publish one by one, 64 callers", 64, 20_000, 4_000),
		bulk("bulk", "publish 1000 a call (River: InsertMany)", false),
		bulk("bulk_fast", "publish 1000 a call (River: InsertManyFast)", true),
	}
}

func inserting(ctx context.Context, c contender, n int, publish func(context.Context, int) error) (sample, error) {
	return timed(c, n, func() error { return publish(ctx, n) }, func() error { return c.flushed(ctx) })
}

// insertSingly publishes n jobs from a number of callers at once.
func insertSingly(ctx context.Context, c contender, n, callers int) error {
	var taken atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range callers {
		g.Go(func() error {
			for taken.Add(1) <= int64(n) {
				if err := c.insert(ctx, newArgs()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func insertBulk(ctx context.Context, c contender, n int, fast bool) error {
	for n > 0 {
		some := min(n, bulkSize)
		if err := c.insertMany(ctx, some, fast); err != nil {
			return err
		}
		n -= some
	}
	return nil
}
