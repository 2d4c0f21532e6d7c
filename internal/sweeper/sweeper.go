// Package sweeper is the periodic round that makes up for whatever was lost: hints, processes,
// replies. One leader does it; two at once are harmless.
//
// Every part is a small Once function over short, bounded statements. Nothing waits for the broker
// inside a transaction, and nothing but the database's clock decides what is due.
package sweeper

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/lifecycle"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// Store is what the sweep needs of a database.
type Store interface {
	jobstore.Sweeper
	jobstore.Scheduler
	jobstore.Elector
	FlowSettler
}

// FlowSettler is the part of jobstore.Flows that the sweep does.
type FlowSettler interface {
	SettleFlows(ctx context.Context, limit int) (released []jobstore.Ref, more bool, err error)
	PruneFlows(ctx context.Context, ages jobstore.FlowAges, limit int) (int, error)
}

// Announcer announces and reports what is not known to have arrived. Its errors are those of package broker.
type Announcer interface {
	Announce(ctx context.Context, refs []jobstore.Ref) (failed []jobstore.Ref, err error)
}

// Depth counts the messages that wait in the broker for a band.
type Depth func(ctx context.Context, band jobstore.Band) (int, error)

// Config is what a Sweeper needs. Durations have the defaults of the protocol.
type Config struct {
	Store     Store
	Announcer Announcer
	// Depth is nil without a broker; then there are no hints to lose.
	Depth Depth
	// Self names this process as a leader.
	Self string

	Tick       time.Duration // 500 ms: due rows and the outbox
	LeaderTTL  time.Duration // 15 s, renewed at a third
	LostHints  time.Duration // 10 s
	Heads      time.Duration // 10 s
	Rescue     time.Duration // 5 s at the latest
	RescueHold time.Duration // 20 s, one heartbeat TTL: after an outage of the database living processes renew first
	Retain     time.Duration // 10 min
	MaxCrashes int           // 3
	Batch      int           // 500 rows a statement
	Retention  jobstore.Retention
	// Files removes at most limit files that belong to nobody, and returns how many; nil = nobody keeps files.
	Files func(ctx context.Context, limit int) (int, error)
	// Rescued, if set, is told what a rescue found, Swept how long each part of the round took, and Missed
	// of schedules whose ticks did not run in time.
	Rescued func(jobstore.Rescued)
	Swept   func(part string, took time.Duration)
	Missed  func(schedule string)
	Log     *zap.Logger
}

func (c *Config) defaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.Tick, 500*time.Millisecond)
	def(&c.LeaderTTL, 15*time.Second)
	def(&c.LostHints, 10*time.Second)
	def(&c.Heads, 10*time.Second)
	def(&c.Rescue, 5*time.Second)
	def(&c.RescueHold, 20*time.Second)
	def(&c.Retain, 10*time.Minute)
	if c.MaxCrashes <= 0 {
		c.MaxCrashes = 3
	}
	if c.Batch <= 0 {
		c.Batch = 500
	}
}

// Sweeper runs the parts while it leads.
type Sweeper struct {
	cfg   Config
	hints lostHints
	heads idleHeads
	// announceAfter and announcePause leave a broken broker in peace.
	announceAfter time.Time
	announcePause time.Duration
	refusing      map[jobstore.Band]*refusal
	arrived       time.Time // when the broker last took something
	failing       bool      // the database did not answer at the last round
	good          time.Time // when it last did; an outage that began between two rounds began no earlier
	holdRescue    time.Time
	look          chan struct{}             // holds one token when a heartbeat gave reason to look at the lease
	beat          atomic.Pointer[time.Time] // the last heartbeat that the database answered
	pulse         lifecycle.Pulse
}

// Pulse beats while the sweep goes round, whoever leads.
func (s *Sweeper) Pulse() *lifecycle.Pulse { return &s.pulse }

// New prepares a sweeper; Run does the work.
func New(cfg Config) *Sweeper {
	cfg.defaults()
	return &Sweeper{cfg: cfg, look: make(chan struct{}, 1), hints: newLostHints(), heads: newIdleHeads(), refusing: map[jobstore.Band]*refusal{}}
}

// leader is the name of the lease that the sweep's leader holds.
const leader = "sweep"

// callTimeout bounds one call of the database: a little more than it allows a statement itself.
const callTimeout = 5 * time.Second

// Run leads when it can, until ctx ends; then it gives the lease up so that another takes over at once.
func (s *Sweeper) Run(ctx context.Context) error {
	defer s.pulse.Rest()
	for ctx.Err() == nil {
		s.pulse.Beat()
		sent := time.Now()
		ok, err := s.take(ctx)
		switch {
		case err != nil:
			s.note(ctx, "become leader", err)
			// A database that comes back should find its sweep back soon.
			_ = worker.Sleep(ctx, s.cfg.LeaderTTL/15+rand.N(s.cfg.LeaderTTL/15)) // the loop looks at ctx
		case ok:
			s.lead(ctx, sent.Add(s.trusted()))
		default:
			s.await(ctx)
		}
	}
	resign, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := s.cfg.Store.Resign(resign, leader, s.cfg.Self); err != nil {
		s.cfg.Log.Debug("could not resign; the lease expires by itself", zap.Error(err))
	}
	return nil
}

