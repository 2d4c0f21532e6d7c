package main

import (
	_ "embed" // for reasons.md
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

//go:embed reasons.md
var reasons string

// page is docs/benchmarks.md. past is the whole run before, or nil.
func (r *report) page(past *report) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Benchmarks

Written by %[1]smake bench%[1]s; do not edit. Warren beside %[2]s, on private servers of one machine, which all of them share
with the programs that publish and consume. Absolute figures are that machine's; ratios travel.

![Warren's figures as multiples of River's](benchmarks.svg)

## How

* %[3]s. %[4]s. Commit %[5]s, %[6]s.
* %[7]s All commits are durable.
* Jobs have %[8]d bytes of args and a handler that does nothing. Publishers and consumers run in one process. Tables hold %[9]s finished
  jobs or more, vacuumed and analyzed before each turn, whoever owns them.
* Contenders take turns, up to %[10]d rounds. **A ratio is that of figures of the same round, the median over the rounds; above 1 is
  Warren's favour**, whichever way better is. In brackets are those of the worst and of the best round.
* CPU is user and system time of all processes that have to do with a contender (publisher, consumer, PostgreSQL with its backends,
  RabbitMQ or Redis), in microseconds a job; of a second in the idle test.
* River is swept with a fifth of the jobs of a test: over MaxWorkers or connections, then over FetchCooldown with the best of those, which is kept and
  named below. Asynq over its concurrency. Warren runs as it comes, but for %[11]d handlers at a time.
* Publishing ends at the last commit. Announcing goes on after that, in the background; its CPU time counts.
* Work ends when the last outcome is committed.

Modes: **full** is PostgreSQL and RabbitMQ, **pg** is PostgreSQL alone. Targets are those of bench/targets.go.

`, "`", r.peers(), r.Machine, r.Servers, r.Commit, r.Began.Format("2006-01-02"), r.Settings, argsBytes, number(warmRows), r.Rounds, r.Slots)
	for _, peer := range []string{river, asynq} {
		r.table(&b, peer)
	}
	r.alone(&b)
	r.losses(&b)
	b.WriteString("\n" + reasons)
	if past != nil {
		r.twice(&b, past)
	}
	return b.String()
}

// peers names the peers that were measured, with the versions that were linked in.
func (r *report) peers() string {
	names := map[string]string{river: "github.com/riverqueue/river", asynq: "github.com/hibiken/asynq"}
	versions := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			versions[m.Path] = m.Version
		}
	}
	var out []string
	for _, peer := range []string{river, asynq} {
		if len(r.of(peer)) > 0 {
			out = append(out, strings.TrimSpace(peer+" "+versions[names[peer]]))
		}
	}
	return strings.Join(out, " and ")
}

func (r *report) of(peer string) (out []detail) {
	for _, d := range r.Lines {
		if d.Peer == peer {
			out = append(out, d)
		}
	}
	return out
}

func (r *report) table(b *strings.Builder, peer string) {
	list := r.of(peer)
	if len(list) == 0 {
		fmt.Fprintf(b, "## %s\n\nWas left out of this run.\n\n", peer)
		return
	}
	fmt.Fprintf(b, "## Beside %s\n\n| test | mode | Warren | %s | ratio | target | CPU µs | %s CPU µs | command |\n|---|---|---:|---:|---:|---|---:|---:|---|\n", peer, peer, peer)
	for _, d := range list {
		goal := ""
		if v := verdict(d.line); v != "" {
			want, _ := targetOf(d.Test, d.Mode)
			goal = fmt.Sprintf("%s: %s", number(want), v)
			if v == "missed" {
				goal = "**" + goal + "**"
			}
		}
		fmt.Fprintf(b, "| %s | %s | %s %s | %s | %s | %s | %s | %s | `go run . -tests %s` |\n", d.Test, d.Mode, number(d.Rate), d.Unit,
			number(d.PeerRate), ratioOf(d), goal, number(d.CPU), number(d.PeerCPU), testOf(d.Test))
	}
	b.WriteString("\nCommands are run in bench/. What is measured, and the peer's best setting:\n\n")
	seen := map[string]bool{}
	for _, d := range list {
		if !seen[d.Test] {
			seen[d.Test] = true
			fmt.Fprintf(b, "* %s: %s. %d rounds. %s: %s.\n", d.Test, d.What, d.Rounds, peer, d.PeerSetting)
		}
	}
	b.WriteString("\n")
}

