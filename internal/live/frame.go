package live

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/warrenq/warren/internal/terminal"
	"github.com/warrenq/warren/jobstore"
)

// How many lines of a kind a frame has at most, and at least when the terminal is small.
const (
	mostRunning  = 8
	mostOutcomes = 8
	fewest       = 2
)

// frame draws a snapshot: at most height-1 lines of at most width columns, so that the terminal never
// scrolls. Its colours come on top.
func frame(s *snapshot, width, height int, colour bool) []string {
	head := []string{fmt.Sprintf("%s · %s", s.title, clock(s.since)), ""}
	bands := bandTable(s)
	foot := tryNext(s.try)
	if s.drain {
		foot = []string{"", "draining: nothing more is taken; Ctrl-C again hands back what still runs"}
	}
	room := height - 1 - len(head) - len(bands) - len(foot) - 2 // two headings
	if room < 2*fewest {
		foot, room = nil, room+len(foot)
	}
	running := min(len(s.running), mostRunning, max(fewest, room/2))
	outcomes := min(len(s.ended), mostOutcomes, max(fewest, room-running))

	lines := slices.Concat(head, bands, []string{""}, runningLines(s, running), outcomeLines(s, outcomes), foot)
	lines = lines[:min(len(lines), max(height-1, 1))]
	for i, line := range lines {
		line = cut(terminal.OneLine(line), width)
		switch {
		case colour && (i == 0 || isHeading(line)):
			line = terminal.Bold(line)
		case colour && strings.HasPrefix(line, outcomeIndent):
			line = terminal.PaintStates(line)
		}
		lines[i] = line
	}
	return lines
}

// outcomeIndent begins the lines that have a state to paint.
const outcomeIndent = "   "

// isHeading knows headings by their first words, with which nothing else begins.
func isHeading(line string) bool {
	return slices.ContainsFunc([]string{"queue ", "running: ", "what came of it: ", "try next"},
		func(begin string) bool { return strings.HasPrefix(line, begin) })
}

// bandTable is the backlog and the throughput of each band.
func bandTable(s *snapshot) []string {
	wide := len("queue")
	for _, b := range s.bands {
		wide = max(wide, utf8.RuneCountInString(b.Queue))
	}
	lines := []string{fmt.Sprintf("%-*s  priority  ready  running  delayed  retrying  ended     a second", wide, "queue")}
	for _, b := range s.bands {
		lines = append(lines, fmt.Sprintf("%-*s  %8d  %5s  %7s  %7s  %8s  %5d  %11.1f", wide, b.Queue, b.Priority,
			count(b, jobstore.Ready, jobstore.BackToBroker, jobstore.BrokerFailed), count(b, jobstore.Processing),
			count(b, jobstore.Scheduled, jobstore.Waiting), count(b, jobstore.TemporarilyFailed), b.ended, b.rate))
	}
	if s.stale {
		lines = append(lines, "(the database does not answer; these counts are old)")
	}
	return lines
}

func count(b bandLine, states ...jobstore.State) string {
	var n int64
	more := ""
	for _, state := range states {
		n += b.counts[state]
		if b.counts[state] >= countLimit {
			more = "+"
		}
	}
	return fmt.Sprint(n, more)
}

func runningLines(s *snapshot, n int) []string {
	lines := []string{fmt.Sprintf("running: %d", len(s.running))}
	for _, a := range s.running[:n] {
		lines = append(lines, outcomeIndent+a.line(s.now))
	}
	return lines
}

func (a *attempt) line(now time.Time) string {
	took := now.Sub(a.since)
	text := fmt.Sprintf("%-6d %-10s %3d  %s %s", a.id, a.kind, a.band.Priority, bar(took, a.expect), short(took))
	if a.expect > 0 {
		text += " of " + short(a.expect)
	}
	if a.number > 1 {
		text += fmt.Sprintf("  attempt %d", a.number)
	}
	if a.group != "" {
		text += "  group " + a.group
	}
	return text
}

// barWidth is how many columns a progress bar has.
const barWidth = 24

// bar shows how far a job has come, as far as its duration is known.
func bar(took, expect time.Duration) string {
	if expect <= 0 {
		return "[" + strings.Repeat("?", barWidth) + "]"
	}
	full := int(min(took, expect) * barWidth / expect)
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", barWidth-full) + "]"
}

func outcomeLines(s *snapshot, n int) []string {
	lines := []string{"what came of it: " + totals(s.totals)}
	for _, o := range s.ended[:n] {
		lines = append(lines, outcomeIndent+o.line())
	}
	return lines
}

func (o *outcome) line() string {
	text := fmt.Sprintf("%-6d %-10s %s after %s", o.id, o.kind, o.state, short(o.took))
	if o.again > 0 {
		text += ", again in " + short(o.again)
	}
	if o.reason != "" {
		text += ": " + o.reason
	}
	return text
}

// totals counts outcomes in the order in which people read states.
func totals(counts map[jobstore.State]int) string {
	var parts []string
	for _, state := range jobstore.States() {
		if n := counts[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if parts == nil {
		return "nothing yet"
	}
	return strings.Join(parts, ", ")
}

func tryNext(commands []string) []string {
	if len(commands) == 0 {
		return nil
	}
	lines := []string{"", "try next, in a second terminal:"}
	for _, c := range commands {
		lines = append(lines, "  "+c)
	}
	return append(lines, "Ctrl-C ends it.")
}

// cut shortens a line to width columns.
func cut(line string, width int) string {
	if utf8.RuneCountInString(line) <= width {
		return line
	}
	runes := []rune(line)
	return string(runes[:max(width-1, 0)]) + "…"
}

func clock(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}

// short is a duration as people say it.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}
