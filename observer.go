package warren

import (
	"context"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// EventKind says what an Event tells.
type EventKind string

// The events of a consumer.
const (
	// JobStarted: a handler is about to be called.
	JobStarted EventKind = "job.started"
	// JobEnded: an attempt came to an outcome, which is about to be recorded.
	JobEnded EventKind = "job.ended"
	// LeaseLost: an attempt ended without an outcome, because its lease did.
	LeaseLost EventKind = "lease.lost"
	// OutcomeFenced: outcomes changed nothing, because the lease was no longer theirs.
	OutcomeFenced EventKind = "outcome.fenced"
	// KindUnknown: jobs were offered that this consumer has no handler for.
	KindUnknown EventKind = "kind.unknown"
)

// Event is one thing that happened in a consumer.
type Event struct {
	Kind    EventKind
	Job     *jobstore.Job    // of one job; must not be changed
	Outcome jobstore.Outcome // of JobEnded
	Err     error            // what the handler said
	Count   int              // how many jobs, for events without one
}

// Observer is told what happens. Observe is called on the path of every job and must return at once.
type Observer interface {
	Observe(ctx context.Context, e Event)
}

// Hooks are called around every attempt, whatever its kind. Each may be nil.
//
// Before runs first; its error is taken for the handler's, which is not called then. OnError may
// replace an attempt's error, and with it its class; returning nil makes the attempt a success.
// After sees how the attempt ended. None is called once the lease is lost.
type Hooks = worker.Hooks
