package brokertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/warrenq/warren/broker"
)

func subscribeRefuses(t *testing.T, b *bench) {
	t.Helper()
	brk := b.Open(t)
	for name, try := range map[string]func() (broker.Subscription, error){
		"no band":           func() (broker.Subscription, error) { return brk.Subscribe(nil, 1) },
		"prefetch 0":        func() (broker.Subscription, error) { return brk.Subscribe([]broker.Band{band(1)}, 0) },
		"prefetch 65536":    func() (broker.Subscription, error) { return brk.Subscribe([]broker.Band{band(1)}, 65536) },
		"a band twice":      func() (broker.Subscription, error) { return brk.Subscribe([]broker.Band{band(1), band(1)}, 1) },
		"an empty queue":    func() (broker.Subscription, error) { return brk.Subscribe([]broker.Band{{}}, 1) },
		"negative priority": func() (broker.Subscription, error) { return brk.Subscribe([]broker.Band{band(-1)}, 1) },
		"priority 1000":     func() (broker.Subscription, error) { return brk.Subscribe([]broker.Band{band(1000)}, 1) },
	} {
		if s, err := try(); err == nil || s != nil {
			t.Errorf("%s: Subscribe = %v, %v; want an error", name, s, err)
		}
	}
}

func subscribeBeforeRun(t *testing.T, b *bench) {
	t.Helper()
	brk := b.Open(t)
	s := b.subscribe(brk, 5, 10)
	b.run(brk)
	b.publish(brk, hint(10, 1))
	b.equal("arrived", b.collect(s, 1), count(1))
}

func strictPriority(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	s := b.subscribe(brk, 10, 30, 10, 20, 0)
	b.publish(brk, hint(30, 31), hint(20, 21), hint(30, 32), hint(10, 11), hint(20, 22), hint(10, 12))
	b.arrived(s, 6)
	var got []int64
	take := func(n int) {
		t.Helper()
		for range n {
			d, ok := s.TryNext()
			if !ok {
				t.Fatalf("TryNext found nothing after %v", got)
			}
			got = append(got, d.Numbers...)
			b.ack(s, d)
		}
	}
	take(3)
	b.publish(brk, hint(0, 1), hint(30, 33)) // a better one overtakes what waits here already
	b.arrived(s, 5)
	take(5)
	b.equal("order", got, []int64{11, 12, 21, 1, 22, 31, 32, 33})
	if d, ok := s.TryNext(); ok {
		t.Errorf("TryNext = %v; want nothing", d.Numbers)
	}
}

func otherBands(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	s := b.subscribe(brk, 10, 20)
	b.publish(brk, hint(10, 1), hint(20, 2),
		broker.Hint{Band: broker.Band{Queue: "other", Priority: 20}, Numbers: []int64{3}})
	b.equal("arrived", b.collect(s, 1), []int64{2})
	if n := b.depth(brk, 10); n != 1 {
		t.Errorf("depth of band 10: %d; want 1", n)
	}
	b.arrived(s, 0)
}

func nextEnds(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	s := b.subscribe(brk, 1, 10)
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	got := make(chan error, 1)
	go func() {
		_, err := s.Next(ctx)
		got <- err
	}()
	cancel(reason)
	select {
	case err := <-got:
		if !errors.Is(err, reason) {
			t.Errorf("Next = %v; want the cause of its context", err)
		}
	case <-time.After(Patience):
		t.Error("Next did not end with its context")
	}
}

func prefetchBounds(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	for n := range int64(10) {
		b.publish(brk, hint(10, n+1), hint(20, n+1))
	}
	s := b.subscribe(brk, 3, 10, 20)
	b.arrived(s, 6)
	b.waiting(brk, 10, 7)
	b.waiting(brk, 20, 7)
	d := b.next(s)
	b.arrived(s, 5) // taken is not settled
	b.ack(s, d)
	b.arrived(s, 6)
	b.waiting(brk, 10, 6)
}

