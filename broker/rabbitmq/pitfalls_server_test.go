package rabbitmq_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/testenv"
)

// TestPitfallsOfABrokenServer are the pitfalls that need a server to be broken: one server, one
// test after the other.
func TestPitfallsOfABrokenServer(t *testing.T) { //nolint:tparallel // the subtests break the same server
	t.Parallel()
	server := testenv.NewRabbitMQ(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *testenv.RabbitServer)
	}{
		{"05 publish times out while an alarm blocks and consuming goes on", alarmBlocksPublishOnly},
		{"05 closing a blocked connection does not hang", closeWhileBlocked},
		{"05 a full socket does not hang", fullSocket},
		{"05 poison does not stop a band while an alarm blocks", poisonWhileBlocked},
		{"08 a channel that the broker closes is replaced alone", consumerTimeout},
		{"purged", purge},
		{"02 a broker that freezes right after the handshake is noticed", freezeAfterConnect},
		{"02 a frozen broker comes back and nothing is lost", freezeAndThaw},
		{"killed, and used again within two seconds of its return", killAndReturn},
		{"wiped", wipe},
	} {
		if !t.Run(test.name, func(t *testing.T) { test.run(t, server) }) {
			return // the next would inherit a broken server
		}
	}
}

func freezeAfterConnect(t *testing.T, server *testenv.RabbitServer) {
	t.Helper()
	b := start(t, rabbitmq.Config{URL: server.URL(), Prefix: "early", Heartbeat: 2 * time.Second, DialTimeout: time.Second})
	eventually(t, "up", b.Up)
	began := time.Now()
	server.Freeze()
	defer server.Thaw()
	eventually(t, "noticed", func() bool { return !b.Up() })
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("noticed after %s; want about 3 s at a heartbeat of 2 s", d)
	}
	t.Logf("noticed after %s", time.Since(began))
}

