package postgres

import (
	"context"

	"github.com/warrenq/warren/jobstore"
)

// cancelSQL moves jobs to the history as an outcome does. The trigger on the history frees their
// keys, which ends a series.
const cancelSQL = `-- warren: cancel
WITH mine AS MATERIALIZED (` + orderedLive + `),
ended AS (
  DELETE FROM @schema@.jobs_live j USING mine WHERE j.id = mine.id RETURNING j.*
),
history AS (
  INSERT INTO @schema@.jobs_history (` + carriedColumns + `, state, finished_at, crashes, outcome_lease, attempts, error, errors, output,
         metadata, duration_ms, memory)
  SELECT ` + carriedColumns + `, 'CANCELLED', now(), crashes, outcome_lease, attempts, error, errors, output, metadata, duration_ms, memory
  FROM ended
)
SELECT id, serial_group FROM ended`

// Cancel implements jobstore.Operator.
func (s *Store) Cancel(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error) {
	return s.operate(ctx, "cancelled", ids, s.cancelIn)
}

func (s *Store) cancelIn(ctx context.Context, q session, ids []jobstore.ID) (t touched, err error) {
	err = q.run(ctx, s.sql[cancelSQL], []any{ids}, t.scan)
	return t, err
}
