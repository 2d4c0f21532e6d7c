package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/testenv"
)

// The tests of this file and of pitfalls_server_test.go are the numbered list in the design of
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

// Pitfall 7: a queue that exists with other arguments closes the channel that declares it.
func TestPitfall07OtherArgumentsAreUsedWithAWarning(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	args := amqp.Table{"x-queue-type": "classic", "x-max-length": int64(5000)}
	if _, err := raw(t, direct).QueueDeclare(queueName(band(10)), true, false, false, false, args); err != nil {
		t.Fatal(err)
	}
	log, logs := observed()
	b := start(t, rabbitmq.Config{URL: direct, QueueType: rabbitmq.Quorum, Log: log})
	s := subscribe(t, b, 5, 10, 20)
	publish(t, b, hint(10, 1), hint(20, 2))
	for range 2 {
		ack(t, s, next(t, s))
	}
	if n := logs.FilterMessageSnippet("other arguments").Len(); n != 1 {
		t.Errorf("%d warnings about other arguments; want 1", n)
	}
}

// Pitfall 7, and the rule that topology may be managed outside: no right to configure.
func TestPitfall07WorksWithoutTheRightToConfigure(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	applyTopology(t, direct, band(10), band(20))
	b := start(t, rabbitmq.Config{URL: withRights(t, direct, "^$", "^warren.jobs$", "^warren.*")})
	s := subscribe(t, b, 5, 10, 20)
	publish(t, b, hint(10, 1), hint(20, 2))
	for range 2 {
		ack(t, s, next(t, s))
	}
	inject(t, direct, queueName(band(10)), []byte("nonsense"))
	eventually(t, "poisoned", func() bool { return depth(t, direct, "warren.poison") == 1 })
}

