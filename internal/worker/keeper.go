package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/lifecycle"
	"github.com/warrenq/warren/jobstore"
)

// Registrar is what the keeper needs of a store.
type Registrar interface {
	Register(ctx context.Context, c jobstore.Consumer, ttl time.Duration) (jobstore.HolderID, error)
	Renew(ctx context.Context, id jobstore.HolderID, ttl time.Duration) (jobstore.Orders, error)
	Deregister(ctx context.Context, id jobstore.HolderID) error
}

// Beat is how a consumer process keeps its lease.
type Beat struct {
	TTL   time.Duration // default 20 s: how long the database waits for a renewal
	Every time.Duration // default a quarter of TTL: how often it is renewed; at most half of TTL
}

// WithDefaults fills in what is zero.
func (b Beat) WithDefaults() Beat {
	if b.TTL <= 0 {
		b.TTL = 20 * time.Second
	}
	if b.Every <= 0 || b.Every > b.TTL/2 { // one renewal may fail without the lease being lost
		b.Every = b.TTL / 4
	}
	return b
}

// margin is how long before the database's expiry the process stops acting: time for handlers to
// see their context end.
func (b Beat) margin() time.Duration { return b.TTL / 8 }

// Keeper holds the process's registration: one heartbeat row instead of one write per running job.
//
// When a renewal did not succeed in time the keeper ends the term (self-fencing), and registers
// again under a new id.
type Keeper struct {
	store   Registrar
	self    jobstore.Consumer
	beat    Beat
	restart func()
	cancel  func(map[jobstore.ID]int64)
	beaten  func(leaderless bool, err error)
	edition func(ctx context.Context, edition int64)
	log     *zap.Logger

	terms chan *Term // the current term, handed to whoever asks
	pulse lifecycle.Pulse
}

// Pulse beats while the keeper looks at its clock.
func (k *Keeper) Pulse() *lifecycle.Pulse { return &k.pulse }

// NewKeeper prepares a keeper; Run does the work. restart is called when an operator asks this
// process to restart.
func NewKeeper(store Registrar, self jobstore.Consumer, beat Beat, restart func(), log *zap.Logger) *Keeper {
	return &Keeper{
		store: store, self: self, beat: beat.WithDefaults(), restart: restart, log: log,
		terms: make(chan *Term),
	}
}

// OnCancel sets who ends attempts that an operator wants ended, given by their leases. It is told with
// each heartbeat, for as long as they run. It must be set before Run.
func (k *Keeper) OnCancel(cancel func(map[jobstore.ID]int64)) { k.cancel = cancel }

// OnBeat sets who is told how each heartbeat ended, and whether anybody leads the sweep. It must be set before Run.
func (k *Keeper) OnBeat(tell func(leaderless bool, err error)) { k.beaten = tell }

// OnEdition sets who is told with each heartbeat which edition the settings of kinds have. It must be set before
// Run, and may ask the database within ctx.
func (k *Keeper) OnEdition(see func(ctx context.Context, edition int64)) { k.edition = see }

