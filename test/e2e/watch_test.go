package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/testenv"
)

// listens waits until the consumer says where it listens.
func (d *daemon) listens(t *testing.T) string {
	t.Helper()
	said := regexp.MustCompile(`"listen":"([^"]+)"`)
	var addr string
	await(t, "the consumer listens", func() bool {
		if found := said.FindStringSubmatch(d.log.tail(1 << 20)); found != nil {
			addr = found[1]
		}
		return addr != ""
	})
	return addr
}

func ask(t *testing.T, addr, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// Probes tell alive, ready and draining apart, through an outage of the broker too, and metrics
// count what ran. Nobody's visits are logged.
func TestProbesAndMetrics(t *testing.T) {
	t.Parallel()
	rabbit := testenv.NewRabbitMQ(t)
	w := newWorld(t, testenv.Postgres(t), rabbit.URL())
	w.must(t, "producer", "publish", "probe")
	w.must(t, "producer", "publish", "once", "--args", `{"outcome":"temporary"}`)
	d := w.start(t, "--listen", "0", "-c", "4", "--pprof")
	addr := d.listens(t)
	if !strings.HasPrefix(addr, "127.0.0.1:") {
		t.Errorf("a port alone listens at %s", addr)
	}
	w.awaitCount(t, 2, "finished_at IS NOT NULL")
	await(t, "the consumer is ready", func() bool { code, _ := ask(t, addr, "/readyz"); return code == 200 })
	if r := w.run(t, "consumer", "health", addr); r.code != 0 || r.stdout != "ok\n" {
		t.Errorf("consumer health: %+v", r)
	}
	_, text := ask(t, addr, "/metrics")
	for _, sample := range []string{
		`warren_finished_total{kind="probe",outcome="done",queue="default"} 1`,
		`warren_finished_total{kind="once",outcome="failed",queue="default"} 1`,
		`warren_backlog{band="10",queue="default",state="READY"} 0`, `warren_backlog{band="50",queue="media",state="READY"} 0`,
		`warren_worker_slots{state="idle"} 4`, "warren_broker_up 1", "warren_database_up 1", "warren_outbox_pending 0",
		`warren_run_seconds_count{kind="probe",queue="default"} 1`, `warren_wait_seconds_count{kind="probe",queue="default"} 1`,
	} {
		if !strings.Contains(text, sample+"\n") {
			t.Errorf("no sample %s", sample)
		}
	}
	if code, _ := ask(t, addr, "/debug/pprof/"); code != 200 {
		t.Errorf("profiles: %d", code)
	}

	rabbit.Stop()
	await(t, "not ready without the broker", func() bool {
		code, text := ask(t, addr, "/readyz")
		return code == 503 && strings.Contains(text, "the broker is not connected")
	})
	if code, text := ask(t, addr, "/livez"); code != 200 {
		t.Errorf("an outage of the broker is no reason to restart: %d %s", code, text)
	}
	rabbit.Start()
	await(t, "ready again", func() bool { code, _ := ask(t, addr, "/readyz"); return code == 200 })

	gate := filepath.Join(w.dir, "gate")
	w.must(t, "producer", "publish", "probe", "--args", fmt.Sprintf(`{"sleep":"6s","append":%q}`, gate))
	w.awaitCount(t, 1, "state = 'PROCESSING'")
	before := strings.Count(d.log.tail(1<<20), "\n")
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/nothing"} {
		ask(t, addr, path)
	}
	if now := d.log.tail(1 << 20); strings.Count(now, "\n") != before {
		t.Errorf("visits are logged:\n%s", now)
	}
	d.signal(t, syscall.SIGTERM)
	await(t, "draining", func() bool {
		code, text := ask(t, addr, "/readyz")
		return code == 503 && strings.Contains(text, "draining")
	})
	if code, text := ask(t, addr, "/livez"); code != 200 {
		t.Errorf("a consumer that drains is alive: %d %s", code, text)
	}
	if code := d.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	w.awaitCount(t, 2, "state = 'FINISHED'")
	if r := w.run(t, "consumer", "health", addr); r.code != 1 {
		t.Errorf("consumer health of nobody: %+v", r)
	}
}

// systemd hears READY, then the watchdog, and STOPPING when the drain begins; the watchdog goes on
// while it drains.
func TestSystemdIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Postgres(t), "none")
	path := filepath.Join(w.dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	next := func() string {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 100)
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		return string(buffer[:n])
	}
	w.env = append(w.env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=300000")
	w.must(t, "producer", "publish", "probe", "--args", `{"sleep":"6s"}`)
	d := w.start(t)
	for _, want := range []string{"READY=1", "WATCHDOG=1", "WATCHDOG=1"} {
		if got := next(); got != want {
			t.Fatalf("systemd heard %q, want %q", got, want)
		}
	}
	w.awaitCount(t, 1, "state = 'PROCESSING'")
	d.signal(t, syscall.SIGTERM)
	for heard := ""; heard != "STOPPING=1"; {
		heard = next()
	}
	if got := next(); got != "WATCHDOG=1" {
		t.Errorf("while it drains systemd heard %q", got)
	}
	if code := d.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// Failures reach the webhook, a quarantine too, and one that never answers slows no job.
func TestNotices(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Postgres(t), "none")
	told := make(chan string, 100)
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var n struct {
			Type, State string
			ID          int64
		}
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			t.Error(err)
		}
		<-release
		told <- fmt.Sprintf("%s %d %s", n.Type, n.ID, n.State)
	}))
	defer server.Close()
	text := kinds + "notify: {attempts: 2, webhook: \"" + server.URL + "/S3CR3T\"}\n"
	if err := os.WriteFile(filepath.Join(w.dir, "warren.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.must(t, "warren", "migrate", "up")
	w.must(t, "producer", "publish", "quick", "--args", `{"outcome":"temporary"}`) // job 1: three attempts
	for range 20 {
		w.must(t, "producer", "publish", "probe")
	}
	// What is left of a consumer that died with a job for the third time.
	w.sql(t, `INSERT INTO warren.consumers (host, pid, expires_at) VALUES ('gone', 1, now() - interval '1 h')`)
	w.sql(t, `INSERT INTO warren.jobs (id, state, queue, kind, priority, holder, attempts, crashes, lease_no)
		SELECT 1000, 'PROCESSING', 'default', 'probe', 10, max(id), 3, 2, 3 FROM warren.consumers`)
	d := w.start(t)
	w.awaitCount(t, 20, "state = 'FINISHED'")
	w.awaitCount(t, 1, "state = 'PERMANENTLY_FAILED'")
	w.awaitCount(t, 1, "state = 'QUARANTINED'")
	if len(told) != 0 {
		t.Error("the webhook has answered: the jobs may have waited for it")
	}
	close(release)
	got := map[string]bool{}
	for range 3 {
		select {
		case one := <-told:
			got[one] = true
		case <-time.After(patience):
			t.Fatalf("only these were told: %v", got)
		}
	}
	for _, want := range []string{"job.failing 1 TEMPORARILY_FAILED", "job.failed 1 PERMANENTLY_FAILED", "job.quarantined 1000 QUARANTINED"} {
		if !got[want] {
			t.Errorf("not told: %s; told: %v", want, got)
		}
	}
	d.signal(t, syscall.SIGTERM)
	d.exit(t)
	if strings.Contains(d.log.tail(1<<20), "S3CR3T") {
		t.Error("the webhook's secret is in the log")
	}
}
