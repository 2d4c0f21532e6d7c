package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	queue "github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// theirs is River.
type theirs struct {
	url    string
	quick  bool
	admin  *pgxpool.Pool // for what the harness asks
	now    setting
	pool   *pgxpool.Pool
	client *queue.Client[pgx.Tx] // inserts only
}

func newRiver(ctx context.Context, url string, admin *pgxpool.Pool, quick bool) (*theirs, error) {
	migrator, err := rivermigrate.New(riverpgxv5.New(admin), &rivermigrate.Config{Logger: quiet()})
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, fmt.Errorf("migrate River's schema: %w", err)
	}
	return &theirs{url: url, admin: admin, quick: quick}, nil
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func (r *theirs) name() string       { return river }
func (r *theirs) database() string   { return river }
func (r *theirs) programs() []string { return []string{"postgres"} }
func (r *theirs) plays(string) bool  { return true }

// settings: what matters to inserts are connections, to workers how many there are and how often they fetch. An idle
// River is cheapest as it comes.
func (r *theirs) settings(test string) (list []setting) {
	switch test {
	case "idle", "latency_default":
		return []setting{{Workers: 100, Conns: 8}}
	case "insert1", "bulk", "bulk_fast":
		return []setting{{Conns: 8}}
	case "insert16", "insert64":
		return []setting{{Conns: 8}, {Conns: 16}, {Conns: 64}}
	case "latency":
		return []setting{
			{Workers: 100, Cooldown: time.Millisecond, Conns: 8},
			{Workers: 100, Cooldown: time.Millisecond, Poll: 10 * time.Millisecond, Conns: 8},
		}
	}
	workers, cooldowns := []int{100, 500, 1000, 2000}, []time.Duration{5 * time.Millisecond, time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond}
	if r.quick {
		workers, cooldowns = []int{500, 2000}, []time.Duration{time.Millisecond, 10 * time.Millisecond}
	}
	for _, n := range workers {
		for _, cooldown := range cooldowns {
			list = append(list, setting{Workers: n, Cooldown: cooldown, Conns: 16})
		}
	}
	return list
}

func (r *theirs) use(ctx context.Context, s setting) error {
	if r.pool != nil && s == r.now {
		return nil
	}
	r.close()
	conf, err := pgxpool.ParseConfig(r.url)
	if err != nil {
		return err
	}
	conf.MaxConns = int32(s.Conns) //nolint:gosec // at most 64
	if r.pool, err = pgxpool.NewWithConfig(ctx, conf); err != nil {
		return err
	}
	r.now = s
	// An inserting client tells workers of new jobs once a cooldown at most: its own, not theirs.
	r.client, err = queue.NewClient(riverpgxv5.New(r.pool), &queue.Config{Logger: quiet(), FetchCooldown: s.Cooldown})
	return err
}

func (r *theirs) reset(ctx context.Context, finished int) error {
	if _, err := r.admin.Exec(ctx, "TRUNCATE river_job"); err != nil {
		return err
	}
	if finished <= manyRows {
		return r.fill(ctx, finished)
	}
	return r.withoutIndexes(ctx, func() error { return r.fill(ctx, finished) })
}

// manyRows are more rows than are put in beside indexes: to make those afterwards is several times as quick.
const manyRows = 100_000

// withoutIndexes runs step while there is only the primary key.
func (r *theirs) withoutIndexes(ctx context.Context, step func() error) error {
	rows, err := r.admin.Query(ctx, "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'river_job' AND indexname <> 'river_job_pkey'")
	if err != nil {
		return err
	}
	var name, definition string
	var drop, create []string
	if _, err := pgx.ForEachRow(rows, []any{&name, &definition}, func() error {
		drop, create = append(drop, "DROP INDEX "+pgx.Identifier{name}.Sanitize()), append(create, definition)
		return nil
	}); err != nil {
		return err
	}
	for _, text := range drop {
		if _, err := r.admin.Exec(ctx, text); err != nil {
			return err
		}
	}
	if err := step(); err != nil {
		return err
	}
	for _, text := range create {
		if _, err := r.admin.Exec(ctx, text); err != nil {
			return err
		}
	}
	return r.settle(ctx)
}

func (r *theirs) fill(ctx context.Context, finished int) error {
	_, err := r.admin.Exec(ctx, `INSERT INTO river_job
		(state, attempt, max_attempts, priority, queue, kind, args, created_at, scheduled_at, attempted_at, finalized_at)
		SELECT 'completed', 1, 25, 1, 'default', $1, $2, at, at, at, at
		FROM generate_series(1, $3::int) n, LATERAL (SELECT now() - n * interval '0.1 s') AS t (at)`, kind, newArgs(), finished)
	if err != nil {
		return err
	}
	return r.settle(ctx)
}

func (r *theirs) settle(ctx context.Context) error {
	_, err := r.admin.Exec(ctx, "VACUUM (ANALYZE) river_job")
	if err == nil {
		_, err = r.admin.Exec(ctx, "CHECKPOINT")
	}
	return err
}

func (r *theirs) insert(ctx context.Context, a args) error {
	_, err := r.client.Insert(ctx, a, nil)
	return err
}

func (r *theirs) insertMany(ctx context.Context, n int, fast bool) error {
	params := make([]queue.InsertManyParams, n)
	a := newArgs()
	for i := range params {
		params[i].Args = a
	}
	if fast {
		_, err := r.client.InsertManyFast(ctx, params)
		return err
	}
	_, err := r.client.InsertMany(ctx, params)
	return err
}

func (r *theirs) flushed(context.Context) error { return nil } // nothing goes on in the background

func (r *theirs) work(ctx context.Context, handle func(args)) (func() error, error) {
	workers := queue.NewWorkers()
	queue.AddWorker(workers, queue.WorkFunc(func(_ context.Context, job *queue.Job[args]) error {
		handle(job.Args)
		return nil
	}))
	client, err := queue.NewClient(riverpgxv5.New(r.pool), &queue.Config{
		Logger: quiet(), Workers: workers, FetchCooldown: r.now.Cooldown, FetchPollInterval: r.now.Poll,
		Queues: map[string]queue.QueueConfig{queue.QueueDefault: {MaxWorkers: r.now.Workers}},
	})
	if err != nil {
		return nil, err
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return nil, err
	}
	return func() error { return client.Stop(context.WithoutCancel(ctx)) }, nil
}

func (r *theirs) unfinished(ctx context.Context) (left bool, err error) {
	err = r.admin.QueryRow(ctx, "SELECT EXISTS (SELECT FROM river_job WHERE state IN ('available', 'running', 'retryable', 'scheduled'))").Scan(&left)
	return left, err
}

func (r *theirs) close() {
	if r.pool != nil {
		r.pool.Close()
		r.pool = nil
	}
}

func (r *theirs) statements(ctx context.Context) (float64, error) { return statements(ctx, r.admin) }
