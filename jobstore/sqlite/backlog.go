package sqlite

import (
	"context"
	"database/sql"

	"github.com/warrenq/warren/jobstore"
)

const backlogSQL = `-- warren: backlog
SELECT queue, priority, count(*), min(available_at) FROM jobs
WHERE ` + live + ` AND state <> 'PROCESSING' AND available_at <= ?1
GROUP BY queue, priority ORDER BY queue, priority`

// Backlog implements jobstore.Housekeeper. It counts rows: a few seconds for each million.
func (s *Store) Backlog(ctx context.Context) ([]jobstore.Backlog, error) {
	got, err := snapshot(ctx, s, func(ctx context.Context, q session) ([]jobstore.Backlog, error) {
		now := s.now()
		pauses, err := pausesIn(ctx, q, now)
		if err != nil {
			return nil, err
		}
		return gather(ctx, q, backlogSQL, func(r row) (b jobstore.Backlog, err error) {
			var oldest sql.NullString
			err = r.Scan(&b.Queue, &b.Priority, &b.Due, &oldest)
			b.Oldest, b.Paused = since(now, oldest), paused(pauses, jobstore.PauseOfQueue, b.Queue)
			return b, err
		}, stamp(now))
	})
	if err != nil {
		return nil, s.wrap("count what is due", err)
	}
	return got, nil
}
