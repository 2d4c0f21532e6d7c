package brokertest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren/broker"
)

func pauseGivesBack(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	s := b.subscribe(brk, 10, 10, 20)
	b.publish(brk, hint(10, 1), hint(10, 2), hint(20, 3), hint(20, 4))
	b.arrived(s, 4)
	b.pause(s)
	if d, ok := s.TryNext(); ok {
		t.Errorf("TryNext of a paused subscription = %v", d.Numbers)
	}
	b.waiting(brk, 10, 2)
	b.waiting(brk, 20, 2)
	b.publish(brk, hint(10, 5))
	b.waiting(brk, 10, 3)
	b.arrived(s, 0)
}

func (b *bench) pause(s broker.Subscription) {
	b.tb.Helper()
	if err := s.Pause(b.tb.Context()); err != nil {
		b.tb.Fatalf("Pause = %v", err)
	}
}

func (b *bench) resume(s broker.Subscription) {
	b.tb.Helper()
	if err := s.Resume(b.tb.Context()); err != nil {
		b.tb.Fatalf("Resume = %v", err)
	}
}

func pauseKeepsTaken(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	s := b.subscribe(brk, 10, 10)
	b.publish(brk, hint(10, 1), hint(10, 2), hint(10, 3))
	b.arrived(s, 3)
	one, two := b.next(s), b.next(s)
	b.pause(s)
	b.waiting(brk, 10, 1)
	b.ack(s, two)
	b.resume(s)
	b.ack(s, one)
	b.equal("arrived", b.collect(s, 1), []int64{3})
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if n := b.depth(brk, 10); n != 0 {
		t.Errorf("depth %d; want 0", n)
	}
}

func pauseTwice(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	s := b.subscribe(brk, 10, 10)
	b.resume(s) // it runs
	b.publish(brk, hint(10, 1))
	b.arrived(s, 1)
	for range 3 {
		b.pause(s)
	}
	b.waiting(brk, 10, 1)
	for range 3 {
		b.resume(s)
	}
	for range 5 {
		b.pause(s)
		b.resume(s)
	}
	b.equal("arrived", b.collect(s, 1), count(1))
}

func pauseBeforeRun(t *testing.T, b *bench) {
	t.Helper()
	brk := b.Open(t)
	s := b.subscribe(brk, 10, 10)
	b.pause(s)
	b.run(brk)
	b.publish(brk, hint(10, 1))
	b.waiting(brk, 10, 1)
	b.arrived(s, 0)
	b.resume(s)
	b.equal("arrived", b.collect(s, 1), count(1))
}

func resumeGoesOn(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	s := b.subscribe(brk, 2, 10, 20)
	for n := range int64(30) {
		b.publish(brk, hint(10+10*int(n%2), n+1))
	}
	var got []int64
	for len(got) < 30 {
		d := b.next(s)
		got = append(got, d.Numbers...)
		b.ack(s, d)
		if len(got)%5 == 0 {
			b.pause(s)
			b.resume(s)
		}
	}
	slices.Sort(got)
	b.equal("arrived", got, count(30))
}

func closeTwice(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	s := b.subscribe(brk, 2, 10)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if _, err := s.Next(t.Context()); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("Next = %v; want ErrClosed", err)
	}
	if _, ok := s.TryNext(); ok {
		t.Error("TryNext of a closed subscription found something")
	}
	if err := s.Pause(t.Context()); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("Pause = %v; want ErrClosed", err)
	}
	if err := s.Resume(t.Context()); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("Resume = %v; want ErrClosed", err)
	}
}

func closeEndsNext(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	s := b.subscribe(brk, 2, 10)
	got := make(chan error, 1)
	go func() {
		_, err := s.Next(t.Context())
		got <- err
	}()
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	select {
	case err := <-got:
		if !errors.Is(err, broker.ErrClosed) {
			t.Errorf("Next = %v; want ErrClosed", err)
		}
	case <-time.After(Patience):
		t.Error("Next did not end with its subscription")
	}
}

func poisonPutAside(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	s := b.subscribe(brk, 3, 10)
	b.publish(brk, hint(10, 1)) // and the queue exists
	b.equal("arrived", b.collect(s, 1), count(1))
	bodies := []string{
		"", "-1", "0", "9223372036854775808", "1e9", " 12", "12 ", "+12", "0x1f", "١٢", "1\x002", `{"id":1}`,
		"1  2", strings.Repeat("7", 1<<20), strings.TrimSuffix(strings.Repeat("1 ", 1001), " "),
	}
	for _, body := range bodies {
		b.Inject(t, band(10), []byte(body))
	}
	b.publish(brk, hint(10, 2))
	b.equal("arrived after the poison", b.collect(s, 1), []int64{2})
	b.eventually(fmt.Sprintf("%d poisoned", len(bodies)), func() bool { return b.Poisoned(t) == len(bodies) })
	// A copy comes before its ack: closing in between gives the last one back, to be copied again.
	again := 0
	b.eventually("poison is acked", func() bool {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		if b.depth(brk, 10) == 0 {
			return true
		}
		again++
		s = b.subscribe(brk, 3, 10)
		return false
	})
	if n := b.Poisoned(t); n < len(bodies) || n > len(bodies)+again {
		t.Errorf("%d poisoned; want %d: each once, unless it was given back", n, len(bodies))
	}
}

func staleAcks(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	s := b.subscribe(brk, 10, 10)
	b.publish(brk, hint(10, 1), hint(10, 2), hint(10, 3))
	b.arrived(s, 3)
	old := []broker.Delivery{b.next(s), b.next(s)}
	b.Disconnect(t)
	b.eventually("everything comes again", func() bool { return b.Arrived(s) == 3 })
	if err := s.Ack(old); !errors.Is(err, broker.ErrStale) {
		t.Errorf("Ack of an old session = %v; want ErrStale", err)
	}
	fresh := []broker.Delivery{b.next(s), b.next(s), b.next(s)}
	var got []int64
	for _, d := range fresh {
		if !d.Redelivered {
			t.Errorf("hint %v is not marked as redelivered", d.Numbers)
		}
		got = append(got, d.Numbers...)
	}
	slices.Sort(got)
	b.equal("came again", got, count(3))
	mixed := append(slices.Clone(old), fresh[0], fresh[1])
	if err := s.Ack(mixed); !errors.Is(err, broker.ErrStale) {
		t.Errorf("Ack of old and new = %v; want ErrStale", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	b.waiting(brk, 10, 1) // neither more nor less than what was acked is gone
}

func pausedOverSessions(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	s := b.subscribe(brk, 10, 10)
	b.publish(brk, hint(10, 1))
	b.arrived(s, 1)
	b.pause(s)
	b.Disconnect(t)
	b.eventually("up", brk.Up)
	b.waiting(brk, 10, 1)
	b.arrived(s, 0)
	b.resume(s)
	b.equal("arrived", b.collect(s, 1), count(1))
}

func publishOverSessions(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	s := b.subscribe(brk, 10, 10)
	for round := range int64(3) {
		n := round + 1
		b.eventually("published", func() bool {
			errs := brk.Publish(t.Context(), []broker.Hint{hint(10, n)})
			for _, err := range errs {
				if !errors.Is(err, broker.ErrUnavailable) {
					t.Fatalf("Publish = %v; want nil or ErrUnavailable", err)
				}
			}
			return errs == nil
		})
		for { // what was unconfirmed may come twice
			d := b.next(s)
			err := s.Ack([]broker.Delivery{d})
			if err == nil && d.Numbers[0] == n {
				break
			}
		}
		b.Disconnect(t)
	}
}
