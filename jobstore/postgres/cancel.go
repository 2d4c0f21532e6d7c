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

// askCancelSQL forgets requests about attempts that have ended, so that the table stays as small as
// what is being cancelled.
const askCancelSQL = `-- warren: ask to cancel
WITH gone AS (
  DELETE FROM @schema@.job_cancels k
  WHERE NOT EXISTS (SELECT FROM @schema@.jobs_live j WHERE j.id = k.job_id AND j.lease_no = k.lease_no AND j.holder IS NOT NULL)
),
mine AS MATERIALIZED (
  SELECT l.* FROM unnest($1::bigint[]) AS w(id) CROSS JOIN LATERAL (
    SELECT j.id, j.lease_no FROM @schema@.jobs_live j WHERE j.id = w.id AND j.state || '' = 'PROCESSING' LIMIT 1
  ) l
),
asked AS (
  INSERT INTO @schema@.job_cancels AS k (job_id, lease_no) SELECT id, lease_no FROM mine ORDER BY id
  ON CONFLICT (job_id) DO UPDATE SET lease_no = excluded.lease_no, asked_at = now()
)
SELECT id, NULL::text FROM mine`

// AskCancel implements jobstore.Canceller.
func (s *Store) AskCancel(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error) {
	return s.operate(ctx, "cancelled", ids, func(ctx context.Context, q session, ids []jobstore.ID) (t touched, err error) {
		t.event = jobstore.EventAskedCancel
		err = q.run(ctx, s.sql[askCancelSQL], []any{ids}, t.scan)
		return t, err
	})
}

// Cancel implements jobstore.Operator.
func (s *Store) Cancel(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error) {
	return s.operate(ctx, "cancelled", ids, s.cancelIn)
}

func (s *Store) cancelIn(ctx context.Context, q session, ids []jobstore.ID) (t touched, err error) {
	err = q.run(ctx, s.sql[cancelSQL], []any{ids}, t.scan)
	return t, err
}
