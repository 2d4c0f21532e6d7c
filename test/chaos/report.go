package main

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed peers.md
var peers string

// report writes the document from all results that were kept.
func report(dir, path string) error {
	results, err := kept(dir)
	if err != nil {
		return err
	}
	if len(results) == 0 {
		return errors.New("there are no results to report; run without -quick first")
	}
	var b strings.Builder
	b.WriteString(head)
	runsTable(&b, results)
	promises(&b, results)
	faultsTable(&b, results)
	recoveryTable(&b, results)
	lists(&b, results)
	b.WriteString("\n" + peers)
	return os.WriteFile(path, []byte(b.String()), 0o600)
}

const head = `# Reliability

Written by ` + "`make chaos`" + ` from what its runs came to; do not edit. [The suite](../test/chaos) runs consumers and producers as processes on
private servers and breaks everything that can break. Afterwards four accounts must agree: what publishers were told, the rows, a
trigger's audit of every move of every row, and a ledger file to which handlers append and which knows neither database nor broker.

What is promised: a job that was committed ends, whatever dies; each attempt has at most one accepted outcome; no two processes that
run at all execute a job, or two of a serial group, at a time.

`

// kept reads all results. Of a command that was run again, after something was mended say, the last run counts.
func kept(dir string) ([]*result, error) {
	f, err := os.Open(filepath.Join(dir, "results.jsonl"))
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	var results []*result
	for dec := json.NewDecoder(bufio.NewReader(f)); ; {
		var r result
		if err := dec.Decode(&r); err != nil {
			if errors.Is(err, io.EOF) {
				return results, nil
			}
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		results = slices.DeleteFunc(results, func(before *result) bool { return before.Command == r.Command })
		results = append(results, &r)
	}
}

func runsTable(b *strings.Builder, results []*result) {
	versions := ""
	for _, r := range results {
		if r.Versions != "" {
			versions = r.Versions
		}
	}
	fmt.Fprintf(b, "## Runs\n\n%s. Every line is repeated by the command beside it, in `test/chaos`; a seed repeats the faults and their moments, not the machine's timing. Of a command that was run more than once the last run is shown.\n\n", versions)
	b.WriteString("| stage | came to | jobs | unknown commits (there) | rolled back | executions | took | to drain | longest pause | throughput dip | memory and descriptors | commit | command |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range byStage(results) {
		came := "ok"
		if len(r.Failures) > 0 {
			came = fmt.Sprintf("**%d failures**", len(r.Failures))
		}
		c := r.Counts
		fmt.Fprintf(b, "| %s: %s | %s | %d | %d (%d) | %d | %d | %.0f s | %s | %s | %s | %s | %s | `%s` |\n", r.Stage, r.Title, came, c.Jobs, c.Maybe, c.MaybeThere,
			c.RolledBack, c.Runs, r.Seconds, seconds(r.Drain), seconds(r.LongestPause), r.Throughput, r.Growth, r.Commit, r.Command)
	}
	fmt.Fprintf(b, "\nThe longest pause is for how long no execution ended anywhere. The throughput dip is how far the worst %.0f s while jobs were published\nlie below the median of all such windows. Memory and descriptors are the most that any consumer held in each half of the attack.\n", dipWindow.Seconds())
	for _, r := range byStage(results) {
		for i, f := range r.Failures {
			if i < 3 {
				fmt.Fprintf(b, "\n* failure in %s, seed %d: %s\n", r.Stage, r.Seed, f)
			}
		}
	}
}

func seconds(s float64) string {
	if s == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f s", s)
}

func byStage(results []*result) []*result {
	return slices.SortedStableFunc(slices.Values(results), func(a, b *result) int { return strings.Compare(a.Stage, b.Stage) })
}

func promises(b *strings.Builder, results []*result) {
	var t result
	classes := map[string]int{}
	for _, r := range results {
		t.merge(r.Counts)
		t.Fenced += r.Fenced
		t.Reissued += r.Reissued
		for _, f := range r.Failures {
			class, _, _ := strings.Cut(f, ":")
			classes[class]++
		}
	}
	c := t.Counts
	b.WriteString("\n## What came of it, all runs together\n\n| | |\n|---|---|\n")
	line := func(what string, n any) { fmt.Fprintf(b, "| %s | %v |\n", what, n) }
	line("jobs that were committed for certain", c.Jobs)
	line("lost", classes["lost"])
	line("rolled-back jobs that ran or exist", fmt.Sprintf("%d of %d", classes["ghost"], c.RolledBack))
	line("accepted twice", classes["double"])
	line("moves out of a final state", classes["resurrected"])
	line("overlaps that no pause explains", c.Unexplained)
	line("overlaps while a process was frozen past its lease", c.Explained)
	line("overlaps of handlers that ignore their context", c.Ignoring)
	line("executions beyond one a job, planned failures included", fmt.Sprintf("%d (%.1f %%)", c.Extra, 100*float64(c.Extra)/float64(max(c.Runs, 1))))
	line("rows taken from dead processes", c.Rescued)
	line("rows handed back by living ones", c.HandedBack)
	line("outcomes refused by their lease number", t.Fenced)
	line("quarantined after three crashes", c.Quarantined)
	line("numbers announced again by the sweep for lost hints", t.Reissued)
}

func faultsTable(b *strings.Builder, results []*result) {
	faults, all := map[string]int{}, 0
	after := map[string]timings{}
	for _, r := range results {
		for name, n := range r.Faults {
			faults[name] += n
			all += n
		}
		if r.Throughput != nil {
			for name, shares := range r.Throughput.After {
				after[name] = append(after[name], shares...)
			}
		}
	}
	fmt.Fprintf(b, "\n## Faults at random moments\n\n%d in all, one every 0.75 s in the mean where its target was free (stages E, I and J; the commands are above). The last column is\nthe median throughput in the %.0f s that begin with one, as a part of the usual; other faults go on meanwhile.\n\n| fault | times | throughput then |\n|---|---|---|\n", all, dipWindow.Seconds())
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		then := "–"
		if len(after[name]) > 0 {
			then = fmt.Sprintf("%.0f %%", 100*after[name].median())
		}
		fmt.Fprintf(b, "| %s | %d | %s |\n", name, faults[name], then)
	}
}

