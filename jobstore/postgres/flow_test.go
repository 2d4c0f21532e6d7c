package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// counting is a transaction that counts statements.
type counting struct {
	pgx.Tx
	statements int
}

func (c *counting) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	c.statements++
	return c.Tx.Query(ctx, sql, args...)
}

// wide is a job, and then a batch of chains of two jobs.
func wide(chains int) jobstore.NewFlow {
	job := func(parent, waits int) jobstore.NewStep {
		return jobstore.NewStep{Role: jobstore.RoleJob, Parent: parent, Waits: waits, Jobs: []jobstore.NewJob{{
			Kind: "k", Args: json.RawMessage(`{}`), Queue: "default", Priority: 10, Mode: jobstore.Normal, MaxAttempts: 25,
		}}}
	}
	f := jobstore.NewFlow{Name: "wide", Steps: []jobstore.NewStep{
		{Role: jobstore.RoleChain, Parent: -1}, job(0, 0), {Role: jobstore.RoleBatch, Waits: 1},
	}, Edges: []jobstore.NewEdge{{From: 1, On: jobstore.OnSuccess, To: 2}}}
	for range chains {
		at := len(f.Steps)
		f.Steps = append(f.Steps, jobstore.NewStep{Role: jobstore.RoleChain, Parent: 2}, job(at, 0), job(at, 1))
		f.Edges = append(f.Edges, jobstore.NewEdge{From: at + 1, On: jobstore.OnSuccess, To: at + 2})
	}
	return f
}

// A transaction on a flow has little time, and a round trip takes some of it: what many steps need is asked for
// at once, whether they are released or end.
func TestManyStepsTakeAsManyStatementsAsTwo(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	by := register(t, s)
	// end ends jobs in one transaction, and returns what that released and how many statements it took.
	end := func(state jobstore.State, ids []jobstore.ID) ([]jobstore.ID, int) {
		t.Helper()
		by.Token++
		claimed, err := s.Claim(t.Context(), by, ids)
		if err != nil || len(claimed.Leases) != len(ids) {
			t.Fatalf("claimed %d of %d jobs, %v", len(claimed.Leases), len(ids), err)
		}
		var done []jobstore.Outcome
		for _, l := range claimed.Leases {
			done = append(done, jobstore.Outcome{ID: l.Job.ID, LeaseNo: l.Job.LeaseNo, State: state, Step: l.Job.Step})
		}
		var released []jobstore.ID
		var tx counting
		err = pgx.BeginFunc(t.Context(), conn, func(own pgx.Tx) error {
			tx.Tx = own
			rec, err := s.RecordTx(t.Context(), postgres.Tx(&tx), by.Holder, done)
			for _, ref := range rec.Released {
				released = append(released, ref.ID)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return released, tx.statements
	}
	took := map[string][]int{}
	for _, chains := range []int{2, 200} {
		for _, state := range []jobstore.State{jobstore.Finished, jobstore.PermanentlyFailed} {
			id, refs, err := s.InsertFlow(t.Context(), wide(chains))
			if err != nil {
				t.Fatal(err)
			}
			first, n := end(jobstore.Finished, []jobstore.ID{refs[0].ID})
			took["the batch is released"] = append(took["the batch is released"], n)
			then, n := end(state, first)
			what := fmt.Sprintf("the first jobs of the chains are %s", state)
			took[what] = append(took[what], n)
			if len(first) != chains || state == jobstore.Finished && len(then) != chains {
				t.Fatalf("%d chains: released %d, then %d", chains, len(first), len(then))
			}
			if state == jobstore.Finished {
				_, n = end(jobstore.Finished, then)
				took["the chains end"] = append(took["the chains end"], n)
			}
			if f, err := s.Flow(t.Context(), id); err != nil || f.EndedAt == nil {
				t.Fatalf("the flow is %s, %v", f.State, err)
			}
		}
	}
	for _, what := range slices.Sorted(maps.Keys(took)) {
		if n := slices.Compact(slices.Clone(took[what])); len(n) > 1 {
			t.Errorf("%s: 2 chains and 200 take %v statements, want as many", what, took[what])
		}
	}
}
