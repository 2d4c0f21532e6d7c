package sqlite_test

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/sqlite"
)

// connect opens a handle of a user of the same file.
func connect(tb testing.TB, path string) *sql.DB {
	tb.Helper()
	address, err := sqlite.DSN(path)
	if err != nil {
		tb.Fatal(err)
	}
	db, err := sql.Open("sqlite", address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

func run(tb testing.TB, db *sql.DB, text string, args ...any) {
	tb.Helper()
	if _, err := db.ExecContext(tb.Context(), text, args...); err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
}

func number(tb testing.TB, db *sql.DB, text string, args ...any) (n int64) {
	tb.Helper()
	if err := db.QueryRowContext(tb.Context(), text, args...).Scan(&n); err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return n
}

func get(tb testing.TB, s jobstore.Store, id jobstore.ID) jobstore.Job {
	tb.Helper()
	j, err := s.Get(tb.Context(), id)
	if err != nil {
		tb.Fatal(err)
	}
	return j
}

const now = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"

// place puts a row into a state, whatever the rules say about how it may get there.
func place(tb testing.TB, db *sql.DB, state jobstore.State) jobstore.ID {
	tb.Helper()
	return jobstore.ID(number(tb, db, `INSERT INTO jobs (state, queue, kind, priority, holder, lease_no, attempts, finished_at)
		VALUES (?1, 'default', 'k', 10, CASE WHEN ?1 = 'PROCESSING' THEN 1 END, 1, 1, CASE WHEN ?2 THEN `+now+` END) RETURNING id`,
		string(state), state.Final()))
}

// Every pair of states: the database allows what jobstore.Legal allows, and nothing else.
func TestEveryMove(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	db := connect(t, path)
	for _, from := range jobstore.States() {
		for _, to := range jobstore.States() {
			id := place(t, db, from)
			// With the signatures of Warren's own moves into and out of PROCESSING.
			_, err := db.ExecContext(t.Context(), `UPDATE jobs SET state = ?2, holder = CASE WHEN ?2 = 'PROCESSING' THEN 1 END,
				lease_no = lease_no + (?2 = 'PROCESSING' AND state <> ?2) WHERE id = ?1`, id, string(to))
			if legal := jobstore.Legal(from, to); legal != (err == nil) {
				t.Errorf("%s to %s: legal %t, the database says %v", from, to, legal, err)
			}
			if err != nil && (!strings.Contains(err.Error(), "job") || !strings.Contains(err.Error(), ": to run") && !strings.Contains(err.Error(), ": wait")) {
				t.Errorf("%s to %s: the message %q names no remedy", from, to, err)
			}
			if j := get(t, s, id); err == nil && (j.State != to || to.Final() != (j.FinishedAt != nil)) {
				t.Errorf("%s to %s left %+v", from, to, j)
			}
		}
	}
}

// By hand, without those signatures, nothing enters or leaves PROCESSING.
func TestMovesByHand(t *testing.T) {
	t.Parallel()
	_, path := fresh(t)
	db := connect(t, path)
	for _, s := range jobstore.States() {
		if s == jobstore.Processing {
			continue
		}
		in, out := place(t, db, s), place(t, db, jobstore.Processing)
		if _, err := db.ExecContext(t.Context(), "UPDATE jobs SET state = 'PROCESSING' WHERE id = ?", in); err == nil {
			t.Errorf("%s to PROCESSING by hand was allowed", s)
		}
		if _, err := db.ExecContext(t.Context(), "UPDATE jobs SET state = ? WHERE id = ?", string(s), out); err == nil {
			t.Errorf("PROCESSING to %s by hand was allowed", s)
		}
	}
	id := place(t, db, jobstore.Processing)
	for _, change := range []string{
		"lease_no = 9", "holder = 2", "available_at = '2030-01-01T00:00:00.000Z'", "serial_group = 'g'", "queue = 'q'", "id = 4711",
	} {
		if _, err := db.ExecContext(t.Context(), "UPDATE jobs SET "+change+" WHERE id = ?", id); err == nil {
			t.Errorf("%s of a PROCESSING job was allowed", change)
		}
	}
	for _, bad := range []string{"available_at = '2030-01-01 00:00:00'", "args = 'no json'", "priority = 1000", "tags = 'x'", "kind = ''"} {
		if _, err := db.ExecContext(t.Context(), "UPDATE jobs SET "+bad+" WHERE id = ?", place(t, db, jobstore.Ready)); err == nil {
			t.Errorf("%s was allowed", bad)
		}
	}
}

func TestEditsByHand(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	db := connect(t, path)
	run(t, db, "PRAGMA recursive_triggers = ON") // of the one connection that is idle; the rules hold either way
	edit := func(from jobstore.State, change string) jobstore.Job {
		id := place(t, db, from)
		run(t, db, "UPDATE jobs SET "+change+" WHERE id = ?", id)
		return get(t, s, id)
	}
	for _, from := range []jobstore.State{jobstore.Finished, jobstore.Quarantined, jobstore.TemporarilyFailed, jobstore.Ready} {
		if j := edit(from, "state = 'BACK_TO_BROKER', crashes = 3"); j.State != jobstore.BackToBroker || j.FinishedAt != nil ||
			j.Attempts != 0 || j.Crashes != 0 || j.LeaseNo != 1 {
			t.Errorf("%s sent back is %+v", from, j)
		}
	}
	refs, err := s.Due(t.Context(), 100)
	if err != nil || len(refs) != 4 {
		t.Errorf("the sweep made %v ready, %v", refs, err)
	}
	if j := edit(jobstore.Ready, "state = 'CANCELLED'"); j.FinishedAt == nil {
		t.Errorf("cancelled by hand: %+v", j)
	}
	if j := edit(jobstore.Ready, "available_at = '2100-01-01T00:00:00.000Z'"); j.State != jobstore.Scheduled {
		t.Errorf("a READY job that was moved to the future is %+v", j)
	}
	if j := edit(jobstore.Ready, "priority = 30"); j.AnnounceAt == nil || j.State != jobstore.Ready {
		t.Errorf("a READY job in another band is %+v", j)
	}
	if j := edit(jobstore.Waiting, "available_at = '2100-01-01T00:00:00.000Z'"); j.State != jobstore.Waiting {
		t.Errorf("a WAITING job that was moved is %+v", j)
	}
	id := place(t, db, jobstore.Waiting)
	run(t, db, "UPDATE jobs SET available_at = '2100-01-01T00:00:00.000Z' WHERE id = ?", id)
	run(t, db, "UPDATE jobs SET state = 'READY' WHERE id = ?", id)
	if j := get(t, s, id); j.State != jobstore.Ready || j.AnnounceAt == nil || j.AvailableAt.After(*j.AnnounceAt) {
		t.Errorf("a WAITING job made READY by hand is %+v", j)
	}
	later := jobstore.ID(number(t, db, "INSERT INTO jobs (kind, available_at) VALUES ('k', '2100-01-01T00:00:00.000Z') RETURNING id"))
	if j := get(t, s, later); j.State != jobstore.Scheduled || j.Queue != "default" || j.Priority != 10 || string(j.Args) != "{}" {
		t.Errorf("a job inserted by hand for later is %+v", j)
	}
}

// What a person does to jobs with keys and groups leaves both as they must be.
func TestKeysByHand(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	db := connect(t, path)
	add := func(columns, values string) jobstore.ID {
		return jobstore.ID(number(t, db, "INSERT INTO jobs (kind, "+columns+") VALUES ('k', "+values+") RETURNING id"))
	}
	unique := func() jobstore.ID { return add("mode, identifier", "'unique', 'u'") }
	first := unique()
	if second := unique(); get(t, s, second).State != jobstore.Redundant || get(t, s, second).FinishedAt == nil {
		t.Errorf("the second unique job is %+v", get(t, s, second))
	}
	run(t, db, "UPDATE jobs SET state = 'CANCELLED' WHERE id = ?", first)
	third := unique()
	if get(t, s, third).State != jobstore.Ready {
		t.Errorf("after the first was cancelled by hand, the third is %s", get(t, s, third).State)
	}
	_, err := db.ExecContext(t.Context(), "UPDATE jobs SET state = 'BACK_TO_BROKER' WHERE id = ?", first)
	if err == nil || !strings.Contains(err.Error(), "holds its key") || get(t, s, first).State != jobstore.Cancelled {
		t.Errorf("sending a job back whose key is taken: %v, it is %s", err, get(t, s, first).State)
	}
	run(t, db, "DELETE FROM jobs WHERE id = ?", third)
	run(t, db, "UPDATE jobs SET state = 'BACK_TO_BROKER' WHERE id = ?", first)
	if fourth := unique(); get(t, s, fourth).State != jobstore.Redundant {
		t.Errorf("the key of a job that was sent back is free: %s", get(t, s, fourth).State)
	}
	series(t, s, db, add("mode, identifier, every", "'recurring', 'r', 3600000"))
	if again := add("mode, identifier, every", "'recurring', 'r', 1"); get(t, s, again).State != jobstore.Ready {
		t.Errorf("the key of a cancelled series is taken: %+v", get(t, s, again))
	}
}

// series ends a recurring job by hand, again and again, and cancels it at last.
func series(t *testing.T, s jobstore.Store, db *sql.DB, id jobstore.ID) {
	t.Helper()
	for _, state := range []jobstore.State{jobstore.PermanentlyFailed, jobstore.Redundant, jobstore.Finished} {
		run(t, db, "UPDATE jobs SET state = ? WHERE id = ?", string(state), id)
		ended := get(t, s, id)
		id = jobstore.ID(number(t, db, "SELECT id FROM jobs WHERE identifier = 'r' AND state = 'SCHEDULED' AND id > ?", id))
		if next := get(t, s, id); next.AvailableAt.Sub(*ended.FinishedAt) != time.Hour {
			t.Fatalf("the successor of %+v is %+v", ended, next)
		}
	}
	run(t, db, "UPDATE jobs SET state = 'CANCELLED' WHERE id = ?", id)
	if live := number(t, db, "SELECT count(*) FROM jobs WHERE identifier = 'r' AND finished_at IS NULL"); live != 0 {
		t.Errorf("a series that was cancelled by hand has %d live jobs", live)
	}
}

// Two members of a group cannot run, whoever writes.
func TestGroupByHand(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	db := connect(t, path)
	ids := []jobstore.ID{place(t, db, jobstore.Ready), place(t, db, jobstore.Ready)}
	run(t, db, "UPDATE jobs SET serial_group = 'g'")
	by := register(t, s)
	if got, err := s.Claim(t.Context(), by, ids); err != nil || len(got.Leases) != 1 {
		t.Fatalf("claim: %+v, %v", got, err)
	}
	_, err := db.ExecContext(t.Context(), "UPDATE jobs SET state = 'PROCESSING', holder = 1, lease_no = lease_no + 1 WHERE id = ?", ids[1])
	if err == nil {
		t.Error("a second member was made PROCESSING")
	}
	run(t, db, "DELETE FROM jobs WHERE id = ?", ids[0])
	heads, err := s.Heads(t.Context(), 10)
	if err != nil || len(heads) != 1 || heads[0].ID != ids[1] {
		t.Errorf("after the running member was deleted by hand the heads are %v, %v", heads, err)
	}
}

// Jobs of a user's transaction come and go with it, beside the user's own rows.
func TestTxOfAnotherHandle(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	db := connect(t, path)
	run(t, db, "CREATE TABLE orders (n INTEGER)")
	for _, commit := range []bool{false, true} {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(t.Context(), "INSERT INTO orders VALUES (1)"); err != nil {
			t.Fatal(err)
		}
		out := job()
		out.Outbox = true
		if _, err := s.InsertTx(t.Context(), sqlite.Tx(tx), []jobstore.NewJob{out}); err != nil {
			t.Fatal(err)
		}
		end := tx.Rollback
		if commit {
			end = tx.Commit
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	if n := number(t, db, "SELECT count(*) FROM jobs") + number(t, db, "SELECT count(*) FROM orders"); n != 2 {
		t.Errorf("there are %d rows, want an order and its job", n)
	}
	refs, err := s.Outbox(t.Context(), 10)
	if err != nil || len(refs) != 1 {
		t.Errorf("the outbox has %v, %v", refs, err)
	}
	if _, err := s.InsertTx(t.Context(), jobstore.Tx{Handle: 5}, []jobstore.NewJob{job()}); err == nil {
		t.Error("a number was taken for a transaction")
	}
}
