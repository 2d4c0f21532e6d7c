package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/testenv"
)

// running waits until job id is PROCESSING.
func (w *world) running(t *testing.T, id string) {
	t.Helper()
	await(t, "job "+id+" to run", func() bool {
		return w.count(t, "state = 'PROCESSING' AND id = "+id) == "1"
	})
}

func TestKilledConsumersJobRunsElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Postgres(t), testenv.RabbitMQ(t))
	first := w.start(t)
	id := w.must(t, "producer", "publish", "probe", "--args", `{"sleep":"8s"}`)
	w.running(t, id)
	second := w.start(t)
	await(t, "two registrations", func() bool { return w.sql(t, "SELECT count(*) FROM warren.consumers") == "2" })
	first.signal(t, syscall.SIGKILL)
	took := await(t, "the other consumer to run it", func() bool {
		return w.count(t, fmt.Sprintf("id = %s AND state = 'PROCESSING' AND pid = %d", id, second.pid())) == "1"
	})
	t.Logf("running elsewhere %s after kill -9", took)
	if took > 25*time.Second {
		t.Errorf("running elsewhere after %s; the goal is 25 s", took)
	}
	w.awaitCount(t, 1, "state = 'FINISHED' AND crashes = 1 AND attempts = 2 AND id = "+id)
}

func TestFrozenConsumerThatThawsChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Postgres(t), testenv.RabbitMQ(t))
	ledger := filepath.Join(w.dir, "ledger")
	frozen := w.start(t)
	id := w.must(t, "producer", "publish", "probe", "--args", fmt.Sprintf(`{"sleep":"8s","append":%q}`, ledger))
	w.running(t, id)
	other := w.start(t)
	frozen.signal(t, syscall.SIGSTOP)
	w.awaitCount(t, 1, fmt.Sprintf("id = %s AND state = 'FINISHED' AND pid = %d", id, other.pid()))
	before := w.sql(t, "SELECT jobs::text FROM warren.jobs WHERE id = "+id)
	frozen.signal(t, syscall.SIGCONT)
	await(t, "the thawed consumer to register again", func() bool {
		return strings.Contains(frozen.log.String(), "the lease of this process was lost")
	})
	// It works again, under a new registration.
	again := w.must(t, "producer", "publish", "probe")
	w.awaitCount(t, 1, "state = 'FINISHED' AND id = "+again)
	if after := w.sql(t, "SELECT jobs::text FROM warren.jobs WHERE id = "+id); after != before {
		t.Errorf("the thawed consumer changed the row:\nbefore %s\nafter  %s", before, after)
	}
	ends := strings.Count(readFile(t, ledger), " end ")
	t.Logf("the handler ended %d times, one outcome was accepted", ends)
}

func TestBrokerKilledRightAfterPublish(t *testing.T) {
	t.Parallel()
	rabbit := testenv.NewRabbitMQ(t)
	w := newWorld(t, testenv.Postgres(t), rabbit.URL())
	id := w.must(t, "producer", "publish", "probe")
	rabbit.Kill()
	// And one that is published while there is no broker at all.
	began := time.Now()
	orphan := w.must(t, "producer", "publish", "probe")
	t.Logf("publish without a broker took %s", time.Since(began))
	rabbit.Start()
	w.start(t)
	w.awaitCount(t, 2, fmt.Sprintf("state = 'FINISHED' AND id IN (%s, %s)", id, orphan))
}

func TestBrokersDataWipedUnderABacklog(t *testing.T) {
	t.Parallel()
	rabbit := testenv.NewRabbitMQ(t)
	w := newWorld(t, testenv.Postgres(t), rabbit.URL())
	var lines strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&lines, `{"kind":"probe","priority":%d}`+"\n", 10*(i%2+1))
	}
	if r := w.runIn(t, lines.String(), "producer", "import", "-"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	rabbit.Wipe()
	w.start(t)
	began := time.Now()
	await(t, "the first job to run", func() bool { return w.count(t, "state = 'FINISHED'") != "0" })
	first := time.Since(began)
	w.awaitCount(t, 2000, "state = 'FINISHED'")
	t.Logf("first job %s after the wipe, all after %s", first, time.Since(began))
	if first > time.Minute {
		t.Errorf("the first job ran after %s; the goal is 60 s", first)
	}
}

