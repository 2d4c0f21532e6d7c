package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/warrenq/warren/jobstore"
)

// session runs statements: in the writer's transaction, on a reader, or in a user's transaction.
type session interface {
	// query hands each row to each.
	query(ctx context.Context, text string, args []any, each func(row) error) error
	// exec returns how many rows it changed.
	exec(ctx context.Context, text string, args ...any) (int64, error)
	// insert returns the number of the row that it added.
	insert(ctx context.Context, text string, args ...any) (int64, error)
}

// row is what *sql.Rows gives at each position.
type row interface{ Scan(dest ...any) error }

// preparer is a connection or a pool of them.
type preparer interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// statement is a prepared one. It lives as long as what it was prepared on.
type statement interface {
	QueryContext(ctx context.Context, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, args ...any) (sql.Result, error)
}

// prepared keeps every statement that it has run once.
type prepared struct {
	on    preparer
	mu    sync.Mutex
	stmts map[string]statement
}

func newPrepared(on preparer) *prepared { return &prepared{on: on, stmts: map[string]statement{}} }

func (p *prepared) stmt(ctx context.Context, text string) (statement, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if st, ok := p.stmts[text]; ok {
		return st, nil
	}
	st, err := p.on.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	p.stmts[text] = st
	return st, nil
}

func (p *prepared) query(ctx context.Context, text string, args []any, each func(row) error) error {
	st, err := p.stmt(ctx, text)
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(ctx, args...)
	return drain(rows, err, each)
}

func (p *prepared) exec(ctx context.Context, text string, args ...any) (int64, error) {
	st, err := p.stmt(ctx, text)
	if err != nil {
		return 0, err
	}
	res, err := st.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (p *prepared) insert(ctx context.Context, text string, args ...any) (int64, error) {
	st, err := p.stmt(ctx, text)
	if err != nil {
		return 0, err
	}
	res, err := st.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

// direct runs statements once each: in a transaction, which need not be one of our own
// connections, or on a connection that is only borrowed.
type direct struct {
	on interface {
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	}
}

func (d direct) query(ctx context.Context, text string, args []any, each func(row) error) error {
	rows, err := d.on.QueryContext(ctx, text, args...)
	return drain(rows, err, each)
}

func (d direct) exec(ctx context.Context, text string, args ...any) (int64, error) {
	res, err := d.on.ExecContext(ctx, text, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (d direct) insert(ctx context.Context, text string, args ...any) (int64, error) {
	res, err := d.on.ExecContext(ctx, text, args...)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

func drain(rows *sql.Rows, err error, each func(row) error) error {
	if err != nil {
		return err
	}
	for rows.Next() {
		if err := each(rows); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// gather collects what scan makes of each row.
func gather[T any](ctx context.Context, q session, text string, scan func(row) (T, error), args ...any) ([]T, error) {
	var out []T
	err := q.query(ctx, text, args, func(r row) error {
		v, err := scan(r)
		out = append(out, v)
		return err
	})
	return out, err
}

// Tx makes a caller's open transaction known to package jobstore. It may come from any *sql.DB on
// the store's file; see DSN.
func Tx(tx *sql.Tx) jobstore.Tx { return jobstore.Tx{Handle: tx} }

// From returns the transaction that Tx or Store.InTx wrapped. It fails for a transaction of
// another store, with jobstore.ErrInvalid.
func From(tx jobstore.Tx) (*sql.Tx, error) {
	t, ok := tx.Handle.(*sql.Tx)
	if !ok || t == nil {
		return nil, fmt.Errorf("%w: the transaction is a %T, not a *sql.Tx; wrap yours with sqlite.Tx", jobstore.ErrInvalid, tx.Handle)
	}
	return t, nil
}

// InTx implements jobstore.Inserter. Every other writer of the file waits until fn returns, so
// that fn should be short. It must not call verbs of the store other than those that take tx: of
// a store in memory they cannot even read.
func (s *Store) InTx(ctx context.Context, fn func(ctx context.Context, tx jobstore.Tx) error) error {
	if err := s.write.enter(ctx); err != nil {
		return s.wrap("begin a transaction", err)
	}
	defer s.write.leave()
	// A transaction that ended with ctx would take its connection along.
	tx, err := s.write.conn.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return s.wrap("begin a transaction", err)
	}
	done := false
	defer func() {
		if !done { // fn failed or panicked
			_ = tx.Rollback() // its only news would be that there is nothing to roll back
		}
	}()
	if err := fn(ctx, Tx(tx)); err != nil {
		return err // fn's own words, or those of a method that has wrapped them
	}
	if err := ctx.Err(); err != nil {
		return s.wrap("commit a transaction", context.Cause(ctx))
	}
	done = true
	if err := tx.Commit(); err != nil {
		_ = tx.Rollback() // a commit that failed for want of room leaves it open
		return s.wrap("commit a transaction", err)
	}
	return nil
}

// list is a JSON array for json_each.
func list[T any](values []T) string {
	if len(values) == 0 {
		return "[]"
	}
	b, err := json.Marshal(values)
	if err != nil { // numbers and strings always encode
		return "[]"
	}
	return string(b)
}

// unlist reads what list has written. What is no such list is empty.
func unlist[T any](text string) []T {
	var out []T
	if json.Unmarshal([]byte(text), &out) != nil || out == nil {
		return []T{}
	}
	return out
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func scanInt(r row) (n int64, err error) {
	err = r.Scan(&n)
	return n, err
}

func scanText(r row) (text string, err error) {
	err = r.Scan(&text)
	return text, err
}
