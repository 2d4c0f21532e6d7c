package rabbitmq_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/testenv"
)

// listen accepts connections until the test ends, counts them, and serves each in a goroutine.
func listen(t *testing.T, serve func(net.Conn)) (addr string, count *atomic.Int64) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	count = &atomic.Int64{}
	var served sync.WaitGroup
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			count.Add(1)
			served.Go(func() { serve(c) })
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done; served.Wait() })
	return l.Addr().String(), count
}

// Invariant 12: no hot loop, at most two connection attempts a second in a process, and few lines.
func TestOutageMakesNoHotLoop(t *testing.T) {
	t.Parallel()
	const window = 6 * time.Second
	for name, serve := range map[string]func(net.Conn){
		"a broker that hangs up":       func(c net.Conn) { _ = c.Close() },
		"something that is no broker":  func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")); _ = c.Close() },
		"a broker of another protocol": func(c net.Conn) { _, _ = c.Write([]byte("AMQP\x00\x01\x00\x00")); _ = c.Close() },
		"a broker that resets": func(c net.Conn) {
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, count := listen(t, serve)
			log, logs := observed()
			b := start(t, rabbitmq.Config{URL: "amqp://u:" + canary + "@" + addr, Log: log})
			s := subscribe(t, b, 5, 10)
			ctx, cancel := context.WithTimeout(t.Context(), window)
			defer cancel()
			asked := 0
			for ctx.Err() == nil { // callers in a hot loop of their own
				errs := b.Publish(ctx, []broker.Hint{hint(10, 1)})
				if len(errs) != 1 || !errors.Is(errs[0], broker.ErrUnavailable) {
					t.Fatalf("Publish = %v; want ErrUnavailable", errs)
				}
				if strings.Contains(errs[0].Error(), canary) {
					t.Fatalf("the password shows: %v", errs[0])
				}
				_, _ = b.Depth(ctx, band(10))
				_, _ = s.TryNext()
				asked++
			}
			most := int64(2*window/time.Second) + 2
			if n := count.Load(); n > most || n < 2 {
				t.Errorf("%d connections in %s for %d questions; want 2 to %d", n, window, asked, most)
			}
			if n := logs.Len(); n > 5*int(window/time.Second) {
				t.Errorf("%d log lines in %s; want at most 5 a second", n, window)
			}
			if strings.Contains(fmt.Sprint(logs.All()), canary) {
				t.Error("the password is in the log")
			}
		})
	}
}

// A port where nobody listens costs nobody anything, and is looked at often enough.
func TestClosedPortIsTriedOftenButNotHot(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	b := start(t, rabbitmq.Config{URL: "amqp://" + addr})
	eventually(t, "many attempts", func() bool { return b.Stats().Attempts >= 4 })
	before := b.Stats().Attempts
	timer := time.NewTimer(8 * time.Second)
	defer timer.Stop()
	<-timer.C
	if n := b.Stats().Attempts - before; n < 4 || n > 18 {
		t.Errorf("%d attempts in 8 s; want 4 to 18", n)
	}
}

// A wrong password is loud and slow, reported by everything, and mended by a person.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	direct := testenv.RabbitMQ(t)
	good := withRights(t, direct, ".*", ".*", ".*")
	u, err := url.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	user := u.User.Username()
	u.User = url.UserPassword(user, canary)
	log, logs := observed()
	b := start(t, rabbitmq.Config{URL: u.String(), Log: log})
	s := subscribe(t, b, 5, 10)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = s.Next(ctx)
	if !errors.Is(err, broker.ErrConfig) {
		t.Fatalf("Next = %v; want ErrConfig", err)
	}
	contains(t, err.Error(), "ACCESS_REFUSED")
	eventually(t, "publish says so too", func() bool {
		errs := b.Publish(t.Context(), []broker.Hint{hint(10, 1)})
		return len(errs) == 1 && errors.Is(errs[0], broker.ErrConfig)
	})
	if _, err := b.Depth(t.Context(), band(10)); !errors.Is(err, broker.ErrConfig) {
		t.Errorf("Depth = %v; want ErrConfig", err)
	}
	before := b.Stats().Attempts
	timer := time.NewTimer(4 * time.Second)
	defer timer.Stop()
	<-timer.C
	if n := b.Stats().Attempts - before; n > 2 {
		t.Errorf("%d attempts in 4 s after the refusal; want at most one for each connection", n)
	}
	if logs.FilterLevelExact(zap.ErrorLevel).FilterMessageSnippet("refuses this program").Len() < 2 {
		t.Error("the log does not say that a person has to act")
	}
	if strings.Contains(fmt.Sprint(logs.All(), err), canary) {
		t.Error("the password shows")
	}
	testenv.RabbitCtl(t, "change_password", user, canary)
	eventually(t, "up after the password was changed", b.Up)
	publishEventually(t, b, hint(10, 1))
	drainErrConfig(t, s)
}

// drainErrConfig takes one delivery, past refusals of before.
func drainErrConfig(t *testing.T, s broker.Subscription) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		d, err := s.Next(ctx)
		if errors.Is(err, broker.ErrConfig) {
			continue
		}
		if err != nil {
			t.Fatalf("Next = %v", err)
		}
		ack(t, s, d)
		return
	}
}

func TestMissingVhost(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(testenv.RabbitMQ(t))
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/there-is-no-such-vhost"
	b := start(t, rabbitmq.Config{URL: u.String(), Log: zap.NewNop()})
	s := subscribe(t, b, 5, 10)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = s.Next(ctx)
	if !errors.Is(err, broker.ErrConfig) {
		t.Fatalf("Next = %v; want ErrConfig", err)
	}
	contains(t, err.Error(), "there-is-no-such-vhost", "not found")
}

// A program that has published one job waits no longer for a broker that hangs than it has to.
func TestABrokerThatHangsIsNotWaitedForAtTheEnd(t *testing.T) {
	t.Parallel()
	proxied, proxy := behindProxy(t, testenv.RabbitMQ(t))
	b := open(t, rabbitmq.Config{URL: proxied, Heartbeat: time.Minute, ConfirmTimeout: time.Minute})
	stop := run(t, b)
	publishEventually(t, b, hint(10, 1))
	eventually(t, "up", b.Up)
	proxy.BlackHole(true)
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	select {
	case <-stopped:
	case <-late.C:
		t.Error("after 20 s it still waits for an answer to its goodbye")
		proxy.Cut()
		<-stopped
	}
}

// Before Run there is nothing to do but wait, as long as the caller likes.
func TestPublishWaitsForRun(t *testing.T) {
	t.Parallel()
	b := open(t, rabbitmq.Config{URL: testenv.RabbitMQ(t), ConfirmTimeout: 300 * time.Millisecond})
	errs := b.Publish(t.Context(), []broker.Hint{hint(10, 1)})
	if len(errs) != 1 || !errors.Is(errs[0], broker.ErrUnavailable) {
		t.Errorf("Publish without Run = %v; want ErrUnavailable", errs)
	}
	run(t, b)
	publishEventually(t, b, hint(10, 2))
}
