package rabbitmq_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/testenv"
)

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
