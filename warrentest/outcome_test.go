package warrentest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/warrentest"
)

// Each of the questions about an attempt has the answers that it should have, and no others.
func TestRequireOutcomes(t *testing.T) {
	t.Parallel()
	errBusy := errors.New("busy")
	perform := func(answer error) warrentest.Attempt {
		return warrentest.PerformFunc(t, func(context.Context, *warren.Job[Mail]) error { return answer }, Mail{To: "ada"})
	}
	attempts := map[string]warrentest.Attempt{
		"nil": perform(nil), "skip": perform(warren.Skip("gone")), "wait": perform(warren.Wait(time.Minute, errBusy)),
		"error": perform(errBusy), "retry": perform(warren.RetryAfter(time.Minute, errBusy)), "permanent": perform(warren.Permanent(errBusy)),
	}
	for name, q := range map[string]struct {
		ask func(tb testing.TB, a warrentest.Attempt)
		yes string
	}{
		"finished":               {func(tb testing.TB, a warrentest.Attempt) { tb.Helper(); a.RequireFinished(tb) }, "nil skip"},
		"wait a minute":          {func(tb testing.TB, a warrentest.Attempt) { tb.Helper(); a.RequireWait(tb, time.Minute) }, "wait"},
		"wait an hour":           {func(tb testing.TB, a warrentest.Attempt) { tb.Helper(); a.RequireWait(tb, time.Hour) }, ""},
		"retry":                  {func(tb testing.TB, a warrentest.Attempt) { tb.Helper(); a.RequireRetry(tb, nil) }, "error retry"},
		"retry because busy":     {func(tb testing.TB, a warrentest.Attempt) { tb.Helper(); a.RequireRetry(tb, errBusy) }, "error retry"},
		"retry because canceled": {func(tb testing.TB, a warrentest.Attempt) { tb.Helper(); a.RequireRetry(tb, context.Canceled) }, ""},
		"retry after a minute":   {func(tb testing.TB, a warrentest.Attempt) { tb.Helper(); a.RequireRetryAfter(tb, time.Minute) }, "retry"},
		"failed":                 {func(tb testing.TB, a warrentest.Attempt) { tb.Helper(); a.RequireFailed(tb, errBusy) }, "permanent"},
		"failed because gone":    {func(tb testing.TB, a warrentest.Attempt) { tb.Helper(); a.RequireFailed(tb, context.Canceled) }, ""},
	} {
		for of, attempt := range attempts {
			failed := record(t, func(tb testing.TB) { tb.Helper(); q.ask(tb, attempt) })
			if want := strings.Contains(" "+q.yes+" ", " "+of+" "); want != (failed == "") {
				if of == "error" && name == "retry after a minute" && failed == "" {
					continue // the first step of the usual backoff may be a minute to the millisecond
				}
				t.Errorf("%s of %s: %q", name, of, failed)
			}
		}
	}
}

func TestRequireCounts(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, mailer(delivered))
	publish(t, env, Mail{To: "ada"})
	publish(t, env, Mail{To: "bob"}, warren.PublishOpts{Queue: "media"})
	warrentest.RequireTimes[Mail](t, env, 2)
	warrentest.RequireTimes(t, env, 1, to("ada"))
	warrentest.RequireCount(t, env, 2)
	for what, f := range map[string]func(tb testing.TB){
		"2 jobs of kind mail were published that match, want 3": func(tb testing.TB) { tb.Helper(); warrentest.RequireTimes[Mail](tb, env, 3) },
		"2 jobs were published, want 1":                         func(tb testing.TB) { tb.Helper(); warrentest.RequireCount(tb, env, 1) },
		"that matches": func(tb testing.TB) {
			tb.Helper()
			warrentest.RequirePublished(tb, env, to("ada"), warrentest.OnQueue[Mail]("media"))
		},
		`kind "male" is not registered`: func(tb testing.TB) { tb.Helper(); warrentest.New(tb, mailer(delivered)).DrainOnly("male") },
	} {
		if failed := record(t, f); !strings.Contains(failed, what) {
			t.Errorf("want a failure that says %q, got %q", what, failed)
		}
	}
	if n := len(env.DrainExcept("mail")); n != 0 || len(env.Ran()) != 0 {
		t.Errorf("%d attempts of a kind that is left out", n)
	}
	if n := len(env.DrainOnly("mail")); n != 1 || len(env.Ran()) != 1 { // nobody takes queue media
		t.Errorf("%d attempts, %d in all, want 1", n, len(env.Ran()))
	}
}
