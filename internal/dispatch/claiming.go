package dispatch

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/lifecycle"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// Claimer is what the feeds need of a store.
type Claimer interface {
	Claim(ctx context.Context, by jobstore.Claimant, ids []jobstore.ID) (jobstore.Claimed, error)
	ClaimNext(ctx context.Context, by jobstore.Claimant, n int) ([]jobstore.Lease, error)
	ReleaseUnknown(ctx context.Context, holder jobstore.HolderID, tokens []int64, known []jobstore.ID) ([]jobstore.Ref, error)
}

// Terms gives the living registration of this process.
type Terms interface {
	Term(ctx context.Context) (*worker.Term, error)
}

// ClaimConfig is what both feeds need to claim.
type ClaimConfig struct {
	Store Claimer
	Terms Terms
	// Self is who claims and what it may take; holder and token are filled in for each claim.
	Self jobstore.Claimant
	// Turns is the order of bands; nil = strict, the best priority first.
	Turns *Turns
	// Released takes rows that were handed back, to be announced.
	Released func(refs []jobstore.Ref)
	// HandBack takes leases that no slot could run; they are recorded as READY, attempt given back.
	HandBack func(works []worker.Work)
	// UnknownKind, if set, is told of jobs this process has no handler for.
	UnknownKind func(n int)
	// Refused, if set, is told of numbers that a claim had nothing to do about: duplicates, jobs that
	// have ended, are held or blocked.
	Refused func(n int)
	// Claimed, if set, is told how many leases each claim came to; 0 when there was nothing to claim
	// by order.
	Claimed func(n int)
	// StatementTimeout is after which time a claim whose reply was lost can no longer be under
	// way in the database. Default 3 s.
	StatementTimeout time.Duration
	Log              *zap.Logger
}

// claiming turns numbers or order into work, whatever happens to the replies. It is used by one
// goroutine only: what another had claimed meanwhile would be unknown to a look for what is.
type claiming struct {
	cfg    ClaimConfig
	doubts []doubt
	pulse  *lifecycle.Pulse
}

// doubt is a claim without a reply: rows may turn up under its token that this process does not know of.
type doubt struct {
	term  *worker.Term
	token int64
	next  time.Time     // when they are looked for
	pause time.Duration // from then until the look after that
}

// longestDoubt is the pause after which a claim without a reply is looked for no more. The statement's timeout begins when the
// database has it, and a network that was cut off delivers it up to some two minutes after the connection was given up.
const longestDoubt = 2 * time.Minute

func newClaiming(cfg ClaimConfig) claiming {
	if cfg.StatementTimeout <= 0 {
		cfg.StatementTimeout = 3 * time.Second
	}
	c := claiming{cfg: cfg, pulse: &lifecycle.Pulse{}}
	if handBack := cfg.HandBack; handBack != nil {
		c.cfg.HandBack = func(works []worker.Work) {
			if cfg.Turns != nil {
				cfg.Turns.back(works)
			}
			c.pulse.Rest() // while the database is away, whoever records outcomes may let us wait
			handBack(works)
			c.pulse.Beat()
		}
	}
	return c
}

// term waits for the living registration of this process. Without one there is nothing to do,
// however long that lasts.
func (c *claiming) term(ctx context.Context) (*worker.Term, error) {
	c.pulse.Rest()
	defer c.pulse.Beat()
	return c.cfg.Terms.Term(ctx)
}

// claim repeats one call until the database has answered or ctx ends.
//
// The call itself is not cut off by ctx: a claim that is broken off leaves rows leased to nobody.
func (c *claiming) claim(ctx context.Context, call func(ctx context.Context, by jobstore.Claimant) ([]jobstore.Lease, error)) ([]worker.Work, error) {
	var last *worker.Term
	by := c.cfg.Self
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		term, err := c.term(ctx)
		if err != nil {
			return nil, err
		}
		if term != last { // a token belongs to a holder
			by.Holder, by.Token, by.Again = term.Holder, rand.Int64(), false
			last = term
		}
		leases, err := c.once(ctx, by, call)
		switch {
		case err == nil:
			return c.granted(term, leases), nil
		case errors.Is(err, jobstore.ErrHolderGone):
			term.Lost()
		default:
			by.Again = true
			c.doubtful(term, by.Token)
			c.cfg.Log.Warn("could not claim; trying again", zap.Error(err), zap.Duration("in", pause))
		}
		if err := worker.Sleep(ctx, pause/2+rand.N(pause)); err != nil {
			return nil, err
		}
	}
}