func freezeAndThaw(t *testing.T, server *testenv.RabbitServer) {
	t.Helper()
	b := start(t, rabbitmq.Config{
		URL: server.URL(), Prefix: "freeze", Heartbeat: 2 * time.Second,
		DialTimeout: time.Second, ConfirmTimeout: time.Second,
	})
	s := subscribe(t, b, 10, 10)
	publishEventually(t, b, hint(10, 1))
	taken := next(t, s)
	server.Freeze()
	errs := b.Publish(t.Context(), []broker.Hint{hint(10, 2)})
	if len(errs) != 1 || !errors.Is(errs[0], broker.ErrUnavailable) {
		t.Errorf("Publish to a frozen broker = %v; want ErrUnavailable", errs)
	}
	eventually(t, "noticed", func() bool { return !b.Up() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Pause(ctx); err != nil {
		t.Errorf("Pause without a session = %v; want nil at once", err)
	}
	server.Thaw()
	publishEventually(t, b, hint(10, 3))
	if err := s.Resume(t.Context()); err != nil {
		t.Errorf("Resume = %v", err)
	}
	if err := s.Ack([]broker.Delivery{taken}); !errors.Is(err, broker.ErrStale) {
		t.Errorf("Ack of before = %v; want ErrStale", err)
	}
	drain(t, s, 1, 3) // 1 again, 3; 2 is unknown
}

// drain takes and settles until every one of numbers has come.
func drain(t *testing.T, s broker.Subscription, numbers ...int64) {
	t.Helper()
	missing := map[int64]bool{}
	for _, n := range numbers {
		missing[n] = true
	}
	for len(missing) > 0 {
		d := next(t, s)
		for _, n := range d.Numbers {
			delete(missing, n)
		}
		if err := s.Ack([]broker.Delivery{d}); err != nil && !errors.Is(err, broker.ErrStale) {
			t.Fatalf("Ack = %v", err)
		}
	}
}

// alarm raises the memory alarm until lower, or the end of the test.
func alarm(t *testing.T, server *testenv.RabbitServer) (lower func()) {
	t.Helper()
	server.Ctl("set_vm_memory_high_watermark", "0.00001")
	lowered := false
	lower = func() {
		if !lowered {
			lowered = true
			server.Ctl("set_vm_memory_high_watermark", "absolute", "512MiB")
		}
	}
	t.Cleanup(lower)
	return lower
}

func alarmBlocksPublishOnly(t *testing.T, server *testenv.RabbitServer) {
	t.Helper()
	b := start(t, rabbitmq.Config{URL: server.URL(), Prefix: "alarm", ConfirmTimeout: 2 * time.Second})
	s := subscribe(t, b, 2, 10)
	for n := range int64(10) {
		publishEventually(t, b, hint(10, n+1))
	}
	lower := alarm(t, server)
	began := time.Now()
	for range 2 {
		errs := b.Publish(t.Context(), []broker.Hint{hint(10, 100)})
		if len(errs) != 1 || !errors.Is(errs[0], broker.ErrUnavailable) {
			t.Errorf("Publish during an alarm = %v; want ErrUnavailable", errs)
		}
		contains(t, errs[0].Error(), "blocked publishers")
	}
	errs := b.Publish(t.Context(), []broker.Hint{hint(77, 100)}) // needs a declaration first
	if len(errs) != 1 || !errors.Is(errs[0], broker.ErrUnavailable) {
		t.Errorf("Publish to a new band during an alarm = %v; want ErrUnavailable", errs)
	}
	if d := time.Since(began); d > 15*time.Second {
		t.Errorf("three publishes took %s; want the confirm timeout of 2 s each", d)
	}
	for n := range int64(10) { // more than the prefetch: acks reach the broker
		d := next(t, s)
		if d.Numbers[0] != n+1 {
			t.Errorf("got %v; want %d", d.Numbers, n+1)
		}
		ack(t, s, d)
	}
	if err := s.Pause(t.Context()); err != nil {
		t.Errorf("Pause during an alarm = %v", err)
	}
	if _, err := b.Depth(t.Context(), band(10)); err != nil {
		t.Errorf("Depth during an alarm = %v", err)
	}
	lower()
	publishEventually(t, b, hint(10, 200))
	if err := s.Resume(t.Context()); err != nil {
		t.Errorf("Resume = %v", err)
	}
	drain(t, s, 200)
}

func closeWhileBlocked(t *testing.T, server *testenv.RabbitServer) {
	t.Helper()
	b := open(t, rabbitmq.Config{URL: server.URL(), Prefix: "blocked", ConfirmTimeout: time.Second})
	stop := run(t, b)
	publishEventually(t, b, hint(10, 1))
	lower := alarm(t, server)
	defer lower()
	_ = b.Publish(t.Context(), []broker.Hint{hint(10, 2)})
	began := time.Now()
	stop()
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("Run took %s to end; want about the confirm timeout of 1 s", d)
	}
}

// fullSocket: a broker that blocks a connection does not read from it, and then a write waits.
func fullSocket(t *testing.T, server *testenv.RabbitServer) {
	t.Helper()
	b := open(t, rabbitmq.Config{
		URL: server.URL(), Prefix: "full", ConfirmTimeout: time.Second, DialTimeout: 2 * time.Second,
	})
	stop := run(t, b)
	publishEventually(t, b, hint(10, 1))
	lower := alarm(t, server)
	defer lower()
	hints := make([]broker.Hint, 1000) // 20 MB, more than the sockets between us hold
	for i := range hints {
		hints[i] = hint(10, slices.Repeat([]int64{math.MaxInt64}, broker.MaxNumbers)...)
	}
	began := time.Now()
	errs := b.Publish(t.Context(), hints)
	if d := time.Since(began); d > 15*time.Second {
		t.Errorf("Publish took %s; want a write to end after 2 s and the confirms after 1 s", d)
	}
	if len(errs) != len(hints) || !errors.Is(errs[len(errs)-1], broker.ErrUnavailable) {
		t.Errorf("Publish = %d errors; want ErrUnavailable for each", len(errs))
	}
	began = time.Now()
	stop()
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("Run took %s to end", d)
	}
}

func poisonWhileBlocked(t *testing.T, server *testenv.RabbitServer) {
	t.Helper()
	const prefix = "pblock"
	log, logs := observed()
	b := start(t, rabbitmq.Config{URL: server.URL(), Prefix: prefix, ConfirmTimeout: 500 * time.Millisecond, Log: log})
	s := subscribe(t, b, 2, 10)
	publishEventually(t, b, hint(10, 1))
	ack(t, s, next(t, s))
	if err := s.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 4 { // twice the prefetch
		inject(t, server.URL(), prefix+".q.p010", []byte("rubbish\x1b[31m"))
	}
	inject(t, server.URL(), prefix+".q.p010", []byte("42"))
	lower := alarm(t, server)
	if err := s.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := next(t, s)
	for d.Numbers[0] == 1 { // was published again, because its confirm was late
		ack(t, s, d)
		d = next(t, s)
	}
	if d.Numbers[0] != 42 {
		t.Errorf("got %v; want 42", d.Numbers)
	}
	dropped := logs.FilterMessageSnippet("is dropped")
	if dropped.Len() == 0 {
		t.Error("poison was dropped without a word")
	}
	for _, e := range dropped.All() {
		contains(t, e.ContextMap()["body"].(string), `rubbish\x1b`)
	}
	if n := b.Stats().Poison; n != 4 {
		t.Errorf("%d poison counted; want 4", n)
	}
	lower()
}

