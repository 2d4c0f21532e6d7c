package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

func TestHooksSeeEveryAttemptInOrder(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		var calls []string
		say := func(format string, args ...any) { calls = append(calls, fmt.Sprintf(format, args...)) }
		r.cfg.Hooks = worker.Hooks{
			Before: func(_ context.Context, job *jobstore.Job) error {
				say("before %d", job.ID)
				if job.ID == 3 {
					return errBoom
				}
				return nil
			},
			OnError: func(_ context.Context, job *jobstore.Job, err error) error {
				say("on error %d %v", job.ID, err)
				return &worker.WaitError{Delay: time.Second, Err: err}
			},
			After: func(_ context.Context, job *jobstore.Job, err error) { say("after %d %v", job.ID, err) },
		}
		r.start(func(_ context.Context, job *jobstore.Job) error {
			say("handle %d", job.ID)
			if job.ID == 2 {
				return &worker.PermanentError{Err: errBoom}
			}
			return nil
		})
		r.work(1, 2, 3)
		r.wants(1, jobstore.Finished, false)
		r.wants(2, jobstore.Waiting, true) // the hook's class replaces the handler's
		r.wants(3, jobstore.Waiting, true)
		want := "before 1, handle 1, after 1 <nil>, " +
			"before 2, handle 2, on error 2 permanent: boom, after 2 wait 1s: permanent: boom, " +
			"before 3, on error 3 boom, after 3 wait 1s: boom"
		if got := strings.Join(calls, ", "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

// A note that cannot be written costs neither the attempt nor the metadata.
func TestMetadataOfBeforeIsNotedOnceBeforeTheHandlerRuns(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.cfg.Hooks.Before = func(ctx context.Context, job *jobstore.Job) error {
			if job.ID > 1 {
				worker.ScopeOf(ctx).SetMetadata(map[string]json.RawMessage{"a": []byte("1"), "b": []byte("1")})
			}
			return nil
		}
		noted := map[jobstore.ID]int{}
		r.start(func(ctx context.Context, job *jobstore.Job) error {
			r.mu.Lock()
			noted[job.ID] = len(r.notes)
			r.mu.Unlock()
			worker.ScopeOf(ctx).SetMetadata(map[string]json.RawMessage{"b": []byte("2")})
			return nil
		})
		r.work(1, 2)
		if out := r.wants(1, jobstore.Finished, false); string(out.Metadata) != `{"b":2}` || noted[1] != 0 {
			t.Errorf("without a word of the hook there were %d notes, the outcome has %s", noted[1], out.Metadata)
		}
		out := r.wants(2, jobstore.Finished, false)
		if string(out.Metadata) != `{"a":1,"b":2}` || noted[2] != 1 || len(r.notes) != 1 {
			t.Fatalf("%d notes when the handler began, %v in the end; the outcome has %s", noted[2], r.notes, out.Metadata)
		}
		if n := r.notes[0]; n.ID != 2 || n.LeaseNo != 2 || string(n.Metadata) != `{"a":1,"b":1}` {
			t.Errorf("the note is %d, lease %d, %s", n.ID, n.LeaseNo, n.Metadata)
		}
		r.setAway(errAway)
		r.work(3)
		if out := r.wants(3, jobstore.Finished, false); string(out.Metadata) != `{"a":1,"b":2}` {
			t.Errorf("after a note that failed the outcome has %s", out.Metadata)
		}
	})
}

func TestAHookMayMakeASuccessOfAnError(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.cfg.Hooks.OnError = func(context.Context, *jobstore.Job, error) error { return nil }
		r.start(func(context.Context, *jobstore.Job) error { panic("ouch") })
		r.work(1)
		r.wants(1, jobstore.Finished, false)
	})
}

func TestAHookThatPanicsOrExitsFailsTheAttempt(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.cfg.Hooks.After = func(_ context.Context, job *jobstore.Job, _ error) {
			switch job.ID {
			case 1:
				panic("hook")
			case 2:
				runtime.Goexit()
			}
		}
		r.start(func(context.Context, *jobstore.Job) error { return nil })
		r.work(1, 2, 3)
		r.wants(1, jobstore.TemporarilyFailed, false)
		r.wants(2, jobstore.TemporarilyFailed, false)
		r.wants(3, jobstore.Finished, false)
	})
}

func TestAHookThatHangsIsLeftBehindAtTheEnd(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		free := make(chan struct{})
		r.cfg.Hooks.After = func(context.Context, *jobstore.Job, error) { <-free }
		r.start(func(context.Context, *jobstore.Job) error { return nil })
		r.work(1)
		pass(time.Hour)
		if r.count() != 0 {
			t.Error("a slow hook was cut off although the pool goes on")
		}
		r.stop()
		pass(30 * time.Second)
		if !r.ran() {
			t.Error("Run waits for a hook that hangs")
		}
		r.wants(1, jobstore.Finished, false)
		close(free)
		synctest.Wait()
	})
}
