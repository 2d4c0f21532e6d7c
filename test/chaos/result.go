package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/warrenq/warren/test/chaos/check"
)

// result is what one stage came to, one line in a file of results.
type result struct {
	Stage    string         `json:"stage"`
	Title    string         `json:"title"`
	Command  string         `json:"command"`
	Commit   string         `json:"commit"`
	Seed     uint64         `json:"seed"`
	Versions string         `json:"versions"`
	Seconds  float64        `json:"seconds"`
	Counts   check.Counts   `json:"counts"`
	Faults   map[string]int `json:"faults,omitempty"`
	Drain    float64        `json:"drain_seconds,omitempty"`
	// LongestPause is for how many seconds no job ended anywhere.
	LongestPause float64            `json:"longest_pause_seconds,omitempty"`
	Throughput   *throughput        `json:"throughput,omitempty"`
	Growth       *growth            `json:"growth,omitempty"`
	Fenced       int                `json:"fenced,omitempty"`
	Reissued     int                `json:"reissued,omitempty"` // announced again by the lost-hint sweep
	Recovery     map[string]timings `json:"recovery,omitempty"`
	Points       []string           `json:"points,omitempty"`  // what a stage went through, one by one
	Mutants      map[string]string  `json:"mutants,omitempty"` // name -> how it was caught
	Failures     []string           `json:"failures,omitempty"`
	Notes        []string           `json:"-"` // what jobs concerned went through

	history *check.History
	violent []check.Violation
}

// timings are recovery times in seconds.
type timings []float64

// fail notes what went wrong.
func (r *result) fail(format string, args ...any) {
	r.Failures = append(r.Failures, fmt.Sprintf(format, args...))
}

// judge takes over the checker's verdict.
func (r *result) judge(h *check.History) {
	v := check.Check(h)
	r.history, r.violent, r.Counts = h, append(r.violent, v.Violations...), v.Counts
	for _, x := range v.Violations {
		r.fail("%s: job %d: %s", x.Class, x.ID, x.Text)
	}
}

// take adds the verdict about one scene of many.
func (r *result) take(v check.Verdict) {
	r.merge(v.Counts)
	for _, x := range v.Violations {
		r.fail("%s: job %d: %s", x.Class, x.ID, x.Text)
	}
}

// record asks for a recovery time to be kept.
func (r *result) record(what string, seconds float64) {
	if r.Recovery == nil {
		r.Recovery = map[string]timings{}
	}
	r.Recovery[what] = append(r.Recovery[what], seconds)
}

// merge adds the figures of one scene of many.
func (r *result) merge(c check.Counts) {
	r.Counts.Jobs += c.Jobs
	r.Counts.Maybe += c.Maybe
	r.Counts.MaybeThere += c.MaybeThere
	r.Counts.RolledBack += c.RolledBack
	r.Counts.Runs += c.Runs
	r.Counts.Extra += c.Extra
	r.Counts.Rescued += c.Rescued
	r.Counts.HandedBack += c.HandedBack
	r.Counts.Explained += c.Explained
	r.Counts.Ignoring += c.Ignoring
	r.Counts.Unexplained += c.Unexplained
	r.Counts.Quarantined += c.Quarantined
}

// shown is how many violations are told with their history.
const shown = 5

// print tells a person what a stage came to.
func (r *result) print() {
	state := "ok"
	if len(r.Failures) > 0 {
		state = "FAILED"
	}
	c := r.Counts
	fmt.Printf("stage %s %s in %.0f s: %d jobs, %d runs, rescued %d, handed back %d, overlaps %d explained %d ignoring their context %d unexplained\n",
		r.Stage, state, r.Seconds, c.Jobs, c.Runs, c.Rescued, c.HandedBack, c.Explained, c.Ignoring, c.Unexplained)
	for i, f := range r.Failures {
		if i == 20 {
			fmt.Printf("  … and %d more\n", len(r.Failures)-i)
			break
		}
		fmt.Println("  " + f)
	}
	for _, line := range r.Notes[:min(len(r.Notes), 60)] {
		fmt.Println("    " + line)
	}
	for i, v := range r.violent {
		if i == shown || v.ID == 0 {
			break
		}
		for _, line := range historyOf(r.history, v.ID) {
			fmt.Printf("    %d: %s\n", v.ID, line)
		}
	}
}

// keep appends results to a file, one line each.
func keep(dir string, results []*result) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "results.jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // the encoder's errors tell
	enc := json.NewEncoder(f)
	for _, r := range results {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return nil
}
