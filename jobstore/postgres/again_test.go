package postgres_test

import (
	"testing"

	"github.com/warrenq/warren/jobstore"
)

// A claim that is repeated while the lost one is still running on the server waits for it, and
// returns what it granted instead of nothing.
func TestRepeatedClaimWaits(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn, watch := connect(t, dsn), connect(t, dsn)
	by := register(t, s)
	by.Token = 42
	id := place(t, conn, jobstore.Ready)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), s.ClaimSQL(), by.Holder, by.Token, by.Host, by.PID, by.Queues, by.Priorities, by.Kinds, []jobstore.ID{id}); err != nil {
		t.Fatal(err)
	}
	by.Again = true
	type answer struct {
		claimed jobstore.Claimed
		err     error
	}
	answers := make(chan answer, 1)
	go func() {
		claimed, err := s.Claim(t.Context(), by, []jobstore.ID{id})
		answers <- answer{claimed, err}
	}()
	for waiting := false; !waiting; {
		select {
		case a := <-answers:
			t.Fatalf("the repeated claim did not wait: %+v", a)
		default:
		}
		err := watch.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND query LIKE '-- warren: wait for a claim%')`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := <-answers
	if a.err != nil || len(a.claimed.Leases) != 1 || a.claimed.Leases[0].Job.LeaseNo != 2 {
		t.Fatalf("the repeated claim returned %+v", a)
	}
}
