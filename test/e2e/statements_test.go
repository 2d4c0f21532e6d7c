package e2e

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/testenv"
)

// as is the world seen by a login of its own, a member of the role that programs are meant to
// have. PostgreSQL then counts its statements apart from everybody else's.
func (w *world) as(t *testing.T, login string) *world {
	t.Helper()
	w.sql(t, fmt.Sprintf("CREATE ROLE %s LOGIN IN ROLE warren_app", login))
	u, err := url.Parse(w.dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(login)
	own := *w
	own.env = append([]string{}, w.env...)
	for i, v := range own.env {
		if strings.HasPrefix(v, "DATABASE_URL=") {
			own.env[i] = "DATABASE_URL=" + u.String()
		}
	}
	return &own
}

// calls is how many statements a login has run, BEGIN and SET included.
func (w *world) calls(t *testing.T, login, like string) int {
	t.Helper()
	n, err := strconv.Atoi(w.sql(t, `SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements s
		JOIN pg_roles r ON r.oid = s.userid WHERE r.rolname = $1 AND s.query LIKE $2`, login, like))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A plain job costs one INSERT and two batched UPDATEs, and nothing else is written; a consumer
// with nothing to do hardly talks to the database.
func TestStatementsOfAJobAndOfNoJob(t *testing.T) {
	t.Parallel()
	db := testenv.NewPostgres(t)
	w := newWorld(t, db.CreateDatabase(t), testenv.RabbitMQ(t))
	w.sql(t, "CREATE EXTENSION pg_stat_statements")
	w.must(t, "warren", "migrate", "up")
	for i := range 20 { // which cost nothing while none is due
		w.must(t, "warren", "schedules", "add", fmt.Sprint("yearly-", i), "--cron", "@yearly", "--kind", "probe")
	}
	leader := w.as(t, "leads")
	idle := w.as(t, "idles")
	sender := w.as(t, "sends")
	leader.start(t)
	await(t, "a leader", func() bool { return w.sql(t, "SELECT count(*) FROM warren.leaders") == "1" })
	idle.start(t, "-c", "16")
	await(t, "two registrations", func() bool { return w.sql(t, "SELECT count(*) FROM warren.consumers") == "2" })

	settle := time.NewTimer(3 * time.Second)
	<-settle.C
	w.sql(t, "SELECT pg_stat_statements_reset()")
	const seconds = 20
	window := time.NewTimer(seconds * time.Second)
	<-window.C
	idling, leading := w.calls(t, "idles", "%"), w.calls(t, "leads", "%")
	t.Logf("idle consumer: %.2f statements/s; idle leader: %.2f statements/s", float64(idling)/seconds, float64(leading)/seconds)
	t.Log("the leader's statements:" + w.sql(t, `SELECT string_agg(E'\n' || calls || ' ' || split_part(query, E'\n', 1), '' ORDER BY calls DESC)
		FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid WHERE r.rolname = 'leads'`))
	if idling > seconds/2 {
		t.Errorf("an idle consumer ran %d statements in %d s; at most %d are allowed", idling, seconds, seconds/2)
	}
	if leading > 4*seconds {
		t.Errorf("an idle leader ran %d statements in %d s; at most %d are allowed", leading, seconds, 4*seconds)
	}

	w.sql(t, "SELECT pg_stat_statements_reset()")
	const jobs = 1000
	if r := sender.runIn(t, strings.Repeat(`{"kind":"probe"}`+"\n", jobs), "producer", "import", "-", "--bulk-size", "100"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	w.awaitCount(t, jobs, "state = 'FINISHED'")
	inserts := w.calls(t, "sends", "%warren: insert%")
	claims := w.calls(t, "idles", "%warren: claim%") + w.calls(t, "leads", "%warren: claim%")
	records := w.calls(t, "idles", "%warren: record%") + w.calls(t, "leads", "%warren: record%")
	t.Logf("%d jobs: %d inserts of 100, %d claims, %d records", jobs, inserts, claims, records)
	if inserts != jobs/100 {
		t.Errorf("%d INSERT statements for %d batches", inserts, jobs/100)
	}
	if claims == 0 || claims > jobs || records == 0 || records > jobs {
		t.Errorf("claims %d and records %d are not batched", claims, records)
	}
	// Rows written: one insert, one claim, one outcome each. Nothing marks a hint.
	rows := w.sql(t, `SELECT coalesce(sum(rows), 0)::bigint FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid
		WHERE r.rolname IN ('idles', 'leads', 'sends') AND (query LIKE '%warren: unannounced%' OR query LIKE '%warren: announced%')`)
	if rows != "0" {
		t.Errorf("%s rows were written to mark hints on the happy path", rows)
	}
	if n := w.count(t, "attempts <> 1 AND state <> 'SCHEDULED'"); n != "0" {
		t.Errorf("%s jobs had more than one attempt", n)
	}
}

// A hundred thousand jobs wait in the broker and in the table, not in the consumer's memory.
func TestAHundredThousandJobsInLittleMemory(t *testing.T) {
	t.Parallel()
	if raceEnabled {
		t.Log("built with the race detector, which multiplies memory: the size is reported, not checked")
	}
	db := testenv.NewPostgres(t)
	w := newWorld(t, db.CreateDatabase(t), testenv.RabbitMQ(t))
	jobs := 100_000
	if raceEnabled && !longRun() {
		jobs = 10_000
	}
	if r := w.runIn(t, strings.Repeat(`{"kind":"probe"}`+"\n", jobs), "producer", "import", "-"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	d := w.start(t, "-c", "32")
	began := time.Now()
	peak := 0
	await(t, "all jobs to finish", func() bool {
		peak = max(peak, rss(t, d.pid()))
		return w.sql(t, "SELECT NOT EXISTS (SELECT FROM warren.jobs WHERE state IN ('READY', 'PROCESSING'))") == "true"
	})
	took := time.Since(began)
	w.awaitCount(t, jobs, "state = 'FINISHED'")
	t.Logf("%d jobs in %s, %.0f/s, at most %d MB resident", jobs, took, float64(jobs)/took.Seconds(), peak>>20)
	if peak >= 100<<20 && !raceEnabled {
		t.Errorf("the consumer grew to %d MB; less than 100 are allowed", peak>>20)
	}
}

// rss is a process's resident memory in bytes.
func rss(t *testing.T, pid int) int {
	t.Helper()
	for line := range strings.Lines(readFile(t, fmt.Sprintf("/proc/%d/status", pid))) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "VmRSS:" {
			kb, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	return 0
}
