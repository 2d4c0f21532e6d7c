package worker_test

import (
	"math"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/worker"
)

func TestTheDefaultLadderIsMinutesDoublingTo16WithJitter(t *testing.T) {
	t.Parallel()
	for i, minutes := range []float64{1, 2, 4, 8, 16, 16, 16} {
		seen := map[time.Duration]bool{}
		for range 1000 {
			d := worker.DefaultBackoff(i + 1)
			if d.Minutes() < 0.9*minutes || d.Minutes() > 1.1*minutes {
				t.Fatalf("attempt %d backs off %s, want %v min ±10 %%", i+1, d, minutes)
			}
			seen[d] = true
		}
		if len(seen) < 500 {
			t.Errorf("attempt %d has %d different delays of 1000: what failed together comes back together", i+1, len(seen))
		}
	}
}

func TestJitterReachesTenPerCentEitherWay(t *testing.T) {
	t.Parallel()
	for r, want := range map[float64]time.Duration{0: 90 * time.Second, 0.5: 100 * time.Second, 1: 110 * time.Second} {
		if d := worker.Jitter(100*time.Second, r); d != want {
			t.Errorf("Jitter at %v is %s, want %s", r, d, want)
		}
	}
}

func TestExponentialDoublesUpToItsLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		first, limit time.Duration
		attempt      int
		want         time.Duration
	}{
		{time.Second, time.Minute, 0, time.Second},
		{time.Second, time.Minute, 1, time.Second},
		{time.Second, time.Minute, 6, 32 * time.Second},
		{time.Second, time.Minute, 7, time.Minute},
		{time.Second, time.Minute, math.MaxInt, time.Minute},
		{time.Second, math.MaxInt64, math.MaxInt, math.MaxInt64},
		{time.Hour, time.Minute, 1, time.Minute},
		{0, time.Minute, math.MaxInt, 0},
	} {
		if d := worker.Exponential(c.first, c.limit)(c.attempt); d != c.want {
			t.Errorf("Exponential(%s, %s)(%d) = %s, want %s", c.first, c.limit, c.attempt, d, c.want)
		}
	}
}

func TestStepsStayAtTheLast(t *testing.T) {
	t.Parallel()
	steps := worker.Steps(1, 2, 3)
	for attempt, want := range map[int]time.Duration{-1: 1, 0: 1, 1: 1, 2: 2, 3: 3, 4: 3, math.MaxInt: 3} {
		if d := steps(attempt); d != want {
			t.Errorf("step %d is %d, want %d", attempt, d, want)
		}
	}
	if d := worker.Steps()(1); d != 0 {
		t.Errorf("no steps at all give %s, want no delay", d)
	}
}