// Pitfall 7: what is missing and may not be made is loud and slow, for this band only.
func TestPitfall07MissingQueueIsLoudSlowAndAloneInIt(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	applyTopology(t, direct, band(10))
	log, logs := observed()
	b := start(t, rabbitmq.Config{URL: withRights(t, direct, "^$", ".*", ".*"), Log: log})
	s := subscribe(t, b, 5, 10, 20)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := s.Next(ctx); !errors.Is(err, broker.ErrConfig) {
		t.Fatalf("Next = %v; want ErrConfig", err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := s.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the second Next = %v; want it to wait: a refusal is reported once", err)
	}
	errs := b.Publish(t.Context(), []broker.Hint{hint(20, 1), hint(10, 2)})
	if len(errs) != 2 || !errors.Is(errs[0], broker.ErrConfig) || errs[1] != nil {
		t.Errorf("Publish = %v; want ErrConfig for the band that is missing only", errs)
	}
	contains(t, errs[0].Error(), queueName(band(20)), "does not exist", "grant")
	ack(t, s, next(t, s))

	before := b.Stats().Attempts
	began := time.Now()
	for time.Since(began) < 3*time.Second { // a caller in a loop makes it no faster
		_ = b.Publish(t.Context(), []broker.Hint{hint(20, 1)})
		_, _ = b.Depth(t.Context(), band(20))
	}
	if n := logs.FilterLevelExact(zap.ErrorLevel).Len(); n > 3 {
		t.Errorf("%d errors logged in %s; want at most one in 5 s", n, time.Since(began))
	}
	if n := b.Stats().Attempts; n != before {
		t.Errorf("%d new connections because one queue is missing; want none", n-before)
	}
	applyTopology(t, direct, band(20)) // the person acts
	publishEventually(t, b, hint(20, 3))
	for {
		d, err := s.Next(ctx)
		if errors.Is(err, broker.ErrConfig) { // from before
			continue
		}
		if err != nil || d.Numbers[0] != 3 {
			t.Fatalf("Next = %v, %v; want 3", d.Numbers, err)
		}
		return
	}
}

// Pitfall 7: no right to read or to write.
func TestPitfall07RefusedRightsAreErrConfig(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	applyTopology(t, direct, band(10))
	b := start(t, rabbitmq.Config{URL: withRights(t, direct, ".*", "^$", "^$")})
	s := subscribe(t, b, 5, 10)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := s.Next(ctx); !errors.Is(err, broker.ErrConfig) {
		t.Errorf("Next = %v; want ErrConfig", err)
	}
	began := time.Now()
	for time.Since(began) < 2*time.Second {
		errs := b.Publish(t.Context(), []broker.Hint{hint(10, 1)})
		if len(errs) != 1 || !errors.Is(errs[0], broker.ErrConfig) {
			t.Fatalf("Publish = %v; want ErrConfig", errs)
		}
	}
}

// Pitfall 8: the end of a stream of deliveries is never the end of the work.
func TestPitfall08DeletedQueueIsMadeAgain(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	b := start(t, rabbitmq.Config{URL: direct})
	s := subscribe(t, b, 5, 10, 20)
	for round := range int64(3) {
		publishEventually(t, b, hint(10, 10+round))
		taken := next(t, s)
		if _, err := raw(t, direct).QueueDelete(queueName(band(10)), false, false, false); err != nil {
			t.Fatal(err)
		}
		publishEventually(t, b, hint(10, 20+round))
		again := next(t, s)
		if again.Numbers[0] != 20+round {
			t.Fatalf("got %v; want %d", again.Numbers, 20+round)
		}
		if err := s.Ack([]broker.Delivery{taken}); !errors.Is(err, broker.ErrStale) {
			t.Errorf("Ack of a hint whose queue is gone = %v; want ErrStale", err)
		}
		ack(t, s, again)
	}
	if n := b.Stats().Connected; n != 2 {
		t.Errorf("%d connections were made; want 2: a deleted queue costs none", n)
	}
}

// Pitfall 8: a quorum queue that is made again at once has forgotten its consumer, and the
// consumer is not told.
func TestPitfall08DeletedQuorumQueueIsHeardAgain(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	b := open(t, rabbitmq.Config{URL: direct, QueueType: rabbitmq.Quorum})
	rabbitmq.RenewAfter(b, 2*time.Second)
	run(t, b)
	s := subscribe(t, b, 5, 10, 20)
	for round := range int64(3) {
		publishEventually(t, b, hint(10, 10+round))
		taken := next(t, s)
		for taken.Numbers[0] != 10+round { // given back with the last round's consumer
			ack(t, s, taken)
			taken = next(t, s)
		}
		ack(t, s, taken)
		ch := raw(t, direct)
		if _, err := ch.QueueDelete(queueName(band(10)), false, false, false); err != nil {
			t.Fatal(err)
		}
		// Somebody who is faster than we are makes it again.
		if _, err := ch.QueueDeclare(queueName(band(10)), true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
			t.Fatal(err)
		}
		publishEventually(t, b, hint(10, 20+round))
		again := next(t, s)
		if again.Numbers[0] != 20+round {
			t.Fatalf("got %v; want %d", again.Numbers, 20+round)
		}
		ack(t, s, again)
	}
}

// Pitfall 8: an operator closes the connections.
func TestPitfall08ClosedConnectionsComeBack(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	b := start(t, rabbitmq.Config{URL: direct})
	s := subscribe(t, b, 5, 10)
	publish(t, b, hint(10, 1))
	ack(t, s, next(t, s))
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	testenv.RabbitCtl(t, "close_all_connections", "--vhost", strings.TrimPrefix(u.Path, "/"), "a test")
	eventually(t, "reconnected", func() bool { return b.Stats().Connected >= 4 })
	publishEventually(t, b, hint(10, 2))
	ack(t, s, next(t, s))
}

// Pitfall 8: RPCs of one channel from several goroutines mix up their answers.
func TestPitfall08EverythingAtOnce(t *testing.T) {
	t.Parallel()
	proxied, proxy := behindProxy(t, testenv.RabbitMQ(t))
	b := start(t, rabbitmq.Config{URL: proxied})
	s := subscribe(t, b, 5, 10, 20)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	loop := func(do func(i int)) {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				do(i)
			}
		})
	}
	for range 3 {
		loop(func(i int) { _ = b.Publish(ctx, []broker.Hint{hint(10+10*(i%3), int64(i+1))}) })
	}
	loop(func(i int) { _, _ = b.Depth(ctx, band(10+10*(i%5))) })
	loop(func(int) {
		if d, err := s.Next(ctx); err == nil {
			_ = s.Ack([]broker.Delivery{d})
		}
	})
	loop(func(int) { _ = s.Pause(ctx); _ = s.Resume(ctx) })
	loop(func(int) {
		other, err := b.Subscribe([]broker.Band{band(30)}, 2)
		if err != nil {
			t.Errorf("Subscribe = %v", err)
			return
		}
		if d, ok := other.TryNext(); ok {
			_ = other.Ack([]broker.Delivery{d})
		}
		_ = other.Close()
	})
	tick := time.NewTicker(1500 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			proxy.Cut()
		case <-ctx.Done():
		}
	}
	wg.Wait()
	if err := s.Resume(t.Context()); err != nil {
		t.Errorf("Resume = %v", err)
	}
	publishEventually(t, b, hint(10, 1))
	ack(t, s, next(t, s))
}

// observed is a log that a test can read.
func observed() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	return zap.New(core), logs
}

// withRights is a URL for a new user of the same vhost with the given rights.
func withRights(tb testing.TB, rawURL, configure, write, read string) string {
	tb.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		tb.Fatal(err)
	}
	vhost := strings.TrimPrefix(u.Path, "/")
	name := fmt.Sprintf("rights-%d", time.Now().UnixNano())
	testenv.RabbitCtl(tb, "add_user", name, "secret")
	tb.Cleanup(func() { testenv.RabbitCtl(tb, "delete_user", name) })
	testenv.RabbitCtl(tb, "set_permissions", "-p", vhost, name, configure, write, read)
	u.User = url.UserPassword(name, "secret")
	return u.String()
}

// applyTopology makes what a program without the right to configure expects.
func applyTopology(tb testing.TB, rawURL string, bands ...broker.Band) {
	tb.Helper()
	ch := raw(tb, rawURL)
	l := rabbitmq.Topology("warren", rabbitmq.Classic, bands)
	for _, e := range l.Exchanges {
		if err := ch.ExchangeDeclare(e.Name, e.Kind, true, false, false, false, e.Args); err != nil {
			tb.Fatal(err)
		}
	}
	for _, q := range l.Queues {
		if _, err := ch.QueueDeclare(q.Name, true, false, false, false, q.Args); err != nil {
			tb.Fatal(err)
		}
		if err := ch.QueueBind(q.Name, q.Name, q.Exchange, false, nil); err != nil {
			tb.Fatal(err)
		}
	}
}
