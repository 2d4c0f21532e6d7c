package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/warrenq/warren/jobstore/postgres"
)

const perSecond = "jobs/s"

// test is one thing that is measured of every contender.
type test struct {
	name, what, unit string
	lower            bool     // lower is better
	figures          []string // what a sample's values are called
	rounds           int      // at most; 0 = as many as there are
	like             string   // a quick run takes the best settings of that test instead of trying them all again
	asLike           bool     // so does a whole one
	most             float64  // 0, or the limit of what is measured of Warren alone
	weight           int      // how much of the time it gets; 0 = 1
	// finished is how many finished jobs the tables begin with; nil = a few. Such tables are made once a test, because
	// that takes longer than the test itself.
	finished func(*plan) int
	run      func(ctx context.Context, p *plan, c contender) (sample, error)
	// together measures all contenders at once, instead of run: what takes long and leaves the machine room.
	together func(ctx context.Context, a *arena) (playing []contender, s []sample, err error)
}

func tests() []test {
	return slices.Concat(idleTests(), latencyTests(), insertTests(), workTests(), ownTests(), snapshotTests())
}

// warmRows is how many finished jobs tables hold otherwise: a planner that knows only empty tables plans badly, whoever
// made them.
const warmRows = 10_000

// sample is what one contender did in one round.
type sample struct {
	values []float64
	cpu    float64 // microseconds a job, of all processes
	ended  time.Time
}

// timed measures the time that step takes for n jobs, and the CPU time until after has ended too. The last is of every
// process that has to do with the contender.
func timed(c contender, n int, step, after func() error) (sample, error) {
	before, err := cpuTime(c.programs())
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	if err := step(); err != nil {
		return sample{}, err
	}
	ended := time.Now()
	if err := after(); err != nil {
		return sample{}, err
	}
	used, err := cpuTime(c.programs())
	return sample{
		values: []float64{float64(n) / ended.Sub(began).Seconds()}, ended: ended,
		cpu: float64((used - before).Microseconds()) / float64(n),
	}, err
}

// arena has the contenders.
type arena struct {
	plan   *plan
	on     *servers
	all    []contender
	best   map[string]setting // by test and contender
	closes []func()
}

func newArena(ctx context.Context, p *plan, s *servers) (*arena, error) {
	a := &arena{plan: p, on: s, best: map[string]setting{}}
	if err := a.open(ctx, s); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *arena) open(ctx context.Context, s *servers) error {
	for _, alone := range []bool{false, true} {
		store, admin, err := a.store(ctx)
		if err != nil {
			return err
		}
		for _, mode := range []string{modeFull, modePG} {
			w, err := newOurs(ctx, mode, a.amqp(mode), store, admin, a.plan.slots)
			if err != nil {
				return err
			}
			w.alone = alone
			a.add(w)
		}
	}
	url, admin, err := a.database(ctx, s)
	if err != nil {
		return err
	}
	r, err := newRiver(ctx, url, admin, a.plan.quick)
	if err != nil {
		return err
	}
	a.add(r)
	if s.redis != "" {
		a.add(newAsynq(s.redis))
	}
	return nil
}

// store makes a database of Warren's.
func (a *arena) store(ctx context.Context) (*postgres.Store, *pgxpool.Pool, error) {
	url, admin, err := a.database(ctx, a.on)
	if err != nil {
		return nil, nil, err
	}
	store, err := postgres.Open(ctx, url, postgres.Config{})
	if err != nil {
		return nil, nil, err
	}
	a.closes = append(a.closes, store.Close)
	return store, admin, store.Migrate(ctx)
}

// amqp is the broker's address in a mode.
func (a *arena) amqp(mode string) string {
	if mode == modeFull {
		return a.on.rabbit.URL()
	}
	return ""
}

func (a *arena) add(c contender) {
	a.all = append(a.all, c)
	a.closes = append(a.closes, c.close)
}

// database makes a database and a few connections for what the harness asks.
func (a *arena) database(ctx context.Context, s *servers) (url string, admin *pgxpool.Pool, err error) {
	err = guarded(func() { url = s.pg.CreateDatabase(s.tb) })
	if err != nil {
		return "", nil, err
	}
	if admin, err = pgxpool.New(ctx, url); err != nil {
		return "", nil, err
	}
	a.closes = append(a.closes, admin.Close)
	_, err = admin.Exec(ctx, "CREATE EXTENSION pg_stat_statements")
	return url, admin, err
}

func (a *arena) close() {
	for _, f := range slices.Backward(a.closes) {
		f()
	}
}

// runAll runs the tests. Each has a part of the time that is left, by its weight.
func (a *arena) runAll(ctx context.Context, chosen []test, rep *report) error {
	deadline := time.Now().Add(a.plan.limit)
	left := 0
	for _, t := range chosen {
		left += max(t.weight, 1)
	}
	for _, t := range chosen {
		budget := time.Until(deadline) / time.Duration(left) * time.Duration(max(t.weight, 1))
		left -= max(t.weight, 1)
		began := time.Now()
		lines, err := a.measure(ctx, t, began.Add(budget))
		if err != nil {
			return fmt.Errorf("test %s: %w", t.name, err)
		}
		for _, l := range lines {
			fmt.Println(l.text())
		}
		fmt.Printf("  %s: %.0f s\n", t.name, time.Since(began).Seconds())
		rep.Lines = append(rep.Lines, lines...)
	}
	return nil
}