// Term waits for a living registration.
func (k *Keeper) Term(ctx context.Context) (*Term, error) {
	for {
		select {
		case t := <-k.terms:
			if t.Alive() {
				return t, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// The term has just ended, and Run will see it at its next look at the clock.
		if err := Sleep(ctx, k.beat.TTL/80); err != nil {
			return nil, err
		}
	}
}

// Run registers and renews until ctx ends, then removes the registration.
func (k *Keeper) Run(ctx context.Context) error {
	defer k.pulse.Rest()
	var pause time.Duration
	for ctx.Err() == nil {
		term, err := k.register(ctx)
		if err != nil {
			return err
		}
		if term == nil {
			break
		}
		lost := k.keep(ctx, term)
		term.cancel(ErrLeaseLost)
		if !lost {
			k.deregister(ctx, term)
			break
		}
		k.log.Warn("the lease of this process was lost; what it ran may run elsewhere",
			zap.Int64("consumer", int64(term.Holder)))
		// A registration that the database refuses at its first use would be followed by the next
		// one at once, for ever.
		if pause = min(2*pause, 2*time.Second); term.renewed.Load() {
			pause = 0
		} else if pause == 0 {
			pause = 100 * time.Millisecond
		}
		_ = Sleep(ctx, pause) // the loop looks at ctx
	}
	return nil
}

func (k *Keeper) deregister(ctx context.Context, term *Term) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	err := k.store.Deregister(ctx, term.Holder)
	if err != nil && !errors.Is(err, jobstore.ErrHolderGone) {
		k.log.Warn("could not remove this process's registration; it expires by itself", zap.Error(err))
	}
}

// register repeats until the database has taken the registration or ctx ends (nil term). A schema
// that does not fit, and a database that has its consumer already, are errors at once.
func (k *Keeper) register(ctx context.Context) (*Term, error) {
	for pause := 100 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 2*time.Second) {
		k.pulse.Beat()
		term, err := k.registerOnce(ctx)
		if err == nil || errors.Is(err, jobstore.ErrSchema) || errors.Is(err, jobstore.ErrRefused) {
			return term, err
		}
		if ctx.Err() == nil {
			k.log.Warn("cannot register with the database; trying again", zap.Error(err), zap.Duration("in", pause))
			_ = Sleep(ctx, pause) // the loop looks at ctx
		}
	}
	return nil, nil //nolint:nilnil // no term and no mistake: it was asked to stop
}

func (k *Keeper) registerOnce(ctx context.Context) (*Term, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	sent := bootTime()
	id, err := k.store.Register(call, k.self, k.beat.TTL)
	if err != nil {
		return nil, err
	}
	return newTerm(ctx, id, sent+k.beat.TTL-k.beat.margin()), nil
}

// keep renews the term until ctx ends (false) or the lease is lost (true).
func (k *Keeper) keep(ctx context.Context, term *Term) (lost bool) {
	renew := time.NewTimer(k.beat.Every)
	defer renew.Stop()
	// A timer may sleep through a suspension; this tick looks at the boot clock.
	look := time.NewTicker(k.beat.TTL / 80)
	defer look.Stop()
	// A renewal that hangs must not keep the clock from being looked at, so it runs beside the
	// loop; the loop ends it and waits for it before it returns.
	renewed := make(chan error, 1)
	var inFlight sync.WaitGroup
	defer inFlight.Wait()
	calls, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return false
		case k.terms <- term:
		case <-look.C:
			k.pulse.Beat()
			if !term.Alive() {
				return true
			}
		case <-renew.C:
			inFlight.Go(func() { renewed <- k.renew(calls, term) })
		case err := <-renewed:
			switch {
			case err == nil:
				renew.Reset(k.beat.Every)
			case errors.Is(err, jobstore.ErrHolderGone):
				return true
			default:
				k.log.Warn("could not renew this process's lease; trying again", zap.Error(err))
				renew.Reset(k.beat.Every/5 + rand.N(k.beat.Every/5))
			}
		}
	}
}

func (k *Keeper) renew(ctx context.Context, term *Term) error {
	ctx, cancel := context.WithTimeout(ctx, k.beat.TTL/4)
	defer cancel()
	sent := bootTime()
	orders, err := k.store.Renew(ctx, term.Holder, k.beat.TTL)
	if k.beaten != nil {
		k.beaten(orders.Leaderless, err)
	}
	if err != nil {
		return err
	}
	term.extend(sent + k.beat.TTL - k.beat.margin())
	term.renewed.Store(true)
	if len(orders.Cancel) > 0 && k.cancel != nil {
		k.cancel(orders.Cancel)
	}
	if orders.Restart {
		k.restart()
	}
	if k.edition != nil {
		k.edition(ctx, orders.Edition)
	}
	return nil
}

// Sleep waits for d or until ctx ends, and returns the cause in that case.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
