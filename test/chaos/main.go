// Command chaos proves that Warren loses nothing: it runs consumers and producers as processes against private
// servers, breaks everything that can break at random moments and at chosen ones, and compares what
// publishers were told with what an independent ledger and the database say in the end.
//
//	go run . -seed 7 -stages E,D -jobs 4000
//
// A run that fails prints its seed, what was violated with the history of the jobs concerned, and keeps its directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// run is one call of the suite.
type run struct {
	seed     uint64
	jobs     int
	quick    bool
	race     bool
	attack   time.Duration // how long faults go on
	patience time.Duration // how long jobs may take to end after that
	dir      string
	only     string // a part of the names of the scenes to play
	bin      string // where the programs are
	consumer string // the consumer over the public API
	command  string
	shared   *servers // for stages that leave servers alone
	commit   string
}

func (r *run) shipped(program string) string { return filepath.Join(r.bin, program) }

// wants reports whether a scene is to be played.
func (r *run) wants(name string) bool { return strings.Contains(name, r.only) }

// calm are servers that several stages share, because none of them breaks them.
func (r *run) calm(ctx context.Context) (*servers, error) {
	if r.shared != nil {
		return r.shared, nil
	}
	var err error
	r.shared, err = startServers(ctx, "calm")
	return r.shared, err
}

// stage is a part of the suite.
type stage struct {
	name, title string
	quick       bool // it is part of the quick cut
	breaking    bool // it has servers of its own, which it breaks
	do          func(ctx context.Context, run *run, r *result) error
}

func stages() []stage {
	return []stage{
		{"E", "random faults at random moments", true, true, stageRandom},
		{"D", "processes that die, stand still or lose replies at each point of the protocol", true, false, stagePoints},
		{"F", "doubled, forged and malformed hints", true, false, stageForgeries},
		{"H", "a rolling restart of the shipped consumers under load", true, false, stageDeploy},
		{"I", "random faults behind a transaction pooler", false, true, stagePooler},
		{"J", "random faults on a broker of three nodes with quorum queues", false, true, stageCluster},
		{"O", "the shipped consumer while a server is away", false, false, stageOutages},
		{"R", "how soon the shipped consumer recovers", false, true, stageRecovery},
		{"M", "the protocol broken on purpose, noticed by the same checker", false, false, stageMutants},
	}
}

func main() {
	testing.Init() // package testenv asks whether tests are short
	var r run
	var list string
	flag.Uint64Var(&r.seed, "seed", 0, "repeats a run's faults (0 = a random one)")
	flag.IntVar(&r.jobs, "jobs", 0, "jobs of stage E to try (0 = 4000, or 800 when quick; a quarter is rolled back)")
	flag.BoolVar(&r.quick, "quick", false, "the cut of about two minutes")
	flag.StringVar(&list, "stages", "", "letters of the stages to run, with commas (default: all, or those of the cut)")
	flag.DurationVar(&r.attack, "attack", 0, "how long random faults go on (0 = 70s, or 25s when quick); give -jobs to fit")
	flag.BoolVar(&r.race, "race", false, "build the suite's consumers with the race detector")
	flag.StringVar(&r.only, "only", "", "play only scenes whose names have this in them")
	again := flag.Bool("report", false, "only write "+reportPath+" from the results in out/")
	flag.Parse()
	if *again {
		if err := report("out", reportPath); err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
			os.Exit(1)
		}
		return
	}
	if err := r.main(list); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func (r *run) main(list string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	chosen, err := r.chosen(list)
	if err != nil {
		return err
	}
	r.defaults()
	if r.dir, err = os.MkdirTemp("", "warren-chaos-"); err != nil {
		return err
	}
	fmt.Printf("seed %d, directory %s\n", r.seed, r.dir)
	if err := r.build(ctx); err != nil {
		return err
	}
	defer func() {
		if r.shared != nil {
			r.shared.tb.close()
		}
	}()
	results, failed := r.lanes(ctx, chosen)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !r.quick && r.only == "" {
		if err := keep("out", results); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d stages failed; seed %d; everything is kept in %s", failed, len(chosen), r.seed, r.dir)
	}
	if !r.quick && list == "" {
		if err := report("out", reportPath); err != nil {
			return err
		}
	}
	return os.RemoveAll(r.dir)
}