// asynqRounds is in how many rounds of a test Asynq takes part. It is not what targets are set beside, and of the time
// that its turns take the others can have more.
const asynqRounds = 2

// measure lets contenders take turns at a test until its rounds are over, or until is: at least once.
func (a *arena) measure(ctx context.Context, t test, until time.Time) ([]detail, error) {
	if t.together != nil {
		playing, got, err := t.together(ctx, a)
		if err != nil {
			return nil, err
		}
		samples := make([][]sample, len(got))
		for i := range got {
			samples[i] = []sample{got[i]}
		}
		return lines(t, playing, make([]setting, len(playing)), samples), nil
	}
	var playing []contender
	for _, c := range a.all {
		if _, own := c.(*ours); c.plays(t.name) && (own || t.most == 0) {
			playing = append(playing, c)
		}
	}
	made := map[string]bool{} // tables that are made once
	best := make([]setting, len(playing))
	for i, c := range playing {
		var err error
		if best[i], err = a.sweep(ctx, t, c, made, until); err != nil {
			return nil, err
		}
	}
	samples := make([][]sample, len(playing))
	rounds := a.plan.rounds
	if t.rounds > 0 {
		rounds = min(rounds, t.rounds)
	}
	for round := range rounds {
		if round > 0 && time.Now().After(until) {
			fmt.Printf("  %s: %d of %d rounds, the time is over\n", t.name, round, rounds)
			break
		}
		for k := range playing {
			i := (k + round) % len(playing) // nobody is always first
			if playing[i].name() == asynq && round >= asynqRounds {
				continue
			}
			s, err := a.turn(ctx, t, playing[i], best[i], a.plan, made)
			if err != nil {
				return nil, err
			}
			samples[i] = append(samples[i], s)
		}
	}
	return lines(t, playing, best, samples), nil
}

// sweepScale is how much smaller a test is while settings are tried.
const sweepScale = 0.2

// sweep tries a contender's settings, each once with fewer jobs, and returns the best: first those with the fetches of the
// first, then the other fetches with the best of those. When the time for a test is half over, what was tried so far must do.
func (a *arena) sweep(ctx context.Context, t test, c contender, made map[string]bool, until time.Time) (best setting, err error) {
	if known, ok := a.best[t.like+" "+c.name()]; ok && (a.plan.quick || t.asLike) {
		return known, nil
	}
	list := c.settings(t.name)
	if len(list) == 1 {
		return list[0], nil
	}
	half := time.Now().Add(time.Until(until) / 2)
	value := math.NaN()
	small := new(*a.plan)
	if !small.quick {
		small.scale *= sweepScale
	}
	try := func(tried []setting) error {
		for i, s := range tried {
			if time.Now().After(half) {
				best.Note = fmt.Sprintf("the time was over after %d of %d such settings", i, len(tried))
				return nil
			}
			got, err := a.turn(ctx, t, c, s, small, made)
			if err != nil {
				return err
			}
			v := got.values[0]
			if math.IsNaN(value) || t.lower && v < value || !t.lower && v > value {
				best, value = s, v
			}
		}
		return nil
	}
	first := slices.DeleteFunc(slices.Clone(list), func(s setting) bool { return !s.fetchesLike(list[0]) })
	if err := try(first); err != nil {
		return best, err
	}
	other := slices.DeleteFunc(slices.Clone(list), func(s setting) bool {
		return s.fetchesLike(list[0]) || s.Workers != best.Workers || s.Conns != best.Conns
	})
	if err := try(other); err != nil {
		return best, err
	}
	fmt.Printf("  %s, %s: best with %s\n", t.name, c.name(), best)
	a.best[t.name+" "+c.name()] = best
	return best, nil
}

// turn is one contender's part of a round.
func (a *arena) turn(ctx context.Context, t test, c contender, set setting, p *plan, made map[string]bool) (s sample, err error) {
	err = within(ctx, 30*time.Minute, c.name()+" with "+cmp.Or(set.String(), "defaults"), func(ctx context.Context) error {
		if err := errors.Join(c.use(ctx, set), a.prepare(ctx, t, c, made)); err != nil {
			return err
		}
		s, err = t.run(ctx, p, c)
		return err
	})
	return s, err
}

// warmCallers and warmJobs are what a turn begins with, unmeasured: connections are made and statements prepared.
const (
	warmCallers = 64
	warmJobs    = 128
)

// prepare brings connections, tables and statistics into the state that a test begins with.
func (a *arena) prepare(ctx context.Context, t test, c contender, made map[string]bool) error {
	rows := warmRows
	own, isOurs := c.(*ours)
	if t.finished != nil && (!isOurs || !own.alone) {
		if made[c.database()] {
			return c.settle(ctx)
		}
		rows = t.finished(a.plan)
	}
	if err := errors.Join(insertSingly(ctx, c, warmJobs, warmCallers), c.flushed(ctx), c.reset(ctx, rows)); err != nil {
		return err
	}
	made[c.database()] = true
	return nil
}
