package main

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// idleConsumers is how many consumers have nothing to do in the idle test.
const idleConsumers = 10

// statementer is a contender whose statements can be counted.
type statementer interface {
	// statements is how many the database has run so far, those of the harness included.
	statements(ctx context.Context) (float64, error)
}

func idleTests() []test {
	return []test{{
		name: "idle", what: "10 consumers without work", unit: "statements/s", lower: true, figures: []string{"idle"},
		run: idling, rounds: 1,
	}}
}

// idling lets consumers find their rhythm for as long as it then counts. CPU time is that of a second.
func idling(ctx context.Context, p *plan, c contender) (s sample, err error) {
	var stops []func() error
	defer func() {
		for _, stop := range stops {
			err = errors.Join(err, stop())
		}
	}()
	for range idleConsumers {
		stop, err := c.work(ctx, func(args) {})
		if err != nil {
			return s, err
		}
		stops = append(stops, stop)
	}
	db, ok := c.(statementer)
	if !ok {
		return s, errors.New("its statements cannot be counted")
	}
	span := p.seconds(24, 4)
	if err := wait(ctx, span/2); err != nil {
		return s, err
	}
	before, err := db.statements(ctx)
	if err != nil {
		return s, err
	}
	var after float64
	s, err = timed(c, int(span.Seconds()), func() error { return wait(ctx, span) }, func() (err error) {
		after, err = db.statements(ctx)
		return err
	})
	if err == nil {
		s.values[0] = (after - before - 1) / span.Seconds() // one was our own
	}
	return s, err
}

// statements is how many a database has run since its statistics were made.
func statements(ctx context.Context, db *pgxpool.Pool) (n float64, err error) {
	err = db.QueryRow(ctx, `SELECT coalesce(sum(calls), 0) FROM pg_stat_statements
		WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&n)
	return n, err
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
