package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"pgregory.net/rapid"

	"github.com/warrenq/warren/broker"
)

// Pitfall 1.
func TestPitfall01RecoveryStaysNil(t *testing.T) {
	t.Parallel()
	if amqpConfig(endpoint{password: keep("")}, "x").Recovery != nil {
		t.Error("Config.Recovery is set: the library would reconnect under our deliveries")
	}
}

// Pitfall 9.
func TestPitfall09Defaults(t *testing.T) {
	t.Parallel()
	c := Config{}.withDefaults()
	if c.Heartbeat != 10*time.Second || c.DialTimeout != 5*time.Second || c.ConfirmTimeout != 5*time.Second {
		t.Errorf("heartbeat %s, dial %s, confirm %s; want 10s, 5s, 5s", c.Heartbeat, c.DialTimeout, c.ConfirmTimeout)
	}
	nodes, err := parseEndpoints(Config{URL: "amqp://u:p%2F@h:1/v?heartbeat=3"}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	got := amqpConfig(nodes[0], "name")
	if got.SASL[0].Mechanism() != "PLAIN" || got.SASL[0].Response() != "\x00u\x00p/" || got.Vhost != "v" || got.Heartbeat != 3*time.Second {
		t.Errorf("config %+v; want what the URL's fields say", got.Vhost)
	}
	if got.Properties["connection_name"] != "name" {
		t.Errorf("connection name %v", got.Properties["connection_name"])
	}
}

func TestQueueTypeAuto(t *testing.T) {
	t.Parallel()
	for nodes, want := range map[int]string{1: Classic, 2: Classic, 3: Quorum, 5: Quorum} {
		if got := (Config{QueueType: Auto}).queueType(nodes); got != want {
			t.Errorf("auto on %d nodes = %s; want %s", nodes, got, want)
		}
	}
	if (Config{QueueType: Classic}).queueType(3) != Classic || (Config{QueueType: Quorum}).queueType(1) != Quorum {
		t.Error("a configured queue type is not used")
	}
}

// fakeChannel is RabbitMQ's book of unsettled tags, with its rule that an unknown one, and a
// multiple below which nothing is open, closes the channel.
type fakeChannel struct{ open []uint64 }

func (c *fakeChannel) settle(f frame) error {
	n := len(c.open)
	if f.multiple {
		c.open = slices.DeleteFunc(c.open, func(t uint64) bool { return t <= f.tag })
	} else {
		c.open = slices.DeleteFunc(c.open, func(t uint64) bool { return t == f.tag })
	}
	if len(c.open) == n {
		return fmt.Errorf("PRECONDITION_FAILED - unknown delivery tag %d", f.tag)
	}
	return nil
}

// Whatever is settled in whatever order, the broker's book and ours agree and the channel lives.
func TestTagsAgreeWithTheBroker(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var ours tags
		var theirs fakeChannel
		var last uint64
		settled := map[uint64]bool{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			for range rapid.IntRange(0, 5).Draw(t, "deliveries") {
				last++
				if !ours.add(last) || ours.add(last) {
					t.Fatalf("tag %d is not taken exactly once", last)
				}
				theirs.open = append(theirs.open, last)
			}
			list := rapid.SliceOfN(rapid.Uint64Range(0, last+2), 0, 12).Draw(t, "settle")
			frames := ours.settle(list)
			for _, f := range frames {
				if err := theirs.settle(f); err != nil {
					t.Fatalf("settle %v: %v", list, err)
				}
			}
			for _, tag := range list {
				settled[tag] = tag <= last
			}
			for tag := uint64(1); tag <= last; tag++ {
				want := !settled[tag]
				if slices.Contains(theirs.open, tag) != want || ours.holds(tag) != want {
					t.Fatalf("tag %d: open at the broker %t, here %t; want %t", tag, !want, ours.holds(tag), want)
				}
			}
		}
	})
}

