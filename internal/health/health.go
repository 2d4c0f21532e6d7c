// Package health is the listener for those who watch a consumer: probes, Prometheus, and profiles
// for people who debug. It serves no user and has no authentication.
package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Config says what a Server serves.
type Config struct {
	// Addr is HOST:PORT. A port alone, with or without its colon, is one of 127.0.0.1.
	Addr string
	// Alive and Ready return nil, or what is wrong.
	Alive   func() error
	Ready   func(ctx context.Context) error
	Metrics http.Handler // nil = there is no /metrics
	// Profiles adds /debug/pprof/. It is refused unless Addr is a loopback address.
	Profiles bool
	Log      *zap.Logger
}

// Limits of the listener. Nobody sends more than a request line, and slow clients are let go.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 90 * time.Second // a profile takes 30 s unless told otherwise
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10
	maxConns      = 256
)

// Address makes HOST:PORT of what a person has typed.
func Address(text string) (string, error) {
	const want = "want a port, such as 9090, or HOST:PORT"
	addr := text
	if !strings.Contains(addr, ":") {
		addr = ":" + addr
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("%q is no address: %s", text, want)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "", fmt.Errorf("%q has no port from 0 to 65535; %s", text, want)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// Loopback reports whether only this machine reaches the address.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// Server is a listener that is open.
type Server struct {
	listener net.Listener
	server   *http.Server
	log      *zap.Logger
}

// Listen opens the address. Run serves it; until then connections wait.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	addr, err := Address(cfg.Addr)
	if err != nil {
		return nil, err
	}
	if cfg.Profiles && !Loopback(addr) {
		return nil, fmt.Errorf("profiles on %s would show this program's memory, secrets included, to others; listen on 127.0.0.1, or leave profiles out", addr)
	}
	cfg.Addr = addr
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen; give another address: %w", err)
	}
	return &Server{
		listener: Limit(l, maxConns), log: cfg.Log,
		server: &http.Server{
			Handler: handler(cfg), ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
			IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
			// What clients do wrong is not worth a line.
			ErrorLog: zap.NewStdLog(zap.NewNop()),
		},
	}, nil
}

// Addr is where it listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx ends. A listener that fails is no reason to stop running jobs.
func (s *Server) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- s.server.Serve(s.listener) }()
	select {
	case err := <-ended:
		s.log.Error("the listener for probes and metrics has failed; going on without it", zap.Error(err))
		<-ctx.Done()
		return nil
	case <-ctx.Done():
	}
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if s.server.Shutdown(bye) != nil {
		_ = s.server.Close() // a profile under way is cut short
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		s.log.Debug("the listener for probes and metrics ended badly", zap.Error(err))
	}
	return nil
}

// Close gives up a listener that was never run.
func (s *Server) Close() { _ = s.listener.Close() }

func handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /livez", Probe(func(context.Context) error { return cfg.Alive() }))
	mux.Handle("GET /readyz", Probe(cfg.Ready))
	if cfg.Metrics != nil {
		mux.Handle("GET /metrics", cfg.Metrics)
	}
	if cfg.Profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	all := http.MaxBytesHandler(mux, 1<<10)
	if Loopback(cfg.Addr) {
		all = local(all)
	}
	return all
}

// local answers only who asks by a name of this machine: what only this machine reaches, a page in a browser on it reaches
// too, once its own name leads here.
func local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = strings.Trim(r.Host, "[]")
		}
		if ip := net.ParseIP(host); !strings.EqualFold(host, "localhost") && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "the Host header names another machine; ask for localhost or 127.0.0.1", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Probe answers 200 when check returns nil, else 503 with its words.
func Probe(check func(ctx context.Context) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, check(r.Context())) })
}

func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, err)
		return
	}
	fmt.Fprintln(w, "ok")
}

// Ask asks /livez of a process on this machine and returns nil when it says that it is alive.
func Ask(ctx context.Context, addr string) error {
	addr, err := Address(addr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, headerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/livez", http.NoBody)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: it is this machine
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("nobody answers: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	text := make([]byte, 500)
	n, _ := res.Body.Read(text) // a status without words is one too
	if res.StatusCode != http.StatusOK {
		return errors.New("not alive: " + strings.TrimSpace(string(text[:n])))
	}
	return nil
}
