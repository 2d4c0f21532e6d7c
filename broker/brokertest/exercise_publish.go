package brokertest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/warrenq/warren/broker"
)

func runEnds(t *testing.T, b *bench) {
	t.Helper()
	_, stop := b.start()
	stop()
}

func runOnce(t *testing.T, b *bench) {
	t.Helper()
	brk, stop := b.start()
	stop()
	if err := brk.Run(t.Context()); err == nil {
		t.Error("a second Run = nil; want an error")
	}
}

func upFollowsRun(t *testing.T, b *bench) {
	t.Helper()
	brk := b.Open(t)
	if brk.Up() {
		t.Error("up before Run")
	}
	stop := b.run(brk)
	b.eventually("up", brk.Up)
	stop()
	if brk.Up() {
		t.Error("up after Run")
	}
}

func nothingAfterRun(t *testing.T, b *bench) {
	t.Helper()
	brk, stop := b.start()
	s := b.subscribe(brk, 1, 10)
	b.eventually("up", brk.Up)
	stop()
	errs := brk.Publish(t.Context(), []broker.Hint{hint(10, 1)})
	if len(errs) != 1 || !errors.Is(errs[0], broker.ErrUnavailable) {
		t.Errorf("Publish = %v; want ErrUnavailable", errs)
	}
	if _, err := brk.Depth(t.Context(), band(10)); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("Depth = %v; want ErrUnavailable", err)
	}
	if _, err := s.Next(t.Context()); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("Next = %v; want ErrClosed", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	late, err := brk.Subscribe([]broker.Band{band(10)}, 1)
	if err != nil {
		t.Fatalf("Subscribe = %v", err)
	}
	if _, err := late.Next(t.Context()); !errors.Is(err, broker.ErrClosed) {
		t.Errorf("Next of a late subscription = %v; want ErrClosed", err)
	}
}

func numbersArrive(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	b.publish(brk, hint(10, 1), hint(20, math.MaxInt64, 7, 7), hint(10, 2, 3))
	s := b.subscribe(brk, 10, 10, 20)
	got := map[int][]int64{}
	for range 3 {
		d := b.next(s)
		if d.Queue != "suite" || d.Redelivered {
			t.Errorf("delivery %+v; want queue suite, not redelivered", d)
		}
		got[d.Priority] = append(got[d.Priority], d.Numbers...)
		b.ack(s, d)
	}
	b.equal("band 10", got[10], []int64{1, 2, 3})
	b.equal("band 20", got[20], []int64{math.MaxInt64, 7, 7})
}

func badHintFailsAlone(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	hints := []broker.Hint{
		hint(10, 1), hint(10), hint(10, 2), hint(10, 0), hint(10, -4), hint(10, slices.Repeat([]int64{1}, 1001)...),
		{Band: broker.Band{Queue: "", Priority: 10}, Numbers: []int64{1}},
		{Band: broker.Band{Queue: "suite", Priority: -1}, Numbers: []int64{1}},
		{Band: broker.Band{Queue: "suite", Priority: 1000}, Numbers: []int64{1}},
		hint(10, 3),
	}
	errs := brk.Publish(t.Context(), hints)
	if len(errs) != len(hints) {
		t.Fatalf("%d errors for %d hints", len(errs), len(hints))
	}
	for i, err := range errs {
		if good := i == 0 || i == 2 || i == 9; good != (err == nil) {
			t.Errorf("hint %d: %v", i, err)
		}
	}
	b.equal("arrived", b.collect(b.subscribe(brk, 10, 10), 3), count(3))
}

func publishNothing(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	if errs := brk.Publish(t.Context(), nil); errs != nil {
		t.Errorf("Publish(nil) = %v; want nil", errs)
	}
}

func publishThousands(t *testing.T, b *bench) {
	t.Helper()
	const n = 2500
	brk, _ := b.start()
	hints := make([]broker.Hint, n)
	for i := range hints {
		hints[i] = hint(10, int64(i+1))
	}
	b.publish(brk, hints...)
	if d := b.depth(brk, 10); d != n {
		t.Errorf("depth %d; want %d: a confirmed hint is in its queue", d, n)
	}
	b.equal("arrived", b.collect(b.subscribe(brk, 100, 10), n), count(n))
}

func publishConcurrently(t *testing.T, b *bench) {
	t.Helper()
	const goroutines, each = 8, 50
	brk, _ := b.start()
	var wg sync.WaitGroup
	errs := make(chan error, goroutines*each)
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				n := int64(g*each + i + 1)
				for _, err := range brk.Publish(context.WithoutCancel(t.Context()), []broker.Hint{hint(10+g%3, n)}) {
					errs <- fmt.Errorf("hint %d: %w", n, err)
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	b.equal("arrived", b.collect(b.subscribe(brk, 50, 10, 11, 12), goroutines*each), count(goroutines*each))
}

func publishFullHint(t *testing.T, b *bench) {
	t.Helper()
	brk, _ := b.start()
	full := slices.Repeat([]int64{math.MaxInt64}, broker.MaxNumbers)
	b.publish(brk, hint(10, full...))
	b.equal("arrived", b.next(b.subscribe(brk, 1, 10)).Numbers, full)
}
