package postgres

import (
	"context"

	"github.com/warrenq/warren/jobstore"
)

// retainSQL removes rows of the history, oldest first. Nobody else touches them, so that this
// blocks nobody; vacuum gives the space back to the jobs that end next.
const retainSQL = `-- warren: retain
WITH past AS MATERIALIZED (
  SELECT p.id
  FROM unnest($1::text[], $2::bigint[]) AS k(state, age) CROSS JOIN LATERAL (
    SELECT h.id FROM @schema@.jobs_history h
    WHERE h.state = k.state AND h.finished_at <= now() - make_interval(secs => k.age / 1e6)
    ORDER BY h.finished_at LIMIT $3
    FOR UPDATE SKIP LOCKED
  ) p LIMIT $3
)
DELETE FROM @schema@.jobs_history h USING unnest(ARRAY(SELECT id FROM past)) AS w(id) WHERE h.id = w.id
RETURNING h.id`

// retainKeysSQL forgets unique keys whose period is over.
const retainKeysSQL = `-- warren: retain keys
DELETE FROM @schema@.job_keys WHERE (kind, identifier) IN (
  SELECT kind, identifier FROM @schema@.job_keys WHERE until <= now() ORDER BY until LIMIT $1 FOR UPDATE SKIP LOCKED)`

// Retain implements jobstore.Sweeper. Keys whose period is over, guards that say nothing any more, the progress of
// what has ended and events past HistoryKept go too, uncounted.
func (s *Store) Retain(ctx context.Context, keep jobstore.Retention, limit int) (int, error) {
	var states []string
	var ages []int64
	for state, age := range keep {
		states = append(states, string(state))
		ages = append(ages, age.Microseconds())
	}
	gone, err := gather(ctx, s, retainSQL, scanID, states, ages, limit)
	if err == nil {
		err = s.exec(ctx, retainKeysSQL, limit)
	}
	if err == nil {
		err = s.exec(ctx, retainGuardsSQL, limit)
	}
	if err == nil {
		err = s.exec(ctx, retainProgressSQL, limit)
	}
	if err == nil {
		err = s.exec(ctx, forgetEventsSQL, jobstore.HistoryKept.Microseconds(), limit)
	}
	if err != nil {
		return 0, wrap("remove jobs past retention", err)
	}
	return len(gone), nil
}
