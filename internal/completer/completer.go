// Package completer records outcomes: whatever is waiting goes into one statement and one commit.
package completer

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// Recorder is what the completer needs of a store.
type Recorder interface {
	Record(ctx context.Context, by jobstore.HolderID, done []jobstore.Outcome) (jobstore.Recorded, error)
	worker.Returner
}

// Config is what a Completer needs.
type Config struct {
	Store Recorder
	// Released takes the jobs that may go because others ended.
	Released func(refs []jobstore.Ref)
	// Fenced, if set, is told of outcomes that changed nothing.
	Fenced func(n int)
	// Flights is how many statements may be under way at once. Default 2.
	Flights int
	// Batch is how many outcomes one statement takes at most. Default 500.
	Batch int
	// Flush is how long the last outcomes may take once the completer was asked to stop, against
	// a database that does not answer. Default 10 s; what is not recorded by then is rescued.
	Flush time.Duration
	// Call is how long one statement may take. Default 5 s, a little more than the database itself
	// allows: a connection into a black hole must not hold a flight for minutes.
	Call time.Duration
	Log  *zap.Logger
}

type entry struct {
	term *worker.Term
	out  jobstore.Outcome
}

// Completer gathers outcomes behind the statement in flight. No timer holds an outcome back: alone,
// it is recorded at once.
type Completer struct {
	cfg   Config
	queue chan entry
	back  *worker.Returns
}

// New prepares a completer; Run does the work.
func New(cfg Config) *Completer {
	if cfg.Flights <= 0 {
		cfg.Flights = 2
	}
	if cfg.Batch <= 0 {
		cfg.Batch = 500
	}
	if cfg.Flush <= 0 {
		cfg.Flush = 10 * time.Second
	}
	if cfg.Call <= 0 {
		cfg.Call = 5 * time.Second
	}
	return &Completer{
		cfg: cfg, queue: make(chan entry, 2*cfg.Batch),
		back: worker.NewReturns(cfg.Store, cfg.Released, cfg.Log),
	}
}

// Complete takes over an outcome. It blocks while too many wait, which is what slows the slots
// down when the database is away.
func (c *Completer) Complete(w worker.Work, out jobstore.Outcome) {
	c.queue <- entry{term: w.Term, out: out}
}

// Run records until ctx ends, then records what is still waiting. Nobody may call Complete after
// ctx has ended.
func (c *Completer) Run(ctx context.Context) error {
	flush, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(c.cfg.Flush, cancel) })
	defer stop()
	// What the flights give up is handed back, so handing back ends after them.
	returning, endReturning := context.WithCancel(context.WithoutCancel(ctx))
	defer endReturning()
	var flights, back sync.WaitGroup
	for range c.cfg.Flights {
		flights.Go(func() { c.loop(ctx, flush) })
	}
	back.Go(func() { c.back.Run(returning) })
	flights.Wait()
	endReturning()
	back.Wait()
	return nil
}

func (c *Completer) loop(ctx, flush context.Context) {
	for {
		select {
		case e := <-c.queue:
			c.record(flush, c.gather(e))
		default:
			select {
			case e := <-c.queue:
				c.record(flush, c.gather(e))
			case <-ctx.Done():
				if len(c.queue) == 0 {
					return
				}
			}
		}
	}
}

// gather takes what waits behind first.
func (c *Completer) gather(first entry) []entry {
	batch := make([]entry, 1, 1+min(len(c.queue), c.cfg.Batch))
	batch[0] = first
	for len(batch) < c.cfg.Batch {
		select {
		case e := <-c.queue:
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

// record writes a batch, term by term: a batch that spans a re-registration is rare.
func (c *Completer) record(ctx context.Context, batch []entry) {
	for len(batch) > 0 {
		term := batch[0].term
		n := 1
		for n < len(batch) && batch[n].term == term {
			n++
		}
		c.recordUnder(ctx, term, batch[:n])
		batch = batch[n:]
	}
}

// recordUnder repeats until the database has answered or the term is over: recording the same
// outcome twice is the same as once, so a lost reply is no problem. When the term is over the jobs
// are handed back, which changes nothing for those whose outcome did arrive.
func (c *Completer) recordUnder(ctx context.Context, term *worker.Term, batch []entry) {
	outs := make([]jobstore.Outcome, len(batch))
	for i, e := range batch {
		outs[i] = e.out
	}
	for pause := 50 * time.Millisecond; term.Alive() && ctx.Err() == nil; pause = min(2*pause, 2*time.Second) {
		recorded, err := c.call(ctx, term.Holder, outs)
		switch {
		case err == nil:
			drop(term, outs)
			c.fenced(len(recorded.Fenced))
			if len(recorded.Released) > 0 {
				c.cfg.Released(recorded.Released)
			}
			return
		case errors.Is(err, jobstore.ErrInvalid):
			c.isolate(ctx, term, batch, err)
			return
		}
		c.cfg.Log.Warn("could not record outcomes; trying again", zap.Int("outcomes", len(outs)), zap.Error(err))
		if worker.Sleep(ctx, pause/2+rand.N(pause)) != nil {
			break
		}
	}
	leases := make(map[jobstore.ID]int64, len(outs))
	for _, o := range outs {
		leases[o.ID] = o.LeaseNo
	}
	c.back.Add(term.Holder, leases)
	drop(term, outs)
	c.fenced(len(outs))
}

func (c *Completer) call(ctx context.Context, by jobstore.HolderID, outs []jobstore.Outcome) (jobstore.Recorded, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Call)
	defer cancel()
	return c.cfg.Store.Record(ctx, by, outs)
}

func drop(term *worker.Term, outs []jobstore.Outcome) {
	for _, o := range outs {
		term.Drop(o.ID, o.LeaseNo)
	}
}

// isolate finds the outcome that the database refuses for its content, so that its neighbours are
// recorded, and replaces that content: an attempt that ended must not look as if it still ran.
func (c *Completer) isolate(ctx context.Context, term *worker.Term, batch []entry, err error) {
	if len(batch) > 1 {
		half := len(batch) / 2
		c.recordUnder(ctx, term, batch[:half])
		c.recordUnder(ctx, term, batch[half:])
		return
	}
	e := batch[0]
	if e.out.Output == nil && e.out.Metadata == nil && e.out.Memory == nil && e.out.Error == refusedText {
		c.cfg.Log.Error("the database refuses an outcome", zap.Int64("job_id", int64(e.out.ID)), zap.Error(err))
		drop(term, []jobstore.Outcome{e.out})
		return
	}
	c.cfg.Log.Warn("the database refuses what a job left behind; recording its outcome without it",
		zap.Int64("job_id", int64(e.out.ID)), zap.Error(err))
	e.out.Output, e.out.Metadata, e.out.Memory, e.out.Error = nil, nil, nil, refusedText
	c.recordUnder(ctx, term, []entry{e})
}

const refusedText = "what this attempt left behind (error text, output or metadata) could not be stored"

func (c *Completer) fenced(n int) {
	if n == 0 {
		return
	}
	if c.cfg.Fenced != nil {
		c.cfg.Fenced(n)
	}
	c.cfg.Log.Info("outcomes changed nothing because their lease had ended", zap.Int("outcomes", n))
}
