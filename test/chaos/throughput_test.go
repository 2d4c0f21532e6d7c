package main

import (
	"testing"
	"time"

	"github.com/warrenq/warren/test/chaos/check"
)

// Ten executions end every second for half a minute, but for one window in which a fault begins.
func TestThroughputDip(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1000, 0)
	fault := begin.Add(10 * time.Second)
	h := &check.History{Published: []check.Publish{
		{Confirmed: begin}, {Fate: check.RolledBack}, {Confirmed: begin.Add(30 * time.Second)},
	}}
	for i := range 300 {
		end := begin.Add(time.Duration(i) * 100 * time.Millisecond)
		if late := end.Sub(fault); late >= 0 && late < dipWindow && i%5 > 0 {
			continue
		}
		h.Runs = append(h.Runs, check.Run{End: end})
	}
	h.Runs = append(h.Runs, check.Run{}) // its process died
	got := measureThroughput(h, map[string][]time.Time{"kill": {begin, fault}, "too late": {begin.Add(29 * time.Second)}})
	if got == nil || got.Usual != 10 || got.Lowest != 2 || got.dip() != 80 {
		t.Fatalf("measured %v", got)
	}
	if after := got.After["kill"]; len(after) != 2 || after[0] != 1 || after[1] != 0.2 || len(got.After) != 1 {
		t.Errorf("after faults: %v", got.After)
	}
	h.Published = h.Published[:1]
	if got := measureThroughput(h, nil); got != nil {
		t.Errorf("measured %v while nothing was published", got)
	}
}
