package dispatch

import (
	"context"
	"time"

	"github.com/warrenq/warren/internal/lifecycle"
	"github.com/warrenq/warren/internal/worker"
)

// stale is how long claimed work may wait for a slot before it is handed back, and how long
// numbers may be held without a free slot.
const stale = 250 * time.Millisecond

// PolledConfig is what a PolledFeed needs.
type PolledConfig struct {
	Claim ClaimConfig
	// Tick is how often the database is looked at without a wake. Default 1 s.
	Tick time.Duration
	// Budget ends the feed after so many jobs; 0 = no limit.
	Budget int
	// UntilEmpty ends the feed when nothing is due and nothing that it gave out still runs.
	UntilEmpty bool
}

// PolledFeed claims by order. It sleeps while no slot is free, and while there was less than the
// slots could take it waits for a wake or the tick.
type PolledFeed struct {
	cfg      PolledConfig
	claiming claiming
	hand     *handoff
	woken    chan struct{}
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

// Drain says that nobody calls Next any more.
func (f *PolledFeed) Drain() { f.hand.drain() }

// Run claims until ctx ends or the pool drains, then hands back what no slot has taken. It
// returns when ctx ends.
func (f *PolledFeed) Run(ctx context.Context) error {
	taking, cancel := f.hand.taking(ctx)
	defer cancel()
	f.feed(taking)
	f.hand.finish()
	if works := f.hand.takeBack(); len(works) > 0 {
		f.claiming.cfg.HandBack(works)
	}
	f.claiming.pulse.Rest()
	<-ctx.Done()
	return nil
}

// feed claims until ctx ends, or until the budget is spent or nothing is left: then the slots go
// on with what is there and are told that no more will come.
func (f *PolledFeed) feed(ctx context.Context) {
	for ctx.Err() == nil {
		f.claiming.pulse.Beat()
		f.claiming.settleDoubt(ctx)
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
		quiet := f.cfg.UntilEmpty && f.quiet(ctx)
		began := time.Now()
		works, busy, err := f.claiming.byOrder(ctx, room)
		if err != nil {
			return // the claim only gives up because ctx ended
		}
		f.hand.claimed(time.Since(began))
		f.hand.put(works)
		if len(works) == 0 && quiet && !busy {
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

// quiet reports whether nothing that this process claimed is still without a recorded outcome:
// only then does an empty claim mean that there is nothing left to do.
func (f *PolledFeed) quiet(ctx context.Context) bool {
	term, err := f.claiming.term(ctx)
	return err == nil && len(term.Held()) == 0
}

// awaitWake waits for a wake or the tick, which comes soon where something is known to be left.
func (f *PolledFeed) awaitWake(ctx context.Context, busy bool) {
	tick := f.cfg.Tick
	if f.cfg.UntilEmpty || busy {
		tick = 50 * time.Millisecond
	}
	t := time.NewTimer(tick)
	defer t.Stop()
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
