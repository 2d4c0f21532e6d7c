package dispatch

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/warrenq/warren/internal/lifecycle"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// stale is how long claimed work may wait for a slot before it is handed back, and how long
// numbers may be held without a free slot.
const stale = 250 * time.Millisecond

// longestTick is how long a feed waits at most for a wake that it should hear.
const longestTick = 30 * time.Second

// PolledConfig is what a PolledFeed needs.
type PolledConfig struct {
	Claim ClaimConfig
	// Tick is how often the database is looked at without a wake, while none can be heard.
	// Default 1 s; five times as long while they are heard.
	Tick time.Duration
	// Budget ends the feed after so many jobs; 0 = no limit.
	Budget int
	// UntilEmpty ends the feed when nothing is due and nothing that it gave out still runs.
	UntilEmpty bool
	// EmptyFor is for how long that has to be so.
	EmptyFor time.Duration
	// Pass tells other consumers of jobs that were offered to this one and that it did not get.
	Pass func(refs []jobstore.Ref)
}

// PolledFeed claims by order. It sleeps while no slot is free, and while there was less than the
// slots could take it waits for a wake or the tick.
type PolledFeed struct {
	cfg      PolledConfig
	claiming claiming
	hand     *handoff
	woken    chan struct{}
	hearing  atomic.Bool

	mu      sync.Mutex
	idle    bool           // waits for a wake, slots are free
	offered []jobstore.Ref // to be claimed, or passed on
}

// NewPolledFeed prepares a feed; Run does the work.
func NewPolledFeed(cfg PolledConfig) *PolledFeed {
	if cfg.Tick <= 0 {
		cfg.Tick = time.Second
	}
	return &PolledFeed{
		cfg: cfg, claiming: newClaiming(cfg.Claim), hand: newHandoff(cfg.Budget),
		woken: make(chan struct{}, 1),
	}
}

// Next waits for work.
func (f *PolledFeed) Next(ctx context.Context) (worker.Work, error) { return f.hand.next(ctx) }

// Pulse beats while the feed goes round.
func (f *PolledFeed) Pulse() *lifecycle.Pulse { return f.claiming.pulse }

// Wake says that there may be something to claim.
func (f *PolledFeed) Wake() {
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

// Hearing says whether Wake is called when other processes wake: then the tick is only for wakes
// that were lost, and comes less often.
func (f *PolledFeed) Hearing(yes bool) { f.hearing.Store(yes) }

// Offer tells of jobs that became READY in this process. It reports whether the feed takes them
// over: claims them at once, or else tells other consumers of them. A feed does where all of them
// find a free slot here; to wake the others for them would cost a claim in each, in vain. Should
// the process die before it has claimed, the others find them at their tick.
func (f *PolledFeed) Offer(refs []jobstore.Ref) bool {
	defer f.Wake()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.idle || f.cfg.Pass == nil || len(f.offered)+len(refs) > f.hand.room() {
		return false
	}
	by := f.claiming.cfg.Self
	for _, ref := range refs {
		if !slices.Contains(by.Queues, ref.Queue) || !slices.Contains(by.Priorities, ref.Priority) {
			return false
		}
	}
	f.offered = append(f.offered, refs...)
	return true
}

// takeOffered ends the time of offers and returns what was offered.
func (f *PolledFeed) takeOffered() []jobstore.Ref {
	f.mu.Lock()
	defer f.mu.Unlock()
	refs := f.offered
	f.idle, f.offered = false, nil
	return refs
}

func (f *PolledFeed) takesOffers() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = true
}

// Drain says that nobody calls Next any more.
func (f *PolledFeed) Drain() { f.hand.drain() }

// Run claims until ctx ends or the pool drains, then hands back what no slot has taken. It
// returns when ctx ends.
func (f *PolledFeed) Run(ctx context.Context) error {
	taking, cancel := f.hand.taking(ctx)
	defer cancel()
	f.feed(taking)
	f.pass(f.takeOffered(), nil)
	f.hand.finish()
	if works := f.hand.takeBack(); len(works) > 0 {
		f.claiming.cfg.HandBack(works)
	}
	f.claiming.seeOut(ctx)
	return nil
}

