package warren_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/warrentest"
)

type handler = func(ctx context.Context, job *warren.Job[mail]) error

// What an attempt says last comes with its outcome, whatever the outcome is.
func TestProgressComesWithTheOutcome(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		h       handler
		percent float64 // NaN = not known
		want    jobstore.Progress
	}{
		"done of total": {func(ctx context.Context, _ *warren.Job[mail]) error {
			for n := range int64(1000) {
				warren.Progress(ctx, n, 3000, fmt.Sprint("at ", n))
			}
			return nil
		}, 33.3, jobstore.Progress{Done: 999, Total: 3000, Message: "at 999"}},
		"without a total": {func(ctx context.Context, _ *warren.Job[mail]) error {
			warren.Progress(ctx, 17, 0, "")
			return errors.New("no")
		}, math.NaN(), jobstore.Progress{Done: 17}},
		"a stage of several": {func(ctx context.Context, _ *warren.Job[mail]) error {
			warren.Stage(ctx, "prepare", 0.2)
			warren.Progress(ctx, 1, 10, "")
			warren.Stage(ctx, "import", 0.6)
			warren.Progress(ctx, 5, 10, "half")
			return warren.Permanent(errors.New("no"))
		}, 50, jobstore.Progress{Done: 5, Total: 10, Stage: "import", Message: "half"}},
		"stages of more than a whole": {func(ctx context.Context, _ *warren.Job[mail]) error {
			warren.Stage(ctx, "a", 0.7)
			warren.Stage(ctx, "b", math.NaN())
			warren.Stage(ctx, "c", 7)
			warren.Progress(ctx, 30, 10, "")
			return nil
		}, 100, jobstore.Progress{Done: 30, Total: 10, Stage: "c"}},
		"what makes no sense": {func(ctx context.Context, _ *warren.Job[mail]) error {
			warren.Progress(ctx, -3, -4, strings.Repeat("ü", 10_000)+"\x00")
			return nil
		}, math.NaN(), jobstore.Progress{Message: strings.Repeat("ü", 512)}},
		"done": {func(ctx context.Context, _ *warren.Job[mail]) error {
			warren.Progress(ctx, 3, 10, "")
			return warren.Done(map[string]int{"rows": 10}, "all are in")
		}, 100, jobstore.Progress{Done: 10, Total: 10, Message: "all are in"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := warrentest.PerformFunc(t, c.h, mail{}).Progress
			if p == nil {
				t.Fatal("nothing came with the outcome")
			}
			if p.Done != c.want.Done || p.Total != c.want.Total || p.Stage != c.want.Stage || p.Message != c.want.Message || p.Attempt != 1 {
				t.Errorf("got %+v", p)
			}
			if known := p.Percent != nil; known == math.IsNaN(c.percent) || known && *p.Percent != c.percent {
				t.Errorf("percent: %+v, want %g", p.Percent, c.percent)
			}
		})
	}
	if p := warrentest.PerformFunc(t, func(context.Context, *warren.Job[mail]) error { return nil }, mail{}); p.Progress != nil || p.Job.Metadata != nil {
		t.Errorf("a handler that says nothing left %+v, %s", p.Progress, p.Job.Metadata)
	}
	warren.Progress(t.Context(), 1, 2, "outside of a job nothing happens")
	warren.Stage(t.Context(), "nor here", 1)
}

func TestDone(t *testing.T) {
	t.Parallel()
	got := warrentest.PerformFunc(t, func(context.Context, *warren.Job[mail]) error {
		return fmt.Errorf("wrapped: %w", warren.Done([]int{1, 2}, ""))
	}, mail{})
	got.RequireFinished(t)
	if string(got.Output) != "[1,2]" || got.Err != nil || got.Job.Error != "" {
		t.Errorf("got %+v", got)
	}
	middleware := func(next warren.RawHandler) warren.RawHandler {
		return func(ctx context.Context, job *jobstore.Job) error {
			if err := next(ctx, job); err != nil {
				return warren.Permanent(fmt.Errorf("middleware sees no success: %w", err))
			}
			return warren.Done("of the middleware", "")
		}
	}
	got = warrentest.PerformFunc(t, func(context.Context, *warren.Job[mail]) error { return warren.Done(1, "said") }, mail{},
		warrentest.PerformOpts{Kind: warren.KindOpts{Middleware: []warren.Middleware{middleware}}})
	got.RequireFinished(t)
	if string(got.Output) != `"of the middleware"` || got.Progress == nil || *got.Progress.Percent != 100 {
		t.Errorf("got %s, %+v", got.Output, got.Progress)
	}
	got = warrentest.PerformFunc(t, func(context.Context, *warren.Job[mail]) error { return warren.Done(func() {}, "") }, mail{})
	got.RequireFailed(t, nil)
	if !strings.Contains(got.Job.Error, "the work is done, and its result is not kept: encode the job's output") {
		t.Errorf("the error is %s", got.Job.Error)
	}
}