func (c *claiming) once(ctx context.Context, by jobstore.Claimant, call func(ctx context.Context, by jobstore.Claimant) ([]jobstore.Lease, error)) ([]jobstore.Lease, error) {
	ctx, cancel := c.bound(context.WithoutCancel(ctx))
	defer cancel()
	return call(ctx, by)
}

// bound gives a call of the database a little more time than the database gives it.
func (c *claiming) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.cfg.StatementTimeout+2*time.Second)
}

// granted puts what was claimed into the order in which slots are to take it.
func (c *claiming) granted(term *worker.Term, leases []jobstore.Lease) []worker.Work {
	term.Hold(leases)
	if c.cfg.Claimed != nil && len(leases) > 0 {
		c.cfg.Claimed(len(leases))
	}
	if c.cfg.Turns != nil {
		c.cfg.Turns.granted(leases)
	}
	works := make([]worker.Work, len(leases))
	for i := range leases {
		works[i] = worker.Work{Term: term, Lease: &leases[i]}
	}
	if c.cfg.Turns != nil {
		return works
	}
	slices.SortFunc(works, func(a, b worker.Work) int {
		return cmp.Or(cmp.Compare(a.Lease.Job.Priority, b.Lease.Job.Priority), cmp.Compare(a.Lease.Job.ID, b.Lease.Job.ID))
	})
	return works
}

// byNumber claims what the numbers stand for. Their hints are acked when it returns, so what somebody
// else has locked just now is asked for again: mostly that is the sweep, taking the row out of the
// outbox at the very moment its hint arrives. A lock that lasts longer is left to the sweep for lost hints.
func (c *claiming) byNumber(ctx context.Context, ids []jobstore.ID) ([]worker.Work, error) {
	works, busy, err := c.someByNumber(ctx, ids)
	for pause := shortestLock; err == nil && len(busy) > 0 && pause <= longestLock; pause *= 3 {
		if worker.Sleep(ctx, pause) != nil {
			break // what is leased has to be handed on
		}
		var more []worker.Work
		more, busy, err = c.someByNumber(ctx, busy)
		works = append(works, more...)
	}
	if len(works) > 0 {
		return works, nil // the rest is of no use to a process that is asked to stop
	}
	return nil, err
}

// How long a claim waits for rows that somebody has locked, first and last.
const (
	shortestLock = 5 * time.Millisecond
	longestLock  = 45 * time.Millisecond
)

// someByNumber is one claim. busy are the numbers that it could not ask the rows about.
func (c *claiming) someByNumber(ctx context.Context, ids []jobstore.ID) (works []worker.Work, busy []jobstore.ID, err error) {
	works, err = c.claim(ctx, func(ctx context.Context, by jobstore.Claimant) ([]jobstore.Lease, error) {
		claimed, err := c.cfg.Store.Claim(ctx, by, ids)
		busy = claimed.Busy
		if n := len(claimed.UnknownKind); n > 0 {
			c.cfg.Log.Info("jobs of kinds that this consumer has no handler for; offered again later", zap.Int("jobs", n))
			if c.cfg.UnknownKind != nil {
				c.cfg.UnknownKind(n)
			}
		}
		if n := len(ids) - len(claimed.Leases) - len(claimed.UnknownKind) - len(busy); err == nil && n > 0 && c.cfg.Refused != nil {
			c.cfg.Refused(n)
		}
		return claimed.Leases, err
	})
	return works, busy, err
}

