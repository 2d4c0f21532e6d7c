package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// restartSQL locks the consumers it counts, so that two operators at once do not tell the same
// ones. The lock does not disturb claims, which hold the row FOR KEY SHARE. The heartbeat of a
// consumer brings the order.
const restartSQL = `-- warren: restart consumers
WITH alive AS MATERIALIZED (
  SELECT id, started_at FROM @schema@.consumers
  WHERE $1::text = ANY (queues) AND expires_at > clock_timestamp() AND NOT restart
  ORDER BY id FOR NO KEY UPDATE
),
told AS (
  UPDATE @schema@.consumers c SET restart = true
  FROM (SELECT id FROM alive ORDER BY started_at, id LIMIT $2::int) first
  WHERE c.id = first.id AND (SELECT count(*) FROM alive) >= $2::int
  RETURNING c.id
)
SELECT (SELECT count(*) FROM alive), ARRAY(SELECT id FROM told ORDER BY id)`

// Restart implements jobstore.Queues.
func (s *Store) Restart(ctx context.Context, queue string, n int) ([]jobstore.HolderID, error) {
	var alive int
	var told []jobstore.HolderID
	err := s.do(ctx, restartSQL, []any{queue, clamp(n)}, nil, func(r pgx.Rows) error { return r.Scan(&alive, &told) })
	if err == nil && alive < n {
		err = fmt.Errorf("%w: %d consumers of queue %s are alive and not told to restart yet, fewer than %d; nobody was told", jobstore.ErrRefused, alive, queue, n)
	}
	if err != nil {
		return nil, wrap("restart consumers", err)
	}
	return told, nil
}
