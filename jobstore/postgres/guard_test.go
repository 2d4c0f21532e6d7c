package postgres_test

import (
	"testing"

	"github.com/warrenq/warren/jobstore"
)

// Retention forgets what says the same as nothing: full buckets, places of leases that have ended, waits of
// jobs that are gone, old closed breakers. What still counts stays.
func TestRetainGuards(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	exec(t, conn, "INSERT INTO warren.jobs_live (id, state, kind, queue, priority, holder, lease_no) VALUES (1, 'PROCESSING', 'k', 'q', 10, 7, 3), (2, 'WAITING', 'k', 'q', 10, NULL, 1)")
	exec(t, conn, `INSERT INTO warren.job_limits VALUES ('gone', now() - interval '2 minutes', now() - interval '2 minutes'), ('kept', now(), now() - interval '1 h')`)
	exec(t, conn, `INSERT INTO warren.job_locks VALUES ('kept', 1, 3, true), ('kept', 2, 1, false), ('gone', 1, 2, true), ('gone', 2, 1, true), ('gone', 9, 1, false)`)
	exec(t, conn, `INSERT INTO warren.job_breakers (name, since, open_until) VALUES ('gone', now() - interval '25 h', NULL), ('kept', now() - interval '25 h', now()), ('kept too', now(), NULL)`)
	for range 2 {
		if _, err := s.Retain(t.Context(), jobstore.Retention{}, 100); err != nil {
			t.Fatal(err)
		}
	}
	var limits, locks, breakers, gone int
	if err := conn.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM warren.job_limits), (SELECT count(*) FROM warren.job_locks), (SELECT count(*) FROM warren.job_breakers),
		(SELECT count(*) FROM (SELECT key FROM warren.job_limits UNION ALL SELECT key FROM warren.job_locks UNION ALL SELECT name FROM warren.job_breakers) a WHERE key = 'gone')`).
		Scan(&limits, &locks, &breakers, &gone); err != nil {
		t.Fatal(err)
	}
	if limits != 1 || locks != 2 || breakers != 2 || gone != 0 {
		t.Errorf("%d limits, %d locks, %d breakers are left, %d of them should be gone", limits, locks, breakers, gone)
	}
}
