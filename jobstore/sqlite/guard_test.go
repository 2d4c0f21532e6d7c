package sqlite_test

import (
	"testing"

	"github.com/warrenq/warren/jobstore"
)

// Retention forgets what says the same as nothing, and leaves what still counts.
func TestRetainGuards(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	db := connect(t, path)
	const now = "CAST(strftime('%s', 'now') AS INTEGER) * 1000000"
	run(t, db, "INSERT INTO jobs (id, state, kind, holder, lease_no) VALUES (1, 'PROCESSING', 'k', 7, 3), (2, 'WAITING', 'k', NULL, 1)")
	run(t, db, "INSERT INTO job_limits VALUES ('gone', "+now+" - 120000000, 0), ('kept', "+now+", 0)")
	run(t, db, "INSERT INTO job_locks VALUES ('kept', 1, 3, 1), ('kept', 2, 1, 0), ('gone', 1, 2, 1), ('gone', 2, 1, 1), ('gone', 9, 1, 0)")
	run(t, db, "INSERT INTO job_breakers (name, since, open_until) VALUES ('gone', 0, NULL), ('kept', 0, 1), ('kept too', "+now+", NULL)")
	for range 2 {
		if _, err := s.Retain(t.Context(), jobstore.Retention{}, 100); err != nil {
			t.Fatal(err)
		}
	}
	for table, want := range map[string]int64{"job_limits": 1, "job_locks": 2, "job_breakers": 2} {
		if n := number(t, db, "SELECT count(*) FROM "+table); n != want {
			t.Errorf("%d rows of %s are left, want %d", n, table, want)
		}
	}
	if n := number(t, db, "SELECT count(*) FROM (SELECT key FROM job_limits UNION ALL SELECT key FROM job_locks UNION ALL SELECT name FROM job_breakers) WHERE key = 'gone'"); n != 0 {
		t.Errorf("%d rows are left that say nothing", n)
	}
}
