package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/test/chaos/check"
)

// stageForgeries announces every number ten times, numbers that nobody has, and messages that are no hints.
func stageForgeries(ctx context.Context, run *run, r *result) error {
	s, err := run.calm(ctx)
	if err != nil {
		return err
	}
	r.Versions = s.versions(ctx)
	scene := newScene(ctx, s, run, "forgeries", run.consumer)
	defer scene.close()
	scene.slots = 8
	scene.start()
	scene.start()
	scene.registered(ctx, 2)
	jobs := 200
	scene.enqueue(ctx, scene.probes(jobs, 100*time.Millisecond, func(i int, j *job) {
		j.priority = 10 * (1 + i%3)
		if i%5 == 0 {
			j.group = fmt.Sprintf("g%d", i%4)
		}
	}))
	scene.started(ctx, 1) // the queues are there
	hints := 0
	scene.struck().onChannel(func(ch *amqp.Channel, queue string) {
		ensure(ch.Confirm(false))
		send := func(body string) {
			// Headers and properties that claim anything: they are never read.
			confirm, err := ch.PublishWithDeferredConfirm("", queue, false, false, amqp.Publishing{
				Body: []byte(body), Type: "publish", Headers: amqp.Table{"x-death": []any{amqp.Table{"count": int64(1 << 40)}}, "priority": "-5"},
			})
			ensure(err)
			if !confirm.Wait() {
				panic(failure{"the broker did not confirm a forged hint"})
			}
			hints++
		}
		for i := range 10 * jobs / len(scene.queues()) {
			send(strconv.Itoa(1 + i%jobs))
		}
		for i := range 50 {
			send(strconv.Itoa(1_000_000 + i))
		}
		for _, body := range malformed() {
			send(body)
			scene.injected++
		}
	})
	h, v, err := scene.judge(ctx)
	if err != nil {
		return err
	}
	r.history, r.violent = h, v.Violations
	r.take(v)
	r.Points = []string{fmt.Sprintf("%d forged or doubled hints, %d of them malformed; %d copies in the poison queue", hints, scene.injected, h.Poison)}
	return nil
}

// shippedYAML is the configuration of the shipped programs: times are left at their defaults.
const shippedYAML = "priorities: [10, 20, 30]\nkinds:\n  probe: {probe: {}, backoff: [500ms]}\n"

// stageDeploy restarts all consumers of the shipped program, one after the other, under load.
func stageDeploy(ctx context.Context, run *run, r *result) error {
	s, err := run.calm(ctx)
	if err != nil {
		return err
	}
	r.Versions = s.versions(ctx)
	scene := newShippedScene(ctx, s, run, "deploy")
	defer scene.close()
	for range members {
		scene.ship("-c", "4")
	}
	scene.registered(ctx, members)
	scene.enqueue(ctx, scene.probes(250, 0, func(i int, j *job) {
		j.args["sleep"] = (time.Duration(50+37*i%400) * time.Millisecond).String()
		j.priority = 10 * (1 + i%3)
		if i%4 == 0 {
			j.group = fmt.Sprintf("g%d", i%5)
		}
	}))
	scene.started(ctx, 12)
	for _, m := range scene.members {
		if !m.proc.stop(40 * time.Second) {
			r.fail("consumer %d did not exit 0 after its SIGTERM", m.proc.pid())
		}
		m.start()
		scene.registered(ctx, members)
	}
	scene.patience = time.Minute
	h, v, err := scene.judge(ctx)
	if err != nil {
		return err
	}
	r.history, r.violent = h, v.Violations
	r.take(v)
	if r.Counts.Rescued > 0 || len(h.Runs) != len(h.Rows) {
		r.fail("%d jobs were rescued, and %d ran %d times: a rolling restart under its drain timeout costs nothing", r.Counts.Rescued, len(h.Rows), len(h.Runs))
	}
	return nil
}

// newShippedScene is a scene whose consumers are the shipped program.
func newShippedScene(ctx context.Context, s *servers, run *run, name string) *scene {
	scene := newScene(ctx, s, run, name, run.shipped("consumer"))
	ensure(writeFile(filepath.Join(scene.dir, "warren.yaml"), shippedYAML))
	return scene
}

// ship starts the shipped consumer.
func (s *scene) ship(args ...string) *member {
	m := s.add(s.consumer, s.env, nil, append([]string{"run"}, args...)...)
	m.start()
	return m
}

// outage is how long a server is away in stage O.
const outage = 10 * time.Second

// stageOutages takes servers away from the shipped consumer and counts what it does about that.
func stageOutages(ctx context.Context, run *run, r *result) error {
	s, err := run.calm(ctx)
	if err != nil {
		return err
	}
	r.Versions = s.versions(ctx)
	kinds := []struct {
		name     string
		database bool
		silent   bool
	}{
		{"the database refuses connections", true, false},
		{"the database is silent", true, true},
		{"the broker refuses connections", false, false},
		{"the broker is silent", false, true},
	}
	var mu sync.Mutex
	parallel(len(kinds), func(i int) {
		k := kinds[i]
		v, o, err := run.outage(ctx, s, fmt.Sprintf("outage %d", i), k.database, k.silent)
		o.What = k.name
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			r.fail("%s: %v", k.name, err)
			return
		}
		r.take(v)
		r.Points = append(r.Points, fmt.Sprintf("%s for %.0f s: %d lines in the log, %d attempts to connect", k.name, o.For.Seconds(), o.Lines, o.Dials))
	})
	return nil
}

func (r *run) outage(ctx context.Context, s *servers, name string, database, silent bool) (v check.Verdict, o check.Outage, err error) {
	err = guarded(func() error {
		scene := newShippedScene(ctx, s, r, name)
		defer scene.close()
		m := scene.ship("-c", "4")
		scene.registered(ctx, 1)
		scene.enqueue(ctx, scene.probes(60, 500*time.Millisecond))
		scene.started(ctx, 4)
		proxy := m.pg
		if !database {
			proxy = m.amqp[0]
		}
		lines, dials := strings.Count(m.proc.log(), "\n"), proxy.Dials()
		if silent {
			proxy.Stall(true)
		} else {
			proxy.Reject(true)
			proxy.Cut()
		}
		pause(ctx, outage)
		o = check.Outage{What: name, PID: m.proc.pid(), For: outage, Lines: strings.Count(m.proc.log(), "\n") - lines, Dials: proxy.Dials() - dials}
		proxy.Reject(false)
		if silent {
			proxy.Cut()
			proxy.Stall(false)
		}
		scene.patience = time.Minute
		h, _, err := scene.judge(ctx)
		if err != nil {
			return err
		}
		h.Outages = []check.Outage{o}
		v = check.Check(h)
		return nil
	})
	return v, o, err
}