func competing(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	other, _ := b.start()
	one, two := b.subscribe(brk, 2, 10), b.subscribe(other, 2, 10)
	for n := range int64(20) {
		b.publish(brk, hint(10, n+1))
	}
	var got []int64
	b.eventually("all arrived", func() bool {
		for _, s := range []broker.Subscription{one, two} {
			if d, ok := s.TryNext(); ok {
				got = append(got, d.Numbers...)
				b.ack(s, d)
			}
		}
		return len(got) >= 20
	})
	slices.Sort(got)
	b.equal("arrived", got, count(20))
}

func ackedNeverAgain(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	s := b.subscribe(brk, 5, 10)
	for n := range int64(20) {
		b.publish(brk, hint(10, n+1))
	}
	b.equal("arrived", b.collect(s, 20), count(20))
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if n := b.depth(brk, 10); n != 0 {
		t.Errorf("depth %d after everything was acked; want 0", n)
	}
}

func ackAnyOrder(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	s := b.subscribe(brk, 20, 10, 20)
	for n := range int64(10) {
		b.publish(brk, hint(10, n+1), hint(20, n+11))
	}
	b.arrived(s, 20)
	ds := make([]broker.Delivery, 20)
	for i := range ds {
		ds[i] = b.next(s)
	}
	b.ack(s, ds[7], ds[3])
	b.ack(s, ds[3], ds[7]) // settled before: nothing happens
	b.ack(s)
	b.ack(s, ds[0])
	b.ack(s, ds[0], ds[0])
	b.ack(s, ds[5], ds[2], ds[1], ds[15])
	b.ack(s, ds...)
	b.ack(s, ds...)
	b.publish(brk, hint(10, 99)) // the channels are still whole
	b.equal("arrived", b.collect(s, 1), []int64{99})
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if n := b.depth(brk, 10) + b.depth(brk, 20); n != 0 {
		t.Errorf("%d hints wait after everything was acked; want 0", n)
	}
}

func ackForeign(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	one, two := b.subscribe(brk, 5, 10), b.subscribe(brk, 5, 20)
	b.publish(brk, hint(10, 1), hint(20, 2))
	mine, foreign := b.next(one), b.next(two)
	if err := one.Ack([]broker.Delivery{foreign, mine, {}}); err == nil || errors.Is(err, broker.ErrStale) {
		t.Errorf("Ack of a foreign delivery = %v; want an error other than ErrStale", err)
	}
	for _, s := range []broker.Subscription{one, two} {
		if err := s.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if n := b.depth(brk, 10); n != 0 {
		t.Errorf("depth of band 10: %d; want 0: its own delivery was settled all the same", n)
	}
	b.waiting(brk, 20, 1)
}

func unsettledComeAgain(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	s := b.subscribe(brk, 5, 10)
	b.publish(brk, hint(10, 1), hint(10, 2), hint(10, 3))
	b.arrived(s, 3)
	b.ack(s, b.next(s))
	taken := b.next(s)
	if err := s.Close(); err != nil {
		t.Fatalf("Close = %v", err)
	}
	if err := s.Ack([]broker.Delivery{taken}); !errors.Is(err, broker.ErrStale) {
		t.Errorf("Ack after Close = %v; want ErrStale", err)
	}
	again := b.subscribe(brk, 5, 10)
	b.arrived(again, 2)
	var got []int64
	for range 2 {
		d := b.next(again)
		if !d.Redelivered {
			t.Errorf("hint %v is not marked as redelivered", d.Numbers)
		}
		got = append(got, d.Numbers...)
	}
	slices.Sort(got)
	b.equal("came again", got, []int64{2, 3})
}

func depthCountsMessages(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	b.publish(brk, hint(10, count(50)...), hint(10, 1))
	if n := b.depth(brk, 10); n != 2 {
		t.Errorf("depth %d; want 2", n)
	}
	if _, err := brk.Depth(t.Context(), broker.Band{}); err == nil {
		t.Error("Depth of a band without a name = nil; want an error")
	}
}

func depthOfNothing(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	for range 3 { // a missing queue closes the channel that asks
		if n := b.depth(brk, 77); n != 0 {
			t.Errorf("depth %d; want 0", n)
		}
	}
}
