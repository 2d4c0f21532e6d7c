package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/journal"
	"github.com/warrenq/warren/jobstore"
)

// Work is one leased job and the term it was leased under.
type Work struct {
	Term  *Term
	Lease *jobstore.Lease
}

// Feed hands out work. It is pull: a slot asks when it is free, so concurrency equals slots.
type Feed interface {
	// Next waits for work. io.EOF-like ends are expressed by ErrDone.
	Next(ctx context.Context) (Work, error)
	// Drain says that nobody calls Next any more: what nobody has taken goes back to others at
	// once, not when the last handler has ended. It returns at once.
	Drain()
}

// ErrDone is returned by a feed that has nothing more to give.
var ErrDone = errors.New("no more work")

// Handler runs one attempt.
type Handler func(ctx context.Context, job *jobstore.Job) error

// Kind is how jobs of one kind are run.
type Kind struct {
	Handle  Handler
	Timeout time.Duration // 0 = none; the job's own wins
	Policy  Policy
	// Failed is called when an attempt ends its job as PERMANENTLY_FAILED, before that is recorded; nil = nothing is.
	Failed func(ctx context.Context, job *jobstore.Job, err error)
	// Noted has every attempt in the job's history, those that succeed at once included.
	Noted bool
}

// Completer takes outcomes to be recorded.
type Completer interface {
	// Complete takes over the outcome; it blocks while too many wait, and never loses one
	// before the term ends.
	Complete(w Work, out jobstore.Outcome)
}

// Event is what a pool tells its observer.
type Event struct {
	Job     *jobstore.Job
	Outcome jobstore.Outcome
	Err     error
	Dropped bool // the lease was lost: nothing will be recorded
}

// PoolConfig is what a Pool needs.
type PoolConfig struct {
	Slots int
	// Open is how many of them take work at first, in a pool that is resized; 0 = all, always.
	Open      int
	Feed      Feed
	Completer Completer
	Kinds     map[string]Kind
	// Noter writes down what the Before hook says of a job.
	Noter jobstore.Noter
	// Journal takes what attempts say while they run; nil = nobody does.
	Journal *journal.Journal
	// Finisher records the outcomes that handlers write in transactions of their own.
	Finisher Finisher
	// Files keeps what attempts attach; nil = nobody does.
	Files *Files
	// Returner hands back rows of a lost term, so that they run at once elsewhere.
	Returner Returner
	// Released takes those rows to be announced.
	Released func(refs []jobstore.Ref)
	// Drain is how long running handlers may take after the pool was asked to stop. Default 25 s.
	Drain time.Duration
	// Grace is how long a handler may take to return after its context ended. Default 5 s; 2 s
	// when the pool stops.
	Grace time.Duration
	// Now, when closed, ends the drain and the grace: what still runs a moment later is handed back.
	Now   <-chan struct{}
	Hooks Hooks
	// Memory notes the size of the heap before and after each attempt.
	Memory  bool
	Started func(*jobstore.Job)
	Ended   func(Event)
	// Stuck is told of a handler that was left behind.
	Stuck func(job *jobstore.Job, err *StuckError)
	// MaxStuck stops the pool when so many handlers were left behind; 0 = never. Only the end of the
	// process ends them.
	MaxStuck int
	Log      *zap.Logger
}

// Hooks are called around every attempt. Each may be nil.
type Hooks struct {
	// Before runs first; its error is taken for the handler's, which is not called then. The
	// metadata it sets is in the row before the handler is called.
	Before func(ctx context.Context, job *jobstore.Job) error
	// OnError may replace an attempt's error, and with it its class. nil makes it a success.
	OnError func(ctx context.Context, job *jobstore.Job, err error) error
	// After sees how the attempt ended.
	After func(ctx context.Context, job *jobstore.Job, err error)
}

// Pool runs handlers in a fixed number of slots.
type Pool struct {
	cfg    PoolConfig
	stop   context.CancelFunc
	taking context.Context //nolint:containedctx // ends when the pool may take no more work; made by Run
	hard   context.Context //nolint:containedctx // ends when running handlers must stop; made by Run
	busy   atomic.Int64
	stuck  atomic.Int64 // handlers left behind so far
	heap   heapGauge
	back   *Returns

	draining atomic.Bool

	current []current // of each slot
	gate    *gate     // nil when every slot is open, always

	mu      sync.Mutex
	term    *Term           // the latest
	running context.Context //nolint:containedctx // what the handlers under that term hang from
}