func TestTagsNeedFewFrames(t *testing.T) {
	t.Parallel()
	var tg tags
	for tag := range uint64(100) {
		tg.add(tag + 1)
	}
	list := func(from, to uint64) (l []uint64) {
		for ; from <= to; from++ {
			l = append(l, from)
		}
		return l
	}
	for _, c := range []struct {
		settle []uint64
		want   []frame
	}{
		{list(1, 50), []frame{{50, true}}},
		{list(1, 50), nil},
		{[]uint64{52, 54}, []frame{{tag: 52}, {tag: 54}}},
		{[]uint64{51}, []frame{{tag: 51}}},
		{[]uint64{55, 53}, []frame{{55, true}}}, // 54 is settled
		{list(56, 100), []frame{{100, true}}},
	} {
		if got := tg.settle(c.settle); !slices.Equal(got, c.want) {
			t.Errorf("settle %v: %v; want %v", c.settle, got, c.want)
		}
	}
	if len(tg.open) != 0 {
		t.Errorf("%d tags are kept after all were settled", len(tg.open))
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for n := range 100 {
		for range 50 {
			if d := backoff(n, backoffMost); d < 100*time.Millisecond || d > 15*time.Second {
				t.Fatalf("backoff(%d) = %s; want 100 ms to 15 s", n, d)
			}
			if d := backoff(n, deafMost); d > 2*time.Second {
				t.Fatalf("backoff(%d) while nobody listens = %s; want at most 2 s", n, d)
			}
			if d := slowDelay(n); d < 5*time.Second || d > 24*time.Second {
				t.Fatalf("slowDelay(%d) = %s; want 5 s to 24 s", n, d)
			}
		}
	}
	var sum time.Duration
	for range 1000 {
		sum += backoff(50, backoffMost)
	}
	if mean := sum / 1000; mean < 6*time.Second || mean > 9*time.Second {
		t.Errorf("mean backoff %s; want the jitter to be full, about 7.5 s", mean)
	}
}

// A broker that is restarted twice in a row is found as soon as after the first time, however many attempts have failed.
func TestCeilingAfterAConnectionThatStood(t *testing.T) {
	t.Parallel()
	reset, refused := &net.OpError{Op: "read", Err: syscall.ECONNRESET}, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, c := range []struct {
		what      string
		connected bool
		err       error
		want      time.Duration
	}{
		{"a session is lost", true, reset, deafMost},
		{"nobody listens", false, refused, deafMost},
		{"a broker that resets whoever comes", false, reset, backoffMost},
	} {
		if got := ceiling(c.connected, c.err); got != c.want {
			t.Errorf("%s: at most %s, want %s", c.what, got, c.want)
		}
	}
}

func TestPaceAdmitsTwoInAnySecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p pace
		var mu sync.Mutex
		var wg sync.WaitGroup
		var at []time.Time
		for range 3 {
			wg.Go(func() {
				for range 5 {
					if err := p.wait(t.Context()); err != nil {
						t.Errorf("wait = %v", err)
					}
					mu.Lock()
					at = append(at, time.Now())
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(at) != 15 {
			t.Fatalf("%d turns; want 15", len(at))
		}
		for i := 2; i < len(at); i++ {
			if d := at[i].Sub(at[i-2]); d < time.Second {
				t.Errorf("turns %d to %d within %s; want at least 1 s", i-2, i, d)
			}
		}
		if d := at[14].Sub(at[0]); d > 8*time.Second {
			t.Errorf("15 turns took %s; want 7 s", d)
		}
	})
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		config bool
	}{
		"rights":                   {&amqp.Error{Code: 403, Server: true}, true},
		"missing":                  {&amqp.Error{Code: 404, Server: true}, true},
		"locked":                   {&amqp.Error{Code: 405, Server: true}, true},
		"other arguments":          {&amqp.Error{Code: 406, Server: true}, true},
		"vhost":                    {&amqp.Error{Code: 530, Server: true}, true},
		"shutdown":                 {&amqp.Error{Code: 320, Server: true}, false},
		"internal":                 {&amqp.Error{Code: 541, Server: true}, false},
		"made up by the library":   {amqp.ErrCredentials, false},
		"library, vhost":           {amqp.ErrVhost, false},
		"closed":                   {amqp.ErrClosed, false},
		"end of file":              {io.EOF, false},
		"refused by the kernel":    {&net.OpError{Op: "dial", Err: errors.New("connection refused")}, false},
		"classified already":       {fmt.Errorf("%w: x", broker.ErrConfig), true},
		"unavailable stays so":     {fmt.Errorf("%w: %w", broker.ErrUnavailable, &amqp.Error{Code: 406, Server: true}), false},
		"a context that has ended": {context.DeadlineExceeded, false},
	} {
		err := classify(fmt.Errorf("wrapped: %w", c.err))
		if errors.Is(err, broker.ErrConfig) != c.config || errors.Is(err, broker.ErrUnavailable) == c.config {
			t.Errorf("%s: %v; want config %t", name, err, c.config)
		}
	}
	if classify(nil) != nil {
		t.Error("classify(nil) is an error")
	}
}
