package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/warrenq/warren/test/chaos/check"
)

// dipWindow is the stretch of time in which executions are counted.
const dipWindow = 5 * time.Second

// throughput is how many executions ended a second while jobs were being published, in windows of
// dipWindow. The dip is how far the lowest window is below the usual one.
type throughput struct {
	Usual  float64 `json:"usual_per_second"` // the median of all windows
	Lowest float64 `json:"lowest_per_second"`
	// After is, for each kind of fault, the rate in the window that begins with one, as a part of Usual.
	After map[string]timings `json:"after,omitempty"`
}

// dip is the part of the usual throughput that the worst window lacks, in percent.
func (t *throughput) dip() float64 { return 100 * (1 - t.Lowest/t.Usual) }

func (t *throughput) String() string {
	if t == nil {
		return "–"
	}
	return fmt.Sprintf("%.0f %% (%.0f/s, usually %.0f/s)", t.dip(), t.Lowest, t.Usual)
}

// measureThroughput looks at a history, and at when faults began. It is nil when jobs were published for less than
// two windows, or hardly any ended.
func measureThroughput(h *check.History, faults map[string][]time.Time) *throughput {
	first, last := published(h)
	var ends []time.Time
	for _, run := range h.Runs {
		if !run.End.IsZero() {
			ends = append(ends, run.End)
		}
	}
	slices.SortFunc(ends, time.Time.Compare)
	var rates []float64
	for from := first; !from.Add(dipWindow).After(last); from = from.Add(dipWindow) {
		rates = append(rates, rate(ends, from))
	}
	if len(rates) < 2 {
		return nil
	}
	slices.Sort(rates)
	t := &throughput{Usual: rates[len(rates)/2], Lowest: rates[0], After: map[string]timings{}}
	if t.Usual == 0 {
		return nil
	}
	for name, times := range faults {
		for _, at := range times {
			if !at.Before(first) && !at.Add(dipWindow).After(last) {
				t.After[name] = append(t.After[name], rate(ends, at)/t.Usual)
			}
		}
	}
	return t
}

// published is when the first and the last job's publisher heard of its commit.
func published(h *check.History) (first, last time.Time) {
	for _, p := range h.Published {
		if p.Confirmed.IsZero() {
			continue
		}
		if first.IsZero() || p.Confirmed.Before(first) {
			first = p.Confirmed
		}
		if p.Confirmed.After(last) {
			last = p.Confirmed
		}
	}
	return first, last
}

// rate is how many of the sorted ends a second there are in the window that begins at from.
func rate(ends []time.Time, from time.Time) float64 {
	i, _ := slices.BinarySearchFunc(ends, from, time.Time.Compare)
	j, _ := slices.BinarySearchFunc(ends, from.Add(dipWindow), time.Time.Compare)
	return float64(j-i) / dipWindow.Seconds()
}
