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
	"time"

	"github.com/warrenq/warren/internal/testenv"
)

// interval is one run of a handler as the ledger tells it; end 0 = it never ended.
type interval struct{ start, end int64 }

// intervals reads the ledger that probes append to: id attempt lease pid start|end unix_nanos group.
func intervals(t *testing.T, ledger string) []interval {
	t.Helper()
	runs := map[string]*interval{}
	for line := range strings.Lines(readFile(t, ledger)) {
		f := strings.Fields(line)
		if len(f) != 7 {
			t.Fatalf("ledger line %q", line)
		}
		at, err := strconv.ParseInt(f[5], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		key := f[0] + "/" + f[2]
		if runs[key] == nil {
			runs[key] = &interval{}
		}
		if f[4] == "start" {
			runs[key].start = at
		} else {
			runs[key].end = at
		}
	}
	var out []interval
	for _, r := range runs {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b interval) int { return int(a.start - b.start) })
	return out
}

// A recurring job goes on through kills: never two at once, and it never stops.
func TestRecurringThroughKills(t *testing.T) {
	t.Parallel()
	for name, amqp := range map[string]func(*testing.T) string{
		"rabbitmq": func(t *testing.T) string { t.Helper(); return testenv.RabbitMQ(t) },
		"postgres": func(*testing.T) string { return "none" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			recurThroughKills(t, newWorld(t, testenv.Postgres(t), amqp(t)))
		})
	}
}

func recurThroughKills(t *testing.T, w *world) {
	t.Helper()
	ledger := filepath.Join(w.dir, "ledger")
	span := 30 * time.Second
	if longRun() {
		span = time.Minute
	}
	w.must(t, "producer", "publish", "probe", "--mode", "recurring", "--identifier", "tick", "--every", "1s",
		"--args", fmt.Sprintf(`{"sleep":"100ms","append":%q}`, ledger))
	consumers := []*daemon{w.start(t), w.start(t)}
	began := time.Now()
	kills := 0
	for time.Since(began) < span {
		before := strings.Count(readOrEmpty(ledger), "\n")
		await(t, "another turn", func() bool { return strings.Count(readOrEmpty(ledger), "\n") > before })
		if kills < int(time.Since(began)/(10*time.Second)) {
			victim := kills % 2
			consumers[victim].signal(t, syscall.SIGKILL)
			consumers[victim] = w.start(t)
			kills++
		}
	}
	turns := w.count(t, "state = 'FINISHED' AND identifier = 'tick'")
	await(t, "the series to go on", func() bool { return w.count(t, "state = 'FINISHED' AND identifier = 'tick'") != turns })
	if live := w.count(t, "identifier = 'tick' AND state NOT IN ('FINISHED', 'PERMANENTLY_FAILED', 'CANCELLED', 'REDUNDANT', 'QUARANTINED')"); live != "1" {
		t.Errorf("%s jobs of the series are alive, want 1", live)
	}
	runs := intervals(t, ledger)
	for i := 1; i < len(runs); i++ {
		// A run that never ended was killed; its process was dead before the next one started.
		if before := runs[i-1]; before.end != 0 && runs[i].start < before.end {
			t.Errorf("two turns at once: %+v and %+v", before, runs[i])
		}
	}
	t.Logf("%d turns through %d kills", len(runs), kills)
}

func readOrEmpty(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(b)
}

// A killed consumer's job blocks its serial group no longer than the lease lasts, and runs again.
func TestKilledConsumerFreesItsSerialGroup(t *testing.T) {
	t.Parallel()
	for name, amqp := range map[string]func(*testing.T) string{
		"rabbitmq": func(t *testing.T) string { t.Helper(); return testenv.RabbitMQ(t) },
		"postgres": func(*testing.T) string { return "none" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testenv.Postgres(t), amqp(t))
			first := w.start(t)
			head := w.must(t, "producer", "publish", "probe", "--serial-group", "g", "--args", `{"sleep":"8s"}`)
			w.running(t, head)
			next := w.must(t, "producer", "publish", "probe", "--serial-group", "g")
			first.signal(t, syscall.SIGKILL)
			w.start(t)
			w.awaitCount(t, 1, "state = 'FINISHED' AND id = "+next)
			w.awaitCount(t, 1, "state = 'FINISHED' AND crashes = 1 AND id = "+head)
		})
	}
}

// A delayed job starts when it is due: not before, and on a quiet machine 0 to 0.5 s later.
func TestDelayedJobStartsInTime(t *testing.T) {
	t.Parallel()
	for name, amqp := range map[string]func(*testing.T) string{
		"rabbitmq": func(t *testing.T) string { t.Helper(); return testenv.RabbitMQ(t) },
		"postgres": func(*testing.T) string { return "none" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testenv.Postgres(t), amqp(t))
			w.must(t, "warren", "migrate", "up")
			w.start(t)
			await(t, "a leader", func() bool { return w.sql(t, "SELECT count(*) FROM warren.leaders") == "1" })
			id := w.must(t, "producer", "publish", "probe", "--delay", "1500ms")
			w.awaitCount(t, 1, "state = 'FINISHED' AND id = "+id)
			late, err := strconv.ParseFloat(w.sql(t,
				"SELECT extract(epoch FROM attempted_at - created_at)::float8 - 1.5 FROM warren.jobs WHERE id = "+id), 64)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("started %.3f s after it was due", late)
			if late < 0 {
				t.Errorf("started %.3f s too early", -late)
			}
			if late > 5 {
				t.Errorf("started %.3f s late", late)
			}
		})
	}
}
