package dispatch

import (
	"container/heap"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/internal/lifecycle"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// BrokeredConfig is what a BrokeredFeed needs.
type BrokeredConfig struct {
	Claim        ClaimConfig
	Subscription broker.Subscription
	Publisher    broker.Publisher
	// Budget ends the feed after so many jobs; 0 = no limit.
	Budget int
	// Share is how many numbers a hint has at most that is handed on: with about as many as a consumer runs at
	// a time, idle consumers share what one had too much of. 0 = DefaultHintSize.
	Share int
}

// BrokeredFeed claims by number. It holds the hints that have arrived in a heap by priority, claims
// as many numbers as slots can take, and acks a hint when the last of its numbers went through a
// claim: what the claim refused needs nothing more, because the row decides what happens next.
//
// Numbers that no slot takes within 250 ms are offered to other consumers: the subscription is
// paused first, so that they do not come straight back, then they are published as smaller hints,
// and after the confirm the original is acked. The order makes sure that at every moment at least
// one hint for the number exists.
type BrokeredFeed struct {
	cfg      BrokeredConfig
	claiming claiming
	hand     *handoff
	held     holdings
	paused   bool
	offer    time.Time // what is held is offered again from then on
	backOff  time.Duration
}

// NewBrokeredFeed prepares a feed; Run does the work.
func NewBrokeredFeed(cfg BrokeredConfig) *BrokeredFeed {
	if cfg.Share <= 0 {
		cfg.Share = DefaultHintSize
	}
	return &BrokeredFeed{cfg: cfg, claiming: newClaiming(cfg.Claim), hand: newHandoff(cfg.Budget)}
}

// Next waits for work.
func (f *BrokeredFeed) Next(ctx context.Context) (worker.Work, error) { return f.hand.next(ctx) }

// Pulse beats while the feed goes round.
func (f *BrokeredFeed) Pulse() *lifecycle.Pulse { return f.claiming.pulse }

// Drain says that nobody calls Next any more.
func (f *BrokeredFeed) Drain() { f.hand.drain() }

// Run feeds until ctx ends or the pool drains; then it stops the flow, and hands back what no
// slot has taken. It returns when ctx ends.
func (f *BrokeredFeed) Run(ctx context.Context) error {
	taking, cancel := f.hand.taking(ctx)
	defer cancel()
	f.feed(taking)
	f.end(ctx)
	f.claiming.seeOut(ctx)
	return nil
}

func (f *BrokeredFeed) feed(ctx context.Context) {
	for ctx.Err() == nil {
		f.claiming.pulse.Beat()
		f.claiming.settleDoubts(ctx)
		if f.hand.spent() {
			f.offerHeld(ctx)
			f.claiming.pulse.Rest()
			<-ctx.Done()
			return
		}
		if f.hand.room() == 0 {
			if awaitRoom(ctx, f.hand, f.claiming.cfg.HandBack) {
				f.offerMeanwhile(ctx)
			}
			continue
		}
		if !f.gather(ctx) {
			continue
		}
		// More slots may have become free while the hint was waited for.
		if err := f.claim(ctx, f.hand.room()); err != nil {
			return // the claim only gives up because ctx ended
		}
	}
}

// gather brings what has arrived into the heap, waiting for a first hint if there is none. It
// reports whether there is anything to claim.
func (f *BrokeredFeed) gather(ctx context.Context) bool {
	if f.paused {
		if err := f.cfg.Subscription.Resume(ctx); err != nil {
			f.trouble(ctx, "cannot resume the subscription", err)
			return false
		}
		f.paused = false
	}
	f.pull()
	if f.held.Len() > 0 {
		return true
	}
	// A wait without end is cut short now and then for the housekeeping in Run.
	short, cancel := context.WithTimeout(ctx, f.patience())
	defer cancel()
	d, err := f.cfg.Subscription.Next(short)
	if err != nil {
		switch {
		case errors.Is(err, broker.ErrConfig):
			// Said once for each time that one band is refused, by whoever paces that. The others go on.
			f.complain("cannot receive hints", err)
		case ctx.Err() == nil && short.Err() == nil:
			f.trouble(ctx, "cannot receive hints", err)
		case !f.hand.empty() && ctx.Err() == nil:
			awaitRoom(ctx, f.hand, f.claiming.cfg.HandBack)
		}
		return false
	}
	f.held.add(d)
	f.pull()
	return true
}

func (f *BrokeredFeed) patience() time.Duration {
	if !f.hand.empty() {
		return stale
	}
	return f.claiming.untilDoubt(30 * time.Second)
}

func (f *BrokeredFeed) pull() {
	for {
		d, ok := f.cfg.Subscription.TryNext()
		if !ok {
			return
		}
		f.held.add(d)
	}
}

// claim takes up to room numbers, best priority first, through one claim, and acks the hints that
// are used up.
func (f *BrokeredFeed) claim(ctx context.Context, room int) error {
	ids, parts := f.take(room)
	if len(ids) == 0 {
		return nil
	}
	began := time.Now()
	works, err := f.claiming.byNumber(ctx, ids)
	if err != nil {
		// They went through no claim: they are offered to others, with the rest of their hints.
		f.held.untake(parts)
		return err
	}
	f.hand.claimed(time.Since(began))
	f.ack(usedUp(parts))
	f.hand.put(works)
	return nil
}

// take takes numbers off what is held, in the order of this feed.
func (f *BrokeredFeed) take(n int) ([]jobstore.ID, []part) {
	if turns := f.claiming.cfg.Turns; turns != nil {
		return turns.take(&f.held, n)
	}
	return f.held.take(n)
}

func (f *BrokeredFeed) ack(used []broker.Delivery) {
	if len(used) == 0 {
		return
	}
	if err := f.cfg.Subscription.Ack(used); err != nil && !errors.Is(err, broker.ErrStale) {
		f.claiming.cfg.Log.Debug("could not ack; the broker will send these hints again", zap.Error(err))
	}
}

// How long a feed whose slots may ask for work any moment waits for the broker, and how long it keeps hints before it
// offers them again, after an offer that failed: a broker that is short of memory takes none for minutes, and those
// that wait in the socket would all arrive in the end.
const (
	pausePatience = 5 * time.Second
	offerPatience = 500 * time.Millisecond
	offerAgain    = 10 * time.Second
)

// offerMeanwhile offers what is held while every slot is busy. It ends when one asks for work.
func (f *BrokeredFeed) offerMeanwhile(ctx context.Context) {
	if time.Now().Before(f.offer) {
		return
	}
	pausing, stop := f.untilAsked(ctx, pausePatience)
	ok, asked := f.pause(pausing), errors.Is(pausing.Err(), context.Canceled)
	stop()
	if ok {
		publishing, stop := f.untilAsked(ctx, offerPatience)
		ok, asked = f.publishHeld(publishing), errors.Is(publishing.Err(), context.Canceled)
		stop()
	}
	switch {
	case ok:
		f.backOff = 0
		return
	case asked: // which says little about the broker
		f.backOff = min(max(2*f.backOff, time.Second), offerAgain)
	default:
		f.backOff = offerAgain
	}
	f.offer = time.Now().Add(f.backOff + rand.N(f.backOff/2))
}

// untilAsked returns a context that ends when a slot asks for work, and after most at the latest.
func (f *BrokeredFeed) untilAsked(ctx context.Context, most time.Duration) (context.Context, func()) {
	ctx, cancel := context.WithTimeout(ctx, most)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-f.hand.free:
				if f.hand.room() > 0 { // or the token is old
					cancel()
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() { cancel(); <-watched }
}

// offerHeld hands the numbers that are held here to whoever is free.
func (f *BrokeredFeed) offerHeld(ctx context.Context) {
	if f.pause(ctx) {
		f.publishHeld(ctx)
	}
}

// pause stops the flow, or what is handed on would come straight back.
func (f *BrokeredFeed) pause(ctx context.Context) bool {
	if f.paused {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, pausePatience)
	defer cancel()
	f.paused = true // also when nobody says so in time: it goes on, and has to be undone
	if err := f.cfg.Subscription.Pause(ctx); err != nil {
		f.complain("cannot pause the subscription", err)
		return false
	}
	f.pull()
	return true
}

// publishHeld reports whether all that is held is with the broker.
func (f *BrokeredFeed) publishHeld(ctx context.Context) bool {
	hints, of := f.held.remainder(f.cfg.Share)
	if len(hints) == 0 {
		return true
	}
	errs := f.cfg.Publisher.Publish(ctx, hints)
	keep := map[*holding]bool{}
	for i, err := range errs {
		if err != nil {
			keep[of[i]] = true
		}
	}
	f.ack(f.held.clear(keep))
	if len(keep) > 0 {
		// The rest stays held, for a slot that becomes free or for the next offer: unsettled and
		// forgotten it would take up the prefetch of its band for as long as this process lives.
		f.complain("cannot hand hints back", firstOf(errs))
	}
	return len(keep) == 0
}

// trouble reports an error of the broker and waits a moment: the database may be fine, so the loop
// must not spin.
func (f *BrokeredFeed) trouble(ctx context.Context, what string, err error) {
	f.complain(what, err)
	_ = worker.Sleep(ctx, time.Second) // the loop looks at ctx itself
}

func (f *BrokeredFeed) complain(what string, err error) {
	log := f.claiming.cfg.Log.Debug
	if errors.Is(err, broker.ErrConfig) {
		log = f.claiming.cfg.Log.Error
	}
	log(what, zap.Error(err))
}

func (f *BrokeredFeed) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if works := f.hand.takeBack(); len(works) > 0 {
		f.claiming.cfg.HandBack(works)
	}
	f.hand.finish()
	f.offerHeld(ctx)
	if err := f.cfg.Subscription.Close(); err != nil && !errors.Is(err, broker.ErrStale) {
		f.claiming.cfg.Log.Debug("could not close the subscription", zap.Error(err))
	}
}

// holding is a hint some of whose numbers have not been through a claim.
type holding struct {
	delivery broker.Delivery
	next     int
	seq      uint64
}

// holdings is a heap of hints, best priority first, the earliest of equals.
type holdings struct {
	items []*holding
	seq   uint64
}

func (h *holdings) Len() int { return len(h.items) }
func (h *holdings) Less(i, j int) bool {
	a, b := h.items[i], h.items[j]
	if a.delivery.Priority != b.delivery.Priority {
		return a.delivery.Priority < b.delivery.Priority
	}
	return a.seq < b.seq
}
func (h *holdings) Swap(i, j int) { h.items[i], h.items[j] = h.items[j], h.items[i] }

// Push is for package heap.
func (h *holdings) Push(x any) { h.items = append(h.items, x.(*holding)) } //nolint:forcetypeassert // only add pushes

// Pop is for package heap.
func (h *holdings) Pop() any {
	last := len(h.items) - 1
	x := h.items[last]
	h.items[last] = nil
	h.items = h.items[:last]
	return x
}

func (h *holdings) add(d broker.Delivery) {
	h.seq++
	heap.Push(h, &holding{delivery: d, seq: h.seq})
}

// part is what one hint gave to a claim: its numbers from one place on.
type part struct {
	of   *holding
	from int
}

// take returns up to n numbers and the hints they are from.
func (h *holdings) take(n int) (ids []jobstore.ID, parts []part) {
	for n > 0 && len(h.items) > 0 {
		top := h.items[0]
		m := min(n, len(top.delivery.Numbers)-top.next)
		for _, number := range top.delivery.Numbers[top.next : top.next+m] {
			ids = append(ids, jobstore.ID(number))
		}
		parts = append(parts, part{of: top, from: top.next})
		top.next += m
		n -= m
		if top.usedUp() {
			heap.Pop(h)
		}
	}
	return ids, parts
}

// dropUsedUp takes out the hints of which no number is left.
func (h *holdings) dropUsedUp() {
	h.items = slices.DeleteFunc(h.items, (*holding).usedUp)
	heap.Init(h)
}

// untake undoes take.
func (h *holdings) untake(parts []part) {
	for _, p := range parts {
		if p.of.usedUp() {
			heap.Push(h, p.of)
		}
		p.of.next = p.from
	}
}

func (i *holding) usedUp() bool { return i.next == len(i.delivery.Numbers) }

// usedUp returns the deliveries whose last number is among the parts.
func usedUp(parts []part) []broker.Delivery {
	var used []broker.Delivery
	for _, p := range parts {
		if p.of.usedUp() {
			used = append(used, p.of.delivery)
		}
	}
	return used
}

// remainder returns hints of at most share numbers with what is left of those that are held, and the
// holding that each is of.
func (h *holdings) remainder(share int) (hints []broker.Hint, of []*holding) {
	for _, item := range h.items {
		for numbers := range slices.Chunk(item.delivery.Numbers[item.next:], share) {
			hints, of = append(hints, broker.Hint{Band: item.delivery.Band, Numbers: numbers}), append(of, item)
		}
	}
	return hints, of
}

// clear removes the holdings that are not to be kept, and returns their hints.
func (h *holdings) clear(keep map[*holding]bool) []broker.Delivery {
	var out []broker.Delivery
	var kept []*holding
	for _, item := range h.items {
		if keep[item] {
			kept = append(kept, item)
		} else {
			out = append(out, item.delivery)
		}
	}
	h.items = kept
	heap.Init(h)
	return out
}
