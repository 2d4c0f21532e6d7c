package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

const backlogSQL = `-- warren: backlog
SELECT b.queue, b.priority, b.due, b.oldest,
       EXISTS (SELECT FROM @schema@.paused_queues p WHERE p.queue = b.queue AND p.until > now())
FROM (
  SELECT j.queue, j.priority, count(*) AS due, (extract(epoch FROM now() - min(j.available_at)) * 1e6)::bigint AS oldest
  FROM @schema@.jobs_live j WHERE j.state <> 'PROCESSING' AND j.available_at <= now()
  GROUP BY j.queue, j.priority
) b ORDER BY b.queue, b.priority`

// Backlog implements jobstore.Housekeeper. It counts rows: about a second for a few million.
func (s *Store) Backlog(ctx context.Context) ([]jobstore.Backlog, error) {
	got, err := bulk(ctx, s, backlogSQL, func(r pgx.Rows) (b jobstore.Backlog, err error) {
		var oldest int64
		err = r.Scan(&b.Queue, &b.Priority, &b.Due, &oldest, &b.Paused)
		b.Oldest = time.Duration(oldest) * time.Microsecond
		return b, err
	})
	if err != nil {
		return nil, wrap("count what is due", err)
	}
	return got, nil
}
