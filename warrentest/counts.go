package warrentest

import (
	"slices"
	"testing"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// RequireTimes fails the test unless exactly n jobs of A's kind were published that every match accepts.
func RequireTimes[A warren.Args](tb testing.TB, jobs Jobs, n int, match ...func(*warren.Job[A]) bool) {
	tb.Helper()
	if found := Published(tb, jobs, match...); len(found) != n {
		var zero A
		tb.Fatalf("warrentest: %d jobs of kind %s were published that match, want %d; %s", len(found), zero.Kind(), n, describe(list(tb, jobs, "")))
	}
}

// RequireCount fails the test unless exactly n jobs were published, of whatever kinds.
func RequireCount(tb testing.TB, jobs Jobs, n int) {
	tb.Helper()
	if rows := list(tb, jobs, ""); len(rows) != n {
		tb.Fatalf("warrentest: %d jobs were published, want %d; %s", len(rows), n, describe(rows))
	}
}

// OnQueue is a match for a job of a queue: RequirePublished(t, env, OnQueue[Mail]("media")).
func OnQueue[A warren.Args](queue string) func(*warren.Job[A]) bool {
	return func(job *warren.Job[A]) bool { return job.Queue == queue }
}

// DrainOnly is Drain for jobs of some kinds. Those of other kinds stay as they are, as though nobody
// had a handler for them. A kind that is not registered fails the test.
func (e *Env) DrainOnly(kinds ...string) []Attempt {
	e.tb.Helper()
	e.known(kinds)
	return e.drainWithout(slices.DeleteFunc(e.registry.Kinds(), func(k string) bool { return slices.Contains(kinds, k) }))
}

// DrainExcept is Drain for jobs of all kinds but some.
func (e *Env) DrainExcept(kinds ...string) []Attempt {
	e.tb.Helper()
	e.known(kinds)
	return e.drainWithout(kinds)
}

func (e *Env) known(kinds []string) {
	e.tb.Helper()
	for _, k := range kinds {
		if !slices.Contains(e.registry.Kinds(), k) {
			e.tb.Fatalf("warrentest: kind %q is not registered; registered are %q", k, e.registry.Kinds())
		}
	}
}

// drainWithout drains while some kinds are paused.
func (e *Env) drainWithout(kinds []string) []Attempt {
	e.tb.Helper()
	ctx, cancel := e.patience()
	defer cancel()
	for _, k := range kinds {
		if err := e.store.PauseOf(ctx, jobstore.PauseOfKind, k, 0); err != nil {
			e.tb.Fatalf("warrentest: %v", err)
		}
	}
	attempts, err := e.drain(ctx)
	for _, k := range kinds {
		if _, late := e.store.ResumeOf(ctx, jobstore.PauseOfKind, k); late != nil && err == nil {
			err = late
		}
	}
	if err != nil {
		e.tb.Fatalf("warrentest: %v", err)
	}
	return attempts
}

// Ran returns every attempt of this installation so far, inline ones included, in the order in which
// they ended.
func (e *Env) Ran() []Attempt {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.ran)
}
