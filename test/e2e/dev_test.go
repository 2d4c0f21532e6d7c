package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/warrenq/warren/internal/testenv"
)

// embedded is an installation on a SQLite file, without a server.
func embedded(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, "", "none")
	w.dsn = "sqlite:" + filepath.Join(w.dir, "data", "warren.db")
	w.env[0] = "DATABASE_URL=" + w.dsn
	if err := os.Mkdir(filepath.Join(w.dir, "data"), 0o750); err != nil {
		t.Fatal(err)
	}
	return w
}

// states counts jobs with `warren stats`, which works on every database.
func (w *world) states(t *testing.T) map[string]int {
	t.Helper()
	var stats struct{ Total map[string]int }
	if err := json.Unmarshal([]byte(w.must(t, "warren", "stats", "-o", "json")), &stats); err != nil {
		t.Fatal(err)
	}
	return stats.Total
}

// api waits until a server says where its API is.
func (d *daemon) api(t *testing.T) string {
	t.Helper()
	address := regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+`)
	url := ""
	await(t, "the API's address", func() bool { url = address.FindString(d.log.String()); return url != "" })
	return url
}

func postJob(t *testing.T, api, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, api+"/api/v1/jobs", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusCreated {
		t.Fatalf("POST answers %s", answer.Status)
	}
}

// One command, no server: samples run, others may publish from a second terminal, and Ctrl-C drains.
func TestDev(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	d := w.daemon(t, "warren", "dev", "--data", "data", "--listen", "127.0.0.1:0")
	api := d.api(t)
	await(t, "every kind of outcome", func() bool {
		text := d.log.String()
		return strings.Contains(text, "TEMPORARILY_FAILED after") && strings.Contains(text, "PERMANENTLY_FAILED after") &&
			regexp.MustCompile(`[0-9]{2,} FINISHED`).MatchString(text)
	})
	id := w.must(t, "producer", "publish", "probe", "--priority", "10", "--identifier", "mine")
	postJob(t, api, `{"kind":"probe","identifier":"theirs"}`)
	for _, who := range []string{"mine", "theirs"} {
		await(t, who+" to run", func() bool {
			return strings.Contains(w.must(t, "warren", "jobs", "list", "--identifier", who), "FINISHED")
		})
	}
	if out := w.must(t, "warren", "why", id); !strings.Contains(out, "FINISHED") {
		t.Errorf("why says %q", out)
	}
	d.signal(t, syscall.SIGINT)
	if code := d.exit(t); code != 0 || !strings.Contains(d.log.String(), "\ndrained. Attempts in this run: ") {
		t.Errorf("exit code %d", code)
	}
	if n := w.states(t)["PROCESSING"]; n != 0 {
		t.Errorf("%d jobs are left PROCESSING", n)
	}
}

// kill -9 in the middle of work loses nothing, and the next run goes on at once, because the file's
// lock says that everybody else is dead.
func TestDevKilled(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	const jobs = 400
	d := w.daemon(t, "warren", "dev", "--no-demo", "--data", "data", "--listen", "127.0.0.1:0")
	d.api(t)
	lines := strings.Repeat(`{"kind":"probe","args":{"sleep":"200ms"}}`+"\n", jobs)
	if r := w.runIn(t, lines, "producer", "import", "-"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	for range 2 { // a third crash of one job would quarantine it
		before := w.states(t)["FINISHED"]
		await(t, "some to finish", func() bool { n := w.states(t)["FINISHED"]; return n > before || n == jobs })
		d.signal(t, syscall.SIGKILL)
		<-d.done
		postponed := w.must(t, "producer", "publish", "probe", "--delay", "1h") // beside nobody
		w.must(t, "warren", "jobs", "cancel", postponed, "--yes")
		d = w.daemon(t, "warren", "dev", "--no-demo", "--data", "data", "--listen", "127.0.0.1:0")
		d.api(t)
	}
	await(t, "all to finish", func() bool { return w.states(t)["FINISHED"] == jobs })
	if r := w.run(t, "warren", "jobs", "list", "--state", "QUARANTINED", "-o", "json"); strings.TrimSpace(r.stdout) != "[]" {
		t.Errorf("quarantined: %s", r.stdout)
	}
}

// A file has one consumer. Whoever comes second is told so; producers and operators are welcome.
func TestSecondConsumerOnAFile(t *testing.T) {
	t.Parallel()
	w := embedded(t)
	first := w.start(t)
	await(t, "the consumer", func() bool {
		return strings.Contains(w.must(t, "warren", "consumers", "list", "-o", "json"), `"alive": true`)
	})
	for _, second := range [][]string{
		{"consumer", "run"}, {"consumer", "process"}, {"warren", "dev", "--no-demo", "--data", "data", "--listen", "127.0.0.1:0"},
	} {
		r := w.run(t, second[0], second[1:]...)
		if r.code != 4 || !strings.Contains(r.stderr, fmt.Sprintf("process %d", first.pid())) {
			t.Errorf("%v: exit %d, %q", second, r.code, r.stderr)
		}
	}
	w.must(t, "producer", "publish", "probe")
	await(t, "the first to go on", func() bool { return w.states(t)["FINISHED"] == 1 })
	first.signal(t, syscall.SIGTERM)
	if code := first.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	// Cron on a shared host: one pass, and nothing left.
	w.must(t, "producer", "publish", "probe")
	w.must(t, "consumer", "process")
	if n := w.states(t)["FINISHED"]; n != 2 {
		t.Errorf("%d jobs are FINISHED after a pass, want 2", n)
	}
}

// The same program works on a file, on PostgreSQL, and on PostgreSQL and RabbitMQ: only the
// addresses differ.
func TestDevOnEveryInstallation(t *testing.T) {
	t.Parallel()
	for _, one := range []struct {
		name string
		make func(t *testing.T) *world
	}{
		{"SQLite", embedded},
		{"PostgreSQL", func(t *testing.T) *world { t.Helper(); return newWorld(t, testenv.Postgres(t), "none") }},
		{"PostgreSQL and RabbitMQ", func(t *testing.T) *world {
			t.Helper()
			return newWorld(t, testenv.Postgres(t), testenv.RabbitMQ(t))
		}},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			w := one.make(t)
			d := w.daemon(t, "warren", "dev", "--no-demo", "--listen", "127.0.0.1:0")
			postJob(t, d.api(t), `[{"kind":"probe"},{"kind":"quick","args":{"fail_times":1}},{"kind":"media","delay":"1s"}]`)
			w.must(t, "producer", "publish", "probe", "--serial-group", "g")
			await(t, "all four to finish", func() bool { return w.states(t)["FINISHED"] == 4 })
			d.signal(t, syscall.SIGTERM)
			if code := d.exit(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}
