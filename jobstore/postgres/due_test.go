package postgres_test

import (
	"fmt"
	"testing"

	"github.com/warrenq/warren/jobstore"
)

// While the sweep makes a member of a serial group READY, the one that ran may end. Whoever records that
// does not see the READY member yet, so it is the sweep that has to see that nothing is before it.
func TestDueSeesWhoEndedMeanwhile(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn, watch := connect(t, dsn), connect(t, dsn)
	by := register(t, s)
	first, second := place(t, conn, jobstore.Ready), place(t, conn, jobstore.Ready)
	exec(t, conn, "UPDATE warren.jobs SET serial_group = 'g' WHERE id IN ($1, $2)", first, second)
	got, err := s.Claim(t.Context(), by, []jobstore.ID{first})
	if err != nil || len(got.Leases) != 1 {
		t.Fatalf("claimed %v, %v", got.Leases, err)
	}
	exec(t, conn, "UPDATE warren.jobs SET state = 'TEMPORARILY_FAILED' WHERE id = $1", second)
	// The sweep's statement stands still in the middle, its snapshot taken.
	exec(t, conn, "CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END'")
	exec(t, conn, fmt.Sprintf("CREATE TRIGGER stand_still BEFORE UPDATE ON warren.jobs_live FOR EACH ROW WHEN (NEW.id = %d) EXECUTE FUNCTION stand_still()", second))
	exec(t, conn, "SELECT pg_advisory_lock(42)")
	type answer struct {
		refs []jobstore.Ref
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		refs, err := s.Due(t.Context(), 10)
		answers <- answer{refs, err}
	}()
	for waiting := false; !waiting; {
		select {
		case a := <-answers:
			t.Fatalf("the sweep did not stand still: %+v", a)
		default:
		}
		if err := watch.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	done := jobstore.Outcome{ID: first, LeaseNo: got.Leases[0].Job.LeaseNo, State: jobstore.Finished, SerialGroup: "g"}
	if rec, err := s.Record(t.Context(), by.Holder, []jobstore.Outcome{done}); err != nil || len(rec.Fenced) != 0 {
		t.Fatalf("recorded %+v, %v", rec, err)
	}
	exec(t, conn, "SELECT pg_advisory_unlock(42)")
	if a := <-answers; a.err != nil || len(a.refs) != 1 || a.refs[0].ID != second {
		t.Errorf("the sweep would announce %v, %v; want job %d, which nobody else announces", a.refs, a.err, second)
	}
}

// Whenever a look comes, a delayed row is due or about to be: one that is neither waits for the next tick, and so does all
// that becomes due meanwhile. The moment of a microsecond, in which it may be neither, is met by looking very often.
func TestALookMissesNoRow(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	id := place(t, conn, jobstore.Scheduled)
	for range 500 {
		exec(t, conn, "UPDATE warren.jobs_live SET available_at = clock_timestamp() + interval '2 ms' WHERE id = $1", id)
		for look := (jobstore.Look{}); !look.Due; {
			var err error
			if look, err = s.Look(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !look.Due && look.Next == 0 {
				t.Fatal("a look sees no row that is due, and none that will be")
			}
		}
	}
}