// reportPath is the document that full runs write.
const reportPath = "../../docs/reliability.md"

// lanes runs stages, those that break servers beside those that leave them alone: half of all is waiting.
func (r *run) lanes(ctx context.Context, chosen []stage) (results []*result, failed int) {
	var mu sync.Mutex
	var both sync.WaitGroup
	for _, breaking := range []bool{true, false} {
		both.Go(func() {
			for _, s := range chosen {
				if s.breaking != breaking || ctx.Err() != nil {
					continue
				}
				res := r.stage(ctx, s)
				mu.Lock()
				res.print()
				results = append(results, res)
				if len(res.Failures) > 0 {
					failed++
				}
				mu.Unlock()
			}
		})
	}
	both.Wait()
	return results, failed
}

func (r *run) defaults() {
	if r.seed == 0 {
		r.seed = uint64(rand.Uint32())
	}
	attack, jobs := 70*time.Second, 4000
	if r.quick {
		attack, jobs = 25*time.Second, 800
	}
	r.patience = 100 * time.Second
	if r.attack <= 0 {
		r.attack = attack
	}
	if r.jobs == 0 {
		r.jobs = jobs
	}
	r.command = fmt.Sprintf("go run . -seed %d -jobs %d", r.seed, r.jobs)
	if r.quick {
		r.command += " -quick"
	}
	if r.attack != attack {
		r.command += " -attack " + r.attack.String()
	}
	if r.race {
		r.command += " -race"
	}
	if out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output(); err == nil { //nolint:noctx // it is over at once
		r.commit = strings.TrimSpace(string(out))
	}
}

func (r *run) chosen(list string) (chosen []stage, err error) {
	names := strings.Split(list, ",")
	for _, s := range stages() {
		if list == "" && (s.quick || !r.quick) || slices.Contains(names, s.name) {
			chosen = append(chosen, s)
			names = slices.DeleteFunc(names, func(n string) bool { return n == s.name })
		}
	}
	if list != "" && len(names) > 0 {
		return nil, fmt.Errorf("there is no stage %s", strings.Join(names, ", "))
	}
	return chosen, nil
}

// build builds the programs as they are shipped, and the consumer over the public API.
func (r *run) build(ctx context.Context) error {
	began := time.Now()
	r.bin = filepath.Join(r.dir, "bin")
	if err := goBuild(ctx, "../..", "build", "-o", r.bin+"/", "./cmd/producer", "./cmd/consumer"); err != nil {
		return err
	}
	r.consumer = filepath.Join(r.bin, "chaos-consumer")
	args := []string{"build", "-o", r.consumer}
	if r.race {
		args = append(args, "-race")
	}
	if err := goBuild(ctx, ".", append(args, "./consumer")...); err != nil {
		return err
	}
	fmt.Printf("built in %.0f s\n", time.Since(began).Seconds())
	return nil
}

func goBuild(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// stage runs one stage.
func (r *run) stage(ctx context.Context, s stage) *result {
	began := time.Now()
	res := &result{Stage: s.name, Title: s.title, Command: r.command + " -stages " + s.name, Commit: r.commit, Seed: r.seed}
	fmt.Printf("stage %s: %s\n", s.name, s.title)
	if err := guarded(func() error { return s.do(ctx, r, res) }); err != nil && !errors.Is(err, context.Canceled) {
		res.fail("%v", err)
	}
	res.Seconds = time.Since(began).Seconds()
	return res
}

// progress prints a line every few seconds until it is stopped.
func (r *run) progress(ctx context.Context, name string, text func() string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for began := time.Now(); ; {
			select {
			case <-tick.C:
				fmt.Printf("%s %3.0f s: %s\n", name, time.Since(began).Seconds(), text())
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// lineCount is how many lines a file has, 0 when there is none.
func lineCount(path string) int {
	n := 0
	_ = eachLine(path, func([]string) { n++ })
	return n
}
