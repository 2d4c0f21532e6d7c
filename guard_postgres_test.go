package warren_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// threeConsumers run the same kinds over the same rows.
func threeConsumers(t *testing.T, store *postgres.Store, b broker.Broker, r *warren.Registry) {
	t.Helper()
	for i := range 3 {
		own := b
		if i > 0 && b != nil { // one Broker value belongs to one consumer
			own = again(t, b)
		}
		consumerOf(t, warren.ConsumerConfig{Store: store, Broker: own, Registry: r})
	}
}

func publishMany(t *testing.T, store *postgres.Store, n int) {
	t.Helper()
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	items := make([]warren.Item, n)
	for i := range items {
		items[i].Args = mail{}
	}
	if _, err := client.PublishMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
}

// ints is the one row of a query, as numbers.
func ints(t *testing.T, store *postgres.Store, sql string, into ...any) {
	t.Helper()
	err := store.InTx(t.Context(), func(ctx context.Context, own jobstore.Tx) error {
		tx, err := postgres.From(own)
		if err != nil {
			return err
		}
		return tx.QueryRow(ctx, sql).Scan(into...)
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Three consumers keep a limit of 50 a second together, by the database's clock: in no span of time do more
// begin than that and the burst, and while there are jobs to run the limit is used. Every job is claimed
// at most twice: once to learn its moment, and once to run.
func TestRateLimitOverThreeConsumers(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		const jobs, rate, burst = 600, 50, 10
		exec(t, store, "CREATE TABLE starts (at timestamptz NOT NULL DEFAULT clock_timestamp())")
		var r warren.Registry
		warren.RegisterFunc(&r, func(ctx context.Context, _ *warren.Job[mail]) error {
			return store.InTx(ctx, func(ctx context.Context, own jobstore.Tx) error {
				tx, err := postgres.From(own)
				if err == nil {
					_, err = tx.Exec(ctx, "INSERT INTO starts DEFAULT VALUES")
				}
				return err
			})
		}, warren.KindOpts{Guards: warren.Guards{RateLimits: []warren.RateLimit{{Name: "api", Limit: warren.PerSecond(rate).WithBurst(burst)}}}})
		publishMany(t, store, jobs)
		threeConsumers(t, store, b, &r)
		await(t, "all jobs to end", func() bool {
			s, err := store.Stats(t.Context())
			return err == nil && s.Total[jobstore.Finished] == jobs
		})
		var worst, within, millis, claims, counted int64
		// worst is the excess of the worst span: what began in it beyond what the rate allows.
		ints(t, store, `WITH s AS (SELECT at, row_number() OVER (ORDER BY at) AS n, extract(epoch FROM at)::float8 AS t FROM starts),
			e AS (SELECT n - t * 50 AS ahead, min((n - 1) - t * 50) OVER (ORDER BY at) AS least FROM s)
			SELECT (SELECT max(ceil(ahead - least)) FROM e)::bigint,
			(SELECT count(*) FROM s WHERE at >= (SELECT min(at) + interval '1 s' FROM s) AND at < (SELECT min(at) + interval '11 s' FROM s)),
			(SELECT extract(epoch FROM max(at) - min(at)) * 1000 FROM s)::bigint,
			(SELECT sum(lease_no)::bigint FROM warren.jobs), (SELECT max(attempts) FROM warren.jobs)`, &worst, &within, &millis, &claims, &counted)
		t.Logf("%d began in 10 s (%d); at most %d more than the rate in any span (burst %d); all %d in %d ms",
			within, 10*rate, worst, burst, jobs, millis)
		// A second of the rate is for the time between a job's admission and its row here, on a machine
		// that is busy with other tests.
		if worst > burst+rate {
			t.Errorf("in some span %d more than the rate began; the burst is %d", worst, burst)
		}
		// It is within 2 % on a machine that does nothing else; beside all other tests it only has to go on.
		if within < 10*rate/2 || within > 10*rate+burst+rate {
			t.Errorf("%d began in 10 s", within)
		}
		// Twice each, and more for those that a slow consumer has handed back.
		if claims > 3*jobs || counted > 1 {
			t.Errorf("%d jobs were claimed %d times; the most attempts that counted are %d", jobs, claims, counted)
		}
	})
}

// Jobs of one lock never run at a time, or never more than it has places, over three consumers; and those
// that wait go on as soon as a place is free.
func TestLockOverThreeConsumers(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		const jobs, places = 60, 3
		var running atomic.Int64
		var mu sync.Mutex
		var most int64
		var r warren.Registry
		warren.RegisterFunc(&r, func(ctx context.Context, _ *warren.Job[mail]) error {
			now := running.Add(1)
			defer running.Add(-1)
			mu.Lock()
			most = max(most, now)
			mu.Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
			return nil
		}, warren.KindOpts{Guards: warren.Guards{Locks: []warren.Lock{{Name: "printer", Places: places, Retry: time.Second}}}})
		publishMany(t, store, jobs)
		threeConsumers(t, store, b, &r)
		await(t, "all jobs to end", func() bool {
			s, err := store.Stats(t.Context())
			return err == nil && s.Total[jobstore.Finished] == jobs
		})
		mu.Lock()
		defer mu.Unlock()
		if most > places {
			t.Errorf("%d ran at a time in %d places", most, places)
		}
		var attempts, left int64
		ints(t, store, "SELECT (SELECT max(attempts) FROM warren.jobs), (SELECT count(*) FROM warren.job_locks WHERE held)", &attempts, &left)
		if attempts != 1 || left != 0 {
			t.Errorf("%d attempts were counted, %d places are left taken", attempts, left)
		}
	})
}
