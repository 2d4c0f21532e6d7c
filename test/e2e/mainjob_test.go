package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/warrenq/warren/internal/testenv"
)

// The main job, for real: a file of jobs becomes rows, their numbers travel over RabbitMQ, and two
// consumers bound to different ranges run them side by side.
func TestImportedJobsRunInTheirRanges(t *testing.T) {
	t.Parallel()
	rabbit := testenv.NewRabbitMQ(t)
	w := newWorld(t, testenv.Postgres(t), rabbit.URL())
	var lines strings.Builder
	for i := range 400 {
		fmt.Fprintf(&lines, `{"kind":"probe","args":{"sleep":"2ms"},"priority":%d}`+"\n", 10*(i%4+1))
	}
	file := filepath.Join(w.dir, "jobs.jsonl")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := w.must(t, "producer", "import", file); out != "400 jobs published" {
		t.Errorf("import said %q", out)
	}
	for _, p := range []int{10, 20, 30, 40} {
		name := fmt.Sprintf("warren.default.p%03d", p)
		await(t, "messages in "+name, func() bool {
			for line := range strings.Lines(rabbit.Ctl("list_queues", "-q", "name", "messages")) {
				if f := strings.Fields(line); len(f) == 2 && f[0] == name && f[1] != "0" {
					return true
				}
			}
			return false
		})
	}

	urgent := w.start(t, "-p", "-20", "-c", "4")
	later := w.start(t, "-p", "25-", "-c", "4")
	w.awaitCount(t, 400, "state = 'FINISHED'")
	for _, c := range []struct {
		pid        int
		priorities string
	}{{urgent.pid(), "{10,20}"}, {later.pid(), "{30,40}"}} {
		got := w.sql(t, "SELECT array_agg(DISTINCT priority ORDER BY priority)::text FROM warren.jobs WHERE pid = $1", c.pid)
		if got != c.priorities {
			t.Errorf("consumer %d ran priorities %s, want %s", c.pid, got, c.priorities)
		}
	}
	if n := w.count(t, "attempts <> 1 OR lease_no <> 1"); n != "0" {
		t.Errorf("%s jobs had more than one attempt", n)
	}
	for _, d := range []*daemon{urgent, later} {
		d.signal(t, syscall.SIGTERM)
		if code := d.exit(t); code != 0 {
			t.Errorf("exit code %d after SIGTERM", code)
		}
	}
	if left := w.sql(t, "SELECT count(*) FROM warren.consumers"); left != "0" {
		t.Errorf("%s registrations are left", left)
	}
}

// One consumer with one slot starts jobs best priority first, whatever the order of publishing.
func TestBestPriorityFirst(t *testing.T) {
	t.Parallel()
	for name, amqp := range map[string]func(*testing.T) string{
		"rabbitmq": func(t *testing.T) string { t.Helper(); return testenv.RabbitMQ(t) },
		"postgres": func(*testing.T) string { return "none" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testenv.Postgres(t), amqp(t))
			ledger := filepath.Join(w.dir, "ledger")
			var lines strings.Builder
			for i := range 40 {
				fmt.Fprintf(&lines, `{"kind":"probe","args":{"append":%q,"sleep":"5ms"},"priority":%d}`+"\n", ledger, 10*(4-i%4))
			}
			if r := w.runIn(t, lines.String(), "producer", "import", "-"); r.code != 0 {
				t.Fatal(r.stderr)
			}
			d := w.start(t, "-c", "1")
			w.awaitCount(t, 40, "state = 'FINISHED'")
			d.signal(t, syscall.SIGTERM)
			d.exit(t)
			priority := map[string]int{}
			var started []int
			for line := range strings.Lines(readFile(t, ledger)) {
				f := strings.Fields(line)
				if f[4] != "start" {
					continue
				}
				if _, ok := priority[f[0]]; !ok {
					p, err := strconv.Atoi(w.sql(t, "SELECT priority FROM warren.jobs WHERE id = $1::text::bigint", f[0]))
					if err != nil {
						t.Fatal(err)
					}
					priority[f[0]] = p
				}
				started = append(started, priority[f[0]])
			}
			// With hints the bands arrive one after the other: what arrived first may start first.
			inversions := 0
			for i := 1; i < len(started); i++ {
				if started[i] < started[i-1] {
					inversions++
				}
			}
			if len(started) != 40 || inversions > 4 || !slices.Equal(started[len(started)-5:], []int{40, 40, 40, 40, 40}) {
				t.Errorf("started in the order %v", started)
			}
		})
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
