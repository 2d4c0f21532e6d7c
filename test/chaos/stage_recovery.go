package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// The goals of the protocol for the shipped program with its default times, in seconds.
func goals() map[string]float64 {
	return map[string]float64{
		killRecovery: 25, stopRecovery: 1, databaseRecovery: 5, brokerRecovery: 2, wipeRecovery: 60,
	}
}

const (
	killRecovery     = "consumer kill -9: its job runs elsewhere"
	stopRecovery     = "SIGTERM: what was handed back runs elsewhere"
	databaseRecovery = "database kill -9 and start: a job starts after it accepts connections"
	brokerRecovery   = "broker kill -9 and start: what was published meanwhile starts after its port opens"
	wipeRecovery     = "broker wiped with 2000 ready jobs: every one was offered again"
)

// samples is how often each recovery is measured.
const samples = 3

// stageRecovery measures how soon the shipped program recovers, with its default times.
func stageRecovery(ctx context.Context, run *run, r *result) error {
	s, err := startServers(ctx, "recovery")
	if err != nil {
		return err
	}
	defer s.tb.close()
	r.Versions = s.versions(ctx)
	var mu sync.Mutex
	parallel(2*samples, func(i int) {
		kind, act := killRecovery, afterKill
		if i%2 == 1 {
			kind, act = stopRecovery, afterStop
		}
		took, err := run.recovery(ctx, s, fmt.Sprintf("recovery %d", i), act)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			r.fail("%s: %v", kind, err)
			return
		}
		r.record(kind, took.Seconds())
	})
	if err := serverRecoveries(ctx, run, s, r); err != nil {
		return err
	}
	// The median, because other work may hold this machine up for seconds; the report shows the worst.
	for kind, goal := range goals() {
		if t := r.Recovery[kind]; len(t) > 0 && t.median() > goal {
			r.fail("%s %.1f s later in the median of %d; the goal is %.0f s", kind, t.median(), len(t), goal)
		}
	}
	return nil
}

// recovery plays one scene of two consumers in which a job has to change from one to the other.
func (r *run) recovery(ctx context.Context, s *servers, name string, act func(ctx context.Context, s *scene, holder *member) time.Time) (took time.Duration, err error) {
	err = guarded(func() error {
		scene := newShippedScene(ctx, s, r, name)
		defer scene.close()
		holder := scene.ship("-c", "2", "--drain-timeout", "100ms")
		scene.registered(ctx, 1)
		scene.enqueue(ctx, scene.probes(1, 4*time.Second))
		scene.started(ctx, 1)
		other := scene.ship("-c", "2")
		scene.registered(ctx, 2)
		began := act(ctx, scene, holder)
		scene.await(ctx, "the job to run elsewhere", func() bool { return scene.startsOf(other.proc.pid()) == 1 })
		took = scene.firstStart(other.proc.pid()).Sub(began)
		_, v, err := scene.judge(ctx)
		if err == nil && len(v.Violations) > 0 {
			err = fmt.Errorf("%s", found(v))
		}
		return err
	})
	return took, err
}

func afterKill(_ context.Context, _ *scene, holder *member) time.Time {
	began := time.Now()
	holder.proc.kill()
	return began
}

// afterStop is measured from the moment of the hand-back, which is when the row is READY again.
func afterStop(ctx context.Context, s *scene, holder *member) time.Time {
	holder.proc.stop(40 * time.Second)
	at, err := query[time.Time](ctx, s.world, 20*time.Second, "SELECT max(at) FROM chaos.audit WHERE old = 'PROCESSING' AND new = 'READY'")
	ensure(err)
	return at
}

// firstStart is when the first execution in a process began, 0 = in any; starts that are not in the ledger
// yet are the zero time.
func (s *scene) firstStart(pid int) time.Time {
	runs, _ := readLedger(s.ledger) // no ledger: no starts
	for _, run := range runs {
		if pid == 0 || run.PID == pid {
			return run.Start
		}
	}
	return time.Time{}
}

// serverRecoveries kills the servers, one after the other.
func serverRecoveries(ctx context.Context, run *run, s *servers, r *result) error {
	scene := newShippedScene(ctx, s, run, "server recovery")
	defer scene.close()
	scene.bare = true
	for range 2 {
		scene.ship("-c", "4")
	}
	scene.registered(ctx, 2)
	scene.enqueue(ctx, scene.probes(4, time.Millisecond))
	scene.started(ctx, 4)
	for range samples {
		s.pg.Kill()
		pause(ctx, 2*time.Second)
		s.pg.Start()
		accepts := time.Now()
		before := scene.startsOf(0)
		scene.enqueue(ctx, scene.probes(1, time.Millisecond))
		r.record(databaseRecovery, scene.next(ctx, before).Sub(accepts).Seconds())
	}
	for range samples {
		s.rabbit.Kill()
		before := scene.startsOf(0)
		scene.enqueue(ctx, scene.probes(1, time.Millisecond))
		pause(ctx, time.Second)
		opened := make(chan time.Time, 1)
		go func() { opened <- portOpens(ctx, s.rabbit.Addr()) }()
		s.rabbit.Start()
		r.record(brokerRecovery, scene.next(ctx, before).Sub(<-opened).Seconds())
	}
	for _, m := range scene.members {
		m.proc.stop(40 * time.Second)
	}
	const ready = 2000
	before := scene.startsOf(0)
	scene.enqueue(ctx, scene.probes(ready, 0, func(i int, j *job) { j.priority = 10 * (1 + i%3) }))
	// A single sweep announces them, so that the broker has something to lose.
	ensure(scene.process(ctx))
	s.rabbit.Wipe()
	began := time.Now()
	for _, m := range scene.members {
		m.start()
	}
	if !until(ctx, 2*time.Minute, func() bool { return scene.startsOf(0) >= before+ready }) {
		r.fail("%d of %d jobs started within two minutes of the wipe", scene.startsOf(0)-before, ready)
	}
	r.record(wipeRecovery, time.Since(began).Seconds())
	h, v, err := scene.judge(ctx)
	if err != nil {
		return err
	}
	r.history, r.violent = h, v.Violations
	r.take(v)
	return nil
}

// next is when the first execution began after the ledger had so many.
func (s *scene) next(ctx context.Context, before int) time.Time {
	s.await(ctx, "the next job", func() bool { return s.startsOf(0) > before })
	runs, err := readLedger(s.ledger)
	ensure(err)
	return runs[before].Start
}

// portOpens is when a server listens.
func portOpens(ctx context.Context, addr string) time.Time {
	var dialer net.Dialer
	until(ctx, time.Minute, func() bool {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err == nil {
			_ = conn.Close() // it was only to see
		}
		return err == nil
	})
	return time.Now()
}

// process runs one sweep of the shipped program.
func (s *scene) process(ctx context.Context) error {
	m := s.add(s.consumer, s.env, nil, "process")
	m.start()
	if !m.proc.ended(time.Minute) {
		return fmt.Errorf("consumer process failed: %s", m.proc.log())
	}
	s.members = s.members[:len(s.members)-1]
	m.closeProxies()
	return ctx.Err()
}

func writeFile(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }
