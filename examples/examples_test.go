// Package examples runs the examples.
package examples

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const token = "S3CR3T-CANARY-7f1c"

// install opens an installation on an empty database, with the configuration of the Python handler.
func install(t *testing.T) (a *app.App, dsn string) {
	t.Helper()
	dsn = testenv.Postgres(t)
	cfg, err := config.Load(config.Sources{
		Environ: []string{"DATABASE_URL=" + dsn, "WARREN_API_TOKEN=" + token}, ConfigPath: "python-handler/warren.yaml",
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, kind := range cfg.Kinds {
		kind.Command.Dir = "python-handler" // the tests run in this directory, people one above
		cfg.Kinds[name] = kind
	}
	if a, err = app.Open(t.Context(), cfg, app.Options{Role: "consumer", Version: "test", Stderr: t.Output()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a, dsn
}

// trouble is an API behind a bad network: the first request does not get through, the second is
// carried out and its answer is lost.
func trouble(t *testing.T, a *app.App) (address string, requests *atomic.Int32) {
	t.Helper()
	client, err := warren.NewClient(warren.ClientConfig{Store: a.Store})
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(a.API(client, "127.0.0.1:0", nil))
	t.Cleanup(api.Close)
	behind, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(behind) }}
	requests = &atomic.Int32{}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch requests.Add(1) {
		case 1:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		default:
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	return front.URL, requests
}

// run runs a program and returns what it printed; exit is the code that it must end with.
func run(t *testing.T, exit int, env []string, program string, args ...string) (stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out, complaint strings.Builder
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), &out, &complaint
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != exit {
		t.Fatalf("%s: %v, want exit code %d\n%s%s", cmd, err, exit, out.String(), complaint.String())
	}
	return out.String(), complaint.String()
}

// one returns the value that a query comes to.
func one[T any](t *testing.T, dsn, query string) (v T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := conn.QueryRow(t.Context(), query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// Each producer publishes one job, over a bad network and when it is run twice; what is wrong is
// told at once.
func TestPublishOverHTTP(t *testing.T) {
	t.Parallel()
	for script, interpreter := range map[string]struct{ program, pkg string }{
		"publish.sh": {"sh", "dash"}, "publish.py": {"python3", "python3"}, "publish.php": {"php", "php-cli"},
	} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			if script == "publish.sh" {
				testenv.Program(t, "curl", "curl")
			}
			program := testenv.Program(t, interpreter.program, interpreter.pkg)
			path := filepath.Join("http", script)
			a, dsn := install(t)
			address, requests := trouble(t, a)
			env := []string{"WARREN_URL=" + address, "WARREN_API_TOKEN=" + token}

			first, _ := run(t, 0, env, program, path, "17")
			var job struct {
				ID    int64
				State string
			}
			if err := json.Unmarshal([]byte(first), &job); err != nil || job.ID < 1 || job.State != "READY" {
				t.Errorf("printed %q, %v", first, err)
			}
			if n := requests.Load(); n != 3 {
				t.Errorf("%d requests, want 3", n)
			}
			if again, _ := run(t, 0, env, program, path, "17"); strings.TrimSpace(again) != strings.TrimSpace(first) {
				t.Errorf("the second run printed %q, the first %q", again, first)
			}
			if n := one[int](t, dsn, "SELECT count(*) FROM warren.jobs WHERE args = '{\"order\": 17}'"); n != 1 {
				t.Errorf("%d jobs were published, want 1", n)
			}

			_, complaint := run(t, 1, []string{"WARREN_URL=" + address, "WARREN_API_TOKEN=wrong"}, program, path, "18")
			if n := requests.Load(); n != 5 || !strings.Contains(complaint, "order 18 has no receipt") {
				t.Errorf("without the token: %d requests, %q", n, complaint)
			}
		})
	}
}

// The order and its job are one: run twice, there is one of each; rolled back, there is none.
func TestPublishInSQL(t *testing.T) {
	t.Parallel()
	psql := testenv.Program(t, "psql", "postgresql-client")
	_, dsn := install(t)
	for range 2 {
		run(t, 0, nil, psql, dsn, "-v", "ON_ERROR_STOP=1", "-v", "order=17", "-f", "sql/publish.sql")
	}
	if n := one[int](t, dsn, "SELECT count(*) FROM example_orders"); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
	if n := one[int](t, dsn, "SELECT count(*) FROM warren.jobs WHERE kind = 'receipt' AND args = '{\"order\": 17}'"); n != 1 {
		t.Errorf("%d jobs, want 1", n)
	}
	run(t, 3, nil, psql, dsn, "-v", "ON_ERROR_STOP=1", "-v", "order=18 / 0", "-f", "sql/publish.sql")
	if n := one[int](t, dsn, "SELECT count(*) FROM warren.jobs"); n != 1 {
		t.Errorf("%d jobs after a failure, want 1", n)
	}
}

// The Python handler's exit codes become states, and its second run finds what the first has done.
func TestPythonHandler(t *testing.T) {
	testenv.Program(t, "python3", "python3")
	receipts := t.TempDir()
	a, dsn := install(t)
	work := func() {
		t.Helper()
		if err := a.Consume(t.Context(), app.ConsumerOptions{UntilEmpty: true}); err != nil {
			t.Fatal(err)
		}
	}
	publish := func(order string) string {
		t.Helper()
		id := one[int64](t, dsn, "SELECT warren.enqueue('receipt', jsonb_build_object('order', "+order+"))")
		return fmt.Sprintf("SELECT state FROM warren.jobs WHERE id = %d", id)
	}
	t.Setenv("RECEIPTS", receipts)
	good, wrong := publish("17"), publish("'x'")
	work()
	if state := one[string](t, dsn, good); state != "FINISHED" {
		t.Errorf("a good order: %s", state)
	}
	if state := one[string](t, dsn, wrong); state != "PERMANENTLY_FAILED" {
		t.Errorf("a wrong order: %s", state)
	}
	output := "SELECT output::text FROM warren.jobs WHERE args = '{\"order\": 17}'"
	first := one[string](t, dsn, output)
	one[int](t, dsn, "UPDATE warren.jobs SET state = 'BACK_TO_BROKER', attempts = 1 WHERE args = '{\"order\": 17}' RETURNING 1")
	work()
	if again := one[string](t, dsn, output); again != first || !strings.Contains(first, `"order": 17`) {
		t.Errorf("the second run's output: %s, the first one's: %s", again, first)
	}
	if files, err := filepath.Glob(filepath.Join(receipts, "*")); err != nil || len(files) != 1 {
		t.Errorf("receipts: %v, %v", files, err)
	}

	if err := os.WriteFile(filepath.Join(receipts, "closed"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	later := publish("18")
	work()
	if state := one[string](t, dsn, later); state != "WAITING" {
		t.Errorf("while it is closed: %s", state)
	}
	t.Setenv("RECEIPTS", filepath.Join(receipts, "closed", "deeper")) // below a file nothing can be made
	again := publish("19")
	work()
	if state := one[string](t, dsn, again); state != "TEMPORARILY_FAILED" {
		t.Errorf("when writing fails: %s", state)
	}
}
