package postgres_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

func refIDs(refs []jobstore.Ref) []jobstore.ID {
	var ids []jobstore.ID
	for _, ref := range refs {
		ids = append(ids, ref.ID)
	}
	slices.Sort(ids)
	return ids
}

// A job whose row may not be written keeps no other from becoming due, nor the sweep from knowing when the next one will.
func TestDueGoesOnWithoutARowThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 3, 500} {
		t.Run(fmt.Sprintf("at most %d", limit), func(t *testing.T) {
			t.Parallel()
			s, dsn := fresh(t)
			conn := connect(t, dsn)
			var ids []jobstore.ID
			for i := range 5 {
				ids = append(ids, place(t, conn, jobstore.Scheduled))
				exec(t, conn, "UPDATE warren.jobs SET available_at = now() - make_interval(mins => 10 - $2::int) WHERE id = $1", ids[i], i)
			}
			exec(t, conn, "UPDATE warren.jobs SET identifier = 'bad' WHERE id = $1", ids[2])
			refuseBad(t, conn)
			var got []jobstore.Ref
			for {
				refs, err := s.Due(t.Context(), limit)
				if err != nil || len(refs) > limit {
					t.Fatalf("%d became due, %v", len(refs), err)
				}
				got = append(got, refs...)
				if len(refs) < limit {
					break
				}
			}
			if want := slices.Delete(slices.Clone(ids), 2, 3); !slices.Equal(refIDs(got), want) {
				t.Errorf("%v became due, want %v", refIDs(got), want)
			}
			later := place(t, conn, jobstore.Scheduled)
			exec(t, conn, "UPDATE warren.jobs SET available_at = now() + interval '1 h' WHERE id = $1", later)
			if look, err := s.Look(t.Context()); err != nil || look.Due || look.Next == 0 {
				t.Errorf("a look says %+v, %v; want the job that is due in an hour", look, err)
			}
		})
	}
}

// Nor does it keep others from being rescued.
func TestRescueGoesOnWithoutARowThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	by := register(t, s)
	var ids []jobstore.ID
	for range 6 {
		ids = append(ids, place(t, conn, jobstore.Ready))
	}
	exec(t, conn, "UPDATE warren.jobs SET crashes = 2 WHERE id = $1", ids[5]) // its third quarantines it
	if got, err := s.Claim(t.Context(), by, ids); err != nil || len(got.Leases) != 6 {
		t.Fatalf("claimed %d, %v", len(got.Leases), err)
	}
	exec(t, conn, "UPDATE warren.jobs SET identifier = 'bad' WHERE id = $1", ids[2])
	refuseBad(t, conn)
	exec(t, conn, "UPDATE warren.consumers SET expires_at = '-infinity'")
	r, err := s.Rescue(t.Context(), 500, 3)
	if want := []jobstore.ID{ids[0], ids[1], ids[3], ids[4]}; err != nil || !slices.Equal(refIDs(r.Released), want) ||
		!slices.Equal(r.Quarantined, ids[5:]) || r.Crashed != 5 || r.Consumers != 0 {
		t.Errorf("rescued %+v, %v; want %v, and %d quarantined", r, err, want, ids[5])
	}
	if r, err := s.Rescue(t.Context(), 500, 3); err != nil || r.Crashed+r.Consumers != 0 {
		t.Errorf("then %+v, %v; want nothing: one row of the dead consumer is left", r, err)
	}
	exec(t, conn, "DROP TRIGGER refuse ON warren.jobs_live")
	other, err := open(t, dsn, postgres.Config{}).Rescue(t.Context(), 500, 3) // who has not met it yet
	if err != nil || !slices.Equal(refIDs(other.Released), ids[2:3]) || other.Consumers != 1 {
		t.Errorf("without the trigger %+v, %v; want the last", other, err)
	}
}
