package brokertest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/warrenq/warren/broker"
)

// Kit is a broker under test, in a namespace that nobody else uses.
type Kit struct {
	// Open makes a broker as another process of the same installation has it. It is not running.
	Open func(testing.TB) broker.Broker
	// Inject puts a message with any body into a band's queue, as a stranger could. The queue
	// exists.
	Inject func(tb testing.TB, b broker.Band, body []byte)
	// Poisoned counts the messages that were put aside because they were no hints.
	Poisoned func(testing.TB) int
	// Disconnect ends all connections. The broker is back soon and has kept its messages.
	Disconnect func(testing.TB)
	// Arrived counts what has arrived at a subscription and was not taken.
	Arrived func(broker.Subscription) int
}

// Patience is how long a test waits for something that has to happen.
const Patience = 30 * time.Second

// Exercise runs the contract of package broker against the brokers that setup makes.
func Exercise(t *testing.T, setup func(testing.TB) Kit) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *bench){
		"lifecycle/run returns nil when its context ends":        runEnds,
		"lifecycle/run works once":                               runOnce,
		"lifecycle/up follows run":                               upFollowsRun,
		"lifecycle/nothing works after run":                      nothingAfterRun,
		"publish/every number arrives in its band":               numbersArrive,
		"publish/a bad hint fails alone":                         badHintFailsAlone,
		"publish/no hints is no error":                           publishNothing,
		"publish/thousands in one call":                          publishThousands,
		"publish/from many goroutines":                           publishConcurrently,
		"publish/a full hint":                                    publishFullHint,
		"subscribe/refuses nonsense":                             subscribeRefuses,
		"subscribe/before run":                                   subscribeBeforeRun,
		"subscribe/best priority first, then arrival":            strictPriority,
		"subscribe/other bands are left alone":                   otherBands,
		"subscribe/next ends with its context":                   nextEnds,
		"subscribe/prefetch bounds what is unsettled per band":   prefetchBounds,
		"subscribe/each hint goes to one of several subscribers": competing,
		"settle/acked hints never come again":                    ackedNeverAgain,
		"settle/in any order, twice, and in one call":            ackAnyOrder,
		"settle/foreign deliveries are refused":                  ackForeign,
		"settle/unsettled hints come again after close":          unsettledComeAgain,
		"pause/gives back what was not taken":                    pauseGivesBack,
		"pause/what was taken can be settled meanwhile":          pauseKeepsTaken,
		"pause/repeating it changes nothing":                     pauseTwice,
		"pause/before run":                                       pauseBeforeRun,
		"pause/resume goes on":                                   resumeGoesOn,
		"close/twice, and next says so":                          closeTwice,
		"close/a waiting next ends":                              closeEndsNext,
		"depth/counts messages, not numbers":                     depthCountsMessages,
		"depth/of a queue that does not exist":                   depthOfNothing,
		"poison/is put aside and hints go on":                    poisonPutAside,
		"session/unsettled hints come again, old acks are stale": staleAcks,
		"session/a paused subscription stays paused":             pausedOverSessions,
		"session/publishing goes on":                             publishOverSessions,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, &bench{tb: t, Kit: setup(t)})
		})
	}
}

// bench is what one test works with.
type bench struct {
	tb testing.TB
	Kit
}

func band(priority int) broker.Band { return broker.Band{Queue: "suite", Priority: priority} }

func hint(priority int, numbers ...int64) broker.Hint {
	return broker.Hint{Band: band(priority), Numbers: numbers}
}

// start opens a broker and runs it until the test or stop ends it.
func (b *bench) start() (brk broker.Broker, stop func()) {
	b.tb.Helper()
	brk = b.Open(b.tb)
	return brk, b.run(brk)
}

func (b *bench) run(brk broker.Broker) (stop func()) {
	b.tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- brk.Run(ctx) }()
	var once bool
	stop = func() {
		if once {
			return
		}
		once = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				b.tb.Errorf("Run = %v; want nil after its context ended", err)
			}
		case <-time.After(Patience):
			b.tb.Error("Run did not return after its context ended")
		}
	}
	b.tb.Cleanup(stop)
	return stop
}

