package rabbitmq_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/testenv"
)

// The tests of this file, of pitfalls_channel_test.go and of pitfalls_server_test.go are the numbered list in the design of
// the protocol, section 4: what bites with this client and this broker.

// Pitfall 1: after the library's own recovery the ack of an old delivery settled the new one that
// had its number.
func TestPitfall01OldAckNeverSettlesANewDeliveryOfTheSameNumber(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	proxied, proxy := behindProxy(t, direct)
	b := start(t, rabbitmq.Config{URL: proxied})
	s := subscribe(t, b, 10, 10)
	publish(t, b, hint(10, 1), hint(10, 2), hint(10, 3))
	eventually(t, "arrived", func() bool { return rabbitmq.Arrived(s) == 3 })
	old := []broker.Delivery{next(t, s), next(t, s), next(t, s)}

	proxy.Cut()
	eventually(t, "arrived again", func() bool { return rabbitmq.Arrived(s) == 3 })
	fresh := []broker.Delivery{next(t, s), next(t, s), next(t, s)}
	for i := range old {
		if rabbitmq.Tag(old[i]) != rabbitmq.Tag(fresh[i]) {
			t.Fatalf("tags %d and %d: the test proves nothing unless they are the same", rabbitmq.Tag(old[i]), rabbitmq.Tag(fresh[i]))
		}
	}
	for _, d := range old {
		if err := s.Ack([]broker.Delivery{d}); !errors.Is(err, broker.ErrStale) {
			t.Errorf("Ack of an old delivery = %v; want ErrStale", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if n := depth(t, direct, queueName(band(10))); n != 3 {
		t.Errorf("%d hints are left; want all 3: stale acks settle nothing", n)
	}
}

// Pitfall 1: the library gives up after 5 attempts and knows one URL.
func TestPitfall01RedialsAllNodesForEver(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	one, proxyOne := behindProxy(t, direct)
	two, proxyTwo := behindProxy(t, direct)
	proxyOne.Refuse(true)
	proxyTwo.Refuse(true)
	b := start(t, rabbitmq.Config{URL: one + "," + two})
	eventually(t, "12 failed attempts", func() bool { return b.Stats().Attempts >= 12 })
	if b.Up() {
		t.Fatal("up, although both nodes refuse")
	}
	proxyTwo.Refuse(false)
	eventually(t, "up by way of the second node", b.Up)
	publish(t, b, hint(10, 1))

	proxyOne.Refuse(false)
	proxyTwo.Refuse(true)
	proxyTwo.Cut()
	publishEventually(t, b, hint(10, 2)) // by way of the first
	if n := depth(t, direct, queueName(band(10))); n < 2 {
		t.Errorf("depth %d; want 2", n)
	}
}

// Pitfall 2: a broker that is silent during the handshake must not hold the attempt for ever.
func TestPitfall02SilentHandshakeEndsByTheDialTimeout(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	proxied, proxy := behindProxy(t, direct)
	proxy.BlackHole(true)
	b := start(t, rabbitmq.Config{URL: proxied, DialTimeout: 500 * time.Millisecond})
	eventually(t, "several attempts", func() bool { return b.Stats().Attempts >= 6 })
	if errs := b.Publish(t.Context(), []broker.Hint{hint(10, 1)}); len(errs) != 1 || !errors.Is(errs[0], broker.ErrUnavailable) {
		t.Errorf("Publish = %v; want ErrUnavailable: a silent node is no wrong password", errs)
	}
	proxy.BlackHole(false)
	publishEventually(t, b, hint(10, 2))
}

// Pitfall 2: a connection that falls silent right after the handshake went unnoticed for 30 s at a
// heartbeat of 2 s.
func TestPitfall02SilenceIsNoticedWithinTwoHeartbeats(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	proxied, proxy := behindProxy(t, direct)
	b := start(t, rabbitmq.Config{URL: proxied, Heartbeat: 2 * time.Second, DialTimeout: time.Second})
	eventually(t, "up", b.Up)
	proxy.BlackHole(true)
	began := time.Now()
	eventually(t, "noticed", func() bool { return !b.Up() })
	if d := time.Since(began); d > 8*time.Second {
		t.Errorf("noticed after %s; want about 3 s", d)
	}
	proxy.BlackHole(false)
	publishEventually(t, b, hint(10, 1))
}

// Pitfall 2, the other way round: a connection on which nothing happens is not a silent one.
func TestPitfall02IdleConnectionsStay(t *testing.T) {
	t.Parallel()
	b := start(t, rabbitmq.Config{URL: testenv.RabbitMQ(t), Heartbeat: time.Second, DialTimeout: 5 * time.Second})
	subscribe(t, b, 5, 10)
	eventually(t, "up", b.Up)
	before := b.Stats().Connected
	timer := time.NewTimer(8 * time.Second)
	defer timer.Stop()
	<-timer.C
	if n := b.Stats().Connected - before; n > 0 || !b.Up() {
		t.Errorf("%d new connections within eight heartbeats of nothing to do; want none", n)
	}
}

// Pitfall 3: Publish of the library returns nil into a black hole, 1000 of 1000 times.
func TestPitfall03NothingIsConfirmedByABlackHole(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	proxied, proxy := behindProxy(t, direct)
	b := start(t, rabbitmq.Config{URL: proxied, ConfirmTimeout: time.Second})
	publish(t, b, hint(10, 1_000_000)) // and the queue is known
	proxy.BlackHole(true)
	hints := make([]broker.Hint, 1000)
	for i := range hints {
		hints[i] = hint(10, int64(i+1))
	}
	began := time.Now()
	errs := b.Publish(t.Context(), hints)
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("Publish took %s; want about the confirm timeout of 1 s", d)
	}
	if len(errs) != len(hints) {
		t.Fatalf("%d errors for %d hints", len(errs), len(hints))
	}
	for i, err := range errs {
		if !errors.Is(err, broker.ErrUnavailable) {
			t.Fatalf("hint %d: %v; want ErrUnavailable", i, err)
		}
	}
	contains(t, errs[0].Error(), "no confirm within 1s")
}

// Pitfall 3: a caller's own deadline counts too.
func TestPitfall03PublishObeysItsContext(t *testing.T) {
	t.Parallel()
	proxied, proxy := behindProxy(t, testenv.RabbitMQ(t))
	b := start(t, rabbitmq.Config{URL: proxied, ConfirmTimeout: time.Hour, Heartbeat: time.Hour})
	publish(t, b, hint(10, 1))
	proxy.BlackHole(true)
	defer proxy.Cut()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	errs := b.Publish(ctx, []broker.Hint{hint(10, 2)})
	if len(errs) != 1 || !errors.Is(errs[0], broker.ErrUnavailable) || !errors.Is(errs[0], context.DeadlineExceeded) {
		t.Errorf("Publish = %v; want ErrUnavailable because of the deadline", errs)
	}
}

// Pitfall 4: a message to a queue that is gone is confirmed, and returned on another Go channel.
func TestPitfall04ConfirmedButUnroutableIsDeclaredAndSentAgain(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	b := start(t, rabbitmq.Config{URL: direct})
	publish(t, b, hint(10, 1), hint(20, 2))
	for round := range 20 {
		if _, err := raw(t, direct).QueueDelete(queueName(band(10)), false, false, false); err != nil {
			t.Fatal(err)
		}
		publish(t, b, hint(20, 3), hint(10, 4), hint(20, 5))
		if n := depth(t, direct, queueName(band(10))); n != 1 {
			t.Fatalf("round %d: depth %d after a confirmed publish; want 1", round, n)
		}
	}
	if n := b.Stats().Returned; n != 20 {
		t.Errorf("%d returns counted; want 20", n)
	}
}

// Pitfall 4: the exchange may be gone as well; that closes the channel.
func TestPitfall04MissingExchangeIsDeclaredAgain(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	b := start(t, rabbitmq.Config{URL: direct})
	publish(t, b, hint(10, 1))
	for range 5 {
		if err := raw(t, direct).ExchangeDelete("warren.jobs", false, false); err != nil {
			t.Fatal(err)
		}
		publish(t, b, hint(10, 2))
	}
	if n := depth(t, direct, queueName(band(10))); n != 6 {
		t.Errorf("depth %d; want 6", n)
	}
}

// Pitfall 4: what is unroutable for good is no success.
func TestPitfall04UnroutableForGoodIsAnError(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	publish(t, start(t, rabbitmq.Config{URL: direct}), hint(10, 1))
	// Somebody else made the queue and did not bind it, and we may not.
	ch := raw(t, direct)
	if err := ch.QueueUnbind(queueName(band(10)), queueName(band(10)), "warren.jobs", nil); err != nil {
		t.Fatal(err)
	}
	b := start(t, rabbitmq.Config{URL: withRights(t, direct, "^$", "^warren.jobs$", ".*")})
	for range 3 {
		errs := b.Publish(t.Context(), []broker.Hint{hint(10, 2)})
		if len(errs) != 1 || !errors.Is(errs[0], broker.ErrConfig) {
			t.Fatalf("Publish = %v; want ErrConfig", errs)
		}
		contains(t, errs[0].Error(), queueName(band(10)))
	}
}

// Pitfall 6: a notification that nobody reads stops the library's reader.
func TestPitfall06ThousandsOfReturnsAreDrained(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	b := start(t, rabbitmq.Config{URL: direct})
	publish(t, b, hint(10, 1))
	ch := raw(t, direct)
	for range 3 {
		if _, err := ch.QueueDelete(queueName(band(10)), false, false, false); err != nil {
			t.Fatal(err)
		}
		hints := make([]broker.Hint, 3000)
		for i := range hints {
			hints[i] = hint(10, int64(i+1))
		}
		publish(t, b, hints...)
		if n := depth(t, direct, queueName(band(10))); n != 3000 {
			t.Fatalf("depth %d; want 3000: each exactly once", n)
		}
	}
}
