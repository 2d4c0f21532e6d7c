package worker

import (
	"context"
	"sync"
)

// gate keeps slots from taking work, so that a pool has as many as it needs at the moment. A slot that is shut
// while it waits for work stops waiting; one that runs a handler is shut when that has ended.
type gate struct {
	mu      sync.Mutex
	open    int           // slots below this number take work
	peak    int           // most handlers that ran at a time since the latest look
	changed chan struct{} // closed and replaced when open changes
	waiting []slotContext
}

// slotContext is what a slot waits for work under.
type slotContext struct {
	ctx  context.Context //nolint:containedctx // made when its slot begins to wait, ends when that is shut
	shut context.CancelFunc
}

func newGate(slots, open int) *gate {
	return &gate{open: open, changed: make(chan struct{}), waiting: make([]slotContext, slots)}
}

// pass waits until slot i is open, and returns what it waits for work under. It returns ctx when that ends.
func (g *gate) pass(ctx context.Context, i int) context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i >= g.open {
		changed := g.changed
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		g.mu.Lock()
		if ctx.Err() != nil {
			return ctx
		}
	}
	if w := &g.waiting[i]; w.ctx == nil || w.ctx.Err() != nil {
		w.ctx, w.shut = context.WithCancel(ctx)
	}
	return g.waiting[i].ctx
}

func (g *gate) resize(open int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := open; i < g.open; i++ {
		if w := &g.waiting[i]; w.ctx != nil {
			w.shut()
		}
	}
	g.open = open
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *gate) began(busy int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.peak = max(g.peak, busy)
}

// Resize lets so many slots take work from now on, from 1 to PoolConfig.Slots, in a pool with PoolConfig.Open.
func (p *Pool) Resize(open int) { p.gate.resize(open) }

// Load is how many slots take work, and the most handlers that ran at a time since the latest call.
func (p *Pool) Load() (open, peak int) {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	open, peak = p.gate.open, p.gate.peak
	p.gate.peak = p.Busy()
	return open, max(peak, p.gate.peak)
}
