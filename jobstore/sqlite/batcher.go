package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// batchCalls is how many calls share a transaction at most.
const batchCalls = 100

// writer is the one connection that writes. Calls that come while a transaction is under way wait
// together and share the next one. There are no timers: what gathers calls is the commit that is
// under way, and a call alone leaves at once.
type writer struct {
	conn *sql.Conn
	on   *prepared
	gate chan struct{} // holds one token; who has it may use conn

	mu     sync.Mutex
	queue  []*call
	flying bool
	closed bool
	idle   sync.WaitGroup
}

// call is one caller's part of a transaction.
type call struct {
	run  func(q session) error
	done chan struct{} // closed when err is set
	err  error
}

func newWriter(conn *sql.Conn) *writer {
	w := &writer{conn: conn, on: newPrepared(conn), gate: make(chan struct{}, 1)}
	w.gate <- struct{}{}
	return w
}

var (
	// errUnknown is what a caller gets who did not wait for the commit.
	errUnknown = errors.New("the commit was not waited for: it may or may not have happened")
	errClosed  = errors.New("the store is closed")
	// errOccupied is what a caller gets who has waited for somebody's transaction in vain.
	errOccupied = fmt.Errorf("another transaction of this process has been open for %s", busyTimeout)
)

// enter waits for the connection, as long as SQLite would wait for another process.
func (w *writer) enter(ctx context.Context) error {
	select {
	case <-w.gate:
		return nil
	default:
	}
	patience := time.NewTimer(busyTimeout)
	defer patience.Stop()
	select {
	case <-w.gate:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-patience.C:
		return errOccupied
	}
}

func (w *writer) leave() { w.gate <- struct{}{} }

// do runs a part of a transaction and returns when that is committed. run may be called more than
// once, and must not touch what its caller looks at after an error: when ctx ends first, either
// run has not been called, or the error is errUnknown and the transaction goes on.
func (w *writer) do(ctx context.Context, run func(q session) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c := &call{run: run, done: make(chan struct{})}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return errClosed
	}
	w.queue = append(w.queue, c)
	if !w.flying {
		w.flying = true
		w.idle.Add(1)
		// A batch carries other callers' parts too, so that no caller's end may end it.
		go w.fly(context.WithoutCancel(ctx))
	}
	w.mu.Unlock()

	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
	}
	w.mu.Lock()
	for i, waiting := range w.queue {
		if waiting == c {
			w.queue = append(w.queue[:i], w.queue[i+1:]...)
			w.mu.Unlock()
			return context.Cause(ctx)
		}
	}
	w.mu.Unlock()
	select {
	case <-c.done: // both were ready
		return c.err
	default:
		return fmt.Errorf("%w: %w", errUnknown, context.Cause(ctx))
	}
}

// fly runs batches until nobody waits.
func (w *writer) fly(ctx context.Context) {
	defer w.idle.Done()
	for batch := w.take(); batch != nil; batch = w.take() {
		err := w.enter(ctx)
		if err == nil {
			w.runBatch(ctx, batch)
			w.leave()
			continue
		}
		for _, c := range batch {
			c.err = err
			close(c.done)
		}
	}
}

// take returns the calls of the next batch, or ends the flight.
func (w *writer) take() []*call {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		w.flying = false
		return nil
	}
	n := min(len(w.queue), batchCalls)
	batch := w.queue[:n:n]
	w.queue = w.queue[n:]
	return batch
}

// runBatch settles every call of a batch. When the transaction as a whole fails, each is run
// alone, so that what one of them needs (room, say) fails nobody else.
func (w *writer) runBatch(ctx context.Context, batch []*call) {
	err := w.transact(ctx, batch)
	if err != nil && len(batch) > 1 && classify(err) != locked {
		for i := range batch {
			w.runBatch(ctx, batch[i:i+1])
		}
		return
	}
	for _, c := range batch {
		if err != nil {
			c.err = err
		}
		close(c.done)
	}
}

// transact runs a batch in one transaction. What it returns is about all of them; a call's own
// error is in the call, and nothing of that call is left.
func (w *writer) transact(ctx context.Context, batch []*call) error {
	if _, err := w.on.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := w.runAll(ctx, batch)
	alone := len(batch) == 1 && batch[0].err != nil // there is no savepoint to go back to
	if err == nil && !alone {
		_, err = w.on.exec(ctx, "COMMIT")
	}
	if err != nil || alone {
		// SQLite has rolled back by itself after some errors; then there is nothing to do.
		_, _ = w.on.exec(ctx, "ROLLBACK")
	}
	return err
}

func (w *writer) runAll(ctx context.Context, batch []*call) error {
	if len(batch) == 1 {
		batch[0].err = batch[0].run(w.on)
		return nil
	}
	for _, c := range batch {
		if _, err := w.on.exec(ctx, "SAVEPOINT call"); err != nil {
			return err
		}
		if c.err = c.run(w.on); c.err != nil {
			if _, err := w.on.exec(ctx, "ROLLBACK TO call"); err != nil {
				return err
			}
		}
		if _, err := w.on.exec(ctx, "RELEASE call"); err != nil {
			return err
		}
	}
	return nil
}

// close waits for the batches under way and refuses others.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.idle.Wait()
}

// writing runs fn in the writer's transaction.
func writing[T any](ctx context.Context, s *Store, fn func(ctx context.Context, q session) (T, error)) (T, error) {
	var out, none T
	patient := context.WithoutCancel(ctx)
	err := s.write.do(ctx, func(q session) (err error) {
		out, err = fn(patient, q)
		return err
	})
	if err != nil { // then out may still be written to
		return none, err
	}
	return out, nil
}