// loops is a handler of two loops that fails once in each, and of one that begins inside of another.
type loops struct {
	seen  []string
	fails map[string]bool
}

func (l *loops) step(item string) error {
	l.seen = append(l.seen, item)
	if l.fails[item] {
		delete(l.fails, item)
		return errors.New("not now")
	}
	return nil
}

func (l *loops) Handle(ctx context.Context, _ *warren.Job[mail]) error {
	for _, stage := range []string{"a", "b"} {
		warren.Stage(ctx, stage, 0.5)
		err := warren.Each(ctx, slices.Values([]int{1, 2, 3}), 3, func(ctx context.Context, n int) error {
			if stage == "b" {
				return warren.Each(ctx, slices.Values([]string{"x", "y"}), 2, func(_ context.Context, inner string) error {
					return l.step(fmt.Sprint(stage, n, inner))
				})
			}
			return l.step(fmt.Sprint(stage, n))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// A later attempt goes on behind the last item that was done; a job that has finished begins anew when somebody wants that.
func TestEachGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	l := &loops{fails: map[string]bool{"a2": true, "b2y": true}}
	var r warren.Registry
	warren.Register(&r, l)
	env := warrentest.New(t, &r)
	p, err := env.Client().Publish(t.Context(), mail{})
	if err != nil {
		t.Fatal(err)
	}
	for attempt, want := range []string{"a1 a2", "a2 a3 b1x b1y b2x b2y", "b2x b2y b3x b3y"} {
		l.seen = nil
		got := env.Drain()
		if len(got) != 1 || strings.Join(l.seen, " ") != want {
			t.Fatalf("attempt %d did %q, want %q; %v", attempt+1, l.seen, want, got)
		}
		env.Advance(got[0].Delay)
	}
	job := env.Job(p.ID)
	if job.State != jobstore.Finished || *job.Progress.Percent != 100 || job.Progress.Done != 3 || job.Progress.Cursors != nil {
		t.Errorf("at the end: %s, %+v", job.State, job.Progress)
	}
	if _, err := env.Store().Retry(t.Context(), []jobstore.ID{p.ID}); err != nil {
		t.Fatal(err)
	}
	l.seen = nil
	if env.Drain(); len(l.seen) != 9 {
		t.Errorf("retried by hand it did %q, want everything", l.seen)
	}
}

func TestEachAtTheSameTime(t *testing.T) {
	t.Parallel()
	got := warrentest.PerformFunc(t, func(ctx context.Context, _ *warren.Job[mail]) error {
		return warren.Each(ctx, slices.Values([]int{1}), 0, func(context.Context, int) error {
			return warren.Each(ctx, slices.Values([]int{1}), 0, func(context.Context, int) error { return nil }) // with the outer context: as another goroutine does
		})
	}, mail{})
	got.RequireRetry(t, nil)
	if !strings.Contains(got.Job.Error, "another Each of this job runs") {
		t.Errorf("the error is %s", got.Job.Error)
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	n := 0
	err := warren.Each(ctx, slices.Values([]int{1, 2, 3}), 3, func(context.Context, int) error { // outside of a job it is a loop
		if n++; n == 2 {
			cancel(cause)
		}
		return nil
	})
	if !errors.Is(err, cause) || n != 2 {
		t.Errorf("after %d: %v", n, err)
	}
}

func TestJobLog(t *testing.T) {
	t.Parallel()
	got := warrentest.PerformFunc(t, func(ctx context.Context, _ *warren.Job[mail]) error {
		log := warren.Logger(ctx).With(zap.String("with", "ünï"))
		log.Debug("below")
		log.Info("first", zap.Int("n", 1), zap.Duration("took", time.Second))
		warren.Slog(ctx).With("group", "x").WarnContext(ctx, "second", "n", 2)
		warren.Logger(ctx).Error("third\x00", zap.Error(errors.New("why")), zap.String("bad", "a\x00b"))
		return nil
	}, mail{})
	got.RequireFinished(t)
	var all []string
	for _, l := range got.Log {
		all = append(all, fmt.Sprintf("%d %d %s %s %s", l.No, l.Attempt, l.Level, l.Text, l.Fields))
	}
	want := []string{
		`1 1 info first {"n":1,"took":1000000000,"with":"ünï"}`,
		`2 1 warn second {"group":"x","n":2}`,
	}
	if len(all) != 3 || !slices.Equal(all[:2], want) || !strings.Contains(all[2], "error third\ufffd") || !strings.Contains(all[2], "NUL") {
		t.Errorf("logged\n%s", strings.Join(all, "\n"))
	}
}