// NewPool prepares a pool; Run does the work.
func NewPool(cfg PoolConfig) *Pool {
	if cfg.Drain <= 0 {
		cfg.Drain = 25 * time.Second
	}
	if cfg.Grace <= 0 {
		cfg.Grace = 5 * time.Second
	}
	p := &Pool{cfg: cfg, current: make([]current, cfg.Slots), back: NewReturns(cfg.Returner, cfg.Released, cfg.Log)}
	if cfg.Open > 0 {
		p.gate = newGate(cfg.Slots, cfg.Open)
	}
	return p
}

// Draining reports whether the pool takes no more work, whoever asked it to stop.
func (p *Pool) Draining() bool { return p.draining.Load() }

// Busy is how many handlers run now.
func (p *Pool) Busy() int { return int(p.busy.Load()) }

// Run takes work until ctx ends, a handler asks the consumer to stop, or the feed is done. Then
// it waits for running handlers up to the drain time, ends their contexts with ErrShutdown, and
// after a last grace hands back what still runs. It returns when every outcome is with the
// completer.
//
// Closing PoolConfig.Now cuts all of that short.
func (p *Pool) Run(ctx context.Context) error {
	var endTaking context.CancelFunc
	p.taking, endTaking = context.WithCancel(ctx)
	defer endTaking()
	p.stop = endTaking
	hard, endHard := context.WithCancelCause(context.WithoutCancel(ctx))
	defer endHard(nil)
	p.hard = hard

	returning, endReturning := context.WithCancel(context.WithoutCancel(ctx))
	var back sync.WaitGroup
	back.Go(func() { p.back.Run(returning) })
	defer func() {
		endReturning()
		back.Wait()
	}()
	var slots sync.WaitGroup
	for i := range p.current {
		slots.Go(func() { p.slot(i) }) //nolint:contextcheck // what a slot runs hangs from its term
	}
	gone := make(chan struct{})
	go func() { slots.Wait(); close(gone) }()
	p.drain(gone, endHard)
	return nil
}

// drain waits until nothing may be taken any more and then for the slots.
func (p *Pool) drain(gone <-chan struct{}, endHard context.CancelCauseFunc) {
	select {
	case <-gone:
	case <-p.taking.Done():
	}
	p.draining.Store(true)
	p.cfg.Feed.Drain()
	drain := time.NewTimer(p.cfg.Drain)
	defer drain.Stop()
	select {
	case <-gone:
		return
	case <-drain.C:
		p.cfg.Log.Warn("the drain timeout has passed; ending the handlers that still run",
			zap.Int("running", p.Busy()), zap.Duration("drain_timeout", p.cfg.Drain))
	case <-p.cfg.Now:
	}
	endHard(ErrShutdown)
	// A slot can now only wait for the completer, which waits for the database. It gets the
	// outcome during its flush, or the rescue finds the row; nothing of that may keep us from ending.
	late := time.NewTimer(p.cfg.Grace + callTimeout)
	defer late.Stop()
	select {
	case <-gone:
	case <-late.C:
		p.cfg.Log.Warn("outcomes still wait to be recorded; ending without them", zap.Int("jobs", p.Busy()))
	}
}

func (p *Pool) slot(i int) {
	r := runner{now: &p.current[i]}
	defer r.leave()
	for p.taking.Err() == nil {
		taking := p.taking
		if p.gate != nil {
			taking = p.gate.pass(taking, i)
		}
		w, err := p.cfg.Feed.Next(taking)
		if err != nil {
			if taking.Err() != nil && p.taking.Err() == nil {
				continue // it was shut while it waited
			}
			if errors.Is(err, ErrDone) {
				p.stop()
			} else if p.taking.Err() == nil {
				p.cfg.Log.Error("cannot take more work; stopping", zap.Error(err))
				p.stop()
			}
			return
		}
		p.attempt(w, &r)
	}
}

