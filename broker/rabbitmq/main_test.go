package rabbitmq_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/brokertest"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestRabbitMQFulfilsTheContract(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{rabbitmq.Classic, rabbitmq.Quorum} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			brokertest.Exercise(t, func(tb testing.TB) brokertest.Kit {
				tb.Helper()
				direct := testenv.RabbitMQ(tb)
				proxied, proxy := behindProxy(tb, direct)
				return brokertest.Kit{
					Open: func(tb testing.TB) broker.Broker {
						tb.Helper()
						return open(tb, rabbitmq.Config{URL: proxied, QueueType: kind})
					},
					Inject:     func(tb testing.TB, b broker.Band, body []byte) { tb.Helper(); inject(tb, direct, queueName(b), body) },
					Poisoned:   func(tb testing.TB) int { tb.Helper(); return depth(tb, direct, "warren.poison") },
					Disconnect: func(testing.TB) { proxy.Cut() },
					Arrived:    rabbitmq.Arrived,
				}
			})
		})
	}
}

// open opens a broker that logs to the test.
func open(tb testing.TB, cfg rabbitmq.Config) *rabbitmq.Broker {
	tb.Helper()
	if cfg.Log == nil {
		cfg.Log = zaptest.NewLogger(tb, zaptest.Level(zap.WarnLevel))
	}
	b, err := rabbitmq.Open(cfg)
	if err != nil {
		tb.Fatalf("Open: %v", err)
	}
	return b
}

// run runs b until the test or stop ends it.
func run(tb testing.TB, b *rabbitmq.Broker) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Run(ctx); err != nil {
			tb.Errorf("Run = %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	tb.Cleanup(stop)
	return stop
}

// start opens and runs a broker.
func start(tb testing.TB, cfg rabbitmq.Config) *rabbitmq.Broker {
	tb.Helper()
	b := open(tb, cfg)
	run(tb, b)
	return b
}

// behindProxy is rawURL by way of a proxy.
func behindProxy(tb testing.TB, rawURL string) (string, *testenv.Proxy) {
	tb.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		tb.Fatal(err)
	}
	p := testenv.NewProxy(tb, u.Host)
	u.Host = p.Addr()
	return u.String(), p
}

// raw is a channel of a bare client, for doing what strangers and operators do.
func raw(tb testing.TB, rawURL string) *amqp.Channel {
	tb.Helper()
	conn, err := amqp.Dial(rawURL)
	if err != nil {
		tb.Fatalf("dial: %v", err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		tb.Fatalf("channel: %v", err)
	}
	return ch
}

func inject(tb testing.TB, rawURL, queue string, body []byte) {
	tb.Helper()
	injectMessage(tb, rawURL, queue, amqp.Publishing{Body: body})
}

func injectMessage(tb testing.TB, rawURL, queue string, m amqp.Publishing) {
	tb.Helper()
	ch := raw(tb, rawURL)
	if err := ch.Confirm(false); err != nil {
		tb.Fatal(err)
	}
	c, err := ch.PublishWithDeferredConfirm("", queue, true, false, m)
	if err != nil || !c.Wait() {
		tb.Fatalf("inject into %s: %v", queue, err)
	}
}

// depth counts the messages of a queue, 0 if it does not exist.
func depth(tb testing.TB, rawURL, queue string) int {
	tb.Helper()
	q, err := raw(tb, rawURL).QueueDeclarePassive(queue, true, false, false, false, nil)
	var reply *amqp.Error
	if errors.As(err, &reply) && reply.Code == amqp.NotFound {
		return 0
	}
	if err != nil {
		tb.Fatalf("depth of %s: %v", queue, err)
	}
	return q.Messages
}

func band(priority int) broker.Band { return broker.Band{Queue: "q", Priority: priority} }

func hint(priority int, numbers ...int64) broker.Hint {
	return broker.Hint{Band: band(priority), Numbers: numbers}
}

func queueName(b broker.Band) string {
	l := rabbitmq.Topology("warren", rabbitmq.Classic, []broker.Band{b})
	return l.Queues[len(l.Queues)-1].Name
}

const patience = brokertest.Patience

// eventually wants cond to become true.
func eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	end := time.NewTimer(patience)
	defer end.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-end.C:
			tb.Fatalf("after %s: not %s", patience, what)
		}
	}
}

// publish publishes one hint and wants it confirmed.
func publish(tb testing.TB, b broker.Publisher, hints ...broker.Hint) {
	tb.Helper()
	for i, err := range b.Publish(tb.Context(), hints) {
		if err != nil {
			tb.Fatalf("Publish of hint %d: %v", i, err)
		}
	}
}

// publishEventually publishes until everything is confirmed.
func publishEventually(tb testing.TB, b broker.Publisher, hints ...broker.Hint) {
	tb.Helper()
	var last []error
	defer func() {
		if tb.Failed() {
			tb.Logf("the last answer of Publish: %v", last)
		}
	}()
	eventually(tb, "published", func() bool { last = b.Publish(tb.Context(), hints); return last == nil })
}

func subscribe(tb testing.TB, b broker.Broker, prefetch int, priorities ...int) broker.Subscription {
	tb.Helper()
	var bands []broker.Band
	for _, p := range priorities {
		bands = append(bands, band(p))
	}
	s, err := b.Subscribe(bands, prefetch)
	if err != nil {
		tb.Fatalf("Subscribe: %v", err)
	}
	return s
}

func next(tb testing.TB, s broker.Subscription) broker.Delivery {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	d, err := s.Next(ctx)
	if err != nil {
		tb.Fatalf("Next: %v", err)
	}
	return d
}

func ack(tb testing.TB, s broker.Subscription, ds ...broker.Delivery) {
	tb.Helper()
	if err := s.Ack(ds); err != nil {
		tb.Fatalf("Ack: %v", err)
	}
}

// contains fails the test when text lacks one of words.
func contains(tb testing.TB, text string, words ...string) {
	tb.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			tb.Errorf("%q does not contain %q", text, w)
		}
	}
}
