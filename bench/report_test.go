package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func sampleReport() *report {
	return &report{
		Commit: "abc", Machine: "2 cores", Servers: "PostgreSQL 15", Settings: "fsync = on.", Rounds: 3, Slots: 200,
		Lines: []detail{
			{line: line{Test: "work", Mode: modeFull, Rate: 50_000, Peer: river, PeerRate: 20_000, Ratio: 2.5, CPU: 35}, Unit: perSecond, What: "work off", PeerCPU: 87, PeerSetting: "MaxWorkers 500", Rounds: 3},
			{line: line{Test: "work", Mode: modePG, Rate: 18_000, Peer: river, PeerRate: 20_000, Ratio: 0.9, CPU: 30}, Unit: perSecond, What: "work off", PeerCPU: 87, Rounds: 3},
			{line: line{Test: "bulk", Mode: modePG, Rate: 50_000, Peer: river, PeerRate: 40_000, Ratio: 1.2, CPU: 90}, Unit: perSecond, PeerCPU: 21, Rounds: 3},
			{line: line{Test: "due", Mode: modePG, Rate: 60, Peer: limit, PeerRate: 50, Ratio: 0.83}, Unit: "ms", What: "late", Rounds: 3},
			{line: line{Test: "due", Mode: modeFull, Rate: 7, Peer: limit, PeerRate: 50, Ratio: 7.1}, Unit: "ms", What: "late", Rounds: 3},
		},
	}
}

// Other programs read these lines: the keys are fixed, and there is one object a line.
func TestQuickLinesHaveExactlyTheirKeys(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "quick.json")
	r := sampleReport()
	for range 2 { // a second run adds to the first's
		if err := r.appendLines(path); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	if len(all) != 2*len(r.Lines) {
		t.Fatalf("%d lines, want %d", len(all), 2*len(r.Lines))
	}
	want := []string{"cpu_us", "mode", "peer", "peer_rate", "rate", "ratio", "test"}
	for _, one := range all {
		var object map[string]any
		if err := json.Unmarshal(one, &object); err != nil {
			t.Fatalf("%s: %v", one, err)
		}
		if got := slices.Sorted(maps.Keys(object)); !slices.Equal(got, want) {
			t.Errorf("keys %v, want %v", got, want)
		}
	}
	if first := string(all[0]); first != `{"test":"work","mode":"full","rate":50000,"peer":"river","peer_rate":20000,"ratio":2.5,"cpu_us":35}` {
		t.Errorf("first line %s", first)
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	want, ok := targetOf("work", modeFull)
	if !ok {
		t.Fatal("work has no target")
	}
	for _, c := range []struct {
		l    line
		want string
	}{
		{line{Test: "work", Mode: modeFull, Peer: river, Ratio: want}, "met"},
		{line{Test: "work", Mode: modeFull, Peer: river, Ratio: want - 0.01}, "missed"},
		{line{Test: "work", Mode: modeFull, Peer: river, Ratio: 0}, "missed"}, // nothing was measured
		{line{Test: "work", Mode: modeFull, Peer: asynq, Ratio: 100}, ""},
		{line{Test: "nonsense", Mode: modeFull, Peer: river, Ratio: 100}, ""},
	} {
		if got := verdict(c.l); got != c.want {
			t.Errorf("verdict of %+v = %q, want %q", c.l, got, c.want)
		}
	}
}

func TestEarly(t *testing.T) {
	t.Parallel()
	for want, begun := range [][]int{{}, {10, 20, 10, 20}, {20, 30, 10, 10}, {30, 20, 10, 20, 20, 10}} {
		if got := early(begun); len(begun) > 0 && got != []int{0, 1, 2, 4}[want] {
			t.Errorf("%v: %d began early", begun, got)
		}
	}
}

// A figure without a target, or a target that nothing measures, is a slip that the page would hide.
func TestEveryFigureHasATarget(t *testing.T) {
	t.Parallel()
	var figures []string
	for _, one := range tests() {
		if one.most > 0 {
			continue // its limit is beside it
		}
		for _, figure := range one.figures {
			if !slices.Contains(one.figures, figure+"_p99") { // a median is shown; what is promised is about the slow ones
				figures = append(figures, figure)
			}
		}
	}
	slices.Sort(figures)
	if goals := slices.Sorted(maps.Keys(targets())); !slices.Equal(figures, goals) {
		t.Errorf("figures %v\ntargets %v", figures, goals)
	}
	for name, goal := range targets() {
		if goal.full <= 0 || goal.pg <= 0 {
			t.Errorf("target of %s is %+v", name, goal)
		}
	}
}

func TestPageIsHonest(t *testing.T) {
	t.Parallel()
	page := sampleReport().page(nil)
	for _, want := range []string{
		"2.2: met", "**2.5: missed**", "MaxWorkers 500", "go run . -tests work",
		"* work, pg: 0.9 times as good as river.", "* bulk, pg: more CPU than river, 90 µs instead of 21.", "Was left out of this run.",
		"| due | pg | 60 ms | 50 | **missed** |", "| due | full | 7 ms | 50 | met |", "* due, pg: 60 ms, above its limit of 50.",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "* work, full:") || strings.Contains(page, "* due, full:") {
		t.Error("a win is listed as a loss")
	}
}

// Two runs agree where their rounds overlap, or where they are not much apart.
func TestTwice(t *testing.T) {
	t.Parallel()
	work := func(ratio, low, high float64) detail {
		return detail{line: line{Test: "work", Mode: modeFull, Peer: river, Ratio: ratio}, Low: low, High: high, Rounds: 3}
	}
	due := func(late float64) detail {
		return detail{line: line{Test: "due", Mode: modeFull, Peer: limit, Rate: late, PeerRate: 50, Ratio: 50 / late}, Unit: "ms", Rounds: 3}
	}
	for _, c := range []struct {
		past, now detail
		want      string
	}{
		{work(2, 1.9, 2.4), work(2.6, 2.3, 2.7), "| work | full | river | 2 (1.9–2.4) | 2.6 (2.3–2.7) | agree |"},
		{work(2, 1.9, 2.1), work(2.3, 2.2, 2.4), "agree"},
		{work(2, 1.9, 2.1), work(2.6, 2.5, 2.7), "**apart**"},
		{due(7), due(20), "| due | full | limit | 7 ms | 20 ms | agree |"}, // both are fine
		{due(40), due(60), "**apart**"},
	} {
		past := &report{Lines: []detail{c.past}}
		if page := (&report{Lines: []detail{c.now}}).page(past); !strings.Contains(page, c.want) {
			t.Errorf("%+v and then %+v: want %q in\n%s", c.past, c.now, c.want, page)
		}
	}
}

func TestChartIsWellFormed(t *testing.T) {
	t.Parallel()
	dec := xml.NewDecoder(strings.NewReader(sampleReport().chart()))
	bars := 0
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	if want := 1 + 3; bars != want { // the background and a bar for each figure
		t.Errorf("%d rectangles, want %d", bars, want)
	}
}

func TestSizesOfAWholeRunOnlyWriteThePage(t *testing.T) {
	t.Parallel()
	whole := plan{scale: 1}
	if !whole.whole() {
		t.Error("a plain run is not whole")
	}
	for _, p := range []plan{{quick: true, scale: 1}, {scale: 0.1}, {scale: 1, only: []string{"work"}}} {
		if p.whole() {
			t.Errorf("%+v would overwrite the page", p)
		}
	}
}
