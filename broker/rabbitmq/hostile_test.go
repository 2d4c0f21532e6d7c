package rabbitmq_test

import (
	"bytes"
	"io"
	"math/rand"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/testenv"
)

// Security A2: nothing but the body counts, whatever the headers and properties say.
func TestHeadersChangeNothing(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	b := start(t, rabbitmq.Config{URL: direct})
	s := subscribe(t, b, 50, 10, 20)
	publish(t, b, hint(10, 1))
	ack(t, s, next(t, s))

	nested := amqp.Table{"leaf": int32(1)}
	for range 100 {
		nested = amqp.Table{"deeper": nested, "list": []any{nested["leaf"], "x", []byte{0, 1}}}
	}
	wide := amqp.Table{}
	for i := range 10_000 { // more than the library parses
		wide[strconv.Itoa(i)] = true
	}
	messages := []amqp.Publishing{
		{Headers: nested},
		{Headers: wide},
		{Headers: amqp.Table{"x-death": "not a list", "priority": "0", "queue": 5, "id": -1}},
		{Headers: amqp.Table{"x-death": []any{amqp.Table{"count": int64(1 << 40), "queue": "warren.q.p020"}}}},
		{Headers: amqp.Table{"x-warren-queue": "other", "x-warren-reason": "\x1b[31m\n"}},
		{Type: "warren.poison", AppId: strings.Repeat("a", 255), MessageId: "9223372036854775807"},
		{ContentType: "application/json", ContentEncoding: "gzip", ReplyTo: "warren.poison"},
		{Priority: 255, Timestamp: time.Unix(1<<40, 0), DeliveryMode: amqp.Transient, CorrelationId: "\x00\xff"},
	}
	for _, m := range messages {
		m.Body = []byte("7 8")
		injectMessage(t, direct, queueName(band(10)), m)
		d := next(t, s)
		if d.Band != band(10) || len(d.Numbers) != 2 || d.Numbers[0] != 7 || d.Numbers[1] != 8 || d.Redelivered {
			t.Errorf("headers %.80v made %+v of it", m.Headers, d)
		}
		ack(t, s, d)
	}
	if n := b.Stats().Poison; n != 0 {
		t.Errorf("%d counted as poison; want 0", n)
	}
}

// Security A1: a flood of rubbish ends in a bounded queue and few lines of log, each acked once.
func TestFloodOfPoison(t *testing.T) {
	t.Parallel()
	const flood = 3000
	direct := testenv.RabbitMQ(t)
	log, logs := observed()
	b := start(t, rabbitmq.Config{URL: direct, Log: log})
	s := subscribe(t, b, 20, 10)
	publish(t, b, hint(10, 1))
	ack(t, s, next(t, s))
	ch := raw(t, direct)
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var last *amqp.DeferredConfirmation
	for range flood {
		c, err := ch.PublishWithDeferredConfirm("", queueName(band(10)), true, false, amqp.Publishing{Body: []byte("rubbish")})
		if err != nil {
			t.Fatal(err)
		}
		last = c
	}
	last.Wait()
	publishEventually(t, b, hint(10, 2))
	if d := next(t, s); d.Numbers[0] != 2 {
		t.Errorf("got %v; want 2", d.Numbers)
	}
	eventually(t, "all poisoned", func() bool { return b.Stats().Poison == flood })
	eventually(t, "the queue of poison is full", func() bool { return depth(t, direct, "warren.poison") == 1000 })
	if n, most := logs.FilterMessageSnippet("no hint").Len(), int(time.Since(began)/time.Second)+2; n > most {
		t.Errorf("%d lines about poison in %s; want at most %d", n, time.Since(began), most)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
}

// Security A1: the largest body that a broker takes by default costs a copy of its beginning.
func TestHugePoisonIsCutShort(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	b := start(t, rabbitmq.Config{URL: direct})
	s := subscribe(t, b, 2, 10)
	publish(t, b, hint(10, 1))
	ack(t, s, next(t, s))
	inject(t, direct, queueName(band(10)), make([]byte, 16<<20))
	eventually(t, "poisoned", func() bool { return depth(t, direct, "warren.poison") == 1 })
	m, ok, err := raw(t, direct).Get("warren.poison", false)
	if err != nil || !ok {
		t.Fatalf("Get = %t, %v", ok, err)
	}
	if len(m.Body) != broker.MaxBody {
		t.Errorf("the copy has %d bytes; want %d", len(m.Body), broker.MaxBody)
	}
	if m.Headers["x-warren-queue"] != queueName(band(10)) || m.Headers["x-warren-reason"] == nil {
		t.Errorf("headers %v; want where it came from and why", m.Headers)
	}
}

// Security A4: bytes that are changed on the way end a session at worst.
func TestMangledFramesEndASessionAtWorst(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	var mangle atomic.Bool
	address := mangler(t, direct, &mangle)
	b := open(t, rabbitmq.Config{
		URL: address, Heartbeat: time.Second, ConfirmTimeout: 300 * time.Millisecond,
		DialTimeout: time.Second, Log: zap.NewNop(),
	})
	rabbitmq.RenewAfter(b, 2*time.Second) // a mangled consumer tag is no delivery of ours, and no error
	run(t, b)
	s := subscribe(t, b, 5, 10, 20)
	publishEventually(t, b, hint(10, 1))
	mangle.Store(true)
	began := time.Now()
	for time.Since(began) < 10*time.Second {
		_ = b.Publish(t.Context(), []broker.Hint{hint(10, 1, 2, 3), hint(20, 4)})
		_, _ = b.Depth(t.Context(), band(10))
		if d, ok := s.TryNext(); ok {
			_ = s.Ack([]broker.Delivery{d})
		}
	}
	mangle.Store(false)
	t.Logf("%d connections", b.Stats().Connected)
	publishEventually(t, b, hint(10, 99))
	eventually(t, "99 arrives", func() bool {
		for {
			d, ok := s.TryNext()
			if !ok {
				return false
			}
			if s.Ack([]broker.Delivery{d}) == nil && d.Numbers[0] == 99 {
				return true
			}
		}
	})
}

// mangler is rawURL by way of a proxy that changes a byte of what the broker sends now and then.
func mangler(t *testing.T, rawURL string, on *atomic.Bool) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewSource(seed))
	var mu sync.Mutex
	change := func(p []byte) {
		mu.Lock()
		defer mu.Unlock()
		// A confirm (basic.ack) is left alone. The library counts up to whatever number it names, one by
		// one: a changed byte there can keep it busy for years. That takes a broker that lies, and we
		// trust ours with that much.
		if on.Load() && len(p) > 0 && !bytes.Contains(p, []byte{0, 60, 0, 80}) && dice.Intn(20) == 0 {
			p[dice.Intn(len(p))] ^= byte(1 + dice.Intn(255))
		}
	}
	upstream := u.Host
	u.Host, _ = listen(t, func(c net.Conn) { relay(mangledConn{c, change}, upstream) })
	return u.String()
}

type mangledConn struct {
	net.Conn
	change func([]byte)
}

func (c mangledConn) Write(p []byte) (int, error) {
	q := append([]byte(nil), p...)
	c.change(q)
	return c.Conn.Write(q)
}

// ReadFrom hides the embedded connection's, which would go around Write.
func (c mangledConn) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c}, r)
}
