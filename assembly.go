package warren

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/internal/completer"
	"github.com/warrenq/warren/internal/dispatch"
	"github.com/warrenq/warren/internal/journal"
	"github.com/warrenq/warren/internal/lifecycle"
	"github.com/warrenq/warren/internal/sweeper"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// feed is what both feeds are: a worker.Feed with a loop of its own.
type feed interface {
	worker.Feed
	Run(ctx context.Context) error
	Pulse() *lifecycle.Pulse
}

// parts is a consumer's inside: the long-lived parts in the order in which they start.
type parts struct {
	consumer  *Consumer
	keeper    *worker.Keeper
	journal   *journal.Journal
	completer *completer.Completer
	sweeper   *sweeper.Sweeper
	feed      feed
	polled    *dispatch.PolledFeed // the feed, when it is one that can be woken
	swept     chan struct{}        // closed when a first sweep has made READY what is due
	pool      *worker.Pool
}

// prefetch is how many unsettled hints a band may have here: enough that a slot never waits for
// the broker when every hint carries one number. Numbers that find no slot are handed on after 250 ms.
func prefetch(concurrency int) int { return min(max(2*concurrency, 4), 200) }

// share is how many numbers a hint has that is handed on: about as many as another consumer can take, but no
// fewer than make a hint worth its message.
func share(concurrency int) int { return max(concurrency, 10) }

// assemble wires a consumer. Whether there is a broker is decided here, and nowhere else.
func (c *Consumer) assemble() (*parts, error) {
	p := &parts{consumer: c, swept: make(chan struct{})}
	cfg := &c.cfg
	relay := c.client.relay
	p.keeper = worker.NewKeeper(cfg.Store, jobstore.Consumer{
		Name: cfg.Name,
		Host: c.self.Host, PID: c.self.PID, Version: cfg.Version, Kinds: c.self.Kinds,
		Queues: cfg.Queues, Priorities: cfg.Take, Slots: cfg.Concurrency, Force: cfg.Force,
	}, cfg.Heartbeat, c.restart, cfg.Log)
	p.keeper.OnCancel(func(attempts map[jobstore.ID]int64) { p.pool.Cancel(attempts) })
	p.keeper.OnEdition(c.settings.see)
	p.journal = journal.New(journal.Config{Store: cfg.Store, MaxLog: max(cfg.MaxJobLog, 0), Log: cfg.Log})
	p.completer = completer.New(completer.Config{
		Store: cfg.Store, Released: func(refs []jobstore.Ref) { relay.AddReleased(refs...) },
		Fenced: func(n int) { c.observe(Event{Kind: OutcomeFenced, Count: n}) }, Log: cfg.Log,
	})
	claim := dispatch.ClaimConfig{
		Store: cfg.Store, Terms: p.keeper, Self: c.self, Turns: cfg.turns(), Released: func(refs []jobstore.Ref) { relay.AddReleased(refs...) },
		HandBack: p.handBack, UnknownKind: func(n int) { c.observe(Event{Kind: KindUnknown, Count: n}) },
		Refused: func(n int) { c.observe(Event{Kind: HintsRefused, Count: n}) }, Log: cfg.Log,
		Claimed: c.claimed,
	}
	var depth sweeper.Depth
	if cfg.Broker != nil {
		depth = func(ctx context.Context, b jobstore.Band) (int, error) { return cfg.Broker.Depth(ctx, broker.Band(b)) }
	}
	if cfg.Broker != nil && !cfg.UntilEmpty {
		sub, err := cfg.Broker.Subscribe(c.bands(), prefetch(cfg.Concurrency))
		if err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
		p.feed = dispatch.NewBrokeredFeed(dispatch.BrokeredConfig{
			Claim: claim, Subscription: sub, Publisher: cfg.Broker, Budget: cfg.MaxJobs, Share: share(cfg.Concurrency),
		})
	} else {
		// "Until empty" is a question about rows, so rows are what such a consumer goes by.
		p.polled = dispatch.NewPolledFeed(dispatch.PolledConfig{Claim: claim, Tick: cfg.PollInterval, Budget: cfg.MaxJobs, UntilEmpty: cfg.UntilEmpty, EmptyFor: cfg.EmptyFor, Pass: p.pass})
		p.feed = p.polled
	}
	files := &worker.Files{List: cfg.Store, Content: cfg.Files, MaxSize: cfg.MaxFile}
	p.sweeper = sweeper.New(sweeper.Config{
		Store: cfg.Store, Announcer: c.client.announcer, Depth: depth,
		// Two consumers of one process are two leaders, and a process id may be that of another container.
		Self: fmt.Sprintf("%s:%d:%08x", c.self.Host, c.self.PID, rand.Uint32()), Retention: cfg.Retention, Log: cfg.Log,
		Tick: cfg.Sweep.Tick, LostHints: cfg.Sweep.LostHints, Heads: cfg.Sweep.Heads, Rescue: cfg.Sweep.Rescue,
		Retain: cfg.Sweep.Retain, LeaderTTL: cfg.Sweep.LeaderTTL, RescueHold: cfg.Heartbeat.TTL,
		Files: files.Sweep, Rescued: c.client.rescued, Swept: c.client.swept, Missed: c.client.missed,
	})
	p.keeper.OnBeat(p.sweeper.Heartbeat)
	guards := guarding{store: cfg.Store, released: func(refs []jobstore.Ref) { relay.AddReleased(refs...) }, log: cfg.Log}
	open := 0
	if cfg.Scale != nil {
		open = cfg.Scale.Min
	}
	p.pool = worker.NewPool(worker.PoolConfig{
		Slots: cfg.Concurrency, Open: open, Feed: p.feed, Completer: p.completer, Kinds: cfg.Registry.workers(guards, cfg.Keys, c.client),
		Noter: cfg.Store, Finisher: cfg.Store, Journal: p.journal, Files: files, Returner: cfg.Store, Released: func(refs []jobstore.Ref) { relay.AddReleased(refs...) }, Drain: cfg.DrainTimeout, Grace: cfg.Grace, Now: c.now, Memory: !cfg.NoMemory, Hooks: cfg.Hooks,
		Started: c.started, Ended: c.ended, Stuck: c.stuck, MaxStuck: cfg.MaxStuck, Log: cfg.Log,
	})
	return p, nil
}

