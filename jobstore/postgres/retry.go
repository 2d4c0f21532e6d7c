package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// Both partitions are locked before anything is decided, by statements of their own because a
// lock and a UNION exclude each other.
const (
	retryLiveSQL    = "-- warren: retry, lock" + orderedLive
	retryHistorySQL = "-- warren: retry, lock the history" + orderedHistory
)

// retryKeysSQL takes the keys of jobs that need one, in the order of keys, and returns the jobs
// that did not get theirs, with whoever has it. Of several with one key the first gets it.
const retryKeysSQL = `-- warren: retry, take keys
WITH keyed AS MATERIALIZED (
  SELECT j.id, j.kind, j.identifier, j.unique_for, j.state
  FROM unnest($1::bigint[]) AS w(id) JOIN @schema@.jobs j ON j.id = w.id WHERE j.mode <> 'normal'
),
keys AS (
  INSERT INTO @schema@.job_keys AS k (kind, identifier, job_id, until)
  SELECT DISTINCT ON (kind, identifier) kind, identifier, id,
         CASE WHEN unique_for < interval '0' THEN 'infinity' ELSE now() + nullif(unique_for, interval '0') END
  FROM keyed ORDER BY kind, identifier, id
  ON CONFLICT (kind, identifier) DO UPDATE SET
    job_id = CASE WHEN k.until <= now() THEN excluded.job_id ELSE k.job_id END,
    until  = CASE WHEN k.until <= now() THEN excluded.until ELSE k.until END
  RETURNING kind, identifier, job_id
)
SELECT j.id, j.state, k.job_id, j.kind, j.identifier
FROM keyed j JOIN keys k ON k.kind = j.kind AND k.identifier = j.identifier WHERE k.job_id <> j.id`

// retrySQL orders another run. The trigger resets what begins anew, and the sweep does the rest.
const retrySQL = `-- warren: retry
UPDATE @schema@.jobs j SET state = 'BACK_TO_BROKER' FROM unnest($1::bigint[]) AS w(id) WHERE j.id = w.id
RETURNING j.id, NULL::text`

// Retry implements jobstore.Operator.
func (s *Store) Retry(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error) {
	return s.operate(ctx, "retried", ids, s.retryIn)
}

// lockIn locks those of the jobs that do not run, and returns them.
func (s *Store) lockIn(ctx context.Context, q session, ids []jobstore.ID) ([]jobstore.ID, error) {
	live, err := gatherIn(ctx, q, s.sql[retryLiveSQL], scanID, ids)
	if err != nil {
		return nil, err
	}
	ended, err := gatherIn(ctx, q, s.sql[retryHistorySQL], scanID, ids)
	return append(live, ended...), err
}

func (s *Store) retryIn(ctx context.Context, q session, ids []jobstore.ID) (t touched, err error) {
	mine, err := s.lockIn(ctx, q, ids)
	if err != nil {
		return t, err
	}
	if t.refused, err = gatherIn(ctx, q, s.sql[retryKeysSQL], scanKeyless, mine); err != nil {
		return t, err
	}
	mine = slices.DeleteFunc(mine, func(id jobstore.ID) bool {
		return slices.ContainsFunc(t.refused, func(r jobstore.Refusal) bool { return r.ID == id })
	})
	err = q.run(ctx, s.sql[retrySQL], []any{mine}, t.scan)
	return t, err
}

func scanKeyless(r pgx.Rows) (no jobstore.Refusal, err error) {
	var owner jobstore.ID
	var kind, identifier string
	err = r.Scan(&no.ID, &no.State, &owner, &kind, &identifier)
	no.Reason = fmt.Sprintf("job %d cannot run again: job %d holds its key (kind %s, identifier %s); wait until that job has ended, or cancel it",
		no.ID, owner, kind, identifier)
	return no, err
}
