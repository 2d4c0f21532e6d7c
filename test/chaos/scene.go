package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/test/chaos/check"
)

// scene is a small world for one thing that happens at a chosen moment, beside other scenes on the same servers.
type scene struct {
	*world
	run      *run
	consumer string // the program
	book     book
	jobs     []*job
	// patience is how long jobs may take to end once everything has happened.
	patience time.Duration
	slots    int
	env      map[string]string
	// injected are messages that are no hints.
	injected int
}

func newScene(ctx context.Context, s *servers, run *run, name, consumer string) *scene {
	return &scene{world: newWorld(ctx, s, run, name), run: run, consumer: consumer, patience: 20 * time.Second, slots: 4, env: map[string]string{}}
}

// start adds a consumer and starts it.
func (s *scene) start() *member {
	s.env["CHAOS_SLOTS"] = strconv.Itoa(s.slots)
	m := s.add(s.consumer, s.env, nil)
	m.start()
	return m
}

// probes makes jobs that sleep.
func (s *scene) probes(n int, sleep time.Duration, change ...func(i int, j *job)) []*job {
	var jobs []*job
	for i := range n {
		j := &job{
			tag: fmt.Sprintf("s%03d", len(s.jobs)+i), kind: "probe", priority: 10,
			args: map[string]any{"append": s.ledger, "sleep": sleep.String()},
		}
		for _, c := range change {
			c(i, j)
		}
		jobs = append(jobs, j)
	}
	s.jobs = append(s.jobs, jobs...)
	return jobs
}

// enqueue publishes jobs in one transaction of SQL, past every proxy.
func (s *scene) enqueue(ctx context.Context, jobs []*job) {
	conn := must(pgx.Connect(ctx, s.direct))
	defer conn.Close(ctx) //nolint:errcheck // nothing is lost with it
	ensure(pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, j := range jobs {
			if _, err := tx.Exec(ctx, enqueueSQL, j.kind, j.args, j.priority, j.group, j.tag, j.delay); err != nil {
				return err
			}
		}
		return nil
	}))
	s.book.note(check.Committed, jobs...)
}

// exec runs a statement past every proxy.
func (s *scene) exec(ctx context.Context, sql string) {
	conn := must(pgx.Connect(ctx, s.direct))
	defer conn.Close(ctx) //nolint:errcheck // nothing is lost with it
	_, err := conn.Exec(ctx, sql)
	ensure(err)
}

// started waits until the ledger has n starts.
func (s *scene) started(ctx context.Context, n int) {
	s.await(ctx, fmt.Sprintf("%d starts in the ledger", n), func() bool { return s.startsOf(0) >= n })
}

// startsOf counts the starts in a process, 0 = in all.
func (s *scene) startsOf(pid int) (n int) {
	runs, _ := readLedger(s.ledger) // no ledger: no starts
	for _, r := range runs {
		if pid == 0 || r.PID == pid {
			n++
		}
	}
	return n
}

// await waits for what has to happen for the scene to make sense.
func (s *scene) await(ctx context.Context, what string, ok func() bool) {
	if !until(ctx, 40*time.Second, ok) {
		panic(failure{fmt.Sprintf("%s: waited in vain for %s; logs are in %s", s.name, what, s.dir)})
	}
}

// struck is a saboteur's fault of that name, for a scene that wants it now.
func (s *scene) struck(targets ...string) *strike {
	return &strike{saboteur: newSaboteur(s.world, s.run.seed), rnd: rand.New(rand.NewPCG(s.run.seed, 5)), targets: targets}
}

// judge lets the jobs end and asks the checker.
func (s *scene) judge(ctx context.Context) (*check.History, check.Verdict, error) {
	s.settle(ctx, s.patience)
	depth, poison := s.emptied(ctx, 15*time.Second)
	h, err := s.gather(ctx, s.book.all())
	if err != nil {
		return nil, check.Verdict{}, err
	}
	h.Stubborn, h.QueueDepth, h.Poison, h.Injected, h.PoisonKept = stubborn(s.jobs), depth, poison, s.injected, true
	h.MinPause, h.Slack = shortTTL/8, 250*time.Millisecond // other scenes run beside this one
	return h, check.Check(h), nil
}

// found names the classes of violations, and how often each occurred.
func found(v check.Verdict) string {
	counts := map[string]int{}
	for _, x := range v.Violations {
		counts[x.Class]++
	}
	var words []string
	for _, class := range sortedKeys(counts) {
		words = append(words, fmt.Sprintf("%d %s", counts[class], class))
	}
	return strings.Join(words, ", ")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
