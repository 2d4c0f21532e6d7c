package postgres_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// A claim that begins behind a number reads none of what a snapshot keeps in front of it.
func TestClaimBehindTheDead(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn, old := connect(t, dsn), connect(t, dsn)
	exec(t, conn, "ALTER TABLE warren.jobs_live SET (autovacuum_enabled = off)")
	const dead = 40_000 // so many that catalogs, which are read again after others' changes, are little beside them
	exec(t, conn, `INSERT INTO warren.jobs_live (state, queue, kind, priority) SELECT 'READY', 'default', 'k', 10 FROM generate_series(1, $1::int)`, dead+10)
	exec(t, conn, "VACUUM ANALYZE warren.jobs_live")
	exec(t, conn, "INSERT INTO warren.consumers (host, pid, expires_at) VALUES ('h', 1, now() + interval '1 h')")
	exec(t, old, "BEGIN ISOLATION LEVEL REPEATABLE READ")
	exec(t, old, "SELECT FROM warren.jobs_live LIMIT 1")
	exec(t, conn, "DELETE FROM warren.jobs_live WHERE id <= $1", dead)
	exec(t, conn, "SET enable_seqscan = off") // as on the store's own connections
	exec(t, conn, "SET jit = off")
	for name, text := range map[string]string{
		"claim next":          s.ClaimNextSQL(),
		"claim next, plain":   s.ClaimNextPlainSQL(),
		"claim next, in turn": s.ClaimTurnsSQL(),
	} {
		blocks := func(after string) int {
			call := "EXECUTE claim (1, 1, 'h', 1, '{default}', '{10,20}', '{k}', 1, 65, " + after
			if name == "claim next, in turn" {
				call += ", '{default,default}', '{10,20}', '{0,0}', '{1,0.5}'"
			}
			exec(t, conn, "PREPARE claim AS "+text)
			defer exec(t, conn, "DEALLOCATE claim")
			exec(t, conn, "BEGIN")
			defer exec(t, conn, "ROLLBACK")
			var plan string
			if err := conn.QueryRow(t.Context(), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+call+")", pgx.QueryExecModeSimpleProtocol).Scan(&plan); err != nil {
				t.Fatal(err)
			}
			var plans []struct {
				Plan struct {
					Hit  int `json:"Shared Hit Blocks"`
					Read int `json:"Shared Read Blocks"`
					Rows int `json:"Actual Rows"`
				}
			}
			if err := json.Unmarshal([]byte(plan), &plans); err != nil {
				t.Fatal(err)
			}
			if p := plans[0].Plan; p.Rows != 1 {
				t.Fatalf("%s behind %s: %d rows, want one lease", name, after, p.Rows)
			}
			return plans[0].Plan.Hit + plans[0].Plan.Read
		}
		whole, behind := blocks("NULL"), blocks(fmt.Sprintf("'{%d,%[1]d}'", dead))
		t.Logf("%s: %d blocks from the beginning, %d behind the dead", name, whole, behind)
		if behind*2 > whole {
			t.Errorf("%s reads %d blocks from the beginning and %d behind %d dead rows: those are read", name, whole, behind, dead)
		}
	}
}

// A claim begins where the claimant's front is. What is behind it comes with a later one, when a scout has found it.
func TestClaimsFromTheFront(t *testing.T) {
	t.Parallel()
	for name, turns := range map[string][]jobstore.Turn{"in order": nil, "in turn": {{Band: jobstore.Band{Queue: "default", Priority: 10}, Step: 1}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, dsn := fresh(t)
			conn := connect(t, dsn)
			by := register(t, s)
			by.Turns = turns
			claim := func() (got []jobstore.ID) {
				t.Helper()
				leases, err := s.ClaimNext(t.Context(), by, 5)
				if err != nil {
					t.Fatal(err)
				}
				for _, l := range leases {
					got = append(got, l.Job.ID)
				}
				return got
			}
			early, front, late := place(t, conn, jobstore.Ready), place(t, conn, jobstore.Finished), place(t, conn, jobstore.Ready)
			s.Front(by).Behind(by, front)
			if got := claim(); !slices.Equal(got, []jobstore.ID{late}) {
				t.Errorf("from the front: claimed %v, want %v and not %v, which is before it", got, late, early)
			}
			s.AwaitScouts()
			more := place(t, conn, jobstore.Ready)
			if got := claim(); !slices.Equal(got, []jobstore.ID{early, more}) {
				t.Errorf("after the scout: claimed %v, want %v and %v", got, early, more)
			}
			last := place(t, conn, jobstore.Ready)
			s.Front(by).Behind(by, last)
			by.Whole = true
			if got := claim(); !slices.Equal(got, []jobstore.ID{last}) {
				t.Errorf("a look at everything: claimed %v, want %v", got, last)
			}
		})
	}
}