func (c *Consumer) bands() []broker.Band {
	var bands []broker.Band
	for _, q := range c.cfg.Queues {
		for _, prio := range c.cfg.Take {
			bands = append(bands, broker.Band{Queue: q, Priority: prio})
		}
	}
	return bands
}

// run starts the parts in order and stops them in reverse, so that the last outcomes are recorded
// while the lease still lives, and announced while the broker is still there.
func (p *parts) run(ctx context.Context, drain <-chan struct{}, stop func()) error {
	all := p.consumer.client.parts()
	all = append(all,
		lifecycle.Part{Name: "heartbeat", Run: p.keeper.Run},
		lifecycle.Part{Name: "journal", Run: p.journal.Run},
		lifecycle.Part{Name: "completer", Run: p.completer.Run},
		lifecycle.Part{Name: "sweep", Run: p.sweep},
		lifecycle.Part{Name: "feed", Run: p.feedAfterSweep},
	)
	if p.polled != nil {
		all = append(all, lifecycle.Part{Name: "wake-up", Run: p.listen})
	}
	if p.consumer.cfg.Scale != nil {
		all = append(all, lifecycle.Part{Name: "scale", Run: p.scale})
	}
	all = append(all,
		lifecycle.Part{Name: "limits", Run: p.limits},
		lifecycle.Part{Name: "workers", Run: p.pool.Run},
	)
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-drain:
			stop()
		case <-done:
		}
	}()
	return lifecycle.Run(ctx, all...)
}

