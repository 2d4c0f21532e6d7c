package worker_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// hangHere is a place that a stack has to name.
func hangHere(free <-chan struct{}) { <-free }

// Where a handler hangs is in its job's error, and told; the slot goes on.
func TestWhereAHandlerHangs(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		free := make(chan struct{})
		told := map[jobstore.ID]string{}
		r.cfg.Stuck = func(job *jobstore.Job, err *worker.StuckError) { told[job.ID] = string(err.Stack) }
		r.start(func(_ context.Context, job *jobstore.Job) error {
			if job.ID == 2 {
				hangHere(free)
			}
			return nil
		})
		r.work(1, 2, 3)
		pass(time.Minute + 6*time.Second)
		out := r.wants(2, jobstore.TemporarilyFailed, false)
		for _, want := range []string{"the job's timeout has passed", "did not return within 5s", "goroutine ", "hangHere", "stuck_test.go"} {
			if !strings.Contains(out.Error, want) {
				t.Errorf("the error does not say %q: %s", want, out.Error)
			}
		}
		if len(told) != 1 || !strings.Contains(told[2], "hangHere") || strings.Contains(told[2], "\n\n") {
			t.Errorf("told %v", told)
		}
		r.wants(3, jobstore.Finished, false)
		if r.ran() {
			t.Error("the pool has stopped, which nobody asked for")
		}
		close(free)
	})
}

// Goroutines cannot be ended, only processes: after so many the pool drains.
func TestTooManyStuckHandlersStopThePool(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		free := make(chan struct{})
		r.cfg.MaxStuck = 2
		r.start(func(context.Context, *jobstore.Job) error { hangHere(free); return nil })
		r.work(1)
		pass(time.Minute + 6*time.Second)
		if r.ran() {
			t.Fatal("it stopped after one")
		}
		r.work(2, 3)
		pass(time.Minute + 6*time.Second)
		if !r.ran() {
			t.Error("it goes on after two")
		}
		if n := r.count(); n != 2 {
			t.Errorf("%d outcomes, want those of the two", n)
		}
		close(free)
	})
}

// What is to happen when a job has failed for good happens once, before it is recorded, and cannot hurt.
func TestFailedIsTold(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		var told []jobstore.ID
		answers := map[jobstore.ID]error{
			1: permanent(errBoom), 2: errBoom, 3: nil, 4: skip("no"), 5: wait(time.Hour, nil), 6: permanent(errBoom), 7: permanent(errBoom),
		}
		free := make(chan struct{})
		r.startKind(worker.Kind{
			Handle: func(_ context.Context, job *jobstore.Job) error { return answers[job.ID] },
			Failed: func(ctx context.Context, job *jobstore.Job, _ error) {
				if r.recorded(job.ID) {
					t.Errorf("job %d was recorded before", job.ID)
				}
				told = append(told, job.ID)
				switch job.ID {
				case 6:
					panic("ouch")
				case 7:
					<-free // until the pool stops, and beyond
				}
				worker.ScopeOf(ctx).SetOutput([]byte(`"sorry"`))
			},
		})
		r.work(1, 2, 3, 4, 5, 6)
		synctest.Wait()
		if len(told) != 2 || told[0] != 1 || told[1] != 6 {
			t.Errorf("told of %v, want 1 and 6", told)
		}
		if out := r.wants(1, jobstore.PermanentlyFailed, false); string(out.Output) != `"sorry"` {
			t.Errorf("output %s", out.Output)
		}
		r.wants(6, jobstore.PermanentlyFailed, false)
		r.work(7)
		synctest.Wait()
		r.stop()
		pass(30 * time.Second)
		r.wants(7, jobstore.PermanentlyFailed, false)
		if !r.ran() {
			t.Error("Run waits for what hangs")
		}
		close(free)
	})
}
