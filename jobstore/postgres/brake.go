package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// brakeEvery is how often a process tries to connect while the database takes no connection. Every
// part of a consumer backs off by itself; together they would still be several attempts a second. The
// driver may dial twice for one attempt.
const brakeEvery = time.Second

// brake lets one attempt to connect through at a time after one has failed, until one succeeds. The
// others fail at once, with the error of the last.
type brake struct {
	mu   sync.Mutex
	last error // of the last attempt; nil = it succeeded
	next time.Time
}

// brakedError is an attempt that was not made.
type brakedError struct{ cause error }

func (e brakedError) Error() string {
	return fmt.Sprintf("not tried again within %s of: %v", brakeEvery, e.cause)
}
func (e brakedError) Unwrap() error { return e.cause }

// before is asked before each attempt.
func (b *brake) before(context.Context, *pgx.ConnConfig) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last == nil {
		return nil
	}
	now := time.Now()
	if now.Before(b.next) {
		return brakedError{b.last}
	}
	b.next = now.Add(brakeEvery)
	return nil
}

// after is told of each connection that was made.
func (b *brake) after(context.Context, *pgx.Conn) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = nil
	return nil
}

// failed is told why there is no connection to lend.
func (b *brake) failed(err error) {
	var connect *pgconn.ConnectError
	if _, braked := errors.AsType[brakedError](err); braked || !errors.As(err, &connect) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last == nil {
		b.next = time.Now().Add(brakeEvery)
	}
	b.last = err
}

// acquire lends a connection of the pool.
func (s *Store) acquire(ctx context.Context) (*pgxpool.Conn, error) {
	c, err := s.pool.Acquire(ctx)
	if err != nil {
		s.brake.failed(err)
	}
	return c, err
}
