package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// session runs one statement and hands its rows to each: on a connection, through a pooler, or
// in a caller's transaction.
type session interface {
	run(ctx context.Context, sql string, args []any, each func(pgx.Rows) error) error
}

type connSession struct{ conn *pgx.Conn }

func (c connSession) run(ctx context.Context, sql string, args []any, each func(pgx.Rows) error) error {
	rows, err := c.conn.Query(ctx, sql, args...)
	return drain(rows, err, each)
}

type txSession struct{ tx pgx.Tx }

func (t txSession) run(ctx context.Context, sql string, args []any, each func(pgx.Rows) error) error {
	rows, err := t.tx.Query(ctx, sql, args...)
	return drain(rows, err, each)
}

// localSession sends the settings and the statement together: one round trip, one implicit
// transaction, which a transaction pooler keeps on one server.
type localSession struct{ conn *pgx.Conn }

const localSettingsSQL = `-- warren: settings
SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, true),
       set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)`

func (l localSession) run(ctx context.Context, sql string, args []any, each func(pgx.Rows) error) (err error) {
	var b pgx.Batch
	b.Queue(localSettingsSQL, millis(protocolTimeout))
	b.Queue(sql, args...)
	res := l.conn.SendBatch(ctx, &b)
	defer func() {
		if closing := res.Close(); err == nil {
			err = closing
		}
	}()
	if _, err := res.Exec(); err != nil {
		return err
	}
	rows, err := res.Query()
	return drain(rows, err, each)
}

func drain(rows pgx.Rows, err error, each func(pgx.Rows) error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if each == nil {
			continue
		}
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// do runs one statement on a connection of the pool, again if it lost against another
// transaction. each may therefore be called for rows of an attempt that failed: start clears
// what it gathered.
func (s *Store) do(ctx context.Context, sql string, args []any, start func(), each func(pgx.Rows) error) error {
	return retried(ctx, func() error {
		return s.with(ctx, func(q session) error {
			if start != nil {
				start()
			}
			return q.run(ctx, s.sql[sql], args, each)
		})
	})
}

// exec runs a statement whose rows do not matter.
func (s *Store) exec(ctx context.Context, sql string, args ...any) error {
	return s.do(ctx, sql, args, nil, nil)
}

// gather runs a statement and returns one T for each row.
func gather[T any](ctx context.Context, s *Store, sql string, scan func(pgx.Rows) (T, error), args ...any) ([]T, error) {
	var out []T
	err := s.do(ctx, sql, args, func() { out = nil }, func(r pgx.Rows) error {
		v, err := scan(r)
		out = append(out, v)
		return err
	})
	return out, err
}

// gatherIn is gather inside a session that is already open.
func gatherIn[T any](ctx context.Context, q session, sql string, scan func(pgx.Rows) (T, error), args ...any) ([]T, error) {
	var out []T
	err := q.run(ctx, sql, args, func(r pgx.Rows) error {
		v, err := scan(r)
		out = append(out, v)
		return err
	})
	return out, err
}

// with lends a connection to fn. When the server is gone, all of the pool's connections go too.
func (s *Store) with(ctx context.Context, fn func(q session) error) error {
	c, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	if s.local {
		err = fn(localSession{c.Conn()})
	} else {
		err = fn(connSession{c.Conn()})
	}
	if err != nil && classify(err) == away {
		s.pool.Reset()
	}
	return err
}

// inTx runs fn in a transaction with the settings of protocol statements, or of bulk ones, which
// read many rows: bulkTimeout, and every plan made for its values. It commits it when fn returns nil.
func (s *Store) inTx(ctx context.Context, bulk bool, fn func(ctx context.Context, tx pgx.Tx) error) error {
	c, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	err = pgx.BeginFunc(ctx, c.Conn(), func(tx pgx.Tx) error {
		limit, seqscan, plans := protocolTimeout, "off", "force_generic_plan"
		if bulk {
			limit, seqscan, plans = bulkTimeout, "on", "force_custom_plan"
		}
		if _, err := tx.Exec(ctx, txSettingsSQL, millis(limit), seqscan, plans); err != nil {
			return err
		}
		return fn(ctx, tx)
	})
	if err != nil && classify(err) == away {
		s.pool.Reset()
	}
	return err
}

const txSettingsSQL = `-- warren: settings of a transaction
SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $1, true),
       set_config('idle_in_transaction_session_timeout', $1, true), set_config('enable_seqscan', $2, true),
       set_config('jit', 'off', true), set_config('plan_cache_mode', $3, true)`

// Tx makes a caller's open transaction known to package jobstore.
func Tx(tx pgx.Tx) jobstore.Tx { return jobstore.Tx{Handle: tx} }

// From returns the transaction that Tx or Store.InTx wrapped. It fails for a transaction of
// another store, with jobstore.ErrInvalid.
func From(tx jobstore.Tx) (pgx.Tx, error) {
	t, ok := tx.Handle.(pgx.Tx)
	if !ok || t == nil {
		return nil, fmt.Errorf("%w: the transaction is a %T, not a pgx.Tx; wrap yours with postgres.Tx", jobstore.ErrInvalid, tx.Handle)
	}
	return t, nil
}

// InTx implements jobstore.Inserter. fn is a user's code and may take its time: its statements
// have no other limit than the server's own.
func (s *Store) InTx(ctx context.Context, fn func(ctx context.Context, tx jobstore.Tx) error) error {
	c, err := s.acquire(ctx)
	if err != nil {
		return wrap("begin a transaction", err)
	}
	defer c.Release()
	var own error
	err = pgx.BeginFunc(ctx, c.Conn(), func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, userSettingsSQL); err != nil {
			return err
		}
		own = fn(ctx, Tx(tx))
		return own
	})
	switch {
	case own != nil && errors.Is(err, own):
		return err // fn's own words, or those of a method that has wrapped them
	case err != nil:
		if classify(err) == away {
			s.pool.Reset()
		}
		return wrap("commit a transaction", err)
	}
	return nil
}

const userSettingsSQL = `-- warren: settings of a user's transaction
SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true),
       set_config('enable_seqscan', 'on', true), set_config('plan_cache_mode', 'auto', true)`
