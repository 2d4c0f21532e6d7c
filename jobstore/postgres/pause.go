package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// notPaused compares a queue with those that are paused, which a statement reads once, however
// many rows it looks at.
const notPaused = `<> ALL (ARRAY(SELECT p.queue FROM @schema@.paused_queues p WHERE p.until > now()))`

// jobNotPaused and headNotPaused say that no pause of a kind, of a group or of everything keeps a
// claim from job j or from head h of group g. Whether there is any pause at all is read once.
const (
	jobNotPaused = noPauses + `
        SELECT FROM @schema@.job_pauses p WHERE p.until > now() AND (p.of IN ('kind', 'disabled') AND p.name = j.kind
          OR p.of = 'group' AND p.name = j.serial_group OR p.of = 'all' AND NOT (SELECT force FROM me))))`
	headNotPaused = noPauses + `
        SELECT FROM @schema@.job_pauses p WHERE p.until > now() AND (p.of IN ('kind', 'disabled') AND p.name = h.kind
          OR p.of = 'group' AND p.name = g.serial_group OR p.of = 'all' AND NOT (SELECT force FROM me))))`
	noPauses = `((SELECT NOT EXISTS (SELECT FROM @schema@.job_pauses p WHERE p.until > now())) OR NOT EXISTS (`
)

const pauseOfSQL = `-- warren: pause a kind, a group or everything
WITH noted AS (
  INSERT INTO @schema@.job_events (job_id, event, subject, by_whom) VALUES (0, 'paused', $4, $5)
)
INSERT INTO @schema@.job_pauses (of, name, until)
VALUES ($1, $2, CASE WHEN $3::bigint > 0 THEN now() + make_interval(secs => $3::bigint / 1e6) ELSE 'infinity' END)
ON CONFLICT (of, name) DO UPDATE SET until = excluded.until, paused_at = now()`

// PauseOf implements jobstore.Pauser.
func (s *Store) PauseOf(ctx context.Context, of jobstore.PauseOf, name string, d time.Duration) error {
	if err := s.exec(ctx, pauseOfSQL, string(of), name, d.Microseconds(), jobstore.Subject(of, name), jobstore.Actor(ctx)); err != nil {
		return wrap("pause "+string(of)+" "+name, err)
	}
	return nil
}

const resumeOfSQL = `-- warren: resume a kind, a group or everything
WITH gone AS (DELETE FROM @schema@.job_pauses WHERE of = $1 AND name = $2 RETURNING of),
noted AS (
  INSERT INTO @schema@.job_events (job_id, event, subject, by_whom) SELECT 0, $3, $4, $5 FROM gone
)
SELECT EXISTS (SELECT FROM gone)`

// ResumeOf implements jobstore.Pauser.
func (s *Store) ResumeOf(ctx context.Context, of jobstore.PauseOf, name string) (was bool, err error) {
	_, event := jobstore.PausedEvents(of)
	args := []any{string(of), name, event, jobstore.Subject(of, name), jobstore.Actor(ctx)}
	err = s.do(ctx, resumeOfSQL, args, nil, func(r pgx.Rows) error { return r.Scan(&was) })
	if err != nil {
		return false, wrap("resume "+string(of)+" "+name, err)
	}
	return was, nil
}

const pausesSQL = `-- warren: pauses
SELECT of, name, paused_at, nullif(until, 'infinity'), reason FROM @schema@.job_pauses WHERE until > now()
UNION ALL SELECT 'queue', queue, paused_at, nullif(until, 'infinity'), '' FROM @schema@.paused_queues WHERE until > now()
ORDER BY 1, 2`

// Pauses implements jobstore.Pauser.
func (s *Store) Pauses(ctx context.Context) ([]jobstore.Pause, error) {
	got, err := gather(ctx, s, pausesSQL, scanPause)
	if err != nil {
		return nil, wrap("list pauses", err)
	}
	return got, nil
}

func scanPause(r pgx.Rows) (p jobstore.Pause, err error) {
	err = r.Scan(&p.Of, &p.Name, &p.At, &p.Until, &p.Reason)
	return p, err
}

const pauseSQL = `-- warren: pause
WITH paused AS (
  INSERT INTO @schema@.paused_queues (queue, until)
  VALUES ($1::text, CASE WHEN $2::bigint > 0 THEN now() + make_interval(secs => $2::bigint / 1e6) ELSE 'infinity' END)
  ON CONFLICT (queue) DO UPDATE SET until = excluded.until, paused_at = now()
),
noted AS (
  INSERT INTO @schema@.job_events (job_id, event, subject, by_whom) VALUES (0, 'paused', $3, $4)
)
SELECT EXISTS (SELECT FROM @schema@.consumers c WHERE $1::text = ANY (c.queues))
  OR EXISTS (SELECT FROM @schema@.jobs_live j WHERE j.queue = $1::text AND j.state = 'READY' AND j.serial_group IS NULL)
  OR EXISTS (SELECT FROM @schema@.kinds k WHERE k.queue = $1::text)
  OR EXISTS (SELECT FROM @schema@.settings s WHERE s.default_queue = $1::text)`

