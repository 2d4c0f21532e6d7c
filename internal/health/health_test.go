package health_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAddress(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"9090": "127.0.0.1:9090", ":9090": "127.0.0.1:9090", "0": "127.0.0.1:0", "0.0.0.0:80": "0.0.0.0:80",
		"[::1]:80": "[::1]:80", "localhost:80": "localhost:80",
	} {
		if got, err := health.Address(in); err != nil || got != want {
			t.Errorf("%q is %q (%v), want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "x", "127.0.0.1", ":", "::1", "h:http", "h:65536", "h:-1", "h:080", "http://h:80"} {
		if got, err := health.Address(in); err == nil {
			t.Errorf("%q is %q, want an error", in, got)
		}
	}
}

// serve runs a server until the test ends.
func serve(t *testing.T, cfg health.Config) string {
	t.Helper()
	cfg.Addr, cfg.Log = "0", zap.NewNop()
	if cfg.Alive == nil {
		cfg.Alive = func() error { return nil }
	}
	if cfg.Ready == nil {
		cfg.Ready = func(context.Context) error { return nil }
	}
	if cfg.Metrics == nil {
		cfg.Metrics = http.NotFoundHandler()
	}
	s, err := health.Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s.Addr()
}

func get(t *testing.T, addr, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(string(body))
}

// What only this machine reaches, a page in a browser on it reaches too, by a name of its own that it lets lead here.
func TestALoopbackListenerGoesByItsOwnNames(t *testing.T) {
	t.Parallel()
	addr := serve(t, health.Config{Profiles: true})
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		"localhost:" + port: 200, "127.0.0.1": 200, "[::1]:" + port: 200, "LOCALHOST": 200,
		"evil.example:" + port: 421, "evil.example": 421, "localhost.evil.example": 421, "10.0.0.1:" + port: 421,
	} {
		for _, path := range []string{"/livez", "/debug/pprof/cmdline"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s of %s: %d, want %d", path, host, res.StatusCode, want)
			}
		}
	}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	var still, draining atomic.Bool
	addr := serve(t, health.Config{
		Alive: func() error {
			if still.Load() {
				return errors.New("the sweep loop has stood still for 2m0s")
			}
			return nil
		},
		Ready: func(context.Context) error {
			if draining.Load() {
				return errors.New("draining")
			}
			return nil
		},
	})
	check := func(path string, code int, text string) {
		t.Helper()
		if c, body := get(t, addr, path); c != code || body != text {
			t.Errorf("%s: %d %q, want %d %q", path, c, body, code, text)
		}
	}
	check("/livez", 200, "ok")
	check("/readyz", 200, "ok")
	if err := health.Ask(t.Context(), addr); err != nil {
		t.Error(err)
	}
	draining.Store(true)
	check("/livez", 200, "ok")
	check("/readyz", 503, "draining")
	still.Store(true)
	check("/livez", 503, "the sweep loop has stood still for 2m0s")
	if err := health.Ask(t.Context(), addr); err == nil || !strings.Contains(err.Error(), "sweep") {
		t.Errorf("asked: %v", err)
	}
	if c, _ := get(t, addr, "/debug/pprof/"); c != 404 {
		t.Errorf("profiles without being asked for: %d", c)
	}
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	addr := serve(t, health.Config{Profiles: true})
	if c, body := get(t, addr, "/debug/pprof/goroutine?debug=1"); c != 200 || !strings.Contains(body, "goroutine profile") {
		t.Errorf("%d %.100q", c, body)
	}
	_, err := health.Listen(t.Context(), health.Config{Addr: "0.0.0.0:0", Profiles: true, Log: zap.NewNop()})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("profiles for everybody: %v", err)
	}
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	addr := serve(t, health.Config{})
	_, err := health.Listen(t.Context(), health.Config{Addr: addr, Log: zap.NewNop()})
	if err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("error %v, want one that names %s", err, addr)
	}
	if err := health.Ask(t.Context(), "1"); err == nil {
		t.Error("a port that nobody listens at is alive")
	}
}

// Somebody who never ends a request is let go; one who sends too much is refused.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	addr := serve(t, health.Config{})
	slow, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slow.Close() }()
	if _, err := io.WriteString(slow, "GET /livez HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	large, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = large.Close() }()
	// The server may hang up before all of it was sent.
	_, _ = io.WriteString(large, "GET /livez HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(large), nil); err == nil {
		_ = res.Body.Close()
		if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a large header: %s", res.Status)
		}
	}
	if err := slow.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(slow); err != nil {
		t.Errorf("the slow client was not let go: %v", err)
	}
}
