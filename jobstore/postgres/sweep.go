package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// lookSQL reads the first entry of three indexes, which pass over what is not due only by a time that stands still: of
// schedules there may be thousands. That it is one time for all also means that a row is either due or about to be. By a
// clock that went on between the two questions it could be neither, and then waited for the next tick with all that
// became due meanwhile. Nobody sleeps for longer than a day.
const lookSQL = `-- warren: look
SELECT d.due IS NOT NULL AND d.due <= now(),
       EXISTS (SELECT FROM @schema@.jobs_live WHERE announce_at <= now() AND state || '' = 'READY'),
       CASE WHEN d.due > now() THEN
         greatest(1, (extract(epoch FROM least(d.due, now() + interval '1 day') - now()) * 1e6)::bigint) ELSE 0 END,
       EXISTS (SELECT FROM @schema@.job_schedules WHERE look_at <= now()),
       EXISTS (SELECT FROM @schema@.job_step_ends) OR EXISTS (SELECT FROM @schema@.job_steps WHERE calling)
FROM (SELECT (SELECT available_at FROM @schema@.jobs_live
              WHERE state IN ('SCHEDULED', 'WAITING', 'TEMPORARILY_FAILED', 'BROKER_FAILED', 'BACK_TO_BROKER')
                AND id <> ALL ($1::bigint[])
              ORDER BY available_at LIMIT 1) AS due) d`

// Look implements jobstore.Sweeper.
func (s *Store) Look(ctx context.Context) (jobstore.Look, error) {
	got, err := gather(ctx, s, lookSQL, func(r pgx.Rows) (l jobstore.Look, err error) {
		var next int64
		err = r.Scan(&l.Due, &l.Outbox, &next, &l.Schedules, &l.Flows)
		l.Next = time.Duration(next) * time.Microsecond
		return l, err
	}, s.outcasts.list())
	if err != nil {
		return jobstore.Look{}, wrap("look what is due", err)
	}
	return got[0], nil
}

// dueSQL passes the numbers through an array: the planner takes a LIMIT that it does not know for a
// tenth of the table, and would join the whole of it.
const dueSQL = `-- warren: due
WITH due AS MATERIALIZED (
  SELECT id FROM @schema@.jobs_live
  WHERE state IN ('SCHEDULED', 'WAITING', 'TEMPORARILY_FAILED', 'BROKER_FAILED', 'BACK_TO_BROKER') AND available_at <= now()
    AND id <> ALL ($2::bigint[])
  ORDER BY available_at LIMIT $1
  FOR NO KEY UPDATE SKIP LOCKED
), ready AS (
  UPDATE @schema@.jobs_live j SET state = 'READY' FROM unnest(ARRAY(SELECT id FROM due)) AS w(id) WHERE j.id BETWEEN w.id AND w.id
  RETURNING j.id, j.queue, j.priority, j.serial_group
)
SELECT id, queue, priority, serial_group FROM ready ORDER BY priority, id`

// Due implements jobstore.Sweeper. Of serial groups it returns who comes first, read after the commit:
// the statement's own snapshot may still show a member running whose outcome has been recorded
// meanwhile, by somebody who did not see this one READY yet. Then nobody would announce it.
func (s *Store) Due(ctx context.Context, limit int) (refs []jobstore.Ref, err error) {
	var groups []string
	failed := s.writable(ctx, limit, firstDueSQL, func(n int) (int, error) {
		some, freed, err := s.makeDue(ctx, n)
		refs, groups = append(refs, some...), append(groups, freed...)
		return len(some) + len(freed), err
	})
	if len(groups) > 0 {
		heads, err := s.headsOf(ctx, groups)
		if err != nil {
			return refs, wrap("find who comes first among due jobs", err)
		}
		refs = append(refs, heads...)
	}
	if failed != nil {
		return refs, wrap("make due jobs ready", failed)
	}
	return refs, nil
}