// Heartbeat is told how each heartbeat of the process ended, so that of many consumers only the leader
// asks for the lease: the others look when nobody leads, and when the database did not answer, because whoever
// leads after an outage has to know of it.
func (s *Sweeper) Heartbeat(leaderless bool, err error) {
	if err == nil {
		s.beat.Store(new(time.Now()))
	}
	if err == nil && !leaderless {
		return
	}
	select {
	case s.look <- struct{}{}:
	default:
	}
}

// await waits until the lease may have become free. Without a word from a heartbeat it looks now and then.
func (s *Sweeper) await(ctx context.Context) {
	t := time.NewTimer(2*s.cfg.LeaderTTL + rand.N(s.cfg.LeaderTTL))
	defer t.Stop()
	select {
	case <-s.look:
	case <-t.C:
	case <-ctx.Done():
	}
}

// take takes or renews the leader's lease.
func (s *Sweeper) take(ctx context.Context) (ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, ok, err = s.cfg.Store.Lead(ctx, leader, s.cfg.Self, s.cfg.LeaderTTL)
	if err == nil {
		s.answered()
	}
	return ok, err
}

// trusted is how long a lease is believed in from when its renewal was sent: a little less than
// the database does.
func (s *Sweeper) trusted() time.Duration { return s.cfg.LeaderTTL - s.cfg.LeaderTTL*2/15 }

// part is one piece of the round and when it is due next.
type part struct {
	name string
	next time.Time
	once func(ctx context.Context) (next time.Duration, err error)
	// calm says that it is left out while the database fails: another part finds out first.
	calm bool
}

// lead runs the parts, each at its time, until the lease is no longer trusted or ctx ends.
func (s *Sweeper) lead(ctx context.Context, until time.Time) {
	s.hints, s.heads = newLostHints(), newIdleHeads()
	parts := s.parts()
	renew := time.Now().Add(s.cfg.LeaderTTL / 3)
	for ctx.Err() == nil && time.Now().Before(until) {
		s.pulse.Beat()
		now := time.Now()
		if !now.Before(renew) {
			ok, err := s.take(ctx)
			switch {
			case err != nil:
				s.note(ctx, "renew the leader's lease", err)
				renew = time.Now().Add(s.cfg.LeaderTTL / 15)
			case !ok:
				return
			default:
				until, renew = now.Add(s.trusted()), now.Add(s.cfg.LeaderTTL/3)
			}
		}
		wake := renew
		for _, p := range parts {
			if !time.Now().Before(p.next) {
				s.run(ctx, p)
			}
			if p.next.Before(wake) {
				wake = p.next
			}
		}
		_ = worker.Sleep(ctx, time.Until(wake)) // the loop looks at ctx
	}
}

func (s *Sweeper) run(ctx context.Context, p *part) {
	if p.calm && s.failing {
		p.next = time.Now().Add(s.cfg.Tick)
		return
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s.pulse.Beat()
	next, err := s.timed(short, p)
	if err != nil {
		s.note(ctx, p.name, err)
		next = max(next, time.Second)
	} else {
		s.answered()
	}
	p.next = time.Now().Add(next)
}

// timed does a part once and tells how long that took.
func (s *Sweeper) timed(ctx context.Context, p *part) (next time.Duration, err error) {
	if s.cfg.Swept == nil {
		return p.once(ctx)
	}
	began := time.Now()
	defer func() { s.cfg.Swept(p.name, time.Since(began)) }()
	return p.once(ctx)
}

// answered notes that the database works. After an outage living processes renew first, before
// anything of theirs is rescued. A shorter one than a quarter of a lease needs no such pause, because
// they renew at half of it at the latest; and it must not have one, because errors that come more often
// than a lease ends would put off rescue for ever.
func (s *Sweeper) answered() {
	now := time.Now()
	if s.failing {
		s.failing = false
		if now.Sub(s.good) > s.cfg.RescueHold/4 {
			s.holdRescue = now.Add(s.cfg.RescueHold)
		}
		s.cfg.Log.Info("the sweep works again")
	}
	s.good = now
}

// note logs the first failure of a series; the end of the series is logged by answered.
func (s *Sweeper) note(ctx context.Context, what string, err error) {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return
	}
	if !s.failing {
		s.cfg.Log.Warn("the sweep could not do its work; it goes on trying", zap.String("part", what), zap.Error(err))
		if beat := s.beat.Load(); beat != nil && beat.After(s.good) {
			s.good = *beat
		}
	}
	s.failing = true
}

func (s *Sweeper) parts() []*part {
	now := time.Now()
	parts := []*part{
		{name: "due and outbox", next: now, once: s.tickOnce},
		{name: "rescue", next: now, once: s.rescueOnce, calm: true},
		{name: "heads of serial groups", next: now, once: s.headsOnce},
		{name: "retention", next: now.Add(s.cfg.Retain / 10), once: s.retainOnce},
	}
	if s.cfg.Depth != nil {
		parts = append(parts, &part{name: "lost hints", next: now, once: s.lostHintsOnce})
	}
	return parts
}

// Once does every part once, for a pass from cron. Rows found to be ready are announced.
func (s *Sweeper) Once(ctx context.Context) error {
	var errs []error
	for _, p := range s.parts() {
		_, err := s.timed(ctx, p)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