// What a front makes of looks that took long, and of those that did not.
func TestFront(t *testing.T) {
	t.Parallel()
	by := jobstore.Claimant{Queues: []string{"a", "b"}, Priorities: []int{10, 20}}
	lease := func(queue string, priority int, id jobstore.ID) (l jobstore.Lease) {
		l.Job.Queue, l.Job.Priority, l.Job.ID = queue, priority, id
		return l
	}
	const slow, fast = 300 * time.Millisecond, time.Millisecond
	start := time.Now()
	f := postgres.NewFront()
	want := func(at time.Duration, what string, after ...int64) {
		t.Helper()
		if got, _ := f.Begin(by, 5, start.Add(at)); !slices.Equal(got, after) || (got == nil) != (after == nil) {
			t.Errorf("%s: begins behind %v, want %v", what, got, after)
		}
	}
	end := func(at time.Duration, n int, after []int64, took time.Duration, leases ...jobstore.Lease) {
		f.End(by, n, leases, after, took, start.Add(at))
	}
	scout := func(at time.Duration, goes bool, upTo ...int64) {
		t.Helper()
		if got, ok := f.Scout(by, start.Add(at)); ok != goes || !slices.Equal(got, upTo) {
			t.Errorf("after %s a scout goes: %v, up to %v; want %v, %v", at, ok, got, goes, upTo)
		}
	}
	a, b := lease("a", 10, 5), lease("b", 10, 7)
	want(0, "new")
	end(0, 2, nil, slow, a, b)
	want(0, "after one slow look")
	end(0, 2, nil, fast, a, b)
	end(0, 2, nil, slow, a, b)
	want(0, "after a slow look, a fast one and a slow one")
	scout(0, false)
	end(0, 2, nil, slow, a, b)
	want(2*time.Second, "what was claimed just now is looked before", 0, 0, 0, 0)
	want(3*time.Second, "two lags later", 5, 0, 7, 0)
	end(3*time.Second, 2, []int64{5, 0, 7, 0}, fast, lease("a", 20, 9))
	want(5*time.Second, "a short claim moves every band, in time", 5, 0, 7, 0)
	scout(5*time.Second, false)
	want(6*time.Second, "a short claim moves every band", 9, 9, 9, 9)
	scout(7*time.Second, true, 9, 9, 9, 9)
	scout(8*time.Second, false)

	// What the scout brings is claimed as soon as nothing better waits.
	low, high := jobstore.Ref{ID: 3, Band: jobstore.Band{Queue: "a", Priority: 10}}, jobstore.Ref{ID: 2, Band: jobstore.Band{Queue: "b", Priority: 20}}
	f.Scouted([]jobstore.Ref{low, high}, slow, start.Add(8*time.Second))
	end(8*time.Second, 1, []int64{9, 9, 9, 9}, fast, lease("a", 10, 11))
	if _, left := f.Begin(by, 5, start.Add(8*time.Second)); !slices.Equal(left, []jobstore.ID{3}) {
		t.Errorf("while jobs of priority 10 wait: %v are claimed with them, want 3", left)
	}
	end(8*time.Second, 5, []int64{9, 9, 9, 9}, fast)
	if _, left := f.Begin(by, 5, start.Add(8*time.Second)); !slices.Equal(left, []jobstore.ID{2}) {
		t.Errorf("when nothing else waits: %v are claimed, want 2", left)
	}

	// Many jobs move their band back.
	many := make([]jobstore.Ref, postgres.ScoutBatch)
	for i := range many {
		many[i] = jobstore.Ref{ID: jobstore.ID(4 + i), Band: low.Band}
	}
	f.Scouted(many, slow, start.Add(9*time.Second))
	want(9*time.Second, "a hundred jobs behind the front", 3, 9, 9, 9)
	f.Scouted(nil, fast, start.Add(10*time.Second))
	want(10*time.Second, "the way is free")
}

// A claim of two statements whose second fails is a claim that failed: what that one may have granted without its reply
// arriving is only looked for after an error, and would stay leased to a consumer that does not know.
func TestHalfAClaimIsAnError(t *testing.T) {
	t.Parallel()
	for name, claim := range map[string]func(s *postgres.Store, by jobstore.Claimant, ids []jobstore.ID) ([]jobstore.Lease, error){
		"by number": func(s *postgres.Store, by jobstore.Claimant, ids []jobstore.ID) ([]jobstore.Lease, error) {
			got, err := s.Claim(t.Context(), by, ids)
			return got.Leases, err
		},
		"by order, with what a scout has found": func(s *postgres.Store, by jobstore.Claimant, ids []jobstore.ID) ([]jobstore.Lease, error) {
			f := s.Front(by)
			f.Behind(by, ids[0])
			f.End(by, 5, nil, []int64{int64(ids[0]), int64(ids[0])}, time.Millisecond, time.Now()) // nothing better waits
			f.Scouted([]jobstore.Ref{{ID: ids[0], Band: jobstore.Band{Queue: "default", Priority: 10}}}, time.Hour, time.Now())
			return s.ClaimNext(t.Context(), by, 5)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, dsn := fresh(t)
			conn := connect(t, dsn)
			by := register(t, s)
			plain, member := place(t, conn, jobstore.Ready), place(t, conn, jobstore.Ready)
			exec(t, conn, "UPDATE warren.jobs SET serial_group = 'g' WHERE id = $1", member)
			exec(t, conn, "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$ USING ERRCODE = $$query_canceled$$; END'")
			exec(t, conn, "CREATE TRIGGER refuse BEFORE UPDATE ON warren.jobs_live FOR EACH ROW WHEN (NEW.serial_group IS NOT NULL) EXECUTE FUNCTION refuse()")
			if got, err := claim(s, by, []jobstore.ID{plain, member}); err == nil {
				t.Fatalf("claimed %v without an error, although the statement for %d failed", got, member)
			}
			exec(t, conn, "DROP TRIGGER refuse ON warren.jobs_live")
			by.Again = true
			got, err := s.Claim(t.Context(), by, []jobstore.ID{plain, member})
			if err != nil || len(got.Leases) != 2 {
				t.Errorf("claimed %v again, %v; want both, the one that was granted before among them", got.Leases, err)
			}
		})
	}
}
