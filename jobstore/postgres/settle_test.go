package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// While a transaction is open that was told that a waiting job will do, that job does not start: what
// the transaction has changed is not to be seen yet.
func TestAJobThatWillDoStartsAfterTheCommit(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	job := jobstore.NewJob{
		Kind: "k", Queue: "q", Priority: 10, Mode: jobstore.Unique, Identifier: "x", UniqueFor: jobstore.UntilStart,
	}
	first, err := s.Insert(t.Context(), []jobstore.NewJob{job})
	if err != nil {
		t.Fatal(err)
	}
	holder, err := s.Register(t.Context(), jobstore.Consumer{Host: "h", PID: 1}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	by := jobstore.Claimant{Holder: holder, Token: 1, Queues: []string{"q"}, Priorities: []int{10}, Kinds: []string{"k"}}
	err = s.InTx(t.Context(), func(ctx context.Context, tx jobstore.Tx) error {
		got, err := s.InsertTx(ctx, tx, []jobstore.NewJob{job})
		if err != nil {
			return err
		}
		if got[0].State != jobstore.Redundant || got[0].Existing != first[0].ID {
			t.Errorf("the second is %+v", got[0])
		}
		leases, err := s.ClaimNext(ctx, by, 10)
		if !errors.Is(err, jobstore.ErrBusy) || len(leases) > 0 {
			t.Errorf("before the commit %d jobs start (%v)", len(leases), err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if leases, err := s.ClaimNext(t.Context(), by, 10); err != nil || len(leases) != 1 {
		t.Errorf("after the commit %d jobs start (%v)", len(leases), err)
	}
}
