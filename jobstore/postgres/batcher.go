package postgres

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
)

// batcher lets concurrent calls share statements and commits. A call that finds a free flight
// leaves at once and alone; calls that come while all flights are out wait together and leave
// with the next one. There are no timers: what gathers calls is the commit that is under way.
type batcher[T, R any] struct {
	run     func(ctx context.Context, items []T) ([]R, error)
	flights int // batches under way at once
	limit   int // items in a batch; a single call may have more

	mu     sync.Mutex
	queue  []*call[T, R]
	flying int
	idle   sync.WaitGroup
}

type call[T, R any] struct {
	items []T
	done  chan struct{} // closed when out and err are set
	out   []R
	err   error
}

func newBatcher[T, R any](run func(context.Context, []T) ([]R, error), flights, limit int) *batcher[T, R] {
	return &batcher[T, R]{run: run, flights: flights, limit: limit}
}

// errUnknown is what a caller gets who did not wait for the commit.
var errUnknown = errors.New("the commit was not waited for: what it holds may or may not be stored")

// do runs the items in one batch with those of other callers and returns their results. When ctx
// ends first, the items have not been sent, or the error is errUnknown and the batch goes on.
func (b *batcher[T, R]) do(ctx context.Context, items []T) ([]R, error) {
	c := &call[T, R]{items: items, done: make(chan struct{})}
	b.mu.Lock()
	b.queue = append(b.queue, c)
	if b.flying < b.flights {
		b.flying++
		b.idle.Add(1)
		// A batch carries other callers' items too, so that no caller's end may end it.
		go b.fly(context.WithoutCancel(ctx))
	}
	b.mu.Unlock()

	select {
	case <-c.done:
		return c.out, c.err
	case <-ctx.Done():
	}
	b.mu.Lock()
	for i, waiting := range b.queue {
		if waiting == c {
			b.queue = append(b.queue[:i], b.queue[i+1:]...)
			b.mu.Unlock()
			return nil, context.Cause(ctx)
		}
	}
	b.mu.Unlock()
	select {
	case <-c.done: // both were ready
		return c.out, c.err
	default:
		return nil, fmt.Errorf("%w: %w", errUnknown, context.Cause(ctx))
	}
}

// fly runs batches until nobody waits.
func (b *batcher[T, R]) fly(ctx context.Context) {
	defer b.idle.Done()
	for {
		// Whoever can run now does so first: callers that a batch has just set free come back with
		// their next call, and would else leave one by one, each with a commit of its own.
		runtime.Gosched()
		batch := b.take()
		if batch == nil {
			return
		}
		b.runBatch(ctx, batch)
	}
}

// take returns the calls of the next batch, or ends the flight.
func (b *batcher[T, R]) take() []*call[T, R] {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		b.flying--
		return nil
	}
	n, items := 0, 0
	for n < len(b.queue) && (n == 0 || items+len(b.queue[n].items) <= b.limit) {
		items += len(b.queue[n].items)
		n++
	}
	batch := b.queue[:n:n]
	b.queue = b.queue[n:]
	return batch
}

// runBatch settles every call of a batch. When the data of one of them cannot be stored, each is
// run alone, so that nobody's data fails another's.
func (b *batcher[T, R]) runBatch(ctx context.Context, batch []*call[T, R]) {
	items := batch[0].items
	if len(batch) > 1 {
		items = nil
		for _, c := range batch {
			items = append(items, c.items...)
		}
	}
	out, err := b.bounded(ctx, items)
	if err != nil && len(batch) > 1 && blames(err) {
		for i := range batch {
			b.runBatch(ctx, batch[i:i+1])
		}
		return
	}
	for _, c := range batch {
		if c.err = err; err == nil {
			c.out, out = out[:len(c.items):len(c.items)], out[len(c.items):]
		}
		close(c.done)
	}
}

// blames reports whether an error is about the data of a statement, and not about the server.
func blames(err error) bool {
	c := classify(err)
	return c == data || c == refused || c == again
}

// longestBatch is after what time a batch is given up. The database ends statements earlier; this is for a network that
// swallows what it is given, where callers would else wait behind it until the kernel gives up, a quarter of an hour.
const longestBatch = 10 * protocolTimeout

func (b *batcher[T, R]) bounded(ctx context.Context, items []T) ([]R, error) {
	ctx, cancel := context.WithTimeout(ctx, longestBatch)
	defer cancel()
	out, err := b.run(ctx, items)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: the database did not answer within %s: %w", errUnknown, longestBatch, err)
	}
	return out, err
}

// wait returns when no batch is under way.
func (b *batcher[T, R]) wait() { b.idle.Wait() }