func recoveryTable(b *strings.Builder, results []*result) {
	times := map[string]timings{}
	commands := map[string]string{}
	for _, r := range results {
		for what, t := range r.Recovery {
			times[what] = append(times[what], t...)
			commands[what] = "-stages " + r.Stage
			if goals()[what] == 0 {
				commands[what] = "-stages E,I,J"
			}
		}
	}
	b.WriteString("\n## How soon it recovers\n\nThose with a goal are the shipped consumer with its default times; the others are random chaos with a lease of 4 s,\nmore faults and a backlog meanwhile.\n\n| fault | samples | p50 | max | goal | command |\n|---|---|---|---|---|---|\n")
	for _, what := range slices.Sorted(maps.Keys(times)) {
		goal := "–"
		if g := goals()[what]; g > 0 {
			goal = fmt.Sprintf("%.0f s", g)
		}
		t := times[what]
		if g := goals()[what]; g > 0 && slices.Max(t) > g {
			goal += " (**missed** by the worst)"
		}
		fmt.Fprintf(b, "| %s | %d | %.2f s | %.2f s | %s | `go run . %s` |\n", what, len(t), t.median(), slices.Max(t), goal, commands[what])
	}
}

// median is the value that half of all do not exceed.
func (t timings) median() float64 {
	sorted := slices.Sorted(slices.Values(t))
	return sorted[len(sorted)/2]
}

// lists are the mutants, the points, and what processes do while a server is away: of the latest run of each.
func lists(b *strings.Builder, results []*result) {
	latest := map[string]*result{}
	for _, r := range results {
		latest[r.Stage] = r
	}
	if r := latest["M"]; r != nil {
		fmt.Fprintf(b, "\n## Proof that the suite notices\n\nThe protocol without one of its parts, in the scenario that part is for; the shipped protocol passes all of them. `%s`\n\n| mutant | caught, by violations |\n|---|---|\n", r.Command)
		for _, name := range slices.Sorted(maps.Keys(r.Mutants)) {
			fmt.Fprintf(b, "| %s | %s |\n", name, r.Mutants[name])
		}
	}
	for _, l := range []struct{ stage, title string }{
		{"D", "Points of the protocol at which processes died, stood still or lost replies"},
		{"F", "Doubled, forged and malformed hints"},
		{"O", "While a server is away"},
	} {
		if r := latest[l.stage]; r != nil {
			fmt.Fprintf(b, "\n## %s\n\n`%s`\n\n", l.title, r.Command)
			for _, p := range slices.Sorted(slices.Values(r.Points)) {
				fmt.Fprintf(b, "* %s\n", p)
			}
		}
	}
}