func TestDatabaseRestartedUnderLoad(t *testing.T) {
	t.Parallel()
	db := testenv.NewPostgres(t)
	w := newWorld(t, db.CreateDatabase(t), testenv.RabbitMQ(t))
	w.must(t, "warren", "migrate", "up")
	consumer := w.start(t)
	var lines strings.Builder
	for range 1500 {
		lines.WriteString(`{"kind":"probe","args":{"sleep":"10ms"}}` + "\n")
	}
	if r := w.runIn(t, lines.String(), "producer", "import", "-"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	await(t, "some jobs to run", func() bool { return w.count(t, "state = 'FINISHED'") > "1" })
	db.Kill()
	said := len(consumer.log.String())
	hold := time.NewTimer(5 * time.Second)
	<-hold.C
	lineCount := strings.Count(consumer.log.String()[said:], "\n")
	db.Start()
	took := w.awaitCount(t, 1500, "state = 'FINISHED'")
	t.Logf("the consumer wrote %d log lines in 5 s without a database; all done %s after its start", lineCount, took)
	if lineCount > 25 {
		t.Errorf("%d log lines in 5 s without a database; at most 5 a second are allowed", lineCount)
	}
	if n := w.count(t, "crashes > 0"); n != "0" {
		t.Errorf("%s jobs were counted as crashed although their process lived", n)
	}
}

// Nothing is un-acked while a handler runs, so the broker's consumer timeout cannot touch it.
func TestJobLongerThanTheBrokersConsumerTimeout(t *testing.T) {
	t.Parallel()
	rabbit := testenv.NewRabbitMQ(t)
	seconds, timeout := 20, 3000
	if longRun() {
		seconds, timeout = 90, 10_000
	}
	rabbit.Ctl("eval", fmt.Sprintf("application:set_env(rabbit,consumer_timeout,%d), application:set_env(rabbit,channel_tick_interval,1000).", timeout))
	w := newWorld(t, testenv.Postgres(t), rabbit.URL())
	d := w.start(t)
	id := w.must(t, "producer", "publish", "probe", "--args", fmt.Sprintf(`{"sleep":"%ds"}`, seconds))
	w.running(t, id)
	await(t, "no message to be unacknowledged", func() bool {
		return !strings.ContainsAny(rabbit.Ctl("list_queues", "-q", "messages_unacknowledged"), "123456789")
	})
	w.awaitCount(t, 1, "state = 'FINISHED' AND attempts = 1 AND lease_no = 1 AND id = "+id)
	if strings.Contains(d.log.String(), "PRECONDITION") || strings.Contains(d.log.String(), "timeout") {
		t.Errorf("the broker's timeout was felt:\n%s", d.log.tail(2000))
	}
}

// SIGTERM lets handlers end; the second signal hands back at once.
func TestDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Postgres(t), testenv.RabbitMQ(t))
	d := w.start(t)
	short := w.must(t, "producer", "publish", "probe", "--args", `{"sleep":"6s"}`)
	w.running(t, short)
	d.signal(t, syscall.SIGTERM)
	if code := d.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	w.awaitCount(t, 1, "state = 'FINISHED' AND attempts = 1 AND id = "+short)

	d = w.start(t)
	long := w.must(t, "producer", "publish", "probe", "--args", `{"sleep":"1h"}`)
	w.running(t, long)
	d.signal(t, syscall.SIGTERM)
	await(t, "the drain to begin", func() bool {
		return !strings.Contains(w.sql(t, "SELECT state FROM warren.jobs WHERE id = "+long), "READY") && d.cmd.ProcessState == nil
	})
	d.signal(t, syscall.SIGTERM)
	began := time.Now()
	if code := d.exit(t); code != 0 {
		t.Errorf("exit code %d after the second signal", code)
	}
	t.Logf("exited %s after the second signal", time.Since(began))
	if got := w.sql(t, "SELECT state || ' ' || attempts || ' ' || crashes FROM warren.jobs WHERE id = "+long); got != "READY 0 0" {
		t.Errorf("the interrupted job is %q, want READY 0 0", got)
	}
	// Somebody else has it within a tick.
	w.start(t)
	took := await(t, "the job to run again", func() bool { return w.count(t, "state = 'PROCESSING' AND id = "+long) == "1" })
	t.Logf("claimed elsewhere after %s", took)
}
