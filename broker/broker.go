// Package broker is the hint: a message that says "these jobs of this band are ready".
//
// A hint carries numbers and nothing else that is trusted. Losing, doubling, delaying or forging
// one may cost time, never a job: the row decides. Package rabbitmq implements it; brokertest has
// a fake with scriptable faults and the contract that both pass.
package broker

import (
	"context"
	"errors"
	"fmt"
)

// Errors every broker returns, wrapped.
var (
	// ErrStale means that the delivery belongs to a connection that is gone. The broker
	// delivers its hint again; there is nothing to settle.
	ErrStale = errors.New("the delivery's session has ended")
	// ErrUnavailable means that there is no usable connection right now.
	ErrUnavailable = errors.New("the broker is not available")
	// ErrRejected means that the queue of a band did not take a hint, which may be full or between two leaders. Others
	// may take theirs. It comes together with ErrUnavailable.
	ErrRejected = errors.New("the queue does not take it")
	// ErrConfig means that the broker refuses what this program is set up to do (rights, a
	// missing queue, other arguments). Another try helps only after a person has acted.
	ErrConfig = errors.New("the broker refuses this configuration")
	// ErrClosed means that the subscription was closed, or its broker's Run has returned.
	ErrClosed = errors.New("the subscription is closed")
)

// Limits of a hint's body, for whoever receives it. A sender keeps to fewer numbers.
const (
	MaxNumbers = 1000
	MaxBody    = 20_000
)

// Band is one queue at one priority: one broker queue.
type Band struct {
	Queue    string
	Priority int
}

// String is the band as people write it: queue/priority.
func (b Band) String() string { return fmt.Sprintf("%s/%d", b.Queue, b.Priority) }

// Hint is one message: numbers of jobs of one band that are ready.
type Hint struct {
	Band
	Numbers []int64
}

// Publisher sends hints.
type Publisher interface {
	// Publish sends all hints and waits until the broker has confirmed every one as routed to a
	// queue. The error of hint i is at errs[i]; nil errs means all are confirmed. A hint with an
	// error is unknown, not undelivered: sending it again is right and harmless.
	Publish(ctx context.Context, hints []Hint) (errs []error)
}

// Delivery is a hint that arrived and is not settled yet.
type Delivery struct {
	Hint
	// Redelivered says that the broker sent it before.
	Redelivered bool
	// Settle identifies the delivery to the subscription it came from.
	Settle any
}

// Subscription receives the hints of some bands until it is closed.
//
// Its methods may be called from different goroutines; Next from one at a time.
type Subscription interface {
	// Next returns the delivery with the smallest priority number among those that have arrived,
	// the earliest of equals, waiting for one if there is none. It survives lost connections:
	// it waits for the next session. It ends with ctx's error, ErrClosed, or ErrConfig: that once
	// for each time the broker refuses something, and only when nothing has arrived; calling
	// Next again waits for what comes next.
	Next(ctx context.Context) (Delivery, error)
	// TryNext is Next without waiting.
	TryNext() (Delivery, bool)
	// Ack settles deliveries, with as few frames as possible. Those of a dead session are skipped
	// and make it return ErrStale; the others are settled all the same.
	Ack(ds []Delivery) error
	// Pause stops the flow: the broker sends no more, and what has arrived but was not taken
	// by Next goes back to the queue. Resume undoes it. Both are cheap when nothing changes.
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
	// Close pauses, returns what was taken and not settled to the queue, and frees the channels.
	Close() error
}

// Broker is a connection that is kept up by Run.
type Broker interface {
	Publisher
	// Run keeps the sessions alive until ctx ends. Nothing works before it has started.
	Run(ctx context.Context) error
	// Subscribe asks for bands, at most prefetch unsettled hints from each. It returns before
	// the first session is up.
	Subscribe(bands []Band, prefetch int) (Subscription, error)
	// Depth counts the messages that wait in a band's queue. A message carries one or more numbers.
	// A queue that does not exist is empty: the next hint makes it.
	Depth(ctx context.Context, band Band) (int, error)
	// Up reports whether both sessions are usable now.
	Up() bool
}