// ratioOf is a ratio with its least and largest, which say how much noise there is.
func ratioOf(d detail) string {
	if d.Rounds < 2 {
		return number(d.Ratio)
	}
	return fmt.Sprintf("%s (%s–%s)", number(d.Ratio), number(d.Low), number(d.High))
}

// testOf is the test that a figure is of.
func testOf(figure string) string {
	for _, t := range tests() {
		if slices.Contains(t.figures, figure) {
			return t.name
		}
	}
	if crowd, ok := strings.CutSuffix(figure, "_own"); ok {
		return crowd
	}
	return figure
}

// alone is the table of what is compared with limits.
func (r *report) alone(b *strings.Builder) {
	list := r.of(limit)
	if len(list) == 0 {
		return
	}
	b.WriteString("## Alone\n\n| test | mode | Warren | at most | | command |\n|---|---|---:|---:|---|---|\n")
	for _, d := range list {
		v := verdict(d.line)
		if v == "missed" {
			v = "**missed**"
		}
		fmt.Fprintf(b, "| %s | %s | %s %s | %s | %s | `go run . -tests %s` |\n", d.Test, d.Mode, number(d.Rate), d.Unit, number(d.PeerRate), v, testOf(d.Test))
	}
	b.WriteString("\n")
	seen := map[string]bool{}
	for _, d := range list {
		if !seen[d.Test] {
			seen[d.Test] = true
			fmt.Fprintf(b, "* %s: %s. Median of %d.\n", d.Test, d.What, d.Rounds)
		}
	}
	b.WriteString("\n")
}

// losses lists what somebody who chooses should know, the worst first in each part.
func (r *report) losses(b *strings.Builder) {
	b.WriteString("## Where Warren loses\n\n")
	none := true
	for _, d := range r.Lines {
		switch {
		case d.Peer == limit && verdict(d.line) == "met":
			continue
		case d.Peer == limit:
			fmt.Fprintf(b, "* %s, %s: %s %s, above its limit of %s.\n", d.Test, d.Mode, number(d.Rate), d.Unit, number(d.PeerRate))
		case d.Ratio < 1:
			fmt.Fprintf(b, "* %s, %s: %s times as good as %s.\n", d.Test, d.Mode, number(d.Ratio), d.Peer)
		case d.CPU > d.PeerCPU:
			fmt.Fprintf(b, "* %s, %s: more CPU than %s, %s µs instead of %s.\n", d.Test, d.Mode, d.Peer, number(d.CPU), number(d.PeerCPU))
		case verdict(d.line) == "missed":
			fmt.Fprintf(b, "* %s, %s: better than %s, and short of the target.\n", d.Test, d.Mode, d.Peer)
		default:
			continue
		}
		none = false
	}
	if none {
		b.WriteString("Nowhere in this run.\n")
	}
}

// sameRun is how far ratios of two runs may lie apart, where their ranges do not meet: what one round says is not repeated
// better than that on a shared machine.
const sameRun = 1.2

// twice is the table of two runs.
func (r *report) twice(b *strings.Builder, past *report) {
	fmt.Fprintf(b, `
## Twice

Both runs had fresh servers, one after the other: %s of commit %s, and %s of commit %s. They agree where the ranges of their rounds meet, or their figures
are within %g of each other. What is shown are ratios, and of what Warren does alone its own figure.

| test | mode | beside | first | second | |
|---|---|---|---:|---:|---|
`, past.Began.Format("2006-01-02 15:04"), past.Commit, r.Began.Format("2006-01-02 15:04"), r.Commit, sameRun)
	for _, now := range r.Lines {
		i := slices.IndexFunc(past.Lines, func(d detail) bool { return d.Test == now.Test && d.Mode == now.Mode && d.Peer == now.Peer })
		if i < 0 {
			continue
		}
		verdict := "agree"
		if !agree(past.Lines[i], now) {
			verdict = "**apart**"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", now.Test, now.Mode, now.Peer, shown(past.Lines[i]), shown(now), verdict)
	}
}

func shown(d detail) string {
	if d.Peer == limit {
		return number(d.Rate) + " " + d.Unit
	}
	return ratioOf(d)
}

// agree reports whether two runs say the same of a figure: both meet a limit or neither does, or their ratios are within noise.
func agree(a, b detail) bool {
	if a.Peer == limit && verdict(a.line) == verdict(b.line) {
		return true
	}
	if a.Rounds > 1 && b.Rounds > 1 && a.Peer != limit && a.Low <= b.High && b.Low <= a.High {
		return true
	}
	return max(a.Ratio, b.Ratio) <= sameRun*min(a.Ratio, b.Ratio)
}
