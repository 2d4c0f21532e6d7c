package postgres_test

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// BenchmarkClear removes finished jobs from a history beside a worker that publishes, claims and
// finishes, and says how long that takes, what the worker notices of it, and what size is left.
// docs/decisions/0005-clearing-history.md has figures for WARREN_CLEAR_ROWS=1000000.
//
//	WARREN_CLEAR_ROWS=1000000 go test ./jobstore/postgres -run '^$' -bench Clear -benchtime 1x
func BenchmarkClear(b *testing.B) {
	rows := 20_000
	if n, err := strconv.Atoi(os.Getenv("WARREN_CLEAR_ROWS")); err == nil {
		rows = n
	}
	for _, survivors := range []int{0, 10} { // per cent
		for _, reader := range []bool{false, true} {
			b.Run("survivors="+strconv.Itoa(survivors)+"%/reader="+strconv.FormatBool(reader), func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					benchClear(b, rows, survivors, reader)
					b.StartTimer()
				}
			})
		}
	}
}

// benchClear keeps survivors per cent of the jobs, evenly spread, and with a reader an old snapshot
// open all the while, as a dump of the database does.
func benchClear(b *testing.B, rows, survivors int, reader bool) {
	b.Helper()
	s, dsn := fresh(b)
	conn := connect(b, dsn)
	endedRows(b, conn, rows, survivors)
	exec(b, conn, "VACUUM ANALYZE warren.jobs_history")
	size := func() (n int64) {
		if err := conn.QueryRow(b.Context(), "SELECT pg_total_relation_size('warren.jobs_history')").Scan(&n); err != nil {
			b.Fatal(err)
		}
		return n
	}
	full := size()
	if reader {
		dump := connect(b, dsn)
		exec(b, dump, "BEGIN ISOLATION LEVEL REPEATABLE READ")
		exec(b, dump, "SELECT count(*) FROM warren.jobs_live")
	}
	alone := work(b, s, nil)
	done := make(chan struct{})
	cleared := make(chan []time.Duration, 1)
	go func() {
		defer close(done)
		cleared <- clearAll(b, s)
	}()
	beside := work(b, s, done)
	steps := <-cleared
	began := time.Now()
	if _, err := s.Compact(b.Context()); err != nil {
		b.Fatal(err)
	}
	vacuum := time.Since(began)
	total := time.Duration(0)
	for _, d := range steps {
		total += d
	}
	emptied := size()
	for cycle := range 3 { // whether the space is used again
		if cycle > 0 {
			clearAll(b, s)
			if _, err := s.Compact(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		endedRows(b, conn, rows*(100-survivors)/100, 0)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(total.Seconds(), "s-clear")
	b.ReportMetric(slices.Max(steps).Seconds()*1000, "ms-longest-step")
	b.ReportMetric(vacuum.Seconds(), "s-vacuum")
	b.ReportMetric(float64(full)/1e6, "MB-before")
	b.ReportMetric(float64(emptied)/1e6, "MB-after")
	b.ReportMetric(float64(size())/1e6, "MB-refilled-3-times")
	b.ReportMetric(percentile(alone, 99), "ms-p99-alone")
	b.ReportMetric(percentile(beside, 99), "ms-p99-beside")
	b.ReportMetric(slices.Max(beside).Seconds()*1000, "ms-max-beside")
}

// endedRows adds jobs that ended yesterday.
func endedRows(b *testing.B, conn *pgx.Conn, rows, failed int) {
	b.Helper()
	exec(b, conn, `INSERT INTO warren.jobs_history (id, state, queue, kind, priority, args, created_at, finished_at, attempts, lease_no, host, pid)
		SELECT nextval('warren.jobs_id_seq'), CASE WHEN n % 100 < $2 THEN 'PERMANENTLY_FAILED' ELSE 'FINISHED' END, 'default', 'k', 10,
		jsonb_build_object('to', 'someone@example.org', 'text', repeat('x', 160)), now(), now() - interval '1 d' + n * interval '1 ms',
		1, 1, 'h', 1 FROM generate_series(1, $1::int) n`, rows, failed)
}

func percentile(list []time.Duration, p int) float64 {
	slices.Sort(list)
	return list[(len(list)-1)*p/100].Seconds() * 1000
}

func clearAll(b *testing.B, s *postgres.Store) (steps []time.Duration) {
	b.Helper()
	var from time.Time
	for {
		began := time.Now()
		n, next, err := s.Clear(b.Context(), jobstore.Finished, time.Hour, from, 2000)
		if err != nil {
			b.Error(err)
			return steps
		}
		steps = append(steps, time.Since(began))
		if from = next; n < 2000 {
			return steps
		}
	}
}

// work runs jobs one after the other until done, or 300 of them, and returns how long each took.
func work(b *testing.B, s *postgres.Store, done <-chan struct{}) (took []time.Duration) {
	b.Helper()
	by := register(b, s)
	for len(took) < 300 || done != nil {
		select {
		case <-done:
			return took
		default:
		}
		began := time.Now()
		got, err := s.Insert(b.Context(), []jobstore.NewJob{job()})
		if err != nil {
			b.Fatal(err)
		}
		c, err := s.Claim(b.Context(), by, []jobstore.ID{got[0].ID})
		if err != nil || len(c.Leases) != 1 {
			b.Fatalf("claim: %+v, %v", c, err)
		}
		o := jobstore.Outcome{ID: got[0].ID, LeaseNo: c.Leases[0].Job.LeaseNo, State: jobstore.Finished}
		if _, err := s.Record(b.Context(), by.Holder, []jobstore.Outcome{o}); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	return took
}
