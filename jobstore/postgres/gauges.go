package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// gaugesSQL reads indexes of live rows only, and at most $1 entries for each count. bands is a
// loose index scan: one probe a band, however many jobs it has. The oldest job is looked for among
// the thousand smallest numbers of a band: one that was retried has a small number and is not old.
const gaugesSQL = `-- warren: gauges
WITH RECURSIVE bands(queue, priority) AS (
  (SELECT queue, priority FROM @schema@.jobs_live
   WHERE state = 'READY' AND serial_group IS NULL ORDER BY queue, priority LIMIT 1)
  UNION ALL
  SELECT n.queue, n.priority FROM bands b CROSS JOIN LATERAL (
    SELECT j.queue, j.priority FROM @schema@.jobs_live j
    WHERE j.state = 'READY' AND j.serial_group IS NULL AND (j.queue, j.priority) > (b.queue, b.priority)
    ORDER BY j.queue, j.priority LIMIT 1) n
),
counted AS (
  SELECT b.queue, b.priority, 'READY' AS state, c.n, c.since
  FROM (SELECT * FROM bands LIMIT $2::int) b CROSS JOIN LATERAL (
    SELECT (SELECT count(*) FROM (SELECT FROM @schema@.jobs_live j
              WHERE j.state = 'READY' AND j.serial_group IS NULL AND j.queue = b.queue AND j.priority = b.priority
              LIMIT $1::int) r) AS n,
           (SELECT min(available_at) FROM (SELECT j.available_at FROM @schema@.jobs_live j
              WHERE j.state = 'READY' AND j.serial_group IS NULL AND j.queue = b.queue AND j.priority BETWEEN b.priority AND b.priority
              ORDER BY j.priority, j.id LIMIT 1000) r) AS since
  ) c
  UNION ALL
  SELECT queue, priority, 'READY', count(*), NULL FROM (
    SELECT queue, priority, state FROM @schema@.jobs_live WHERE serial_group IS NOT NULL ORDER BY serial_group LIMIT $1::int) g
  WHERE state || '' = 'READY' GROUP BY queue, priority
  UNION ALL
  SELECT queue, priority, state, count(*), NULL FROM (
    SELECT queue, priority, state FROM @schema@.jobs_live
    WHERE state IN ('SCHEDULED', 'WAITING', 'TEMPORARILY_FAILED', 'BROKER_FAILED', 'BACK_TO_BROKER')
    ORDER BY available_at LIMIT $1::int) d
  GROUP BY queue, priority, state
  UNION ALL
  SELECT queue, priority, 'PROCESSING', count(*), NULL FROM (
    SELECT queue, priority FROM @schema@.jobs_live WHERE holder IS NOT NULL ORDER BY holder LIMIT $1::int) p
  GROUP BY queue, priority
),
outbox AS (
  SELECT announce_at FROM @schema@.jobs_live
  WHERE announce_at <= now() AND state || '' = 'READY' ORDER BY announce_at LIMIT $1::int
)
(SELECT queue, priority, state, sum(n)::bigint, greatest(coalesce(extract(epoch FROM now() - min(since)) * 1e6, 0), 0)::bigint
 FROM counted WHERE n > 0 GROUP BY queue, priority, state ORDER BY queue, priority, state LIMIT 7 * $2::int)
UNION ALL
SELECT '', 0, '', count(*), greatest(coalesce(extract(epoch FROM now() - min(announce_at)) * 1e6, 0), 0)::bigint FROM outbox`

// Gauges implements jobstore.Gauger.
func (s *Store) Gauges(ctx context.Context, limit int) (jobstore.Gauges, error) {
	got, err := gather(ctx, s, gaugesSQL, func(r pgx.Rows) (w jobstore.BandCount, err error) {
		var age int64
		err = r.Scan(&w.Queue, &w.Priority, &w.State, &w.Jobs, &age)
		w.Age = time.Duration(age) * time.Microsecond
		return w, err
	}, limit, jobstore.MaxBands)
	if err != nil {
		return jobstore.Gauges{}, wrap("count what has not ended", err)
	}
	var b jobstore.Gauges
	for _, w := range got {
		if w.State == "" {
			b.Outbox, b.OutboxAge = w.Jobs, w.Age
		} else {
			b.Bands = append(b.Bands, w)
		}
	}
	return b, nil
}
