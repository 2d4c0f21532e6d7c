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

// -j ends a consumer after so many jobs, --max-time after a time; both exit 0 and leave the rest.
func TestLimits(t *testing.T) {
	t.Parallel()
	for name, amqp := range map[string]func(*testing.T) string{
		"rabbitmq": func(t *testing.T) string { t.Helper(); return testenv.RabbitMQ(t) },
		"postgres": func(*testing.T) string { return "none" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testenv.Postgres(t), amqp(t))
			if r := w.runIn(t, strings.Repeat(`{"kind":"probe"}`+"\n", 20), "producer", "import", "-"); r.code != 0 {
				t.Fatal(r.stderr)
			}
			w.must(t, "consumer", "run", "-j", "5", "-c", "3")
			if n := w.count(t, "state = 'FINISHED'"); n != "5" {
				t.Errorf("%s jobs ran, want 5", n)
			}
			if n := w.count(t, "state = 'READY' AND attempts = 0"); n != "15" {
				t.Errorf("%s jobs are left as they were, want 15", n)
			}
			w.must(t, "consumer", "run", "--max-time", "3s")
			w.awaitCount(t, 20, "state = 'FINISHED' AND attempts = 1")
		})
	}
}
