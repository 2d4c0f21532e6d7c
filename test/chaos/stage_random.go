package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/warrenq/warren/test/chaos/check"
)

// shortTTL is the lease of the suite's own consumers.
const shortTTL = 4 * time.Second

// members is how many consumers a random stage has, and slots what each of them runs at a time: enough
// that long jobs do not decide how long the stage takes.
const (
	members   = 3
	slots     = 16
	producers = 3
)

// stageRandom is random chaos: every kind of fault at random moments, while jobs are published and run.
func stageRandom(ctx context.Context, run *run, r *result) error {
	s, err := startServers(ctx, "random")
	if err != nil {
		return err
	}
	defer s.tb.close()
	w := newWorld(ctx, s, run, r.Stage)
	defer w.close()
	faults := slices.Concat(consumerFaults(members), wireFaults(), databaseFaults(), brokerFaults())
	return randomChaos(ctx, run, r, w, faults)
}

// randomChaos publishes and attacks for a while, then lets the jobs end, and judges.
func randomChaos(ctx context.Context, run *run, r *result, w *world, faults []fault) error {
	r.Versions = w.s.versions(ctx)
	w.consumers(run, members, map[string]string{"CHAOS_SLOTS": strconv.Itoa(slots)})
	w.registered(ctx, members)
	var b book
	jobs := plan(rand.New(rand.NewPCG(run.seed, 4)), run.jobs, w.ledger, shortTTL)
	sab := newSaboteur(w, run.seed)
	stalls, held := watchStalls(ctx), w.watchGrowth(ctx, run.attack)
	var publishing sync.WaitGroup
	for i := range producers {
		p := newProducer(ctx, w, &b, run.shipped("producer"), run.seed+uint64(i))
		defer p.stop()
		sab.producers = append(sab.producers, p)
		share := jobs[i*len(jobs)/producers : (i+1)*len(jobs)/producers]
		publishing.Go(func() { publishOver(ctx, p, share, run.attack*4/5) })
	}
	stop := run.progress(ctx, r.Stage, func() string {
		return fmt.Sprintf("%d committed, %d faults, %d lines in the ledger", b.committed(), sab.total(), lineCount(w.ledger))
	})
	err := sab.attack(ctx, faults, run.attack)
	publishing.Wait()
	if r.Growth = held(); r.Growth.leaks() {
		r.fail("consumers grew: %s descriptors", r.Growth)
	}
	if err != nil {
		stop()
		return err
	}
	took := w.settle(ctx, run.patience)
	stop()
	r.Drain = took.Seconds()
	depth, poison := w.emptied(ctx, 30*time.Second)
	w.endAll(r)
	h, err := w.gather(ctx, b.all())
	if err != nil {
		return err
	}
	h.Stubborn, h.QueueDepth, h.Poison, h.Injected = stubborn(jobs), depth, poison, sab.injected
	h.MinPause, h.Slack = shortTTL/8, stalls()
	r.Faults = sab.counts()
	r.Throughput = measureThroughput(h, sab.began)
	w.fromLogs(r)
	recoveries(r, h)
	r.LongestPause = longestPause(h).Seconds()
	r.judge(h)
	return nil
}

// endAll asks the consumers to end, and fails the stage for one that does not, or that leaves something behind.
func (w *world) endAll(r *result) {
	var ending sync.WaitGroup
	for _, p := range w.processes() {
		if !p.alive() {
			continue
		}
		ending.Go(func() {
			if !p.stop(30 * time.Second) {
				w.mu.Lock()
				defer w.mu.Unlock()
				r.fail("%s did not end well within 30 s of SIGTERM; its log is %s", p.name, p.logPath)
			}
		})
	}
	ending.Wait()
}

// longestPause is for how long no job ended anywhere while there were jobs that had been published.
func longestPause(h *check.History) (longest time.Duration) {
	var ends []time.Time
	for _, run := range h.Runs {
		if !run.End.IsZero() {
			ends = append(ends, run.End)
		}
	}
	slices.SortFunc(ends, time.Time.Compare)
	for i := 1; i < len(ends); i++ {
		longest = max(longest, ends[i].Sub(ends[i-1]))
	}
	return longest
}

// counts is how many faults of each kind there were.
func (s *saboteur) counts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := map[string]int{}
	for name, times := range s.began {
		counts[name] = len(times)
	}
	return counts
}

func (s *saboteur) total() (n int) {
	for _, c := range s.counts() {
		n += c
	}
	return n
}

// publishOver publishes jobs in batches of random sizes, spread over a time.
func publishOver(ctx context.Context, p *producer, jobs []*job, lasts time.Duration) {
	began, all := time.Now(), len(jobs)
	for len(jobs) > 0 && ctx.Err() == nil {
		n := min(1+p.rnd.IntN(30), len(jobs))
		p.publish(ctx, jobs[:n])
		jobs = jobs[n:]
		pause(ctx, time.Until(began.Add(lasts*time.Duration(all-len(jobs))/time.Duration(all))))
	}
}

// recoveries adds how long jobs of processes that ended under them waited for their next run.
func recoveries(r *result, h *check.History) {
	next := map[int64][]check.Run{}
	for _, run := range h.Runs {
		next[run.ID] = append(next[run.ID], run)
	}
	ends := map[int]time.Time{}
	for _, p := range h.Processes {
		ends[p.PID] = p.End
	}
	for _, runs := range next {
		for i, run := range runs[:len(runs)-1] {
			if end := ends[run.PID]; run.End.IsZero() && !end.IsZero() && runs[i+1].Start.After(end) {
				r.record("consumer kill -9, lease of 4 s: its job runs elsewhere", runs[i+1].Start.Sub(end).Seconds())
			}
		}
	}
}

// fromLogs counts what consumers say about fencing and lost hints.
func (w *world) fromLogs(r *result) {
	for _, p := range w.uniqueLogs() {
		for line := range strings.Lines(p.log()) {
			var l struct {
				Msg            string
				Outcomes, Jobs int
			}
			if json.Unmarshal([]byte(line), &l) != nil {
				if strings.Contains(line, "DATA RACE") || strings.Contains(line, "LEAK: ") || strings.HasPrefix(line, "panic:") {
					r.fail("%s says: %s", p.logPath, strings.TrimSpace(line))
				}
				continue
			}
			switch {
			case strings.HasPrefix(l.Msg, "outcomes changed nothing"):
				r.Fenced += l.Outcomes
			case strings.Contains(l.Msg, "announced again from it"):
				r.Reissued += l.Jobs
			}
		}
	}
}

func (w *world) uniqueLogs() []*process {
	seen := map[string]bool{}
	var list []*process
	for _, p := range w.processes() {
		if !seen[p.logPath] {
			seen[p.logPath] = true
			list = append(list, p)
		}
	}
	return list
}

// watchStalls measures how late timers are in this process; the result is the worst of it, but for
// what is usual.
func watchStalls(ctx context.Context) (worst func() time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan time.Duration)
	go func() {
		const beat = 10 * time.Millisecond
		var longest time.Duration
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for last := time.Now(); ctx.Err() == nil; {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
			longest = max(longest, time.Since(last)-2*beat)
			last = time.Now()
		}
		done <- longest
	}()
	return func() time.Duration {
		cancel()
		return <-done
	}
}
