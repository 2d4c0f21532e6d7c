package dispatch

import (
	"context"
	"sync"
	"time"

	"github.com/warrenq/warren/internal/worker"
)

// handoff is where claimed work waits for a slot. Slots pull; the feed asks how much room there
// is before it claims, so that nothing is claimed that nobody can run soon.
type handoff struct {
	mu      sync.Mutex
	ready   []worker.Work
	waiting int           // slots inside next
	budget  int           // jobs that may still be handed out; < 0 = no limit
	done    bool          // nothing more will come
	last    time.Time     // of the latest hand-out
	arrived chan struct{} // closed and replaced when ready or done changes
	free    chan struct{} // holds one token when a slot began to wait
	drained bool          // nobody takes work any more
	onDrain func()        // ends the feed's taking; set by Run

	pace pace
}

func newHandoff(budget int) *handoff {
	if budget <= 0 {
		budget = -1
	}
	return &handoff{budget: budget, arrived: make(chan struct{}), free: make(chan struct{}, 1)}
}

// next waits for work on behalf of a slot.
func (h *handoff) next(ctx context.Context) (worker.Work, error) {
	h.mu.Lock()
	h.waiting++
	for {
		if ctx.Err() != nil { // before anything is taken: a consumer that stops takes nothing more
			h.waiting--
			h.mu.Unlock()
			return worker.Work{}, context.Cause(ctx)
		}
		if len(h.ready) > 0 {
			w := h.ready[0]
			h.ready[0] = worker.Work{}
			h.ready = h.ready[1:]
			h.waiting--
			h.last = time.Now()
			h.pace.handedOut(h.last)
			h.mu.Unlock()
			return w, nil
		}
		if h.done || h.budget == 0 {
			h.waiting--
			h.mu.Unlock()
			return worker.Work{}, worker.ErrDone
		}
		arrived := h.arrived
		h.mu.Unlock()
		select {
		case h.free <- struct{}{}:
		default:
		}
		select {
		case <-arrived:
		case <-ctx.Done():
		}
		h.mu.Lock()
	}
}

// room is how many jobs may be claimed now: one for each waiting slot and, while handlers are
// quick, as many more as will be handed out during the next claim.
func (h *handoff) room() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.done {
		return 0
	}
	n := h.waiting + h.pace.ahead() - len(h.ready)
	if h.budget >= 0 {
		n = min(n, h.budget)
	}
	return max(n, 0)
}

// put hands claimed work to the slots, in the order given.
func (h *handoff) put(works []worker.Work) {
	if len(works) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready = append(h.ready, works...)
	if h.budget >= 0 {
		h.budget = max(h.budget-len(works), 0)
	}
	h.changed()
}

// taking returns a context that ends with ctx, or when the pool drains.
func (h *handoff) taking(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onDrain = cancel
	if h.drained {
		cancel()
	}
	return ctx, cancel
}

// drain says that nobody takes work any more.
func (h *handoff) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drained = true
	if h.onDrain != nil {
		h.onDrain()
	}
}

// finish says that nothing more will come.
func (h *handoff) finish() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done = true
	h.changed()
}

func (h *handoff) changed() {
	close(h.arrived)
	h.arrived = make(chan struct{})
}

// empty reports whether nothing waits for a slot.
func (h *handoff) empty() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ready) == 0
}

// lastGiven is when a slot last took something.
func (h *handoff) lastGiven() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// takeBack returns the work that no slot has taken.
func (h *handoff) takeBack() []worker.Work {
	h.mu.Lock()
	defer h.mu.Unlock()
	works := h.ready
	h.ready = nil
	if h.budget >= 0 {
		h.budget += len(works)
	}
	h.pace.stalled()
	return works
}

// spent reports whether every job of the budget was handed out.
func (h *handoff) spent() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.budget == 0
}

// claimed tells how long a claim took.
func (h *handoff) claimed(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pace.claimTook(d)
}
