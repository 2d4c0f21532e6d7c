package dispatch

import (
	"context"
	"errors"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/jobstore"
)

// Brokered announces by hints over a broker.
type Brokered struct {
	publisher broker.Publisher
	hintSize  int
}

// DefaultHintSize is how many numbers one hint carries at most.
const DefaultHintSize = 50

// NewBrokered makes an announcer whose hints carry at most hintSize numbers (0 = DefaultHintSize,
// never more than broker.MaxNumbers).
func NewBrokered(publisher broker.Publisher, hintSize int) *Brokered {
	if hintSize <= 0 {
		hintSize = DefaultHintSize
	}
	return &Brokered{publisher: publisher, hintSize: min(hintSize, broker.MaxNumbers)}
}

// Announce groups the refs into hints by band, keeping their order, and waits for the confirms.
func (a *Brokered) Announce(ctx context.Context, refs []jobstore.Ref) ([]jobstore.Ref, error) {
	hints := group(refs, a.hintSize)
	errs := a.publisher.Publish(ctx, hints)
	var failed []jobstore.Ref
	for i, err := range errs {
		if err == nil {
			continue
		}
		for _, n := range hints[i].Numbers {
			failed = append(failed, jobstore.Ref{ID: jobstore.ID(n), Band: jobstore.Band(hints[i].Band)})
		}
	}
	return failed, errors.Join(firstOf(errs))
}

// firstOf spares the log a thousand copies of one broken connection.
func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// group makes hints of at most size numbers, one band each.
func group(refs []jobstore.Ref, size int) []broker.Hint {
	var hints []broker.Hint
	open := map[jobstore.Band]int{} // index of the hint that still has room
	for _, ref := range refs {
		i, ok := open[ref.Band]
		if !ok || len(hints[i].Numbers) >= size {
			i = len(hints)
			hints = append(hints, broker.Hint{Band: broker.Band(ref.Band)})
			open[ref.Band] = i
		}
		hints[i].Numbers = append(hints[i].Numbers, int64(ref.ID))
	}
	return hints
}

// Waker wakes consumers that look into the database themselves.
type Waker interface {
	Wake(ctx context.Context, bands []jobstore.Band) error
}

// Polled announces to consumers without a broker: to that of this process at once, and to others by
// the store's Wake where that one does not take the jobs over. A wake that fails costs the others one tick.
type Polled struct {
	waker Waker
	local func(refs []jobstore.Ref) (taken bool)
}

// NewPolled makes an announcer; local offers jobs to this process's own feed and may be nil.
func NewPolled(waker Waker, local func(refs []jobstore.Ref) (taken bool)) *Polled {
	return &Polled{waker: waker, local: local}
}

// Announce wakes. Nothing is ever left to the outbox: the rows are what consumers look at.
func (a *Polled) Announce(ctx context.Context, refs []jobstore.Ref) ([]jobstore.Ref, error) {
	if a.local != nil && a.local(refs) {
		return nil, nil
	}
	seen := map[jobstore.Band]bool{}
	var bands []jobstore.Band
	for _, ref := range refs {
		if !seen[ref.Band] {
			seen[ref.Band] = true
			bands = append(bands, ref.Band)
		}
	}
	return nil, a.waker.Wake(ctx, bands)
}
