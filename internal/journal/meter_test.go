package journal_test

import (
	"math"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/journal"
)

func near(got, want float64) bool { return math.Abs(got-want) <= want/100 }

// A steady pace gives its rate and what is left; a new pace is believed after a while, not at once.
func TestRateAndETA(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	m := journal.NewMeter(now)
	if p := m.Read(now); p.Rate != 0 || p.ETA != nil || p.Percent != nil {
		t.Errorf("at first: %+v", p)
	}
	step := func(n int, add int64) (rate float64, left time.Duration) {
		t.Helper()
		for range n {
			now = now.Add(250 * time.Millisecond)
			m.Set(m.Done()+add, 10_000, "")
			p := m.Read(now)
			var known bool
			if left, known = p.Left(); !known {
				t.Fatalf("no ETA: %+v", p)
			}
			rate = p.Rate
		}
		return rate, left
	}
	if rate, left := step(40, 25); !near(rate, 100) || !near(left.Seconds(), 90) {
		t.Errorf("100 a second for 10 s: %g/s, %s left", rate, left)
	}
	if rate, _ := step(1, 250); rate < 101 || rate > 150 {
		t.Errorf("one step of 1000 a second: %g/s", rate)
	}
	if rate, _ := step(30, 250); rate < 500 || rate > 999 {
		t.Errorf("after 8 s of it: %g/s", rate)
	}
	before := m.Read(now)
	now = now.Add(time.Minute)
	if p := m.Read(now); p.Rate != before.Rate || *p.ETA != *before.ETA {
		t.Errorf("nothing came: %+v, before %+v", p, before)
	}
	m.Set(10_000, 10_000, "")
	if p := m.Read(now); *p.ETA != 0 || *p.Percent != 100 {
		t.Errorf("at the end: %+v", p)
	}
}

// What an earlier attempt has done counts for how much is done, and not for how fast.
func TestRateAfterAnEarlierAttempt(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	m := journal.NewMeter(now)
	m.From(5000, 10_000)
	m.Set(5010, 10_000, "")
	p := m.Read(now.Add(time.Second))
	if left, _ := p.Left(); !near(p.Rate, 10) || math.Abs(left.Seconds()-499) > 1 || *p.Percent != 50.1 {
		t.Errorf("%+v, %s left", p, left)
	}
}

// Stages are parts of the whole; the rate is of the stage, the time that is left of the whole.
func TestStages(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	m := journal.NewMeter(now)
	m.Enter(now, "a", 0.2)
	m.Set(10, 100, "")
	now = now.Add(time.Second)
	if p := m.Read(now); *p.Percent != 2 || !near(p.Rate, 10) {
		t.Errorf("in the first: %+v", p)
	}
	m.Enter(now, "b", 0.8)
	if p := m.Read(now); *p.Percent != 20 || p.Done != 0 || p.Rate != 0 {
		t.Errorf("at the beginning of the second: %+v", p)
	}
	m.Set(1, 4, "")
	if p := m.Read(now.Add(time.Second)); *p.Percent != 40 || p.Rate != 1 {
		t.Errorf("in the second: %+v", p)
	}
}