// attempt runs one leased job to its outcome.
func (p *Pool) attempt(w Work, r *runner) {
	busy := p.busy.Add(1)
	defer p.busy.Add(-1)
	if p.gate != nil {
		p.gate.began(int(busy))
	}
	kind := p.cfg.Kinds[w.Lease.Job.Kind]
	if p.cfg.Started != nil {
		p.cfg.Started(&w.Lease.Job)
	}
	var before uint64
	if p.cfg.Memory {
		before = p.heap.bytes()
	}
	began := time.Now()
	scope := NewScope(&w.Lease.Job, p.cfg.Log)
	scope.Heard(p.cfg.Journal, p.cfg.Files, w.Term.Holder)
	scope.under = underway{finisher: p.cfg.Finisher, work: w, began: began}
	err, cause := p.run(w, kind, scope, r)
	if p.hooked() && !errors.Is(cause, ErrLeaseLost) {
		err = p.after(WithScope(context.WithoutCancel(w.Term.Context()), scope), &w.Lease.Job, err, r)
	}

	policy := kind.Policy
	policy.Took = time.Since(began)
	d := Decide(w.Lease, err, cause, policy)
	d.Outcome.Duration, d.Outcome.Noted = policy.Took, kind.Noted
	p.noteFailure(&d, scope)
	if kind.Failed != nil && d.Outcome.State == jobstore.PermanentlyFailed && !d.Drop {
		p.failed(w, kind, scope, err, r)
	}
	d.Outcome.Memory = p.memoryChange(before)
	scope.End(d.Outcome.State == jobstore.Finished)
	d.Outcome.Output, d.Outcome.Metadata = scope.Kept()
	if d.Outcome.Step != 0 && d.Outcome.State == jobstore.Finished {
		d.Outcome.Flow = scope.flowChange()
	}
	if d.Stop {
		p.cfg.Log.Info("a handler asked this consumer to stop", zap.Int64("job_id", int64(d.Outcome.ID)))
		p.stop()
	}
	if d.Drop {
		p.back.Add(w.Term.Holder, map[jobstore.ID]int64{w.Lease.Job.ID: w.Lease.Job.LeaseNo})
		w.Term.Drop(w.Lease.Job.ID, w.Lease.Job.LeaseNo)
	} else {
		p.cfg.Completer.Complete(w, d.Outcome)
	}
	if p.cfg.Ended != nil {
		p.cfg.Ended(Event{Job: &w.Lease.Job, Outcome: d.Outcome, Err: err, Dropped: d.Drop})
	}
}

// run calls the handler and waits for it, or for a grace after its context ended. The cause is
// why the context ended, nil if it had not when the handler returned.
func (p *Pool) run(w Work, kind Kind, scope *Scope, r *runner) (err, cause error) {
	// Four things end a handler: its lease, the pool's hard stop, its timeout, an operator.
	ctx, cancel := context.WithCancelCause(p.under(w.Term))
	defer cancel(nil)
	r.now.begin(&w.Lease.Job, cancel)
	defer r.now.end()
	timeout := w.Lease.Job.Timeout
	if timeout <= 0 {
		timeout = kind.Timeout
	}
	if timeout > 0 {
		t := time.AfterFunc(timeout, func() { cancel(ErrTimeout) })
		defer t.Stop()
	}
	if !w.Term.Alive() {
		return ErrLeaseLost, ErrLeaseLost
	}

	returned := r.start(func() error { return p.call(WithScope(ctx, scope), w, kind, scope) })
	select {
	case err = <-returned:
		r.took(err)
		return err, p.causeAfter(ctx, w.Term)
	case <-ctx.Done():
	}
	if ok, err := p.outlast(returned, p.grace(ctx)); ok {
		r.took(err)
		return err, p.causeAfter(ctx, w.Term)
	}
	return p.leaveBehind(ctx, w, r), p.causeAfter(ctx, w.Term)
}

// under returns what the contexts of a term's handlers hang from: it ends with the term, and when
// running handlers must stop. It is made once a term.
func (p *Pool) under(term *Term) context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.term != term {
		ctx, cancel := context.WithCancelCause(term.Context())
		context.AfterFunc(p.hard, func() { cancel(ErrShutdown) })
		p.term, p.running = term, ctx
	}
	return p.running
}

// heed is how long what has been told to end has for its answer, although the process ends at once: whoever looks at
// its context needs a moment to see that it has ended.
const heed = 100 * time.Millisecond

