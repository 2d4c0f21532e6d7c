package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// Finisher records outcomes inside of a caller's transaction.
type Finisher interface {
	RecordTx(ctx context.Context, tx jobstore.Tx, by jobstore.HolderID, done []jobstore.Outcome) (jobstore.Recorded, error)
}

// underway is what it takes to finish a job from inside of its handler.
type underway struct {
	finisher Finisher
	work     Work
	began    time.Time
}

// ErrNoAttempt means that nobody can finish the job of a context from inside of its handler.
var ErrNoAttempt = errors.New("no consumer runs a job in this context")

// CompleteTx records the attempt as FINISHED inside of tx, with what it leaves behind so far. ErrLeaseLost when the
// job is no longer this attempt's: then tx must not be committed.
//
// The outcome of the attempt is recorded as ever when its handler has returned. After the commit that finds
// itself recorded before, under this lease, and releases who comes next; after a rollback it is the only one.
func (s *Scope) CompleteTx(ctx context.Context, tx jobstore.Tx) error {
	if s == nil || s.under.finisher == nil {
		return ErrNoAttempt
	}
	w := s.under.work
	if !w.Term.Alive() {
		return ErrLeaseLost
	}
	out := Decide(w.Lease, nil, nil, Policy{}).Outcome
	out.Duration = time.Since(s.under.began)
	s.Last(true)
	out.Output, out.Metadata = s.Kept()
	if out.Step != 0 {
		out.Flow = s.flowChange()
	}
	rec, err := s.under.finisher.RecordTx(ctx, tx, w.Term.Holder, []jobstore.Outcome{out})
	switch {
	case err != nil:
		return fmt.Errorf("complete job %d in a transaction: %w", out.ID, err)
	case len(rec.Fenced) > 0:
		return fmt.Errorf("complete job %d in a transaction: %w", out.ID, ErrLeaseLost)
	}
	return nil
}
