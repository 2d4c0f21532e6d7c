package postgres_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

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

// A claim by number does not wait for a row that somebody touches, the sweep that takes it out of the outbox
// say. It says which those were: their hint is about to be acked, and nothing would offer them again.
func TestClaimTellsLockedFromRefused(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	by := register(t, s)
	free, locked := place(t, conn, jobstore.Ready), place(t, conn, jobstore.Ready)
	refused := []jobstore.ID{place(t, conn, jobstore.Processing), place(t, conn, jobstore.Finished), place(t, conn, jobstore.Waiting), 1 << 40}
	head, blocked := place(t, conn, jobstore.Ready), place(t, conn, jobstore.Ready)
	if _, err := conn.Exec(t.Context(), "UPDATE warren.jobs SET serial_group = 'g' WHERE id IN ($1, $2)", head, blocked); err != nil {
		t.Fatal(err)
	}
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM warren.jobs WHERE id IN ($1, $2, $3) FOR NO KEY UPDATE", locked, head, blocked); err != nil {
		t.Fatal(err)
	}
	all := append([]jobstore.ID{free, locked, head, blocked}, refused...)
	got, err := s.Claim(t.Context(), by, all)
	slices.Sort(got.Busy)
	if err != nil || len(got.Leases) != 1 || got.Leases[0].Job.ID != free || !slices.Equal(got.Busy, []jobstore.ID{locked, head}) {
		t.Fatalf("leases %v, busy %v, %v; want a lease of %d, and %d and %d busy", got.Leases, got.Busy, err, free, locked, head)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err = s.Claim(t.Context(), by, all)
	if err != nil || len(got.Leases) != 2 || len(got.Busy) != 0 {
		t.Fatalf("after the lock: leases %v, busy %v, %v; want two leases", got.Leases, got.Busy, err)
	}
}

// What a claim does not take it does not lock, or others would pass it over for jobs of worse priorities.
func TestAClaimLocksWhatItTakes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		turns   []jobstore.Turn
		grouped bool
	}{
		"plain":    {},
		"any":      {grouped: true},
		"in turns": {turns: []jobstore.Turn{{Band: jobstore.Band{Queue: "default", Priority: 10}, Step: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, dsn := fresh(t)
			conn := connect(t, dsn)
			by := register(t, s)
			by.Turns = c.turns
			first := place(t, conn, jobstore.Ready)
			for range 5 {
				place(t, conn, jobstore.Ready)
			}
			if c.grouped {
				id := place(t, conn, jobstore.Scheduled)
				exec(t, conn, "UPDATE warren.jobs SET serial_group = 'g' WHERE id = $1", id)
			}
			if got, err := s.ClaimNext(t.Context(), by, 1); err != nil || len(got) != 1 || got[0].Job.ID != first {
				t.Fatalf("claimed %v, %v, want %d", got, err, first)
			}
			var locked []int64
			if err := conn.QueryRow(t.Context(), "SELECT array_agg(id) FROM warren.jobs_live WHERE state = 'READY' AND xmax <> 0").Scan(&locked); err != nil {
				t.Fatal(err)
			}
			if len(locked) > 0 {
				t.Errorf("a claim of one job has locked %v as well", locked)
			}
		})
	}
}

// refuseBad has the database refuse every change of jobs whose identifier is bad, as somebody's own trigger may.
func refuseBad(tb testing.TB, conn *pgx.Conn) {
	tb.Helper()
	exec(tb, conn, "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END'")
	exec(tb, conn, "CREATE TRIGGER refuse BEFORE UPDATE ON warren.jobs_live FOR EACH ROW WHEN (NEW.identifier = 'bad') EXECUTE FUNCTION refuse()")
}

// A job whose row may not be written keeps no other from being claimed.
func TestAClaimGoesOnWithoutARowThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	by := register(t, s)
	var ids []jobstore.ID
	for range 5 {
		ids = append(ids, place(t, conn, jobstore.Ready))
	}
	exec(t, conn, "UPDATE warren.jobs SET serial_group = 'g' || id WHERE id = ANY ($1)", ids[3:])
	exec(t, conn, "UPDATE warren.jobs SET identifier = 'bad' WHERE id = ANY ($1)", []jobstore.ID{ids[1], ids[3]})
	refuseBad(t, conn)
	got, err := s.Claim(t.Context(), by, ids)
	var claimed []jobstore.ID
	for _, l := range got.Leases {
		claimed = append(claimed, l.Job.ID)
	}
	if slices.Sort(claimed); err != nil || !slices.Equal(claimed, []jobstore.ID{ids[0], ids[2], ids[4]}) {
		t.Errorf("claimed %v, %v, want all but %d and %d", claimed, err, ids[1], ids[3])
	}
}