// outlast waits for what has been told to end, for a grace, or for a moment from Now on. The error is the answer
// of what has returned, if it has.
func (p *Pool) outlast(returned <-chan error, grace time.Duration) (ok bool, answer error) {
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case answer = <-returned:
		return true, answer
	case <-p.cfg.Now:
		t.Reset(min(grace, heed))
		select {
		case answer = <-returned:
			return true, answer
		case <-t.C:
		}
	case <-t.C:
	}
	select {
	case answer = <-returned: // one that is there counts
		return true, answer
	default:
		return false, nil
	}
}

// hurried reports whether the process ends at once.
func (p *Pool) hurried() bool {
	select {
	case <-p.cfg.Now:
		return true
	default:
		return false
	}
}

// causeAfter looks at the clock once more: a process that was frozen while the handler finished
// finds out here, before it reports anything.
func (p *Pool) causeAfter(ctx context.Context, term *Term) error {
	if !term.Alive() {
		return ErrLeaseLost
	}
	return Cause(ctx)
}

func (p *Pool) grace(ctx context.Context) time.Duration {
	if errors.Is(context.Cause(ctx), ErrShutdown) {
		return min(p.cfg.Grace, 2*time.Second)
	}
	return p.cfg.Grace
}

func (p *Pool) call(ctx context.Context, w Work, kind Kind, scope *Scope) error {
	if p.cfg.Hooks.Before != nil {
		if err := p.cfg.Hooks.Before(ctx, &w.Lease.Job); err != nil {
			return err
		}
		p.note(ctx, w, scope)
	}
	return kind.Handle(ctx, &w.Lease.Job)
}

// note writes down what the Before hook has said of the job, so that others can read it while the
// handler runs. That is worth no attempt: when it fails the handler runs all the same, and the
// outcome brings the metadata again.
func (p *Pool) note(ctx context.Context, w Work, scope *Scope) {
	_, metadata := scope.Kept()
	if metadata == nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	job := &w.Lease.Job
	err := p.cfg.Noter.Note(limited, w.Term.Holder, []jobstore.Note{{ID: job.ID, LeaseNo: job.LeaseNo, Metadata: metadata}})
	if err != nil && ctx.Err() == nil {
		p.cfg.Log.Warn("could not note a job's metadata at its start; it comes with the outcome",
			zap.Int64("job_id", int64(job.ID)), zap.Error(err))
	}
}

// hooked reports whether there are hooks that see how an attempt ended.
func (p *Pool) hooked() bool { return p.cfg.Hooks.OnError != nil || p.cfg.Hooks.After != nil }

// after calls the hooks that see how the attempt ended. A hook that panics or exits has failed the
// attempt; one that is left behind has not said anything.
func (p *Pool) after(ctx context.Context, job *jobstore.Job, err error, r *runner) error {
	return p.aside(ctx, r, func(ctx context.Context) error { return p.hooks(ctx, job, err) }, err)
}

// aside runs what follows a handler, for as long as it likes; but once the pool ends handlers, what goes on is
// left behind like one of those, and the answer is fallback.
func (p *Pool) aside(ctx context.Context, r *runner, call func(ctx context.Context) error, fallback error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	returned := r.start(func() error { return call(ctx) })
	select {
	case out := <-returned:
		r.took(out)
		return out
	case <-p.hard.Done():
	}
	if ok, out := p.outlast(returned, min(p.cfg.Grace, 2*time.Second)); ok {
		r.took(out)
		return out
	}
	if p.hurried() {
		p.cfg.Log.Info("a hook still runs, and the process ends without it")
	} else {
		p.cfg.Log.Error("a hook did not return; its goroutine is left behind", zap.ByteString("stack", r.stack()))
	}
	r.leave()
	cancel(ErrShutdown)
	return fallback
}

// hooks returns how the attempt ended when the hooks have seen it.
func (p *Pool) hooks(ctx context.Context, job *jobstore.Job, err error) error {
	if err != nil && p.cfg.Hooks.OnError != nil {
		err = p.cfg.Hooks.OnError(ctx, job, err)
	}
	if p.cfg.Hooks.After != nil {
		p.cfg.Hooks.After(ctx, job, err)
	}
	return err
}

func (p *Pool) memoryChange(before uint64) []byte {
	if !p.cfg.Memory {
		return nil
	}
	return p.heap.change(before)
}
