package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/web"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const configuration = `
kinds:
  probe: {probe: {}}
  mail: {probe: {}, queue: post, priority: 20}
`

// rig is the API as 'producer serve' has it, on a listener of its own.
type rig struct {
	testing.TB

	app  *app.App
	url  string
	log  *buffer
	stop context.CancelFunc
	done chan struct{}
}

// buffer is a log that a test reads while it is written.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// serve starts the API on a database of its own, until the test ends.
func serve(tb testing.TB, env ...string) *rig {
	tb.Helper()
	return serveOn(tb, testenv.Postgres(tb), env...)
}

// serveOn is serve on a database that others use too.
func serveOn(tb testing.TB, dsn string, env ...string) *rig {
	tb.Helper()
	cfg, err := config.Load(config.Sources{
		Environ: append([]string{"DATABASE_URL=" + dsn, "WARREN_LOG_FORMAT=json"}, env...), ConfigPath: "warren.yaml",
		ReadFile: func(string) ([]byte, error) { return []byte(configuration), nil },
	})
	if err != nil {
		tb.Fatal(err)
	}
	r := &rig{TB: tb, log: &buffer{}, done: make(chan struct{})}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	if r.app, err = app.Open(ctx, cfg, app.Options{Role: "producer", Version: "test", Stderr: r.log}); err != nil {
		tb.Fatal(err)
	}
	server, err := r.app.ListenAPI(ctx, "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r.url = server.URL()
	go func() {
		defer close(r.done)
		err := r.app.Publishing(ctx, 0, func(ctx context.Context, client *warren.Client) error { return server.Serve(ctx, client, nil) })
		if err != nil {
			tb.Error(err)
		}
	}()
	tb.Cleanup(func() {
		r.stop()
		<-r.done
		r.app.Close()
	})
	return r
}

// reply is what came back.
type reply struct {
	*http.Response

	body []byte
}

// client follows no redirects: there are none.
func (r *rig) client() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// ask sends a request. A body is JSON unless the headers, "Name: value", say otherwise; a Host is
// a header too.
func (r *rig) ask(method, path, body string, headers ...string) reply {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, given := strings.Cut(header, ": ")
		if !given {
			continue
		}
		if name == "Host" {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	res, err := r.client().Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		r.Fatal(err)
	}
	return reply{res, text}
}

// want asks, and fails the test unless the answer has this status.
func (r *rig) want(status int, method, path, body string, headers ...string) reply {
	r.Helper()
	got := r.ask(method, path, body, headers...)
	if got.StatusCode != status {
		r.Fatalf("%s %s %.200s: %s, want %d\n%s", method, path, body, got.Status, status, got.body)
	}
	return got
}

// read decodes an answer.
func read[T any](r *rig, got reply) (v T) {
	r.Helper()
	if err := json.Unmarshal(got.body, &v); err != nil {
		r.Fatalf("%v in %s", err, got.body)
	}
	return v
}

// missing asks for what is not there, and wants a problem that says so.
func (r *rig) missing(kind, detail, path string, headers ...string) {
	r.Helper()
	p := read[web.Problem](r, r.want(404, "GET", path, "", headers...))
	if p.Type != "urn:warren:problem:"+kind || p.Detail != detail {
		r.Errorf("%s: %+v, want a %s: %s", path, p, kind, detail)
	}
}
