package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

const queuesSQL = `-- warren: queues
WITH live AS (
  SELECT j.queue, j.priority::int, count(*) FILTER (WHERE j.state IN ('READY', 'BACK_TO_BROKER', 'BROKER_FAILED')) AS ready,
         count(*) FILTER (WHERE j.state = 'SCHEDULED') AS scheduled, count(*) FILTER (WHERE j.state = 'WAITING') AS waiting,
         count(*) FILTER (WHERE j.state = 'TEMPORARILY_FAILED') AS retrying, count(*) FILTER (WHERE j.state = 'PROCESSING') AS processing,
         (extract(epoch FROM now() - min(j.available_at) FILTER (WHERE j.state = 'READY')) * 1e6)::bigint AS oldest
  FROM @schema@.jobs_live j GROUP BY j.queue, j.priority
),
failed AS (
  SELECT j.queue, j.priority::int, count(*) AS failed FROM @schema@.jobs_history j
  WHERE j.state IN ('PERMANENTLY_FAILED', 'QUARANTINED') GROUP BY j.queue, j.priority
),
taken AS (
  SELECT q.queue, p.priority, count(*) AS consumers
  FROM @schema@.consumers c CROSS JOIN LATERAL unnest(c.queues) AS q(queue) CROSS JOIN LATERAL unnest(c.priorities) AS p(priority)
  WHERE c.expires_at > clock_timestamp() GROUP BY 1, 2
),
bands AS (
  SELECT queue, priority, ready, scheduled, waiting, retrying, processing, failed, oldest, consumers
  FROM live FULL JOIN failed USING (queue, priority) FULL JOIN taken USING (queue, priority)
),
paused AS (SELECT p.queue, nullif(p.until, 'infinity') AS until, true AS paused FROM @schema@.paused_queues p WHERE p.until > now())
SELECT queue, coalesce(p.paused, false), p.until, b.priority, coalesce(b.ready, 0), coalesce(b.scheduled, 0), coalesce(b.waiting, 0),
       coalesce(b.retrying, 0), coalesce(b.processing, 0), coalesce(b.failed, 0), greatest(coalesce(b.oldest, 0), 0), coalesce(b.consumers, 0)
FROM bands b FULL JOIN paused p USING (queue) ORDER BY queue, priority`

// Queues implements jobstore.Queues.
func (s *Store) Queues(ctx context.Context) ([]jobstore.QueueInfo, error) {
	var out []jobstore.QueueInfo
	err := s.inTx(ctx, true, func(ctx context.Context, tx pgx.Tx) error {
		out = nil
		return txSession{tx}.run(ctx, s.sql[queuesSQL], nil, func(r pgx.Rows) error {
			var q jobstore.QueueInfo
			var b jobstore.BandInfo
			var priority *int
			var oldest int64
			err := r.Scan(&q.Queue, &q.Paused, &q.Until, &priority, &b.Ready, &b.Scheduled, &b.Waiting, &b.Retrying, &b.Processing,
				&b.Failed, &oldest, &b.Consumers)
			if err != nil {
				return err
			}
			if n := len(out); n == 0 || out[n-1].Queue != q.Queue {
				q.Bands = []jobstore.BandInfo{}
				out = append(out, q)
			}
			if priority != nil {
				b.Priority, b.Oldest = *priority, time.Duration(oldest)*time.Microsecond
				last := &out[len(out)-1]
				last.Bands = append(last.Bands, b)
			}
			return nil
		})
	})
	if err != nil {
		return nil, wrap("list queues", err)
	}
	return out, nil
}