// sweep is one round first when the consumer goes by rows until there are none, so that what is
// due counts, and then the loop of a possible leader.
func (p *parts) sweep(ctx context.Context) error {
	if p.consumer.cfg.UntilEmpty {
		if err := p.sweeper.Once(ctx); err != nil && ctx.Err() == nil {
			p.consumer.cfg.Log.Warn("the sweep could not do all of its work", zap.Error(err))
		}
	}
	close(p.swept)
	return p.sweeper.Run(ctx)
}

// feedAfterSweep begins when the first sweep is over: what it finds to be empty is empty.
func (p *parts) feedAfterSweep(ctx context.Context) error {
	select {
	case <-p.swept:
	case <-ctx.Done():
	}
	return p.feed.Run(ctx)
}

// listen turns wakes from other processes into looks at the database. Where there is nothing to
// listen to (a transaction pooler), the tick has to do.
func (p *parts) listen(ctx context.Context) error {
	log := p.consumer.cfg.Log
	for pause := time.Second; ctx.Err() == nil; pause = min(2*pause, time.Minute) {
		began := time.Now()
		err := p.consumer.cfg.Store.Listen(ctx, func() {
			p.polled.Hearing(true)
			p.polled.Wake()
		})
		p.polled.Hearing(false)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it ended because it was asked to
		}
		if time.Since(began) > time.Minute {
			pause = time.Second
		}
		log.Debug("not listening for wake-ups; the tick looks instead", zap.Error(err), zap.Duration("again_in", pause))
		_ = worker.Sleep(ctx, pause) // the loop looks at ctx
	}
	return nil
}

// offer gives jobs that this process announces to its own feed first, where that goes by rows.
func (p *parts) offer(refs []jobstore.Ref) (taken bool) {
	return p != nil && p.polled != nil && p.polled.Offer(refs)
}

// pass wakes other consumers for jobs that the feed was offered and did not get. It is called
// between two claims, so it may not wait for a database that is away: the tick does the same.
func (p *parts) pass(refs []jobstore.Ref) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := dispatch.NewPolled(p.consumer.cfg.Store, nil).Announce(ctx, refs); err != nil {
		p.consumer.cfg.Log.Debug("could not wake other consumers; their tick does it", zap.Error(err))
	}
}

// handBack records leases that no slot took as READY, with their attempt given back.
func (p *parts) handBack(works []worker.Work) {
	for _, w := range works {
		p.completer.Complete(w, jobstore.Outcome{
			ID: w.Lease.Job.ID, LeaseNo: w.Lease.Job.LeaseNo, State: jobstore.Ready, Uncount: true,
			SerialGroup: w.Lease.Job.SerialGroup, Mode: w.Lease.Job.Mode, Metadata: stillUnstarted(&w.Lease.Job),
		})
	}
}

// standstill is how long a loop may take to come round. The longest healthy round is a feed that waits
// 30 s for a hint and then claims.
const standstill = time.Minute

func (p *parts) alive() error {
	for _, loop := range []struct {
		name  string
		pulse *lifecycle.Pulse
	}{{"feed", p.feed.Pulse()}, {"heartbeat", p.keeper.Pulse()}, {"sweep", p.sweeper.Pulse()}} {
		if d := loop.pulse.Since(); d > standstill {
			return fmt.Errorf("the %s loop has stood still for %s", loop.name, d.Round(time.Second))
		}
	}
	return nil
}

func (p *parts) ready(ctx context.Context, drain <-chan struct{}) error {
	select {
	case <-drain:
		return errors.New("draining")
	default:
	}
	if p.pool.Draining() {
		return errors.New("draining")
	}
	if b := p.consumer.cfg.Broker; b != nil && !b.Up() {
		return errors.New("the broker is not connected")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := p.keeper.Term(ctx); err != nil {
		return errors.New("not registered with the database")
	}
	return nil
}
