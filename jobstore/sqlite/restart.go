package sqlite

import (
	"context"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

// restartableSQL lists the oldest first.
const restartableSQL = `-- warren: consumers that may be told to restart
SELECT id FROM warren_consumers c WHERE ?1 IN (SELECT value FROM json_each(c.queues)) AND expires_at > ?2 AND NOT restart ORDER BY started_at, id`

const restartSQL = `-- warren: restart consumers
UPDATE warren_consumers SET restart = 1 WHERE id IN (SELECT value FROM json_each(?1))`

// Restart implements jobstore.Queues. The heartbeat of a consumer brings the order.
func (s *Store) Restart(ctx context.Context, queue string, n int) ([]jobstore.HolderID, error) {
	told, err := writing(ctx, s, func(ctx context.Context, q session) ([]jobstore.HolderID, error) {
		alive, err := gather(ctx, q, restartableSQL, func(r row) (id jobstore.HolderID, err error) {
			err = r.Scan(&id)
			return id, err
		}, queue, stamp(s.now()))
		if err != nil {
			return nil, err
		}
		if len(alive) < n {
			return nil, fmt.Errorf("%w: %d consumers of queue %s are alive and not told to restart yet, fewer than %d; nobody was told", jobstore.ErrRefused, len(alive), queue, n)
		}
		alive = alive[:max(0, n)]
		_, err = q.exec(ctx, restartSQL, list(alive))
		return alive, err
	})
	if err != nil {
		return nil, s.wrap("restart consumers", err)
	}
	return told, nil
}
