package worker

import (
	"context"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// NewTerm makes a term that lives for a while.
func NewTerm(holder jobstore.HolderID, life time.Duration) *Term {
	return newTerm(context.Background(), holder, bootTime()+life)
}

// Freeze does to the term what a freeze of this process past the term's deadline does: nothing,
// but the clock has gone on.
func (t *Term) Freeze() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.deadline = 0
}

// Deadline is when the term ends, on the boot clock.
func (t *Term) Deadline() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.deadline
}

// BootTime is the clock that leases are measured on.
func BootTime() time.Duration { return bootTime() }

// Extend moves the deadline as a renewal does.
func (t *Term) Extend(deadline time.Duration) { t.extend(deadline) }
