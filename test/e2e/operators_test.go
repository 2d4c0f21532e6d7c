package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/warrenq/warren/internal/testenv"
)

// A paused queue holds what it has, whoever offers it; resumed, it goes on at once, although every
// hint of it was used up meanwhile.
func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Postgres(t), testenv.RabbitMQ(t))
	w.must(t, "warren", "migrate", "up")
	w.start(t, "-c", "4")
	await(t, "the consumer", func() bool { return w.sql(t, "SELECT count(*) FROM warren.consumers") == "1" })
	w.must(t, "warren", "queues", "pause", "media")
	for i := range 20 {
		w.must(t, "producer", "publish", "media")
		if i%4 == 0 {
			w.must(t, "producer", "publish", "media", "--serial-group", fmt.Sprint("g", i%8))
		}
	}
	w.must(t, "producer", "publish", "media", "--delay", "1s")
	w.must(t, "producer", "publish", "probe")
	w.awaitCount(t, 1, "state = 'FINISHED' AND queue = 'default'")
	w.awaitCount(t, 26, "state = 'READY' AND queue = 'media' AND announce_at IS NULL")
	if n := w.count(t, "queue = 'media' AND lease_no > 0"); n != "0" {
		t.Errorf("%s jobs of the paused queue were started", n)
	}
	if out := w.must(t, "warren", "queues", "resume", "media"); !strings.HasPrefix(out, "queue media goes on: ") {
		t.Errorf("resume said %q", out)
	}
	w.awaitCount(t, 26, "state = 'FINISHED' AND queue = 'media'")
	// The sweep for lost hints would have found them too, but sees a job twice before, in 10 s.
	if late := w.count(t, "queue = 'media' AND attempted_at > (SELECT min(attempted_at) FROM warren.jobs WHERE queue = 'media') + interval '9 s'"); late != "0" {
		t.Errorf("%s jobs waited for the sweep of lost hints", late)
	}
}

// So does a paused kind, and a paused serial group.
func TestPausedKindAndGroupGoOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Postgres(t), testenv.RabbitMQ(t))
	w.must(t, "warren", "migrate", "up")
	w.start(t, "-c", "4")
	await(t, "the consumer", func() bool { return w.sql(t, "SELECT count(*) FROM warren.consumers") == "1" })
	w.must(t, "warren", "pause", "--kind", "media")
	w.must(t, "warren", "pause", "--group", "g")
	for range 5 {
		w.must(t, "producer", "publish", "media")
		w.must(t, "producer", "publish", "probe", "--serial-group", "g")
	}
	w.must(t, "producer", "publish", "probe")
	w.awaitCount(t, 1, "state = 'FINISHED'")
	w.awaitCount(t, 10, "state = 'READY' AND announce_at IS NULL")
	for _, of := range []struct{ flag, name, jobs string }{{"--kind", "media", "kind = 'media'"}, {"--group", "g", "serial_group = 'g'"}} {
		if n := w.count(t, of.jobs+" AND lease_no > 0"); n != "0" {
			t.Errorf("%s jobs of the paused %s were started", n, of.name)
		}
		w.must(t, "warren", "resume", of.flag, of.name)
		w.awaitCount(t, 5, "state = 'FINISHED' AND "+of.jobs)
		if late := w.count(t, of.jobs+" AND attempted_at > (SELECT min(attempted_at) FROM warren.jobs WHERE "+of.jobs+") + interval '9 s'"); late != "0" {
			t.Errorf("%s jobs of %s waited for the sweep", late, of.name)
		}
	}
}

// Exactly as many consumers as were asked for finish what they hold and exit 0.
func TestReloadConsumers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Postgres(t), testenv.RabbitMQ(t))
	w.must(t, "warren", "migrate", "up")
	var all []*daemon
	for range 3 {
		all = append(all, w.start(t, "-c", "2"))
	}
	other := w.start(t, "--queue", "media")
	await(t, "four consumers", func() bool { return w.sql(t, "SELECT count(*) FROM warren.consumers") == "4" })
	if r := w.run(t, "warren", "reload-consumers", "default", "4"); r.code != 4 || !strings.Contains(r.stderr, "3 consumers of queue default are alive") {
		t.Errorf("four of three: exit %d, %q", r.code, r.stderr)
	}
	held := strings.Repeat(`{"kind":"probe","args":{"sleep":"5s"}}`+"\n", 6)
	if r := w.runIn(t, held, "producer", "import", "-"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	w.awaitCount(t, 6, "lease_no = 1")
	w.must(t, "warren", "reload-consumers", "default", "2")
	var left []*daemon
	await(t, "two of them have exited", func() bool {
		left = nil
		for _, d := range all {
			select {
			case <-d.done:
			default:
				left = append(left, d)
			}
		}
		return len(left) <= 1
	})
	for _, d := range all {
		select {
		case <-d.done:
			if code := d.exit(t); code != 0 {
				t.Errorf("a consumer that was told to restart exited with %d", code)
			}
		default:
		}
	}
	w.awaitCount(t, 6, "state = 'FINISHED' AND attempts = 1 AND lease_no = 1")
	w.must(t, "producer", "publish", "probe")
	w.awaitCount(t, 7, "state = 'FINISHED'")
	if n := w.sql(t, "SELECT count(*) FROM warren.consumers WHERE NOT restart AND expires_at > now()"); n != "2" {
		t.Errorf("%s consumers go on, want 2", n)
	}
	if len(left) != 1 {
		t.Fatalf("%d of three consumers are left", len(left))
	}
	for _, d := range append(left, other) {
		d.signal(t, syscall.SIGTERM)
		if code := d.exit(t); code != 0 {
			t.Errorf("exit code %d after SIGTERM", code)
		}
	}
}
