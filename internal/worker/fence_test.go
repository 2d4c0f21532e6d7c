package worker_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// lost checks that a job has no outcome and was handed back under its lease, and announced.
func (r *rig) lost(id jobstore.ID) {
	r.t.Helper()
	pass(3 * time.Second) // what could not be handed back at once is tried again
	r.mu.Lock()
	defer r.mu.Unlock()
	if out, ok := r.outcomes[id]; ok {
		r.t.Errorf("job %d: an outcome was recorded under a lost lease: %+v", id, out)
	}
	if r.returned[id] != 2005 { // lease 2 of holder 5
		r.t.Errorf("job %d was not handed back by its lease: %v", id, r.returned)
	}
	if e := r.ended[id]; !e.Dropped {
		r.t.Errorf("job %d: the event does not say that it was dropped: %+v", id, e)
	}
	if len(r.released) == 0 {
		r.t.Errorf("job %d was handed back, but nobody is told that it may run", id)
	}
	if n := len(r.term.Held()); n != 0 {
		r.t.Errorf("the term still holds %d jobs", n)
	}
}

func TestALostLeaseDropsTheOutcomeAndHandsBack(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]error{"nil": nil, "an error": errBoom, "stop": &worker.StopError{}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				hooks := 0
				r.cfg.Hooks.After = func(context.Context, *jobstore.Job, error) { hooks++ }
				r.start(func(ctx context.Context, _ *jobstore.Job) error {
					<-ctx.Done()
					if cause := context.Cause(ctx); !errors.Is(cause, worker.ErrLeaseLost) {
						t.Errorf("the cause is %v, want ErrLeaseLost", cause)
					}
					return answer
				})
				r.work(1)
				synctest.Wait()
				r.term.Lost()
				r.lost(1)
				if hooks != 0 || r.ran() {
					t.Errorf("%d hooks called, ended %t; want neither: the attempt is not ours any more", hooks, r.ran())
				}
			})
		})
	}
}

func TestAFrozenProcessFindsOutBeforeItReports(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start(func(context.Context, *jobstore.Job) error {
			r.term.Freeze() // nobody has told the term yet
			return nil
		})
		r.work(1)
		r.lost(1)
	})
}

func TestAFrozenProcessDoesNotBeginAJob(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start(func(context.Context, *jobstore.Job) error { t.Error("the handler was called"); return nil })
		r.term.Freeze()
		r.work(1)
		r.lost(1)
	})
}

func TestALeaseLostDuringTheGraceCountsAsLost(t *testing.T) {
	t.Parallel()
	for name, stubborn := range map[string]bool{"it returns": false, "it does not": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				free := make(chan struct{})
				r.start(func(ctx context.Context, _ *jobstore.Job) error {
					<-ctx.Done() // by the timeout
					r.term.Freeze()
					if stubborn {
						<-free
					}
					return errBoom
				})
				r.work(1)
				pass(2 * time.Minute)
				r.lost(1)
				close(free)
			})
		})
	}
}

func TestHandingBackOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.away = errAway
		r.cfg.Slots = 3
		r.start(untilCtx)
		r.work(1, 2, 3)
		synctest.Wait()
		r.term.Lost()
		pass(10 * time.Minute)
		r.mu.Lock()
		tries := r.tries
		r.mu.Unlock()
		if tries < 100 || tries > 1000 {
			t.Errorf("%d tries in ten minutes, want about one a second", tries)
		}
		r.setAway(nil)
		for _, id := range []jobstore.ID{1, 2, 3} {
			r.lost(id)
		}
	})
}

func TestAnOutageDoesNotKeepThePoolFromEnding(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.away = errAway
		r.start(untilCtx)
		r.work(1)
		synctest.Wait()
		r.term.Lost()
		pass(time.Second)
		r.stop()
		pass(5 * time.Second)
		if !r.ran() {
			t.Error("Run waits for a database that is away")
		}
	})
}

func TestTheEndTriesToHandBackOnceMore(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.away = errAway
		r.start(untilCtx)
		r.work(1)
		synctest.Wait()
		r.term.Lost()
		pass(10 * time.Second) // it is between two tries
		r.setAway(nil)
		r.stop()
		if !r.ran() { // no time passes
			t.Error("Run did not return")
		}
		r.lost(1)
	})
}

func TestWhatIsHandedBackAtTheEndIsHandedBack(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start(func(ctx context.Context, _ *jobstore.Job) error { <-ctx.Done(); return nil })
		r.work(1)
		synctest.Wait()
		r.stop()
		synctest.Wait()
		r.term.Lost()
		if !r.ran() {
			t.Error("Run did not return")
		}
		r.lost(1)
	})
}

func TestATermForgetsByLeaseNumber(t *testing.T) {
	t.Parallel()
	term := worker.NewTerm(1, time.Hour)
	lease := func(n int64) []jobstore.Lease { return []jobstore.Lease{{Job: jobstore.Job{ID: 7, LeaseNo: n}}} }
	term.Hold(lease(1))
	term.Hold(lease(2)) // the job is back before the reply to its first outcome
	term.Drop(7, 1)
	if held := term.Held(); len(held) != 1 || held[0] != 7 {
		t.Errorf("held %v, want job 7 under its second lease: unknown, it would be handed out twice", held)
	}
	term.Drop(7, 2)
	if held := term.Held(); len(held) != 0 {
		t.Errorf("held %v, want nothing", held)
	}
}
