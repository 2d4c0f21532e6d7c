// Command bench measures Warren beside its peers, on private servers that keep what they confirm.
//
//	go run . -quick                  # a line of JSON per test and mode, appended to out/quick.json
//	go run . -tests work,e2e_bulk    # some tests only; nothing is written to docs/
//
// Contenders take turns within a round, and a ratio is one of figures of the same round: the machine drifts, and
// both drift with it. What is reported is the median over the rounds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// plan is how much is measured.
type plan struct {
	quick  bool
	rounds int
	scale  float64       // of the numbers of jobs
	limit  time.Duration // of all measuring; a test that exceeds its part has fewer rounds
	slots  int           // of Warren's consumers
	only   []string
}

// size is a number of jobs at this plan's scale.
func (p *plan) size(full, quick int) int {
	n := full
	if p.quick {
		n = quick
	}
	return max(int(float64(n)*p.scale), 10)
}

func (p *plan) seconds(full, quick float64) time.Duration {
	s := full
	if p.quick {
		s = quick
	}
	return max(time.Duration(s*p.scale*float64(time.Second)), time.Second)
}

// whole reports whether everything is measured as it should be: only then docs/ is written.
func (p *plan) whole() bool { return !p.quick && p.scale == 1 && len(p.only) == 0 }

func main() {
	testing.Init() // package testenv asks whether tests are short
	var p plan
	var only string
	flag.BoolVar(&p.quick, "quick", false, "small sizes, PostgreSQL peers only, within four minutes")
	flag.IntVar(&p.rounds, "rounds", 0, "rounds of each test (0 = 7, or 3 when quick)")
	flag.Float64Var(&p.scale, "scale", 1, "multiplies the numbers of jobs")
	flag.IntVar(&p.slots, "slots", 200, "how many handlers a consumer of Warren runs at a time")
	flag.DurationVar(&p.limit, "limit", 0, "how long to measure: what takes longer has fewer rounds (0 = 46m, or 190s when quick)")
	flag.StringVar(&only, "tests", "", "names of tests to run, with commas (default: all)")
	again := flag.Bool("render", false, "measure nothing: write docs/benchmarks.md again from the last whole run in out/")
	flag.Parse()
	if *again {
		if err := render(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if only != "" {
		p.only = strings.Split(only, ",")
	}
	switch {
	case p.limit > 0:
	case p.quick:
		p.limit = 190 * time.Second // servers start and stop in the rest of four minutes
	default:
		p.limit = 46 * time.Minute
	}
	if p.rounds == 0 {
		p.rounds = 7
		if p.quick {
			p.rounds = 3
		}
	}
	if err := run(&p); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(p *plan) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	chosen, err := chosenTests(p)
	if err != nil {
		return err
	}
	if p.quick {
		fmt.Println("quick: sizes are a tenth or less of those of `make bench`; take the figures for a smoke test")
	}
	s, err := startServers(ctx, !p.quick)
	if err != nil {
		return err
	}
	defer s.tb.close()
	a, err := newArena(ctx, p, s)
	if err != nil {
		return err
	}
	defer a.close()
	rep := &report{Began: time.Now().UTC(), Commit: commit(ctx), Machine: machine(), Servers: s.versions, Settings: s.settings, Rounds: p.rounds, Slots: p.slots}
	if err := a.runAll(ctx, chosen, rep); err != nil {
		return err
	}
	return rep.write(p)
}

func chosenTests(p *plan) ([]test, error) {
	all := tests()
	for _, name := range p.only {
		if !slices.ContainsFunc(all, func(t test) bool { return t.name == name }) {
			return nil, fmt.Errorf("there is no test %q; there are %s", name, strings.Join(testNames(all), ", "))
		}
	}
	switch {
	case len(p.only) == 0 && p.quick:
		return slices.DeleteFunc(all, func(t test) bool { return t.most > 0 }), nil
	case len(p.only) == 0:
		return all, nil
	}
	return slices.DeleteFunc(all, func(t test) bool { return !slices.Contains(p.only, t.name) }), nil
}

func testNames(all []test) []string {
	var names []string
	for _, t := range all {
		names = append(names, t.name)
	}
	return names
}

// commit is what is measured, as far as git can tell.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// within runs step with a limit that is its own, so that a contender that hangs is named.
func within(ctx context.Context, d time.Duration, what string, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if err := step(ctx); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%s: not done within %s: %w", what, d, err)
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