// consumerTimeout: the broker closes a channel whose delivery is not acked for too long.
func consumerTimeout(t *testing.T, server *testenv.RabbitServer) {
	t.Helper()
	set := func(timeout, tick string) {
		server.Ctl("eval", "application:set_env(rabbit,consumer_timeout,"+timeout+"), application:set_env(rabbit,channel_tick_interval,"+tick+").")
	}
	set("1000", "500")
	defer set("1800000", "60000")
	b := start(t, rabbitmq.Config{URL: server.URL(), Prefix: "timeout"})
	s := subscribe(t, b, 5, 10, 20)
	publishEventually(t, b, hint(10, 1), hint(20, 2))
	one := next(t, s)
	two := next(t, s)
	ack(t, s, two)
	again := next(t, s)
	if again.Numbers[0] != 1 || !again.Redelivered {
		t.Fatalf("got %v, redelivered %t; want 1 again", again.Numbers, again.Redelivered)
	}
	if err := s.Ack([]broker.Delivery{one}); !errors.Is(err, broker.ErrStale) {
		t.Errorf("Ack of the closed channel's delivery = %v; want ErrStale", err)
	}
	ack(t, s, again)
	publishEventually(t, b, hint(20, 3))
	drain(t, s, 3)
	if n := b.Stats().Connected; n != 2 {
		t.Errorf("%d connections were made; want 2: one channel is no reason for another", n)
	}
}

func killAndReturn(t *testing.T, server *testenv.RabbitServer) {
	t.Helper()
	b := start(t, rabbitmq.Config{URL: server.URL(), Prefix: "kill"})
	s := subscribe(t, b, 5, 10)
	publishEventually(t, b, hint(10, 1), hint(10, 2))
	ack(t, s, next(t, s))
	taken := next(t, s)
	before := b.Stats().Attempts
	began := time.Now()
	server.Kill()
	server.Start()
	returned := time.Now()
	publishEventually(t, b, hint(10, 3))
	t.Logf("published %s after the port was open again; down for %s, %d attempts",
		time.Since(returned), returned.Sub(began), b.Stats().Attempts-before)
	if d := time.Since(returned); d > 5*time.Second { // the goal is 2 s on a machine that is free
		t.Errorf("back %s after the port was open; want about 2 s", d)
	}
	if n, limit := b.Stats().Attempts-before, uint64(2*time.Since(began)/time.Second)+3; n > limit {
		t.Errorf("%d connection attempts in %s; want at most 2 a second", n, time.Since(began))
	}
	if err := s.Ack([]broker.Delivery{taken}); !errors.Is(err, broker.ErrStale) {
		t.Errorf("Ack of before = %v; want ErrStale", err)
	}
	drain(t, s, 2, 3) // persistent: what was confirmed is there
}

func purge(t *testing.T, server *testenv.RabbitServer) {
	t.Helper()
	b := start(t, rabbitmq.Config{URL: server.URL(), Prefix: "purge"})
	s := subscribe(t, b, 1, 10)
	for n := range int64(5) {
		publishEventually(t, b, hint(10, n+1))
	}
	taken := next(t, s)
	server.Ctl("purge_queue", "purge.q.p010")
	ack(t, s, taken)
	publishEventually(t, b, hint(10, 9))
	if d := next(t, s); d.Numbers[0] != 9 {
		t.Errorf("got %v; want 9", d.Numbers)
	}
}

func wipe(t *testing.T, server *testenv.RabbitServer) {
	t.Helper()
	b := start(t, rabbitmq.Config{URL: server.URL(), Prefix: "wipe"})
	s := subscribe(t, b, 5, 10)
	publishEventually(t, b, hint(10, 1))
	taken := next(t, s)
	server.Wipe()
	publishEventually(t, b, hint(10, 2), hint(20, 3))
	if d := next(t, s); d.Numbers[0] != 2 {
		t.Errorf("got %v; want 2: exchange and queue are made again", d.Numbers)
	}
	if err := s.Ack([]broker.Delivery{taken}); !errors.Is(err, broker.ErrStale) {
		t.Errorf("Ack of before = %v; want ErrStale", err)
	}
}