// Pause implements jobstore.Queues.
func (s *Store) Pause(ctx context.Context, queue string, d time.Duration) (known bool, err error) {
	err = s.do(ctx, pauseSQL, []any{queue, d.Microseconds(), jobstore.Subject(jobstore.PauseOfQueue, queue), jobstore.Actor(ctx)}, nil, func(r pgx.Rows) error { return r.Scan(&known) })
	if err != nil {
		return false, wrap("pause queue "+queue, err)
	}
	return known, nil
}

// resumeSQL also finds a pause that has ended by itself: what waited for it may still be unannounced.
const resumeSQL = `-- warren: resume
WITH gone AS (DELETE FROM @schema@.paused_queues WHERE queue = $1 RETURNING queue),
noted AS (
  INSERT INTO @schema@.job_events (job_id, event, subject, by_whom) SELECT 0, 'resumed', $2, $3 FROM gone
)
SELECT EXISTS (SELECT FROM gone)`

// Resume implements jobstore.Queues.
func (s *Store) Resume(ctx context.Context, queue string) (was bool, err error) {
	err = s.do(ctx, resumeSQL, []any{queue, jobstore.Subject(jobstore.PauseOfQueue, queue), jobstore.Actor(ctx)}, nil, func(r pgx.Rows) error { return r.Scan(&was) })
	if err != nil {
		return false, wrap("resume queue "+queue, err)
	}
	return was, nil
}

// reannounceSQL goes through the rows of an index that are READY and in no group.
const reannounceSQL = `-- warren: reannounce
WITH mine AS MATERIALIZED (
  SELECT j.id, j.priority FROM @schema@.jobs_live j
  WHERE j.state = 'READY' AND j.serial_group IS NULL AND j.queue = $1 AND (j.priority, j.id) > ($2::int, $3::bigint)
  ORDER BY j.priority, j.id LIMIT $4
  FOR NO KEY UPDATE SKIP LOCKED
),
told AS (
  UPDATE @schema@.jobs_live j SET announce_at = now() FROM unnest(ARRAY(SELECT id FROM mine)) AS w(id)
  WHERE j.id = w.id AND j.announce_at IS NULL RETURNING j.id
),
last AS (SELECT priority, id FROM mine ORDER BY priority DESC, id DESC LIMIT 1)
SELECT (SELECT count(*) FROM mine), (SELECT count(*) FROM told), coalesce((SELECT priority FROM last), 0), coalesce((SELECT id FROM last), 0)`

// reannounceGroupsSQL looks at the heads of so many groups, from one on.
const reannounceGroupsSQL = `-- warren: reannounce groups
WITH RECURSIVE groups(serial_group, n) AS (
  (SELECT serial_group, 1 FROM @schema@.jobs_live WHERE serial_group > $2 ORDER BY serial_group LIMIT 1)
  UNION ALL
  SELECT (SELECT j.serial_group FROM @schema@.jobs_live j WHERE j.serial_group > g.serial_group ORDER BY j.serial_group LIMIT 1), g.n + 1
  FROM groups g WHERE g.serial_group IS NOT NULL AND g.n < $3
),
heads AS MATERIALIZED (
  SELECT h.id FROM groups g CROSS JOIN LATERAL (` + headOfGroup + `) h
  WHERE g.serial_group IS NOT NULL AND h.queue = $1 AND ` + headFree + `
),
told AS (
  UPDATE @schema@.jobs_live j SET announce_at = now() FROM unnest(ARRAY(SELECT id FROM heads)) AS w(id)
  WHERE j.id = w.id AND j.announce_at IS NULL AND j.state || '' = 'READY' RETURNING j.id
)
SELECT (SELECT count(serial_group) FROM groups), (SELECT count(*) FROM told), coalesce((SELECT max(serial_group) FROM groups), '')`

// Reannounce implements jobstore.Queues.
func (s *Store) Reannounce(ctx context.Context, queue string, from jobstore.Position, limit int) (n int, next jobstore.Position, more bool, err error) {
	var looked int
	next = from
	if from.InGroups {
		err = s.do(ctx, reannounceGroupsSQL, []any{queue, from.Group, limit}, nil, func(r pgx.Rows) error {
			return r.Scan(&looked, &n, &next.Group)
		})
		more = looked == limit
	} else {
		err = s.do(ctx, reannounceSQL, []any{queue, clamp(from.Priority), from.ID, limit}, nil, func(r pgx.Rows) error {
			return r.Scan(&looked, &n, &next.Priority, &next.ID)
		})
		next.InGroups, more = looked < limit, true
	}
	if err != nil {
		return 0, from, false, wrap("announce the jobs of queue "+queue, err)
	}
	return n, next, more, nil
}
