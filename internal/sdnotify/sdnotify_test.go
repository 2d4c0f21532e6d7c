package sdnotify_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/warrenq/warren/internal/sdnotify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// systemd is a socket as systemd opens it.
func systemd(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func next(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 100)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return string(buffer[:n])
}

// READY once, then WATCHDOG for as long as the process lives, and not when it stands still.
func TestRun(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	conn := systemd(t, path)
	core, logs := observer.New(zap.ErrorLevel)
	var still atomic.Bool
	asked := make(chan struct{}, 100)
	alive := func() error {
		select {
		case asked <- struct{}{}:
		default:
		}
		if still.Load() {
			return errors.New("the feed loop has stood still")
		}
		return nil
	}
	n := sdnotify.From([]string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=30000", "WATCHDOG_PID=7"}, 7)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx, alive, zap.New(core)) }()
	for i, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := next(t, conn); got != want {
			t.Fatalf("message %d is %q, want %q", i, got, want)
		}
	}
	still.Store(true)
	for range cap(asked) + 3 { // whatever was asked before has been answered
		<-asked
	}
	n.Say(ctx, "MARK", zap.NewNop())
	for range 100 {
		if got := next(t, conn); got == "MARK" {
			break
		}
	}
	for range 3 {
		<-asked
	}
	n.Say(ctx, "STOPPING=1", zap.NewNop())
	if got := next(t, conn); got != "STOPPING=1" {
		t.Errorf("a process that stands still said %q", got)
	}
	if logs.Len() == 0 {
		t.Error("nothing was logged about the standstill")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Without a socket, with one that is gone, and for another process, nothing happens.
func TestQuiet(t *testing.T) {
	t.Parallel()
	for name, environ := range map[string][]string{
		"no systemd": {"PATH=/bin"},
		"gone":       {"NOTIFY_SOCKET=" + filepath.Join(t.TempDir(), "none"), "WATCHDOG_USEC=1000"},
		"no number":  {"NOTIFY_SOCKET=@warren-none", "WATCHDOG_USEC=soon"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			n := sdnotify.From(environ, 1)
			if err := n.Run(ctx, func() error { return nil }, zap.NewNop()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A child of the service does not feed its parent's watchdog; an abstract socket works.
func TestWatchdogOfAnother(t *testing.T) {
	t.Parallel()
	name := "warren-test-" + filepath.Base(t.TempDir()) + t.Name()
	conn := systemd(t, "@"+name)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := sdnotify.From([]string{"NOTIFY_SOCKET=@" + name, "WATCHDOG_USEC=1000", "WATCHDOG_PID=8"}, 7)
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx, func() error { t.Error("asked"); return nil }, zap.NewNop()) }()
	if got := next(t, conn); got != "READY=1" {
		t.Errorf("said %q", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
