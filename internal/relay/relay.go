// Package relay announces jobs in the background, after their rows were committed.
//
// Nobody waits for it: a publisher's job is done at its commit. What the relay cannot announce it
// puts into the outbox, and what it forgets (a crash, a full queue) the sweep finds.
package relay

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

// Announcer tells consumers that committed jobs are ready.
type Announcer interface {
	// Announce returns the refs whose announcement is not known to have arrived.
	Announce(ctx context.Context, refs []jobstore.Ref) (failed []jobstore.Ref, err error)
}

// Outbox is what the relay needs of a store.
type Outbox interface {
	Unannounced(ctx context.Context, ids []jobstore.ID) error
}

// Config is what a Relay needs.
type Config struct {
	Announcer Announcer
	Outbox    Outbox
	// Waiting is how many refs may wait; more are left to the sweep. Default 200,000 (about 10 MB).
	Waiting int
	// Batch is how many refs one announcement takes at most. Default 5,000.
	Batch int
	// Spacing is how far apart announcements of published jobs begin at least, so that jobs that are
	// published one by one in quick succession share them. Default 5 ms.
	Spacing time.Duration
	Log     *zap.Logger
}

// Relay is a bounded queue of refs and the loop that announces them. What waits while an
// announcement is under way goes out together with the next.
type Relay struct {
	cfg Config

	next time.Time // when the next announcement may begin; Run's own

	mu       sync.Mutex
	waiting  []jobstore.Ref
	inFlight int
	late     bool // somebody has waited for that in vain
	running  bool
	dropped  int
	started  chan struct{}
	more     chan struct{} // holds one token while waiting is not empty
	hurry    chan struct{} // holds one token when something waits that others wait for
	idle     *sync.Cond    // told when waiting and inFlight may have become empty
}

// New prepares a relay; Run does the work.
func New(cfg Config) *Relay {
	if cfg.Waiting <= 0 {
		cfg.Waiting = 200_000
	}
	if cfg.Batch <= 0 {
		cfg.Batch = 5_000
	}
	if cfg.Spacing <= 0 {
		cfg.Spacing = 5 * time.Millisecond
	}
	r := &Relay{cfg: cfg, more: make(chan struct{}, 1), hurry: make(chan struct{}, 1), started: make(chan struct{})}
	r.idle = sync.NewCond(&r.mu)
	return r
}

// Running reports whether somebody runs the relay, so that what is given to Add will be announced.
func (r *Relay) Running() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running
}

// Started is closed when Run has begun.
func (r *Relay) Started() <-chan struct{} { return r.started }

// AddReleased is Add for jobs that may go because others ended: they are announced at once. A
// serial group is as quick as its announcements.
func (r *Relay) AddReleased(refs ...jobstore.Ref) {
	r.Add(refs...)
	select {
	case r.hurry <- struct{}{}:
	default:
	}
}

// Add takes refs over. It never blocks.
func (r *Relay) Add(refs ...jobstore.Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	room := max(r.cfg.Waiting-len(r.waiting), 0)
	if room < len(refs) {
		r.dropped += len(refs) - room
		refs = refs[:room]
	}
	if len(refs) == 0 {
		return
	}
	r.waiting = append(r.waiting, refs...)
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// Flush waits until everything that was added has been announced or put into the outbox. What it has waited for
// in vain gets no more time when the relay stops.
func (r *Relay) Flush(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		// Under the lock, or the call could fall between a look at ctx and the wait.
		r.mu.Lock()
		defer r.mu.Unlock()
		r.idle.Broadcast()
	})
	defer stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.waiting)+r.inFlight > 0 && ctx.Err() == nil {
		r.idle.Wait()
	}
	if len(r.waiting)+r.inFlight > 0 {
		r.late = true
		return context.Cause(ctx)
	}
	return nil
}

// Run announces until ctx ends, once in the relay's life. What waits or is under way then has two
// more seconds, if nobody has waited for it before, and the outbox, for three more, takes the rest.
func (r *Relay) Run(ctx context.Context) error {
	r.setRunning(true)
	close(r.started)
	defer r.setRunning(false)
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(r.lastTry(), cancel) })
	defer stop()
	for {
		select {
		case <-r.more:
			r.announce(work, ctx.Done())
		case <-ctx.Done():
			r.announce(work, ctx.Done())
			r.leave(work)
			return nil
		}
	}
}

const (
	trying  = 2 * time.Second // to announce what waits when the relay stops
	keeping = 3 * time.Second // to put into the outbox what was not announced
)

// lastTry is how long what waits when the relay stops may take to be announced.
func (r *Relay) lastTry() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.late {
		return 0
	}
	return trying
}

func (r *Relay) setRunning(v bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = v
}

// announce works until nothing waits or ctx ends. It goes without pauses once stopping is closed.
func (r *Relay) announce(ctx context.Context, stopping <-chan struct{}) {
	for n := r.count(); ctx.Err() == nil && n > 0; n = r.count() {
		if n < r.cfg.Batch {
			r.space(stopping)
		}
		batch := r.take()
		failed, err := r.cfg.Announcer.Announce(ctx, batch)
		if len(failed) > 0 {
			r.cfg.Log.Debug("could not announce; the outbox takes over", zap.Int("jobs", len(failed)), zap.Error(err))
			outbox, cancel := context.WithTimeout(context.WithoutCancel(ctx), keeping)
			r.keep(outbox, failed)
			cancel()
		}
		r.done(len(batch))
	}
}

// space waits until Spacing has passed since the announcement before, or somebody is in a hurry.
func (r *Relay) space(stopping <-chan struct{}) {
	if wait := time.Until(r.next); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.hurry:
		case <-stopping:
		}
	}
	r.next = time.Now().Add(r.cfg.Spacing)
}

// leave puts what waits into the outbox, as much as there is time for.
func (r *Relay) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keeping)
	defer cancel()
	for batch := r.take(); len(batch) > 0; batch = r.take() {
		if ctx.Err() == nil {
			r.keep(ctx, batch)
		}
		r.done(len(batch))
	}
}

// keep puts refs into the outbox. When the database is away too, they are found by the lost-hint
// sweep, so a few tries are enough.
func (r *Relay) keep(ctx context.Context, refs []jobstore.Ref) {
	ids := make([]jobstore.ID, len(refs))
	for i, ref := range refs {
		ids[i] = ref.ID
	}
	for pause := 100 * time.Millisecond; ; pause *= 2 {
		err := r.cfg.Outbox.Unannounced(ctx, ids)
		if err == nil {
			return
		}
		t := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			r.cfg.Log.Warn("could not put jobs into the outbox; the sweep finds them", zap.Int("jobs", len(ids)), zap.Error(err))
			return
		}
	}
}

func (r *Relay) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting)
}

func (r *Relay) take() []jobstore.Ref {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dropped > 0 {
		r.cfg.Log.Warn("more jobs than the relay may hold; the sweep announces the rest", zap.Int("jobs", r.dropped))
		r.dropped = 0
	}
	n := min(len(r.waiting), r.cfg.Batch)
	if n == 0 {
		return nil
	}
	batch := r.waiting[:n:n]
	r.waiting = r.waiting[n:]
	if len(r.waiting) == 0 {
		r.waiting = nil // the backing array goes with the batch
	}
	r.inFlight += n
	return batch
}

func (r *Relay) done(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inFlight -= n
	if len(r.waiting)+r.inFlight == 0 {
		r.late = false
		r.idle.Broadcast()
	}
}
