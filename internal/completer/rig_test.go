package completer_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/completer"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

var errAway = errors.New("the database is away")

// statement is one call of Record.
type statement struct {
	by   jobstore.HolderID
	outs []jobstore.Outcome
}

// store keeps what it is asked to record. answer, if set, decides what comes of it; it is called
// without the lock and may block.
type store struct {
	mu       sync.Mutex
	asked    []statement
	returned map[jobstore.ID]int64
	answer   func(ctx context.Context, s statement) (jobstore.Recorded, error)
	away     error // what Return answers
}

func (s *store) Record(ctx context.Context, by jobstore.HolderID, outs []jobstore.Outcome) (jobstore.Recorded, error) {
	s.mu.Lock()
	now := statement{by: by, outs: outs}
	s.asked = append(s.asked, now)
	answer := s.answer
	s.mu.Unlock()
	if answer == nil {
		return jobstore.Recorded{}, nil
	}
	return answer(ctx, now)
}

func (s *store) Return(_ context.Context, by jobstore.HolderID, leases map[jobstore.ID]int64) ([]jobstore.Ref, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away != nil {
		return nil, s.away
	}
	var refs []jobstore.Ref
	for id, lease := range leases {
		s.returned[id] = lease*1000 + int64(by)
		refs = append(refs, jobstore.Ref{ID: id})
	}
	return refs, nil
}

func (s *store) set(answer func(ctx context.Context, s statement) (jobstore.Recorded, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// sizes are how many outcomes each statement had.
func (s *store) sizes() []int {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	sizes := make([]int, len(s.asked))
	for i, a := range s.asked {
		sizes[i] = len(a.outs)
	}
	return sizes
}

// recorded are the outcomes of the statements that an answer takes.
func (s *store) recorded(answer func(ctx context.Context, s statement) (jobstore.Recorded, error)) map[jobstore.ID]jobstore.Outcome {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	recorded := map[jobstore.ID]jobstore.Outcome{}
	for _, a := range s.asked {
		if _, err := answer(context.Background(), a); err == nil {
			for _, o := range a.outs {
				recorded[o.ID] = o
			}
		}
	}
	return recorded
}

// registrar registers everybody and renews everything.
type registrar struct{ n jobstore.HolderID }

func (r *registrar) Register(context.Context, jobstore.Consumer, time.Duration) (jobstore.HolderID, error) {
	r.n++
	return r.n, nil
}

func (r *registrar) Renew(context.Context, jobstore.HolderID, time.Duration) (jobstore.Orders, error) {
	return jobstore.Orders{}, nil
}
func (r *registrar) Deregister(context.Context, jobstore.HolderID) error { return nil }

// rig is a completer over fakes, in a synctest bubble.
type rig struct {
	*store
	t        *testing.T
	cfg      completer.Config
	c        *completer.Completer
	keeper   *worker.Keeper
	term     *worker.Term
	released chan jobstore.Ref
	fenced   int
	stop     context.CancelFunc
	done     chan struct{} // closed when Run has returned
}

func bubble(t *testing.T, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{
			t: t, store: &store{returned: map[jobstore.ID]int64{}}, done: make(chan struct{}),
			released: make(chan jobstore.Ref, 100),
			keeper:   worker.NewKeeper(&registrar{}, jobstore.Consumer{}, worker.Beat{TTL: 80 * time.Second}, func() {}, zap.NewNop()),
		}
		ctx, cancel := context.WithCancel(t.Context())
		var kept sync.WaitGroup
		kept.Go(func() { _ = r.keeper.Run(ctx) })
		t.Cleanup(func() { cancel(); kept.Wait() })
		r.term = r.nextTerm()
		var mu sync.Mutex
		r.cfg = completer.Config{
			Store: r.store, Log: zap.NewNop(),
			Fenced: func(n int) { mu.Lock(); defer mu.Unlock(); r.fenced += n },
			Released: func(refs []jobstore.Ref) {
				for _, ref := range refs {
					r.released <- ref
				}
			},
		}
		test(r)
	})
}

func (r *rig) nextTerm() *worker.Term {
	r.t.Helper()
	for {
		term, err := r.keeper.Term(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		if term != r.term {
			return term
		}
		<-time.After(time.Second)
	}
}

func (r *rig) start() {
	r.c = completer.New(r.cfg)
	ctx, cancel := context.WithCancel(r.t.Context())
	r.stop = cancel
	go func() {
		defer close(r.done)
		if err := r.c.Run(ctx); err != nil {
			r.t.Errorf("Run = %v", err)
		}
	}()
	r.t.Cleanup(func() { cancel(); <-r.done })
}

// complete gives outcomes of jobs with these numbers to the completer.
func (r *rig) complete(ids ...jobstore.ID) {
	for _, id := range ids {
		r.give(r.term, jobstore.Outcome{ID: id, LeaseNo: 2, State: jobstore.Finished})
	}
	synctest.Wait()
}

func (r *rig) give(term *worker.Term, out jobstore.Outcome) {
	lease := jobstore.Lease{Job: jobstore.Job{ID: out.ID, LeaseNo: out.LeaseNo}}
	term.Hold([]jobstore.Lease{lease})
	r.c.Complete(worker.Work{Term: term, Lease: &lease}, out)
}

func (r *rig) ran() bool {
	synctest.Wait()
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// gate lets one statement through for each value that is sent to it.
func (r *rig) gate() chan error {
	gate := make(chan error)
	r.set(func(ctx context.Context, _ statement) (jobstore.Recorded, error) {
		select {
		case err := <-gate:
			return jobstore.Recorded{}, err
		case <-ctx.Done():
			return jobstore.Recorded{}, ctx.Err()
		}
	})
	return gate
}

func pass(d time.Duration) { <-time.After(d); synctest.Wait() }
