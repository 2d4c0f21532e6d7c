package sqlite

import (
	"context"

	"github.com/warrenq/warren/jobstore"
)

// cancelSQL ends a job. The trigger frees its key, which ends a series.
const cancelSQL = `-- warren: cancel
UPDATE jobs SET state = 'CANCELLED', finished_at = ?2, announce_at = NULL WHERE id = ?1`

// Cancel implements jobstore.Operator.
func (s *Store) Cancel(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error) {
	return s.operate(ctx, ids, s.cancelling())
}

func (s *Store) cancelling() order {
	return order{past: "cancelled", takes: mayStillRun, do: func(ctx context.Context, q session, t *subject) (string, error) {
		_, err := q.exec(ctx, cancelSQL, t.id, stamp(s.now()))
		return "", err
	}}
}
