// Package completer records outcomes: whatever is waiting goes into one statement and one commit.
package completer

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
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
	// Batch is how many outcomes one statement takes at most, and how many may be on the shelf. Default 500.
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
	shelf *shelf
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
		cfg: cfg, queue: make(chan entry, 2*cfg.Batch), shelf: newShelf(cfg.Batch),
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
	var flights, shelf, back sync.WaitGroup
	for range c.cfg.Flights {
		flights.Go(func() { c.loop(ctx, flush) })
	}
	landed := make(chan struct{})
	shelf.Go(func() { c.clearShelf(flush, landed) })
	back.Go(func() { c.back.Run(returning) })
	flights.Wait()
	close(landed)
	shelf.Wait()
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

// recordUnder goes on until the database has answered or the term is over: recording the same
// outcome twice is the same as once, so a lost reply is no problem. When the term is over the jobs
// are handed back, which changes nothing for those whose outcome did arrive.
//
// What the database does not take it may refuse for one outcome only: for its content, or because somebody
// holds a lock that this one needs. So a batch that fails again is taken apart, and the outcome that is
// left of it goes to the shelf: nothing waits behind it. In an outage that costs a few statements more
// when the database is back; the pauses do not begin anew with each part.
func (c *Completer) recordUnder(ctx context.Context, term *worker.Term, batch []entry) {
	left, failures, pause := [][]entry{batch}, 0, shortestPause
	for len(left) > 0 && term.Alive() && ctx.Err() == nil {
		part := left[0]
		err := c.try(ctx, term, part)
		if err == nil {
			left, pause = left[1:], shortestPause
			continue
		}
		if errors.Is(err, jobstore.ErrInvalid) {
			if len(part) > 1 {
				left = apart(left)
				continue
			}
			if hasContent(part[0]) {
				left[0] = []entry{c.bare(part[0], err)}
				continue
			}
			c.cfg.Log.Error("the database refuses an outcome", zap.Int64("job_id", int64(part[0].out.ID)), zap.Error(err))
			failures = patience
		}
		c.cfg.Log.Warn("could not record outcomes; trying again", zap.Int("outcomes", len(part)), zap.Error(err))
		if !unanswered(err) {
			failures++
		}
		if failures >= patience {
			left = c.putAside(left, pause)
		}
		if len(left) > 0 && worker.Sleep(ctx, jitter(pause)) != nil {
			break
		}
		pause = min(2*pause, longestPause)
	}
	c.giveUp(term, slices.Concat(left...))
}

const (
	// patience is how often a batch has to fail before it is taken apart.
	patience = 2

	shortestPause = 50 * time.Millisecond
	longestPause  = 2 * time.Second
)

func jitter(pause time.Duration) time.Duration { return pause/2 + rand.N(pause) }

// unanswered reports whether nobody answered: that says nothing of what was to be recorded.
func unanswered(err error) bool {
	var network net.Error // a deadline that has passed is one, too
	return errors.As(err, &network)
}

// apart halves the first part.
func apart(left [][]entry) [][]entry {
	first := left[0]
	return slices.Concat([][]entry{first[:len(first)/2], first[len(first)/2:]}, left[1:])
}

// putAside halves the first part, or puts it on the shelf if it is one outcome. Without room there it comes
// last.
func (c *Completer) putAside(left [][]entry, pause time.Duration) [][]entry {
	first := left[0]
	if len(first) > 1 {
		return apart(left)
	}
	if c.shelf.put(shelved{entry: first[0], pause: pause, next: time.Now().Add(jitter(pause))}) {
		return left[1:]
	}
	return slices.Concat(left[1:], left[:1])
}

// try records a part of a batch, once.
func (c *Completer) try(ctx context.Context, term *worker.Term, part []entry) error {
	outs := make([]jobstore.Outcome, len(part))
	for i, e := range part {
		outs[i] = e.out
	}
	call, cancel := context.WithTimeout(ctx, c.cfg.Call)
	defer cancel()
	recorded, err := c.cfg.Store.Record(call, term.Holder, outs)
	if err != nil {
		return err
	}
	drop(term, part)
	c.fenced(len(recorded.Fenced))
	if len(recorded.Released) > 0 {
		c.cfg.Released(recorded.Released)
	}
	return nil
}

// giveUp hands jobs back whose outcomes cannot be recorded any more.
func (c *Completer) giveUp(term *worker.Term, rest []entry) {
	leases := make(map[jobstore.ID]int64, len(rest))
	for _, e := range rest {
		leases[e.out.ID] = e.out.LeaseNo
	}
	c.back.Add(term.Holder, leases)
	drop(term, rest)
	c.fenced(len(rest))
}

func drop(term *worker.Term, entries []entry) {
	for _, e := range entries {
		term.Drop(e.out.ID, e.out.LeaseNo)
	}
}

// hasContent reports whether an outcome brings more than how its attempt has ended.
func hasContent(e entry) bool {
	return e.out.Output != nil || e.out.Metadata != nil || e.out.Memory != nil || e.out.Error != refusedText
}

// bare is an outcome without the content that the database refuses: an attempt that ended must not look as
// if it still ran.
//
// Where that is refused as well the outcome goes on being tried. To hand such a job back would be to run it again,
// at once and without an end: its next outcome would be refused too, and no attempt counted.
func (c *Completer) bare(e entry, err error) entry {
	c.cfg.Log.Warn("the database refuses what a job left behind; recording its outcome without it",
		zap.Int64("job_id", int64(e.out.ID)), zap.Error(err))
	e.out.Output, e.out.Metadata, e.out.Memory, e.out.Error = nil, nil, nil, refusedText
	return e
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