// feed claims until ctx ends, or until the budget is spent or nothing is left: then the slots go
// on with what is there and are told that no more will come.
func (f *PolledFeed) feed(ctx context.Context) {
	var empty time.Time // since when, zero = it is not
	whole := false      // the next claim looks at everything: an empty answer to it is the end
	for ctx.Err() == nil {
		f.claiming.pulse.Beat()
		f.claiming.settleDoubts(ctx)
		room := f.hand.room()
		if room == 0 {
			if f.hand.spent() {
				f.claiming.pulse.Rest()
				<-ctx.Done()
				return
			}
			awaitRoom(ctx, f.hand, f.claiming.cfg.HandBack)
			continue
		}
		if f.claiming.cfg.Turns != nil {
			room = min(room, mostInTurn)
		}
		quiet := f.cfg.UntilEmpty && f.quiet(ctx)
		offered := f.takeOffered()
		began := time.Now()
		works, busy, err := f.claiming.byOrder(ctx, room, whole)
		f.pass(offered, works)
		if err != nil {
			return // the claim only gives up because ctx ended
		}
		f.hand.claimed(time.Since(began))
		f.hand.put(works)
		switch {
		case len(works) > 0 || !quiet || busy:
			empty, whole = time.Time{}, false
		case empty.IsZero():
			empty = began
		}
		if !empty.IsZero() && time.Since(empty) >= f.cfg.EmptyFor {
			if !whole {
				whole = true
				continue
			}
			f.hand.finish()
			f.claiming.pulse.Rest()
			<-ctx.Done()
			return
		}
		if len(works) < room {
			f.awaitWake(ctx, busy)
		}
	}
}

// pass tells other consumers of what was offered and is not among the works.
func (f *PolledFeed) pass(offered []jobstore.Ref, works []worker.Work) {
	left := slices.DeleteFunc(offered, func(ref jobstore.Ref) bool {
		return slices.ContainsFunc(works, func(w worker.Work) bool { return w.Lease.Job.ID == ref.ID })
	})
	if len(left) > 0 {
		f.cfg.Pass(left)
	}
}

// quiet reports whether nothing that this process claimed is still without a recorded outcome:
// only then does an empty claim mean that there is nothing left to do.
func (f *PolledFeed) quiet(ctx context.Context) bool {
	term, err := f.claiming.term(ctx)
	return err == nil && len(term.Held()) == 0
}

// awaitWake waits for a wake or the tick, which comes soon where something is known to be left.
func (f *PolledFeed) awaitWake(ctx context.Context, busy bool) {
	tick := f.cfg.Tick
	switch {
	case f.cfg.UntilEmpty && f.cfg.EmptyFor == 0 || busy:
		tick = 50 * time.Millisecond
	case f.hearing.Load() && f.cfg.EmptyFor == 0:
		tick = max(tick, min(5*tick, longestTick))
	}
	t := time.NewTimer(tick)
	defer t.Stop()
	f.takesOffers()
	select {
	case <-f.woken:
	case <-t.C:
	case <-ctx.Done():
	}
}

// awaitRoom waits for a slot to become free. Work that was claimed ahead and that no slot has
// taken for a while is handed back: another process may be free. It reports whether slots took
// nothing, and none was free, for that long.
func awaitRoom(ctx context.Context, hand *handoff, handBack func([]worker.Work)) (stalled bool) {
	t := time.NewTimer(stale)
	defer t.Stop()
	for {
		select {
		case <-hand.free:
			if hand.room() > 0 {
				return false
			}
			// The token is old: the slot that left it has found work meanwhile.
		case <-ctx.Done():
			return false
		case <-t.C:
			if left := stale - time.Since(hand.lastGiven()); left > 0 {
				t.Reset(left)
				continue
			}
			if works := hand.takeBack(); len(works) > 0 {
				handBack(works)
			}
			return true
		}
	}
}
