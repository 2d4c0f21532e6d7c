package worker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// Term is one registered life of this process: from a registration until the lease is lost or
// given up. What is claimed belongs to a term, and dies with it.
//
// A term must never outlive the database's view of it: its deadline is measured on the boot clock
// from when the last successful renewal was *sent*, and lies a margin before the moment at which
// the database may hand its jobs to others.
type Term struct {
	Holder jobstore.HolderID

	ctx    context.Context //nolint:containedctx // the term *is* a span of time that handlers' contexts hang from
	cancel context.CancelCauseFunc

	renewed atomic.Bool // the database has confirmed it at least once

	mu       sync.Mutex
	deadline time.Duration // on the boot clock
	held     map[jobstore.ID]int64
}

func newTerm(ctx context.Context, holder jobstore.HolderID, deadline time.Duration) *Term {
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	return &Term{Holder: holder, ctx: own, cancel: cancel, deadline: deadline, held: map[jobstore.ID]int64{}}
}

// Context ends, with ErrLeaseLost, when the term does.
func (t *Term) Context() context.Context { return t.ctx }

// Alive reports whether this process may still act under the term. It looks at the clock, so it
// is right even in the first moment after the process was frozen.
func (t *Term) Alive() bool {
	t.mu.Lock()
	late := bootTime() >= t.deadline
	t.mu.Unlock()
	if late {
		t.cancel(ErrLeaseLost)
	}
	return t.ctx.Err() == nil
}

// Hold notes leases that were granted under the term, before anything is done with them.
func (t *Term) Hold(leases []jobstore.Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range leases {
		t.held[leases[i].Job.ID] = leases[i].Job.LeaseNo
	}
}

// Drop forgets a lease whose outcome is recorded or refused. It goes by the lease number: when
// the reply to an outcome was late or lost, the job may have come back here under the next lease,
// and must not look unknown then, or ReleaseUnknown would hand it out twice.
func (t *Term) Drop(id jobstore.ID, leaseNo int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held[id] == leaseNo {
		delete(t.held, id)
	}
}

// Held lists the jobs that this process knows to hold.
func (t *Term) Held() []jobstore.ID {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := make([]jobstore.ID, 0, len(t.held))
	for id := range t.held {
		ids = append(ids, id)
	}
	return ids
}

func (t *Term) extend(deadline time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deadline = max(t.deadline, deadline)
}

// Lost ends the term because the database says it is over.
func (t *Term) Lost() { t.cancel(ErrLeaseLost) }