// publish publishes until every hint is confirmed: a broker that is busy may refuse one.
func (b *bench) publish(brk broker.Broker, hints ...broker.Hint) {
	b.tb.Helper()
	b.eventually("published", func() bool {
		var again []broker.Hint
		for i, err := range brk.Publish(b.tb.Context(), hints) {
			switch {
			case errors.Is(err, broker.ErrUnavailable):
				b.tb.Logf("publishing again: %v", err)
				again = append(again, hints[i])
			case err != nil:
				b.tb.Fatalf("Publish of hint %d: %v", i, err)
			}
		}
		hints = again
		return len(again) == 0
	})
}

func (b *bench) subscribe(brk broker.Broker, prefetch int, priorities ...int) broker.Subscription {
	b.tb.Helper()
	bands := make([]broker.Band, len(priorities))
	for i, p := range priorities {
		bands[i] = band(p)
	}
	s, err := brk.Subscribe(bands, prefetch)
	if err != nil {
		b.tb.Fatalf("Subscribe: %v", err)
	}
	return s
}

// next wants one more delivery.
func (b *bench) next(s broker.Subscription) broker.Delivery {
	b.tb.Helper()
	ctx, cancel := context.WithTimeout(b.tb.Context(), Patience)
	defer cancel()
	d, err := s.Next(ctx)
	if err != nil {
		b.tb.Fatalf("Next: %v", err)
	}
	return d
}

// collect takes and settles deliveries until it has n numbers, and returns them sorted.
func (b *bench) collect(s broker.Subscription, n int) []int64 {
	b.tb.Helper()
	var numbers []int64
	for len(numbers) < n {
		d := b.next(s)
		numbers = append(numbers, d.Numbers...)
		b.ack(s, d)
	}
	slices.Sort(numbers)
	return numbers
}

func (b *bench) ack(s broker.Subscription, ds ...broker.Delivery) {
	b.tb.Helper()
	if err := s.Ack(ds); err != nil {
		b.tb.Fatalf("Ack: %v", err)
	}
}

func (b *bench) depth(brk broker.Broker, priority int) int {
	b.tb.Helper()
	n, err := brk.Depth(b.tb.Context(), band(priority))
	if err != nil {
		b.tb.Fatalf("Depth of %s: %v", band(priority), err)
	}
	return n
}

// eventually wants cond to become true.
func (b *bench) eventually(what string, cond func() bool) {
	b.tb.Helper()
	end := time.NewTimer(Patience)
	defer end.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-end.C:
			b.tb.Fatalf("after %s: not %s", Patience, what)
		}
	}
}

// arrived waits until exactly n deliveries have arrived and were not taken.
func (b *bench) arrived(s broker.Subscription, n int) {
	b.tb.Helper()
	b.eventually("everything arrived", func() bool { return b.Arrived(s) == n })
}

// waiting waits until a band's queue holds n messages.
func (b *bench) waiting(brk broker.Broker, priority, n int) {
	b.tb.Helper()
	var last int
	defer func() {
		if b.tb.Failed() {
			b.tb.Logf("depth of %s: %d; want %d", band(priority), last, n)
		}
	}()
	b.eventually("the wanted depth", func() bool {
		d, err := brk.Depth(b.tb.Context(), band(priority))
		if errors.Is(err, broker.ErrUnavailable) {
			return false
		}
		if err != nil {
			b.tb.Fatalf("Depth: %v", err)
		}
		last = d
		return d == n
	})
}

func (b *bench) equal(what string, got, want []int64) {
	b.tb.Helper()
	if !slices.Equal(got, want) {
		b.tb.Fatalf("%s: got %v; want %v", what, got, want)
	}
}

// count is 1 … n.
func count(n int) []int64 {
	list := make([]int64, n)
	for i := range list {
		list[i] = int64(i + 1)
	}
	return list
}
