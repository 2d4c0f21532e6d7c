package worker_test

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// fakeFeed gives what is put into works; when that is closed it fails.
type fakeFeed struct {
	works   chan worker.Work
	fail    error // nil = ErrDone
	once    sync.Once
	drained chan struct{}
}

func (f *fakeFeed) Next(ctx context.Context) (worker.Work, error) {
	select {
	case w, ok := <-f.works:
		if !ok {
			return w, cmp.Or(f.fail, worker.ErrDone)
		}
		return w, nil
	case <-ctx.Done():
		return worker.Work{}, context.Cause(ctx)
	}
}

func (f *fakeFeed) Drain() { f.once.Do(func() { close(f.drained) }) }

// book is a completer that keeps what it is given, and a store that keeps what is returned.
type book struct {
	mu       sync.Mutex
	outcomes map[jobstore.ID]jobstore.Outcome
	ended    map[jobstore.ID]worker.Event
	returned map[jobstore.ID]int64
	released []jobstore.Ref
	notes    []jobstore.Note
	away     error         // what Return and Note answer
	tries    int           // calls of Return
	stuck    chan struct{} // Complete waits for it
}

func (b *book) Complete(w worker.Work, out jobstore.Outcome) {
	if b.stuck != nil {
		<-b.stuck
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outcomes[out.ID] = out
	w.Term.Drop(out.ID, out.LeaseNo)
}

func (b *book) Return(ctx context.Context, by jobstore.HolderID, leases map[jobstore.ID]int64) ([]jobstore.Ref, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tries++; b.away != nil || ctx.Err() != nil {
		return nil, cmp.Or(b.away, ctx.Err())
	}
	var refs []jobstore.Ref
	for id, lease := range leases {
		b.returned[id] = lease*1000 + int64(by)
		refs = append(refs, jobstore.Ref{ID: id})
	}
	return refs, nil
}

func (b *book) Note(_ context.Context, _ jobstore.HolderID, notes []jobstore.Note) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notes = append(b.notes, notes...)
	return b.away
}

func (b *book) release(refs []jobstore.Ref) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.released = append(b.released, refs...)
}

func (b *book) end(e worker.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended[e.Job.ID] = e
}

func (b *book) setAway(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = err
}

// rig is a pool over fakes. All of it lives in one synctest bubble.
type rig struct {
	*book
	t    *testing.T
	cfg  worker.PoolConfig
	feed *fakeFeed
	term *worker.Term
	pool *worker.Pool
	now  chan struct{}
	stop context.CancelFunc
	done chan struct{} // closed when Run has returned
}

// bubble runs a test of a pool with one slot, whose only kind is "k".
func bubble(t *testing.T, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{
			t: t, feed: &fakeFeed{works: make(chan worker.Work, 100), drained: make(chan struct{})},
			book: &book{
				outcomes: map[jobstore.ID]jobstore.Outcome{}, ended: map[jobstore.ID]worker.Event{}, returned: map[jobstore.ID]int64{},
			},
			term: worker.NewTerm(5, time.Hour), now: make(chan struct{}), done: make(chan struct{}),
		}
		r.cfg = worker.PoolConfig{
			Slots: 1, Feed: r.feed, Completer: r.book, Noter: r.book, Returner: r.book, Released: r.release, Now: r.now, Ended: r.end,
			Drain: 25 * time.Second, Log: zap.NewNop(),
		}
		test(r)
	})
}

// start runs the pool with a handler.
func (r *rig) start(handle worker.Handler) {
	r.t.Helper()
	policy := worker.Policy{Backoff: func(int) time.Duration { return time.Minute }}
	r.startKind(worker.Kind{Handle: handle, Timeout: time.Minute, Policy: policy})
}

// startKind runs the pool with a kind.
func (r *rig) startKind(kind worker.Kind) {
	r.t.Helper()
	r.cfg.Kinds = map[string]worker.Kind{"k": kind}
	r.pool = worker.NewPool(r.cfg)
	ctx, cancel := context.WithCancel(r.t.Context())
	r.stop = cancel
	go func() {
		defer close(r.done)
		if err := r.pool.Run(ctx); err != nil {
			r.t.Errorf("Run = %v", err)
		}
	}()
	r.t.Cleanup(func() { cancel(); <-r.done })
}

// work hands jobs with these numbers to the pool.
func (r *rig) work(ids ...jobstore.ID) {
	for _, id := range ids {
		r.feed.works <- r.workOf(jobstore.Job{ID: id})
	}
}

func (r *rig) workOf(job jobstore.Job) worker.Work {
	job.Kind, job.LeaseNo, job.Attempts = "k", 2, 1
	w := worker.Work{Term: r.term, Lease: &jobstore.Lease{Job: job}}
	r.term.Hold([]jobstore.Lease{*w.Lease})
	return w
}

// ran reports whether Run has returned.
func (r *rig) ran() bool {
	synctest.Wait()
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// wants checks one job's recorded outcome.
func (r *rig) wants(id jobstore.ID, state jobstore.State, uncount bool) jobstore.Outcome {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	out, ok := r.outcomes[id]
	if !ok || out.State != state || out.Uncount != uncount {
		r.t.Errorf("job %d: recorded %t, %+v; want %s, uncount %t", id, ok, out, state, uncount)
	}
	return out
}

// recorded reports whether a job's outcome is with the completer.
func (r *rig) recorded(id jobstore.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.outcomes[id]
	return ok
}

func (r *rig) count() int {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.outcomes)
}

var errAway = errors.New("the database is away")

// pass lets the bubble's time go on.
func pass(d time.Duration) { <-time.After(d); synctest.Wait() }
