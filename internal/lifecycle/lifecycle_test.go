package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/warrenq/warren/internal/lifecycle"
)

var errBoom = errors.New("boom")

// diary notes in which order parts begin and end.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) write(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// part runs until it is stopped and then returns err.
func (d *diary) part(name string, err error) lifecycle.Part {
	return lifecycle.Part{Name: name, Run: func(ctx context.Context) error {
		d.write("%s begins", name)
		<-ctx.Done()
		d.write("%s ends", name)
		return err
	}}
}

func (d *diary) ends(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	got := slices.DeleteFunc(slices.Clone(d.lines), func(l string) bool { return strings.HasSuffix(l, "begins") })
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPartsStopInReverseOneByOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var d diary
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- lifecycle.Run(ctx, d.part("a", nil), d.part("b", nil), d.part("c", nil)) }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
		d.ends(t, "c ends", "b ends", "a ends")
	})
}

func TestAPartIsStoppedWhileThoseBeforeItStillRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan struct{}) // closed when it is stopped
		free := make(chan struct{})
		done := make(chan error, 1)
		go func() {
			done <- lifecycle.Run(ctx,
				lifecycle.Part{Name: "first", Run: func(ctx context.Context) error { <-ctx.Done(); close(first); return nil }},
				lifecycle.Part{Name: "second", Run: func(ctx context.Context) error { <-ctx.Done(); <-free; return nil }},
			)
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		select {
		case <-first:
			t.Error("the first part was stopped although the second has not ended")
		default:
		}
		close(free)
		<-first
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestAPartThatReturnsEarlyStopsTheOthers(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]error{"nil": nil, "error": errBoom} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d diary
			err := lifecycle.Run(t.Context(),
				d.part("a", nil),
				lifecycle.Part{Name: "b", Run: func(context.Context) error { return early }},
				d.part("c", nil))
			if !errors.Is(err, early) {
				t.Errorf("Run = %v, want %v", err, early)
			}
			d.ends(t, "c ends", "a ends")
		})
	}
}

func TestErrorsAreJoinedWithTheNamesOfTheirParts(t *testing.T) {
	t.Parallel()
	var d diary
	other := errors.New("other")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := lifecycle.Run(ctx, d.part("a", errBoom), d.part("b", nil), d.part("c", other))
	if !errors.Is(err, errBoom) || !errors.Is(err, other) || err.Error() != "c: other\na: boom" {
		t.Errorf("Run = %q, want both errors, by name", err)
	}
}

func TestTheEndThatWasAskedForIsNoError(t *testing.T) {
	t.Parallel()
	own := lifecycle.Part{Name: "part", Run: func(ctx context.Context) error {
		<-ctx.Done()
		return fmt.Errorf("waiting: %w", context.Cause(ctx))
	}}
	plain, cancel := context.WithCancel(t.Context())
	cancel()
	caused, cancelCause := context.WithCancelCause(t.Context())
	cancelCause(errBoom)
	late, cancelLate := context.WithTimeout(t.Context(), 0)
	defer cancelLate()
	for name, ctx := range map[string]context.Context{"cancelled": plain, "with a cause": caused, "deadline": late} {
		if err := lifecycle.Run(ctx, own); err != nil {
			t.Errorf("%s: Run = %v, want nil", name, err)
		}
	}
	if err := lifecycle.Run(caused, lifecycle.Part{Name: "part", Run: func(context.Context) error { return errors.New("real") }}); err == nil {
		t.Error("a part's own error is lost")
	}
}

func TestPartsKeepTheValuesOfTheContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "value")
	var got any
	_ = lifecycle.Run(ctx, lifecycle.Part{Run: func(ctx context.Context) error { got = ctx.Value(key{}); return nil }})
	if got != "value" {
		t.Errorf("the value is %v", got)
	}
}
