package dispatch

import (
	"context"
	"time"

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

// Wake says that there may be something to claim.
func (f *PolledFeed) Wake() {
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

// Run claims until ctx ends, then hands back what no slot has taken.
func (f *PolledFeed) Run(ctx context.Context) error {
	defer f.end()
	for ctx.Err() == nil {
		f.claiming.settleDoubt(ctx)
		room := f.hand.room()
		if room == 0 {
			if f.hand.spent() {
				return f.wait(ctx)
			}
			f.awaitRoom(ctx)
			continue
		}
		quiet := f.cfg.UntilEmpty && f.quiet(ctx)
		began := time.Now()
		works, err := f.claiming.byOrder(ctx, room)
		if err != nil {
			return nil //nolint:nilerr // the claim only gives up because ctx ended
		}
		f.hand.claimed(time.Since(began))
		f.hand.put(works)
		if len(works) == 0 && quiet {
			f.hand.finish()
			return f.wait(ctx)
		}
		if len(works) < room {
			f.awaitWake(ctx)
		}
	}
	return nil
}

// quiet reports whether nothing that this process claimed is still without a recorded outcome:
// only then does an empty claim mean that there is nothing left to do.
func (f *PolledFeed) quiet(ctx context.Context) bool {
	term, err := f.cfg.Claim.Terms.Term(ctx)
	return err == nil && len(term.Held()) == 0
}

// wait keeps the feed alive until it is stopped: the pool ends first, by ErrDone.
func (f *PolledFeed) wait(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (f *PolledFeed) awaitRoom(ctx context.Context) {
	awaitRoom(ctx, f.hand, f.claiming.cfg.HandBack)
}

func (f *PolledFeed) awaitWake(ctx context.Context) {
	tick := f.cfg.Tick
	if f.cfg.UntilEmpty {
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

func (f *PolledFeed) end() {
	f.hand.finish()
	if works := f.hand.takeBack(); len(works) > 0 {
		f.claiming.cfg.HandBack(works)
	}
}

// awaitRoom waits for a slot to become free. Work that was claimed ahead and that no slot has
// taken for a while is handed back: another process may be free.
func awaitRoom(ctx context.Context, hand *handoff, handBack func([]worker.Work)) {
	_, before := hand.idle()
	t := time.NewTimer(stale)
	defer t.Stop()
	select {
	case <-hand.free:
	case <-ctx.Done():
	case <-t.C:
		if empty, now := hand.idle(); !empty && now == before {
			if works := hand.takeBack(); len(works) > 0 {
				handBack(works)
			}
		}
	}
}