// makeDue makes at most limit due jobs READY. Of members of serial groups it returns their group, once for each.
func (s *Store) makeDue(ctx context.Context, limit int) (refs []jobstore.Ref, groups []string, err error) {
	args := []any{limit, s.outcasts.list()}
	err = s.do(ctx, dueSQL, args, func() { refs, groups = nil, nil }, func(r pgx.Rows) error {
		var ref jobstore.Ref
		var group *string
		if err := r.Scan(&ref.ID, &ref.Queue, &ref.Priority, &group); err != nil {
			return err
		}
		if group != nil {
			groups = append(groups, *group)
		} else {
			refs = append(refs, ref)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return refs, groups, nil
}

// firstDueSQL finds the job that dueSQL begins with.
const firstDueSQL = `-- warren: first due
SELECT id FROM @schema@.jobs_live
WHERE state IN ('SCHEDULED', 'WAITING', 'TEMPORARILY_FAILED', 'BROKER_FAILED', 'BACK_TO_BROKER') AND available_at <= now()
  AND id <> ALL ($1::bigint[])
ORDER BY available_at LIMIT 1
FOR NO KEY UPDATE SKIP LOCKED`

const outboxSQL = `-- warren: outbox
SELECT id, queue, priority FROM @schema@.jobs_live
WHERE announce_at <= now() AND state || '' = 'READY' AND available_at <= now()
ORDER BY announce_at LIMIT $1`

// Outbox implements jobstore.Sweeper. Blocked members of serial groups are listed too: announcing
// them costs little, and is how they leave the outbox.
func (s *Store) Outbox(ctx context.Context, limit int) ([]jobstore.Ref, error) {
	return s.refs(ctx, "list the outbox", outboxSQL, limit)
}

// announcedSQL leaves rows alone that were put into the outbox again for later, by a consumer
// that has no handler for them. coalesce hides from the planner that they are in the outbox: it would read all
// of that for each of them.
const announcedSQL = `-- warren: announced
WITH mine AS MATERIALIZED (
  SELECT j.id FROM unnest($1::bigint[]) AS w(id) JOIN @schema@.jobs_live j ON j.id BETWEEN w.id AND w.id
  WHERE coalesce(j.announce_at, 'infinity') <= now() FOR NO KEY UPDATE OF j SKIP LOCKED
)
UPDATE @schema@.jobs_live j SET announce_at = NULL FROM mine WHERE j.id BETWEEN mine.id AND mine.id`

// Announced implements jobstore.Sweeper.
func (s *Store) Announced(ctx context.Context, ids []jobstore.ID) error {
	if err := s.exec(ctx, announcedSQL, ids); err != nil {
		return wrap(fmt.Sprintf("take %d jobs out of the outbox", len(ids)), err)
	}
	return nil
}

const unannouncedSQL = `-- warren: unannounced
WITH mine AS MATERIALIZED (
  SELECT j.id FROM unnest($1::bigint[]) AS w(id) JOIN @schema@.jobs_live j ON j.id BETWEEN w.id AND w.id
  WHERE j.state || '' = 'READY' AND j.announce_at IS NULL FOR NO KEY UPDATE OF j SKIP LOCKED
)
UPDATE @schema@.jobs_live j SET announce_at = now() FROM mine WHERE j.id BETWEEN mine.id AND mine.id`

// Unannounced implements jobstore.Sweeper.
func (s *Store) Unannounced(ctx context.Context, ids []jobstore.ID) error {
	if err := s.exec(ctx, unannouncedSQL, ids); err != nil {
		return wrap(fmt.Sprintf("put %d jobs into the outbox", len(ids)), err)
	}
	return nil
}

// announceLaterSQL has coalesce where announcedSQL has it.
const announceLaterSQL = `-- warren: announce later
WITH mine AS MATERIALIZED (
  SELECT j.id FROM unnest($1::bigint[]) AS w(id) JOIN @schema@.jobs_live j ON j.id BETWEEN w.id AND w.id
  WHERE j.state || '' = 'READY' AND coalesce(j.announce_at, 'infinity') <= now() FOR NO KEY UPDATE OF j SKIP LOCKED
)
UPDATE @schema@.jobs_live j SET announce_at = now() + make_interval(secs => $2::bigint / 1e6) FROM mine WHERE j.id BETWEEN mine.id AND mine.id`

// AnnounceLater implements jobstore.Sweeper.
func (s *Store) AnnounceLater(ctx context.Context, ids []jobstore.ID, after time.Duration) error {
	if err := s.exec(ctx, announceLaterSQL, ids, after.Microseconds()); err != nil {
		return wrap(fmt.Sprintf("put %d jobs off that wait in the outbox", len(ids)), err)
	}
	return nil
}

const oldestSQL = `-- warren: oldest
SELECT o.id, b.queue, b.priority
FROM unnest($1::text[], $2::int[]) AS b(queue, priority) CROSS JOIN LATERAL (
  SELECT j.id FROM @schema@.jobs_live j
  WHERE j.state = 'READY' AND j.serial_group IS NULL AND j.queue = b.queue AND j.available_at <= now()
    AND j.priority BETWEEN b.priority AND b.priority
  ORDER BY j.priority, j.id LIMIT 1
) o
WHERE b.queue ` + notPaused + `
ORDER BY b.priority, o.id`

// Oldest implements jobstore.Sweeper.
func (s *Store) Oldest(ctx context.Context, bands []jobstore.Band) ([]jobstore.Ref, error) {
	queues, priorities := make([]string, len(bands)), make([]int32, len(bands))
	for i, b := range bands {
		queues[i], priorities[i] = b.Queue, clamp(b.Priority)
	}
	return s.refs(ctx, "find the oldest jobs", oldestSQL, queues, priorities)
}

const readyFromSQL = `-- warren: ready from
SELECT id, kind = ANY (ARRAY(` + livingKinds + ` AND $1 = ANY (c.queues) AND $2::int = ANY (c.priorities)))
FROM @schema@.jobs_live
WHERE state = 'READY' AND serial_group IS NULL AND queue = $1 AND (priority, id) >= ($2::int, $3::bigint) AND priority <= $2::int
  AND available_at <= now()
  AND queue ` + notPaused + `
ORDER BY priority, id LIMIT $4`

// livingKinds are those that living consumers have and nobody has paused.
const livingKinds = `
  SELECT k.kind FROM @schema@.consumers c CROSS JOIN LATERAL unnest(c.kinds) AS k(kind)
  WHERE c.expires_at > clock_timestamp()
    AND NOT EXISTS (SELECT FROM @schema@.job_pauses p WHERE p.until > now() AND p.of IN ('kind', 'disabled') AND p.name = k.kind)`

// ReadyFrom implements jobstore.Sweeper. A pause of everything is not looked at: it keeps nothing that something else waits behind.
func (s *Store) ReadyFrom(ctx context.Context, band jobstore.Band, from jobstore.ID, limit int) (refs []jobstore.Ref, next jobstore.ID, err error) {
	looked := 0
	err = s.do(ctx, readyFromSQL, []any{band.Queue, clamp(band.Priority), from, limit}, func() { refs, next, looked = nil, 0, 0 }, func(r pgx.Rows) error {
		var free bool
		if err := r.Scan(&next, &free); err != nil {
			return err
		}
		if looked++; free {
			refs = append(refs, jobstore.Ref{ID: next, Band: band})
		}
		return nil
	})
	if err != nil {
		return nil, 0, wrap("list ready jobs", err)
	}
	if looked < limit {
		return refs, 0, nil
	}
	return refs, next + 1, nil
}

const liveBandsSQL = `-- warren: live bands
SELECT DISTINCT q.queue, p.priority
FROM @schema@.consumers c CROSS JOIN LATERAL unnest(c.queues) AS q(queue) CROSS JOIN LATERAL unnest(c.priorities) AS p(priority)
WHERE c.expires_at > clock_timestamp() ORDER BY 1, 2`

// LiveBands implements jobstore.Sweeper.
func (s *Store) LiveBands(ctx context.Context) ([]jobstore.Band, error) {
	got, err := gather(ctx, s, liveBandsSQL, func(r pgx.Rows) (b jobstore.Band, err error) {
		err = r.Scan(&b.Queue, &b.Priority)
		return b, err
	})
	if err != nil {
		return nil, wrap("list the bands of living consumers", err)
	}
	return got, nil
}

// refs runs a statement that returns id, queue, priority.
func (s *Store) refs(ctx context.Context, doing, sql string, args ...any) ([]jobstore.Ref, error) {
	got, err := gather(ctx, s, sql, scanRef, args...)
	if err != nil {
		return nil, wrap(doing, err)
	}
	return got, nil
}

func scanRef(r pgx.Rows) (ref jobstore.Ref, err error) {
	err = r.Scan(&ref.ID, &ref.Queue, &ref.Priority)
	return ref, err
}
