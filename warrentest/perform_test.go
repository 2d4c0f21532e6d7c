package warrentest_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/warrentest"
)

// Invoice has fields that its JSON does not carry as they are.
type Invoice struct {
	Cents  int `json:"cents"`
	secret string
}

// Kind names the handler.
func (Invoice) Kind() string { return "invoice" }

// The handler gets what JSON carries, and no more.
func TestPerformEncodesArgs(t *testing.T) {
	t.Parallel()
	var got Invoice
	a := warrentest.PerformFunc(t, func(_ context.Context, job *warren.Job[Invoice]) error {
		got = job.Args
		return nil
	}, Invoice{Cents: 5, secret: "kept in the program"})
	if a.State != jobstore.Finished || a.Err != nil || got != (Invoice{Cents: 5}) {
		t.Errorf("%s with args %+v", a, got)
	}
}

// The number of the attempt decides about the backoff and about the last one.
func TestPerformAnyAttempt(t *testing.T) {
	t.Parallel()
	fail := func(_ context.Context, job *warren.Job[Mail]) error {
		if job.LastAttempt() != (job.Attempts == 4) {
			return warren.Permanent(errors.New("wrong about the last attempt"))
		}
		return errors.New("no")
	}
	kind := warren.KindOpts{MaxAttempts: 4, Backoff: warren.BackoffSteps(time.Second, time.Minute, time.Hour)}
	for attempt, want := range map[int]time.Duration{0: time.Second, 1: time.Second, 2: time.Minute, 3: time.Hour} {
		a := warrentest.PerformFunc(t, fail, Mail{}, warrentest.PerformOpts{Attempt: attempt, Kind: kind})
		if a.State != jobstore.TemporarilyFailed || a.Delay != want || a.Number != max(attempt, 1) || a.Job.Attempts != a.Number {
			t.Errorf("attempt %d: %s, again in %s, want in %s", attempt, a, a.Delay, want)
		}
	}
	if a := warrentest.PerformFunc(t, fail, Mail{}, warrentest.PerformOpts{Attempt: 4, Kind: kind}); a.State != jobstore.PermanentlyFailed || a.Delay != 0 {
		t.Errorf("the last attempt: %s, again in %s", a, a.Delay)
	}
	for _, never := range []int{-1, 5} {
		failed := record(t, func(tb testing.TB) {
			tb.Helper()
			warrentest.PerformFunc(tb, fail, Mail{}, warrentest.PerformOpts{Attempt: never, Kind: kind})
		})
		if !strings.Contains(failed, "a job of kind mail has attempts 1 to 4") {
			t.Errorf("attempt %d: failure %q", never, failed)
		}
	}
}

// A panic is an error of the attempt, and so is a handler that ends its goroutine.
func TestPerformCatches(t *testing.T) {
	t.Parallel()
	a := warrentest.PerformFunc(t, func(context.Context, *warren.Job[Mail]) error { panic("ouch") }, Mail{})
	if a.State != jobstore.TemporarilyFailed || a.Err == nil || !strings.Contains(a.Err.Error(), "ouch") {
		t.Errorf("after a panic: %s", a)
	}
	a = warrentest.PerformFunc(t, func(context.Context, *warren.Job[Mail]) error {
		runtime.Goexit() // as t.FailNow does
		return nil
	}, Mail{})
	if a.State != jobstore.TemporarilyFailed || a.Err == nil {
		t.Errorf("after an exit: %s", a)
	}
}

// The timeout of the kind ends the handler's context.
func TestPerformTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := warrentest.PerformFunc(t, func(ctx context.Context, _ *warren.Job[Mail]) error {
			<-ctx.Done()
			return ctx.Err()
		}, Mail{}, warrentest.PerformOpts{Kind: warren.KindOpts{Timeout: 10 * time.Second}})
		if a.State != jobstore.TemporarilyFailed || !strings.Contains(a.Job.Error, warren.ErrTimeout.Error()) {
			t.Errorf("after its timeout: %s, error %q", a, a.Job.Error)
		}
	})
}

// Everything that a job may say arrives, and what the handler leaves behind comes back.
func TestPerformCarriesTheRow(t *testing.T) {
	t.Parallel()
	a := warrentest.PerformFunc(t, func(ctx context.Context, job *warren.Job[Mail]) error {
		if err := warren.SetMetadata(ctx, map[string]bool{"seen": true}); err != nil {
			return err
		}
		return warren.SetOutput(ctx, string(job.Metadata)+job.Queue+strings.Join(job.Tags, ","))
	}, Mail{}, warrentest.PerformOpts{
		Kind: warren.KindOpts{Queue: "media", Priority: 7},
		Job:  warren.PublishOpts{Metadata: map[string]int{"trace": 7}, Tags: []string{"a", "b"}, Delay: time.Hour, SerialGroup: "g"},
		Env:  warrentest.Opts{Priorities: []int{7}},
	})
	if a.State != jobstore.Finished || string(a.Output) != `"{\"trace\":7}mediaa,b"` || string(a.Job.Metadata) != `{"seen":true,"trace":7}` {
		t.Errorf("%s, output %s, metadata %s", a, a.Output, a.Job.Metadata)
	}
}

// What keeps a job from being published fails the test.
func TestPerformRefuses(t *testing.T) {
	t.Parallel()
	failed := record(t, func(tb testing.TB) {
		tb.Helper()
		warrentest.PerformFunc(tb, delivered, Mail{}, warrentest.PerformOpts{Job: warren.PublishOpts{Priority: new(7)}})
	})
	if !strings.Contains(failed, "priority 7 is not configured") {
		t.Errorf("failure %q", failed)
	}
}
