package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/warrenq/warren/test/chaos/wire"
)

// trap waits for a statement or frame of one consumer, and does something to it at that moment.
type trap struct {
	what string
	when wire.Moment
	act  action

	mu    sync.Mutex
	armed bool
	m     *member
	fired chan struct{}
}

// action is what happens at a point.
type action int

const (
	cut     action = iota // the connection is reset there
	kill                  // the process gets SIGKILL there
	freezes               // the process stands still for two leases, and what it sent arrives when they are over
)

func newTrap(what string, when wire.Moment, act action) *trap {
	return &trap{what: what, when: when, act: act, fired: make(chan struct{})}
}

// hook is the trap as a wire.Hook. It springs once.
func (t *trap) hook(what string, when wire.Moment) bool {
	t.mu.Lock()
	springs := t.armed && what == t.what && when == t.when
	if springs {
		t.armed = false
	}
	m := t.m
	t.mu.Unlock()
	if !springs {
		return true
	}
	defer close(t.fired)
	switch t.act {
	case kill:
		die(m.proc)
		return false
	case freezes:
		m.proc.freeze()
		pause(context.Background(), 2*shortTTL)
		m.proc.thaw()
		return true
	case cut:
		return false
	}
	return false
}

func (t *trap) arm() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed = true
}

// set starts a consumer with the trap in it.
func (s *scene) set(t *trap) *member {
	s.env["CHAOS_SLOTS"] = strconv.Itoa(s.slots)
	m := s.add(s.consumer, s.env, t.hook)
	t.mu.Lock()
	t.m = m
	t.mu.Unlock()
	m.start()
	return m
}

// point is a moment of the protocol at which something happens to a process.
type point struct {
	name string
	what string
	when wire.Moment
	act  action
	// lead brings a consumer to the point, and arms it; nil = some jobs of every sort.
	lead func(ctx context.Context, s *scene, m *member, t *trap)
}

// points are all of a consumer's.
func points() []point {
	return []point{
		{"before a claim arrives", "claim", wire.Sending, cut, nil},
		{"the reply to a claim is lost", "claim", wire.Replied, cut, nil},
		{"dies after a claim, before the start", "claim", wire.Replied, kill, nil},
		{"frozen after a claim, before the start", "claim", wire.Replied, freezes, nil},
		{"dies after a claim, before the ack", "ack", wire.Sending, kill, nil},
		{"dies right after the ack", "ack", wire.Sent, kill, nil},
		{"dies after the handler, before the outcome", "record", wire.Sending, kill, nil},
		{"an outcome does not arrive", "record", wire.Sending, cut, nil},
		{"an outcome arrives two leases late", "record", wire.Sending, freezes, nil},
		{"the reply to an outcome is lost", "record", wire.Replied, cut, nil},
		{"dies after the outcome, before the next of the group is announced", "heads of groups", wire.Sending, kill, nil},
		{"dies before its hint is published", "publish", wire.Sending, kill, nil},
		{"dies after its hint, before the confirm", "confirm", wire.Sending, kill, nil},
		{"the connection dies before the confirm", "confirm", wire.Sending, cut, nil},
		{"a delivery does not arrive", "deliver", wire.Sending, cut, nil},
		{"the leader dies between due and the announcing", "due", wire.Replied, kill, nil},
		{"the leader is frozen between due and the announcing", "due", wire.Replied, freezes, nil},
		{"the reply about due rows is lost", "due", wire.Replied, cut, nil},
		{"the leader dies between the confirm and the outbox", "announced", wire.Sending, kill, nil},
		{"the reply about the outbox is lost", "announced", wire.Replied, cut, nil},
		{"the leader dies in a rescue", "rescue", wire.Replied, kill, victim},
		{"the leader is frozen in a rescue", "rescue", wire.Replied, freezes, victim},
		{"the leader dies before a rescue commits", "commit", wire.Sending, kill, victim},
		{"the leader dies after a rescue, before the announcing", "commit", wire.Replied, kill, victim},
		{"the reply to a renewal is lost", "renew", wire.Replied, cut, nil},
		{"dies while it drains, before an outcome", "record", wire.Sending, kill, draining},
		{"dies while it drains, before its farewell", "deregister", wire.Sending, kill, draining},
	}
}

// sorts are a few jobs of every sort: plain, in groups, delayed, failing once.
func sorts(s *scene) []*job {
	return s.probes(12, 50*time.Millisecond, func(i int, j *job) {
		switch i % 4 {
		case 1:
			j.group = fmt.Sprintf("g%d", i%3)
		case 2:
			j.delay = time.Second
		case 3:
			j.args["fail_times"] = 1
		}
		j.priority = 10 * (1 + i%3)
	})
}

// victim is another consumer that dies with jobs, so that the leader has somebody to rescue.
func victim(ctx context.Context, s *scene, _ *member, t *trap) {
	// The leader has no slot to spare: the jobs are the victim's.
	s.enqueue(ctx, s.probes(s.slots, 2*time.Second))
	s.started(ctx, s.slots)
	other := s.start()
	s.registered(ctx, 2)
	s.enqueue(ctx, s.probes(3, 3*time.Second))
	s.await(ctx, "the victim to run jobs", func() bool { return s.startsOf(other.proc.pid()) > 0 })
	other.proc.kill()
	t.arm()
}

// draining asks the consumer to stop in the middle of its work.
func draining(ctx context.Context, s *scene, m *member, t *trap) {
	s.enqueue(ctx, s.probes(2, 2*time.Second))
	s.started(ctx, 2)
	t.arm()
	go m.proc.stop(20 * time.Second)
}

// spring brings a consumer to a point and lets what happens there happen.
func (p *point) spring(ctx context.Context, s *scene) error {
	t := newTrap(p.what, p.when, p.act)
	m := s.set(t)
	s.registered(ctx, 1)
	if p.lead == nil {
		t.arm()
		s.enqueue(ctx, sorts(s))
	} else {
		p.lead(ctx, s, m, t)
	}
	select {
	case <-t.fired:
	case <-time.After(40 * time.Second):
		return fmt.Errorf("the point %q (%s, %s) never came; logs are in %s", p.name, p.what, p.when, s.dir)
	}
	if p.act == kill {
		<-m.proc.done
	}
	if !m.proc.alive() {
		m.start()
	} else if p.act == kill {
		return fmt.Errorf("%q: the process outlived its SIGKILL", p.name)
	}
	return nil
}
