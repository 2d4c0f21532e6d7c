package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// untilCtx is a handler that goes on until its context ends, and says why it did.
func untilCtx(ctx context.Context, _ *jobstore.Job) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestAsManyHandlersRunAsThereAreSlots(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		var running, most atomic.Int64
		r.cfg.Slots = 3
		r.start(func(context.Context, *jobstore.Job) error {
			most.Store(max(most.Load(), running.Add(1)))
			<-time.After(time.Second)
			running.Add(-1)
			return nil
		})
		r.work(1, 2, 3, 4, 5, 6, 7)
		synctest.Wait()
		if n := r.pool.Busy(); n != 3 {
			t.Errorf("%d are busy, want 3", n)
		}
		pass(10 * time.Second)
		if n := r.count(); n != 7 || most.Load() != 3 {
			t.Errorf("%d outcomes with %d running at a time, want 7 with 3", n, most.Load())
		}
	})
}

func TestPanicsAndExitsFailTheAttemptAndSpareTheSlot(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start(func(_ context.Context, job *jobstore.Job) error {
			switch job.ID {
			case 1:
				panic("ouch")
			case 2:
				runtime.Goexit()
			case 3:
				panic(nil)
			}
			return nil
		})
		r.work(1, 2, 3, 4)
		if out := r.wants(1, jobstore.TemporarilyFailed, false); !strings.Contains(out.Error, "panic: ouch\ngoroutine") {
			t.Errorf("the text of a panic is %q, want its value and stack", out.Error)
		}
		if out := r.wants(2, jobstore.TemporarilyFailed, false); !strings.Contains(out.Error, "ended its goroutine") {
			t.Errorf("the text of an exit is %q", out.Error)
		}
		r.wants(3, jobstore.TemporarilyFailed, false)
		r.wants(4, jobstore.Finished, false)
	})
}

func TestAKindWithoutHandlerFailsItsJobOnly(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start(func(context.Context, *jobstore.Job) error { return nil })
		w := r.workOf(jobstore.Job{ID: 1})
		w.Lease.Job.Kind = "stranger"
		r.feed.works <- w
		r.work(2)
		r.wants(1, jobstore.TemporarilyFailed, false)
		r.wants(2, jobstore.Finished, false)
	})
}

func TestATimeoutEndsTheContextWithItsCause(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		took := map[jobstore.ID]time.Duration{}
		r.start(func(ctx context.Context, job *jobstore.Job) error {
			began := time.Now()
			<-ctx.Done()
			took[job.ID] = time.Since(began)
			if cause := context.Cause(ctx); !errors.Is(cause, worker.ErrTimeout) {
				t.Errorf("the cause is %v, want ErrTimeout", cause)
			}
			return ctx.Err()
		})
		r.work(1)
		r.feed.works <- r.workOf(jobstore.Job{ID: 2, Timeout: time.Second})
		pass(2 * time.Minute)
		for _, id := range []jobstore.ID{1, 2} {
			if out := r.wants(id, jobstore.TemporarilyFailed, false); !strings.Contains(out.Error, "timeout has passed") {
				t.Errorf("the text is %q", out.Error)
			}
		}
		if took[1] != time.Minute || took[2] != time.Second {
			t.Errorf("the timeouts were %v, want the kind's minute, and the job's own second", took)
		}
	})
}

func TestAHandlerThatIgnoresItsContextLosesItsSlot(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		free := make(chan struct{})
		r.start(func(_ context.Context, job *jobstore.Job) error {
			if job.ID == 1 {
				<-free
			}
			return nil
		})
		r.work(1, 2)
		pass(time.Minute + 4*time.Second)
		if n := r.count(); n != 0 {
			t.Errorf("%d outcomes within the grace, want none", n)
		}
		pass(2 * time.Second)
		if out := r.wants(1, jobstore.TemporarilyFailed, false); !strings.Contains(out.Error, "did not return") {
			t.Errorf("the text is %q", out.Error)
		}
		r.wants(2, jobstore.Finished, false)
		close(free)
		if n := r.count(); n != 2 {
			t.Errorf("the answer of the handler left behind was recorded: %d outcomes", n)
		}
	})
}

func TestAnAnswerWithinTheGraceCounts(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start(func(ctx context.Context, _ *jobstore.Job) error {
			<-ctx.Done()
			<-time.After(time.Second)
			return nil
		})
		r.work(1)
		pass(2 * time.Minute)
		r.wants(1, jobstore.Finished, false)
	})
}

func TestDrainLetsRunningHandlersFinishAndTakesNothing(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start(func(ctx context.Context, _ *jobstore.Job) error {
			select {
			case <-time.After(20 * time.Second):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		r.work(1)
		synctest.Wait()
		r.stop()
		synctest.Wait()
		select {
		case <-r.feed.drained:
		default:
			t.Error("the feed was not told to drain while a handler runs")
		}
		r.work(2)
		pass(19 * time.Second)
		if r.ran() {
			t.Fatal("Run returned while a handler ran")
		}
		pass(2 * time.Second)
		r.wants(1, jobstore.Finished, false)
		if !r.ran() || r.count() != 1 {
			t.Errorf("returned %t with %d outcomes, want one", r.ran(), r.count())
		}
	})
}

func TestAfterTheDrainHandlersAreEndedAndHandedBack(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		free := make(chan struct{})
		r.cfg.Slots = 2
		r.start(func(ctx context.Context, job *jobstore.Job) error {
			if job.ID == 1 {
				return untilCtx(ctx, job)
			}
			<-free // this one ignores it
			return nil
		})
		r.feed.works <- r.workOf(jobstore.Job{ID: 1, Timeout: time.Hour})
		r.feed.works <- r.workOf(jobstore.Job{ID: 2, Timeout: time.Hour})
		synctest.Wait()
		r.stop()
		pass(24 * time.Second)
		if n := r.count(); n != 0 {
			t.Errorf("%d outcomes within the drain, want none", n)
		}
		pass(1500 * time.Millisecond)
		r.wants(1, jobstore.Ready, true)
		if r.ran() {
			t.Error("Run returned before the last grace of 2 s")
		}
		pass(2 * time.Second)
		r.wants(2, jobstore.Ready, true)
		if !r.ran() {
			t.Error("Run waits for a handler that ignores its context")
		}
		close(free)
	})
}

func TestNowCutsTheDrainAndTheGraceShort(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		free := make(chan struct{})
		r.start(func(context.Context, *jobstore.Job) error { <-free; return nil })
		r.work(1)
		synctest.Wait()
		r.stop()
		synctest.Wait()
		close(r.now)
		pass(100 * time.Millisecond)
		if !r.ran() {
			t.Error("Run did not return at once")
		}
		r.wants(1, jobstore.Ready, true)
		close(free)
	})
}

// At the second signal handlers that look at their contexts are not stuck, and of those that do not there is
// nothing to say but that they run.
func TestNobodyIsCalledStuckForASecondSignal(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		core, logs := observer.New(zap.InfoLevel)
		r.cfg.Log, r.cfg.Slots = zap.New(core), 3
		r.cfg.Stuck = func(job *jobstore.Job, _ *worker.StuckError) { t.Errorf("job %d is called stuck", job.ID) }
		free := make(chan struct{})
		r.start(func(ctx context.Context, job *jobstore.Job) error {
			switch job.ID {
			case 1:
				return untilCtx(ctx, job)
			case 2: // has to put something away
				<-ctx.Done()
				<-time.After(50 * time.Millisecond)
				return nil
			}
			<-free
			return nil
		})
		r.work(1, 2, 3)
		synctest.Wait()
		r.stop()
		synctest.Wait()
		close(r.now)
		pass(100 * time.Millisecond)
		if !r.ran() {
			t.Error("Run did not return at once")
		}
		r.wants(1, jobstore.Ready, true)
		r.wants(2, jobstore.Finished, false)
		r.wants(3, jobstore.Ready, true)
		for _, line := range logs.All() {
			if line.Level > zap.InfoLevel || line.ContextMap()["stack"] != nil {
				t.Errorf("it says %s: %s %v", line.Level, line.Message, line.ContextMap())
			}
		}
		if n := logs.FilterMessageSnippet("still runs").Len(); n != 1 {
			t.Errorf("%d handlers are said to run, want one", n)
		}
		close(free)
	})
}

