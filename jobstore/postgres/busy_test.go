package postgres_test

import (
	"errors"
	"testing"

	"github.com/warrenq/warren/jobstore"
)

// "Nothing to claim" and "somebody has it locked just now" are two answers: a pass that ends when
// nothing is due must not end because the sweep was touching the last row.
func TestClaimNextTellsLockedFromNothing(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	by := register(t, s)
	if got, err := s.ClaimNext(t.Context(), by, 10); err != nil || len(got) != 0 {
		t.Fatalf("with no job: %v, %v", got, err)
	}
	id := place(t, conn, jobstore.Ready)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM warren.jobs WHERE id = $1 FOR UPDATE", id); err != nil {
		t.Fatal(err)
	}
	if got, err := s.ClaimNext(t.Context(), by, 10); !errors.Is(err, jobstore.ErrBusy) || len(got) != 0 {
		t.Fatalf("with its only job locked: %v, %v; want ErrBusy", got, err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := s.ClaimNext(t.Context(), by, 10); err != nil || len(got) != 1 {
		t.Fatalf("after the lock: %v, %v", got, err)
	}
}
