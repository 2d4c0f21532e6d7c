package postgres

import (
	"context"

	"github.com/warrenq/warren/jobstore"
)

// deleteSQL removes jobs that may still run. Their keys go too, those that are held for a period
// or for ever included: a key that nobody can look up would puzzle whoever meets it.
const deleteSQL = `-- warren: delete
WITH mine AS MATERIALIZED (` + orderedLive + `),
gone AS (
  DELETE FROM @schema@.jobs_live j USING mine WHERE j.id = mine.id RETURNING j.id, j.serial_group, j.mode, j.kind, j.identifier
)` + deleteKeys

const deleteHistorySQL = `-- warren: delete from the history
WITH mine AS MATERIALIZED (` + orderedHistory + `),
gone AS (
  DELETE FROM @schema@.jobs_history j USING mine WHERE j.id = mine.id
  RETURNING j.id, NULL::text AS serial_group, j.mode, j.kind, j.identifier
)` + deleteKeys

const deleteKeys = `,
keys AS (
  DELETE FROM @schema@.job_keys k USING gone g
  WHERE g.mode <> 'normal' AND k.kind = g.kind AND k.identifier = g.identifier AND k.job_id = g.id
),
logs AS (
  DELETE FROM @schema@.job_logs l USING gone g WHERE l.job_id = g.id
),
files AS (
  UPDATE @schema@.job_files f SET gone = true FROM gone g WHERE f.job_id = g.id
)
SELECT id, serial_group FROM gone`

// Delete implements jobstore.Operator.
func (s *Store) Delete(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error) {
	return s.operate(ctx, "deleted", ids, s.deleteIn)
}

func (s *Store) deleteIn(ctx context.Context, q session, ids []jobstore.ID) (t touched, err error) {
	err = q.run(ctx, s.sql[deleteSQL], []any{ids}, t.scan)
	if err == nil {
		err = q.run(ctx, s.sql[deleteHistorySQL], []any{ids}, t.scan)
	}
	return t, err
}
