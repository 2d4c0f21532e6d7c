package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/internal/health"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/web"
)

// Limits of the API's listener. A body of 16 MiB has a minute, and so has an answer.
const (
	apiHeaderTimeout = 5 * time.Second
	apiReadTimeout   = time.Minute
	apiWriteTimeout  = time.Minute
	apiIdleTimeout   = 2 * time.Minute
	apiMaxHeader     = 16 << 10
	apiMaxConns      = 256
	readyWithin      = 2 * time.Second
)

// backend is what the API asks of an installation: the store, with the rules of the configuration.
type backend struct {
	jobstore.Store
	*warren.Client
	app *App
}

// Why implements web.Reader.
func (b *backend) Why(ctx context.Context, id jobstore.ID) (web.Explanation, error) {
	e, err := b.app.Why(ctx, id)
	return web.Explanation{ID: e.ID, State: e.State, Verdict: e.Verdict, Now: e.Now, Gates: e.Gates}, err
}

// OpenFile implements web.Reader.
func (b *backend) OpenFile(ctx context.Context, id jobstore.FileID) (io.ReadCloser, error) {
	return b.app.Files().OpenFile(ctx, id)
}

// ParsePriorities implements web.Reader.
func (b *backend) ParsePriorities(text string) ([]int, error) {
	return config.ParseRange(text, b.app.Config.Priorities)
}

// API makes the handler of the HTTP API. Jobs are published with client; listen is the address
// (health.Address) that the handler is going to be served on: on a loopback address only this
// machine's names are taken for the server's own. When stop is closed, streams of events end.
func (a *App) API(client *warren.Client, listen string, stop <-chan struct{}) http.Handler {
	return web.New(web.Config{
		Backend: &backend{a.Store, client, a}, Token: string(a.Config.APIToken), Hosts: hosts(listen), Stop: stop, Log: a.Log,
	})
}

// hosts are the names of a loopback address; none for another, whose names only its users know.
func hosts(listen string) []string {
	if !health.Loopback(listen) {
		return nil
	}
	own, _, _ := net.SplitHostPort(listen) // Loopback has read it
	list := []string{"localhost", "127.0.0.1", "::1"}
	if !slices.Contains(list, own) {
		list = append(list, own)
	}
	return list
}

// CheckListen says whether the API may be served on an address: others reach it only with a token.
func CheckListen(cfg *config.Config, addr string) error {
	if cfg.APIToken != "" || health.Loopback(addr) {
		return nil
	}
	return usageError{fmt.Errorf("--listen %s is reached by others, who could then publish, change and read jobs; "+
		"give the API a token with --token-file or WARREN_API_TOKEN, or listen on 127.0.0.1", addr)}
}

// APIServer is a listener of the API that is open.
type APIServer struct {
	app      *App
	listener net.Listener
	listen   string
}

// ListenAPI opens an address for the API. Until Serve, connections wait.
func (a *App) ListenAPI(ctx context.Context, addr string) (*APIServer, error) {
	if err := CheckListen(a.Config, addr); err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--listen: cannot listen; give another address: %w", err)
	}
	return &APIServer{app: a, listener: health.Limit(l, apiMaxConns), listen: addr}, nil
}

// URL is where the API is.
func (s *APIServer) URL() string { return "http://" + s.listener.Addr().String() }

// Close gives up a listener that was never served.
func (s *APIServer) Close() { _ = s.listener.Close() }

// Serve answers until ctx ends. Then nothing more is taken, and requests under way have the
// configured drain timeout, or until second is closed.
func (s *APIServer) Serve(ctx context.Context, client *warren.Client, second <-chan struct{}) error {
	server := &http.Server{
		Handler: s.handler(ctx, client), ReadHeaderTimeout: apiHeaderTimeout, ReadTimeout: apiReadTimeout, WriteTimeout: apiWriteTimeout,
		IdleTimeout: apiIdleTimeout, MaxHeaderBytes: apiMaxHeader,
		// What clients do wrong is not worth a line.
		ErrorLog: zap.NewStdLog(zap.NewNop()),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(s.listener) }()
	s.app.Log.Info("listening on "+s.URL(), zap.Bool("token", s.app.Config.APIToken != ""))
	select {
	case err := <-ended:
		return fmt.Errorf("the listener of the API has failed: %w", err)
	case <-ctx.Done():
	}
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.app.Config.DrainTimeout)
	defer cancel()
	go func() {
		select {
		case <-second:
			cancel()
		case <-bye.Done():
		}
	}()
	if server.Shutdown(bye) != nil {
		s.app.Log.Warn("requests were cut off: they took longer than the drain timeout", zap.Duration("drain_timeout", s.app.Config.DrainTimeout))
		_ = server.Close() // whatever they were doing is committed or not; their clients ask again
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		s.app.Log.Debug("the listener of the API ended badly", zap.Error(err))
	}
	s.app.Log.Info("drained")
	return nil
}

// handler adds the probes to the API. They tell nothing that needs a token. A mux would redirect
// paths that it can clean.
func (s *APIServer) handler(serving context.Context, client *warren.Client) http.Handler {
	api := s.app.API(client, s.listen, serving.Done())
	live := health.Probe(func(context.Context) error { return nil })
	ready := health.Probe(func(asked context.Context) error { return s.ready(serving, asked) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		probe := r.Method == http.MethodGet || r.Method == http.MethodHead
		switch {
		case probe && r.URL.Path == "/livez":
			live.ServeHTTP(w, r)
		case probe && r.URL.Path == "/readyz":
			ready.ServeHTTP(w, r)
		default:
			api.ServeHTTP(w, r)
		}
	})
}

// ready says whether requests can be served. It has no details: anybody may ask.
func (s *APIServer) ready(serving, asked context.Context) error {
	if serving.Err() != nil {
		return errors.New("draining")
	}
	asked, cancel := context.WithTimeout(asked, readyWithin)
	defer cancel()
	if err := s.app.Store.Check(asked); err != nil {
		s.app.Log.Debug("not ready", zap.Error(err))
		return errors.New("the database cannot be used")
	}
	return nil
}

// ServeAPI serves the API on an address until ctx ends, and announces what it publishes.
func (a *App) ServeAPI(ctx context.Context, addr string, second <-chan struct{}) error {
	server, err := a.ListenAPI(ctx, addr)
	if err != nil {
		return err
	}
	defer server.Close()
	return a.Publishing(ctx, announceWait, func(ctx context.Context, client *warren.Client) error {
		return server.Serve(ctx, client, second)
	})
}
