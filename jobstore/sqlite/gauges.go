package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// bandsSQL is a loose index scan: one probe a band, however many jobs it has.
const bandsSQL = `-- warren: bands
WITH RECURSIVE bands(queue, priority) AS (
  SELECT * FROM (SELECT queue, priority FROM jobs WHERE state = 'READY' AND serial_group IS NULL ORDER BY queue, priority LIMIT 1)
  UNION ALL
  SELECT j.queue, j.priority FROM bands b CROSS JOIN jobs j ON j.id = (
    SELECT n.id FROM jobs n WHERE n.state = 'READY' AND n.serial_group IS NULL AND (n.queue, n.priority) > (b.queue, b.priority)
    ORDER BY n.queue, n.priority LIMIT 1)
)
SELECT queue, priority FROM bands LIMIT ?1`

// readySQL counts the READY jobs of a band. The oldest is looked for among the thousand smallest
// numbers: one that was retried has a small number and is not old.
const readySQL = `-- warren: count a band
SELECT (SELECT count(*) FROM (SELECT 1 FROM jobs WHERE state = 'READY' AND serial_group IS NULL AND queue = ?1 AND priority = ?2 LIMIT ?3)),
       (SELECT min(available_at) FROM (SELECT available_at FROM jobs
          WHERE state = 'READY' AND serial_group IS NULL AND queue = ?1 AND priority = ?2 ORDER BY id LIMIT 1000))`

// othersSQL counts the other live rows, each kind through its own index.
const othersSQL = `-- warren: count the rest
SELECT queue, priority, 'READY', count(*) FROM (
  SELECT queue, priority, state FROM jobs WHERE serial_group > '' AND ` + live + ` ORDER BY serial_group LIMIT ?1) WHERE state = 'READY' GROUP BY 1, 2
UNION ALL
SELECT queue, priority, state, count(*) FROM (
  SELECT queue, priority, state FROM jobs WHERE ` + delayed + ` ORDER BY available_at LIMIT ?1) GROUP BY 1, 2, 3
UNION ALL
SELECT queue, priority, 'PROCESSING', count(*) FROM (
  SELECT queue, priority FROM jobs WHERE holder IS NOT NULL ORDER BY holder LIMIT ?1) GROUP BY 1, 2`

const outboxGaugeSQL = `-- warren: count the outbox
SELECT count(*), min(announce_at) FROM (SELECT announce_at FROM jobs WHERE announce_at <= ?1 AND state = 'READY' ORDER BY announce_at LIMIT ?2)`

// Gauges implements jobstore.Gauger.
func (s *Store) Gauges(ctx context.Context, limit int) (jobstore.Gauges, error) {
	got, err := snapshot(ctx, s, func(ctx context.Context, q session) (g jobstore.Gauges, err error) {
		now := s.now()
		if g.Bands, err = countBands(ctx, q, now, limit); err != nil {
			return g, err
		}
		var oldest sql.NullString
		err = q.query(ctx, outboxGaugeSQL, []any{stamp(now), limit}, func(r row) error { return r.Scan(&g.Outbox, &oldest) })
		g.OutboxAge = since(now, oldest)
		return g, err
	})
	if err != nil {
		return jobstore.Gauges{}, s.wrap("count what has not ended", err)
	}
	return got, nil
}

func countBands(ctx context.Context, q session, now time.Time, limit int) ([]jobstore.BandCount, error) {
	type key struct {
		jobstore.Band
		state jobstore.State
	}
	sum := map[key]*jobstore.BandCount{}
	add := func(b jobstore.Band, state jobstore.State, n int64, age time.Duration) {
		k := key{b, state}
		if sum[k] == nil {
			sum[k] = &jobstore.BandCount{Band: b, State: state}
		}
		sum[k].Jobs += n
		sum[k].Age = max(sum[k].Age, age)
	}
	bands, err := gather(ctx, q, bandsSQL, func(r row) (b jobstore.Band, err error) {
		err = r.Scan(&b.Queue, &b.Priority)
		return b, err
	}, jobstore.MaxBands)
	if err != nil {
		return nil, err
	}
	for _, b := range bands {
		err := q.query(ctx, readySQL, []any{b.Queue, b.Priority, limit}, func(r row) error {
			var n int64
			var oldest sql.NullString
			err := r.Scan(&n, &oldest)
			add(b, jobstore.Ready, n, since(now, oldest))
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	err = q.query(ctx, othersSQL, []any{limit}, func(r row) error {
		var b jobstore.Band
		var state jobstore.State
		var n int64
		err := r.Scan(&b.Queue, &b.Priority, &state, &n)
		add(b, state, n, 0)
		return err
	})
	out := make([]jobstore.BandCount, 0, len(sum))
	for _, c := range sum {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b jobstore.BandCount) int {
		return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.State, b.State))
	})
	return out[:min(len(out), 7*jobstore.MaxBands)], err
}
