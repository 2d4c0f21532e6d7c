package warrentest

import (
	"errors"
	"testing"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// RequireFinished fails the test unless the attempt ended its job as FINISHED: the handler did its
// work, or skipped the job.
func (a Attempt) RequireFinished(tb testing.TB) {
	tb.Helper()
	a.require(tb, jobstore.Finished, nil)
}

// RequireWait fails the test unless the handler asked to come back after d without using up an attempt.
func (a Attempt) RequireWait(tb testing.TB, d time.Duration) {
	tb.Helper()
	a.require(tb, jobstore.Waiting, nil)
	a.requireDelay(tb, d)
}

// RequireRetry fails the test unless the attempt failed for now, with an error that errors.Is takes for
// target (nil = any), and the job has a further attempt.
func (a Attempt) RequireRetry(tb testing.TB, target error) {
	tb.Helper()
	a.require(tb, jobstore.TemporarilyFailed, target)
}

// RequireRetryAfter is RequireRetry of any error, with the delay before the next attempt.
func (a Attempt) RequireRetryAfter(tb testing.TB, d time.Duration) {
	tb.Helper()
	a.require(tb, jobstore.TemporarilyFailed, nil)
	a.requireDelay(tb, d)
}

// RequireFailed fails the test unless the job failed for good, with an error that errors.Is takes for
// target (nil = any): the error was permanent, or this was the last attempt.
func (a Attempt) RequireFailed(tb testing.TB, target error) {
	tb.Helper()
	a.require(tb, jobstore.PermanentlyFailed, target)
}

func (a Attempt) require(tb testing.TB, want jobstore.State, target error) {
	tb.Helper()
	if a.State != want {
		tb.Fatalf("warrentest: %s; want %s", a, want)
	}
	if target != nil && !errors.Is(a.Err, target) {
		tb.Fatalf("warrentest: %s; want the error %q", a, target)
	}
}

func (a Attempt) requireDelay(tb testing.TB, d time.Duration) {
	tb.Helper()
	if a.Delay != d {
		tb.Fatalf("warrentest: %s, again after %s; want %s", a, a.Delay, d)
	}
}