// byOrder claims the next n. busy says that there are jobs, which others have locked at this moment. A whole look is for
// whoever has to know that nothing is left.
func (c *claiming) byOrder(ctx context.Context, n int, whole bool) (works []worker.Work, busy bool, err error) {
	works, err = c.claim(ctx, func(ctx context.Context, by jobstore.Claimant) ([]jobstore.Lease, error) {
		// A look at everything may take longer than a statement may; then what can be looked at has to do.
		if by.Whole = whole && !by.Again; c.cfg.Turns != nil {
			by.Turns = c.cfg.Turns.next()
		}
		leases, err := c.cfg.Store.ClaimNext(ctx, by, n)
		if busy = errors.Is(err, jobstore.ErrBusy); busy {
			return nil, nil
		}
		return leases, err
	})
	if err == nil && !busy && len(works) == 0 && c.cfg.Claimed != nil {
		c.cfg.Claimed(0)
	}
	return works, busy, err
}

// doubtful has what was claimed with this token looked for, for the first time when the claim, if the database has it, has ended.
func (c *claiming) doubtful(term *worker.Term, token int64) {
	c.doubts = slices.DeleteFunc(c.doubts, func(d doubt) bool { return d.token == token })
	first := c.cfg.StatementTimeout + time.Second
	c.doubts = append(c.doubts, doubt{term: term, token: token, next: time.Now().Add(first), pause: 3 * first})
}

// untilDoubt is how long it is until something has to be looked for, most at most.
func (c *claiming) untilDoubt(most time.Duration) time.Duration {
	for _, d := range c.doubts {
		most = min(most, max(time.Until(d.next), 0))
	}
	return most
}

// settleDoubts releases what lost replies may have left leased to this process without its knowledge. A token
// keeps a look that arrives late, as a claim may, from releasing what was claimed meanwhile.
func (c *claiming) settleDoubts(ctx context.Context) { c.settleUntil(ctx, time.Now()) }

// seeOut does that until ctx ends, while the last handlers run: what is left of a claim would be rescued when this process has
// gone, and count as a crash of its job. At the end it looks for all of it, though a claim may still be under way.
func (c *claiming) seeOut(ctx context.Context) {
	for ctx.Err() == nil {
		c.settleDoubts(ctx)
		c.pulse.Rest()
		_ = worker.Sleep(ctx, c.untilDoubt(longestDoubt)) // the loop looks at ctx
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLook)
	defer cancel()
	c.settleUntil(last, time.Now().Add(4*longestDoubt))
	c.pulse.Rest()
}

// lastLook is how long the end of a process may take for looking for what lost replies have granted.
const lastLook = 2 * time.Second

// settleUntil looks for what is to be looked for by now.
func (c *claiming) settleUntil(ctx context.Context, now time.Time) {
	if !slices.ContainsFunc(c.doubts, func(d doubt) bool { return !now.Before(d.next) }) {
		return
	}
	term, err := c.term(ctx)
	if err != nil {
		return
	}
	// What was leased to an earlier registration has been rescued.
	c.doubts = slices.DeleteFunc(c.doubts, func(d doubt) bool { return d.term != term })
	var tokens []int64
	for _, d := range c.doubts {
		if !now.Before(d.next) {
			tokens = append(tokens, d.token)
		}
	}
	if len(tokens) == 0 {
		return
	}
	call, cancel := c.bound(ctx)
	defer cancel()
	refs, err := c.cfg.Store.ReleaseUnknown(call, term.Holder, tokens, term.Held())
	c.looked(tokens, err)
	if len(refs) > 0 {
		c.cfg.Log.Info("released jobs that a claim had granted without its reply arriving", zap.Int("jobs", len(refs)))
		c.cfg.Released(refs)
	}
}

// looked has the tokens looked for again: soon where the database did not answer, ever later where it did, and then no more.
func (c *claiming) looked(tokens []int64, err error) {
	now := time.Now()
	for i := range c.doubts {
		switch d := &c.doubts[i]; {
		case !slices.Contains(tokens, d.token):
		case err != nil:
			d.next = now.Add(time.Second)
		default:
			d.next, d.pause = now.Add(d.pause), 3*d.pause
		}
	}
	c.doubts = slices.DeleteFunc(c.doubts, func(d doubt) bool { return d.pause > 3*longestDoubt })
}