func TestStopConsumerEndsRunBeforeTheNextJob(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.cfg.Slots = 2
		r.start(func(_ context.Context, job *jobstore.Job) error {
			if job.ID == 1 {
				<-time.After(time.Second)
				return &worker.StopError{Err: &worker.PermanentError{Err: errBoom}}
			}
			<-time.After(5 * time.Second)
			return nil
		})
		r.work(1, 2, 3)
		pass(2 * time.Second)
		select {
		case <-r.feed.drained:
		default:
			t.Error("the feed was not told to drain")
		}
		if r.ran() {
			t.Error("Run did not wait for the other handler")
		}
		pass(10 * time.Second)
		r.wants(1, jobstore.PermanentlyFailed, false)
		r.wants(2, jobstore.Finished, false)
		if !r.ran() || r.count() != 2 {
			t.Errorf("returned %t with %d outcomes, want 2: no job begins after the stop", r.ran(), r.count())
		}
	})
}

func TestRunEndsWithItsFeedWhenTheLastHandlerHasEnded(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]error{"done": worker.ErrDone, "broken": errBoom} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				r.cfg.Slots = 2
				r.feed.fail = fail
				r.start(func(context.Context, *jobstore.Job) error { <-time.After(10 * time.Second); return nil })
				r.work(1)
				close(r.feed.works)
				synctest.Wait()
				select {
				case <-r.feed.drained:
				default:
					t.Error("the pool did not begin to drain")
				}
				if r.ran() {
					t.Error("Run did not wait for the handler that runs")
				}
				pass(11 * time.Second)
				r.wants(1, jobstore.Finished, false)
				if !r.ran() {
					t.Error("Run goes on without a feed")
				}
			})
		})
	}
}

func TestAnAttemptLeavesItsTraces(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		started := 0
		r.cfg.Memory = true
		r.cfg.Started = func(*jobstore.Job) { started++ }
		r.start(func(ctx context.Context, _ *jobstore.Job) error {
			worker.ScopeOf(ctx).SetOutput([]byte(`{"a":1}`))
			worker.ScopeOf(ctx).SetMetadata(map[string]json.RawMessage{"b": []byte("2")})
			<-time.After(3 * time.Second)
			return nil
		})
		r.work(1)
		pass(5 * time.Second)
		out := r.wants(1, jobstore.Finished, false)
		if string(out.Output) != `{"a":1}` || string(out.Metadata) != `{"b":2}` || out.Duration != 3*time.Second ||
			!strings.Contains(string(out.Memory), `"before":`) || started != 1 {
			t.Errorf("started %d times, outcome %+v", started, out)
		}
		if e := r.ended[1]; e.Job.ID != 1 || e.Err != nil || e.Dropped || e.Outcome.State != jobstore.Finished {
			t.Errorf("the event is %+v", e)
		}
	})
}

func TestACompleterThatIsStuckDoesNotKeepRunFromEnding(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.stuck = make(chan struct{})
		r.start(func(context.Context, *jobstore.Job) error { return nil })
		r.work(1)
		synctest.Wait()
		r.stop()
		close(r.now)
		pass(time.Minute)
		if !r.ran() {
			t.Error("Run waits for ever")
		}
		close(r.stuck)
		synctest.Wait()
	})
}
