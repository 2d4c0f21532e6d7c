package warren_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/warrentest"
)

var (
	errGone  = errors.New("the row is gone")
	errOther = errors.New("connection reset")
)

// Each ready-made middleware acts on what it is for, on nothing else, and does not overrule a handler
// that has spoken. It is the real chain: claim, attempt, outcome.
func TestMiddleware(t *testing.T) {
	t.Parallel()
	never := func(context.Context, *jobstore.Job) bool { return false }
	tagged := func(_ context.Context, job *jobstore.Job) bool { return len(job.Tags) > 0 }
	wrapped := fmt.Errorf("read: %w", errGone)
	for name, c := range map[string]struct {
		m     warren.Middleware
		err   error
		state jobstore.State
		text  string
		delay time.Duration
	}{
		"skip if":                  {warren.SkipIf("muted", tagged), errOther, jobstore.Finished, "muted", 0},
		"skip if not":              {warren.SkipIf("muted", never), errOther, jobstore.TemporarilyFailed, "connection reset", time.Hour},
		"wait if":                  {warren.WaitIf("closed", time.Minute, tagged), errOther, jobstore.Waiting, "closed", time.Minute},
		"permanent on":             {warren.PermanentOn(errOther, errGone), wrapped, jobstore.PermanentlyFailed, "read: the row is gone", 0},
		"permanent on another":     {warren.PermanentOn(errGone), errOther, jobstore.TemporarilyFailed, "connection reset", time.Hour},
		"permanent on, but waits":  {warren.PermanentOn(errGone), warren.Wait(time.Minute, errGone), jobstore.Waiting, "the row is gone", time.Minute},
		"permanent if":             {warren.PermanentIf(func(err error) bool { return errors.Is(err, errGone) }), errGone, jobstore.PermanentlyFailed, "the row is gone", 0},
		"permanent if, but no err": {warren.PermanentIf(func(error) bool { return true }), nil, jobstore.Finished, "", 0},
		"skip on":                  {warren.SkipOn(errGone), wrapped, jobstore.Finished, "read: the row is gone", 0},
		"wait on":                  {warren.WaitOn(time.Minute, errGone), wrapped, jobstore.Waiting, "read: the row is gone", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, where := range []string{"kind", "registry"} {
				opts := warren.KindOpts{Backoff: warren.BackoffSteps(time.Hour)}
				var registry warren.Registry
				if where == "kind" {
					opts.Middleware = []warren.Middleware{c.m}
				} else {
					registry.Use(c.m)
				}
				warren.RegisterFunc(&registry, func(context.Context, *warren.Job[mail]) error { return c.err }, opts)
				env := warrentest.New(t, &registry)
				if _, err := env.Client().Publish(t.Context(), mail{}, warren.PublishOpts{Tags: []string{"a"}}); err != nil {
					t.Fatal(err)
				}
				got := env.Drain()
				if len(got) != 1 || got[0].State != c.state || got[0].Job.Error != c.text || got[0].Delay != c.delay {
					t.Errorf("%s: %v, error %q, delay %s", where, got, got[0].Job.Error, got[0].Delay)
				}
			}
		})
	}
}

// A handler that came back because its time was up has failed for good where that was asked for.
func TestPermanentOnTimeout(t *testing.T) {
	t.Parallel()
	got := warrentest.PerformFunc(t, func(ctx context.Context, _ *warren.Job[mail]) error {
		<-ctx.Done()
		return errOther
	}, mail{}, warrentest.PerformOpts{Kind: warren.KindOpts{
		Timeout: time.Millisecond, Middleware: []warren.Middleware{warren.PermanentOn(warren.ErrTimeout)},
	}})
	if got.State != jobstore.PermanentlyFailed {
		t.Errorf("%v", got)
	}
}
