package e2e

import (
	"strings"
	"testing"

	"github.com/warrenq/warren/internal/testenv"
)

// One pass from cron at a time: the second is refused with exit code 4, and says why.
func TestTwoPassesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Postgres(t), "none")
	id := w.must(t, "producer", "publish", "probe", "--args", `{"sleep":"15s"}`)
	first := make(chan result, 1)
	go func() { first <- w.run(t, "consumer", "process") }()
	w.running(t, id)
	second := w.run(t, "consumer", "process")
	if second.code != 4 || !strings.Contains(second.stderr, `another "process" is running`) {
		t.Errorf("the second pass: exit %d, %s", second.code, second.stderr)
	}
	if r := <-first; r.code != 0 {
		t.Errorf("the first pass: exit %d, %s", r.code, r.stderr)
	}
	w.awaitCount(t, 1, "state = 'FINISHED' AND id = "+id)
	if third := w.run(t, "consumer", "process"); third.code != 0 {
		t.Errorf("a pass after it: exit %d, %s", third.code, third.stderr)
	}
}

// With a broker a pass is one sweep: it offers what is due, and runs nothing itself.
func TestAPassWithABrokerIsASweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Postgres(t), testenv.RabbitMQ(t))
	w.must(t, "warren", "migrate", "up")
	id := w.sql(t, "SELECT warren.enqueue('probe')")
	w.must(t, "consumer", "process")
	w.awaitCount(t, 1, "state = 'READY' AND announce_at IS NULL AND id = "+id)
}

// --once ends a consumer after one job, -j after so many, --max-time after a time, --stop-when-empty when
// nothing is due; all exit 0 and leave the rest.
func TestLimits(t *testing.T) {
	t.Parallel()
	for name, amqp := range map[string]func(*testing.T) string{
		"rabbitmq": func(t *testing.T) string { t.Helper(); return testenv.RabbitMQ(t) },
		"postgres": func(*testing.T) string { return "none" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testenv.Postgres(t), amqp(t))
			w.must(t, "consumer", "run", "--once") // nothing is due
			if r := w.runIn(t, strings.Repeat(`{"kind":"probe"}`+"\n", 20), "producer", "import", "-"); r.code != 0 {
				t.Fatal(r.stderr)
			}
			w.must(t, "consumer", "run", "--once")
			if n := w.count(t, "state = 'FINISHED'"); n != "1" {
				t.Errorf("%s jobs ran, want 1", n)
			}
			w.must(t, "consumer", "run", "-j", "5", "-c", "3")
			if n := w.count(t, "state = 'FINISHED'"); n != "6" {
				t.Errorf("%s jobs ran, want 6", n)
			}
			if n := w.count(t, "state = 'READY' AND attempts = 0"); n != "14" {
				t.Errorf("%s jobs are left as they were, want 14", n)
			}
			w.must(t, "consumer", "run", "--max-time", "3s")
			w.awaitCount(t, 20, "state = 'FINISHED' AND attempts = 1")
			w.must(t, "producer", "publish", "probe", "--delay", "1h")
			due := w.must(t, "producer", "publish", "probe", "--args", `{"outcome":"wait"}`)
			w.must(t, "consumer", "run", "--stop-when-empty")
			if n := w.count(t, "state = 'WAITING' AND id = "+due); n != "1" {
				t.Error("--stop-when-empty left a job that was due")
			}
		})
	}
}

// A handler that stops its consumer ends the program with exit code 0.
func TestStopExitsZero(t *testing.T) {
	t.Parallel()
	for name, amqp := range map[string]func(*testing.T) string{
		"rabbitmq": func(t *testing.T) string { t.Helper(); return testenv.RabbitMQ(t) },
		"postgres": func(*testing.T) string { return "none" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testenv.Postgres(t), amqp(t))
			w.must(t, "warren", "migrate", "up")
			d := w.start(t, "-c", "2")
			beside := w.must(t, "producer", "publish", "probe", "--args", `{"sleep":"5s"}`)
			w.running(t, beside)
			stop := w.must(t, "producer", "publish", "probe", "--args", `{"outcome":"stop"}`)
			if code := d.exit(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			w.awaitCount(t, 1, "state = 'PERMANENTLY_FAILED' AND id = "+stop)
			w.awaitCount(t, 1, "state = 'FINISHED' AND attempts = 1 AND id = "+beside)
		})
	}
}
