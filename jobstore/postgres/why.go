package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// explainSQL reads what is about no other row of jobs.
const explainSQL = `-- warren: explain
SELECT now(),
  coalesce((SELECT l.holder FROM @schema@.leaders l WHERE l.name = 'sweep' AND l.expires_at > clock_timestamp()), ''),
  coalesce((SELECT k.job_id FROM @schema@.job_keys k WHERE k.kind = $1 AND k.identifier = $2), 0),
  (SELECT p.paused_at FROM @schema@.paused_queues p WHERE p.queue = $3 AND p.until > now()),
  (SELECT p.until FROM @schema@.paused_queues p WHERE p.queue = $3 AND p.until > now() AND p.until < 'infinity')`

const explainPausesSQL = `-- warren: explain pauses
SELECT of, name, paused_at, nullif(until, 'infinity'), reason FROM @schema@.job_pauses
WHERE until > now() AND (of = 'all' OR of IN ('kind', 'disabled') AND name = $1 OR of = 'group' AND name = $2) ORDER BY of`

// explainTakersSQL lists the consumers, with what they could do for one job.
const explainTakersSQL = `-- warren: explain consumers
SELECT c.id, c.host, c.pid, c.expires_at, c.expires_at > clock_timestamp(), c.restart, c.force, c.name,
       $1::text = ANY (c.queues) AND $2::int = ANY (c.priorities), $3::text = ANY (c.kinds),
       ARRAY(SELECT q || '/' || array_to_string(c.priorities, ',') FROM unnest(c.queues) AS q)
FROM @schema@.consumers c ORDER BY c.id`

// explainBlockerSQL finds what a claim of member $1 would stumble over: the group's row, which
// stands for its running member, or else the first member before it.
const explainBlockerSQL = `-- warren: explain blocker
SELECT b.id, coalesce(m.state, ''), b.running, coalesce(m.host, ''), coalesce(m.pid, 0), m.attempted_at, coalesce(m.available_at, now()),
       m.state || '' = 'PROCESSING' AND NOT EXISTS (
         SELECT FROM @schema@.consumers c WHERE c.id = m.holder AND c.expires_at > clock_timestamp())
FROM (
  (SELECT g.running_id AS id, true AS running FROM @schema@.job_groups g
   JOIN @schema@.jobs_live j ON j.serial_group = g.serial_group WHERE j.id = $1)
  UNION ALL
  (SELECT f.id, false FROM @schema@.jobs_live j CROSS JOIN LATERAL (SELECT m.id FROM` + groupBefore + ` ORDER BY m.priority, m.id LIMIT 1) f
   WHERE j.id = $1)
  ORDER BY running DESC LIMIT 1
) b LEFT JOIN @schema@.jobs_live m ON m.id = b.id`

// explainCrowdSQL counts the free slots of the consumers that may take job $1, by what they take,
// and the claimable rows before it, which get those slots first. Rows that the sweep is about to
// make READY are among them when somebody sweeps ($2). The last row is about all of them together.
const explainCrowdSQL = `-- warren: explain crowd
WITH RECURSIVE job AS (SELECT id, queue, priority, kind FROM @schema@.jobs_live WHERE id = $1),
crowds AS MATERIALIZED (
  SELECT row_number() OVER () AS n, c.priorities, count(*) AS consumers,
         ARRAY(SELECT k FROM unnest(c.kinds) AS k
               WHERE NOT EXISTS (SELECT FROM @schema@.job_pauses p WHERE p.of IN ('kind', 'disabled') AND p.name = k AND p.until > now())) AS kinds,
         ARRAY(SELECT q FROM unnest(c.queues) AS q
               WHERE NOT EXISTS (SELECT FROM @schema@.paused_queues p WHERE p.queue = q AND p.until > now())) AS running,
         sum(greatest(c.slots - (SELECT count(*) FROM @schema@.jobs_live r WHERE r.holder = c.id), 0))::int AS free
  FROM @schema@.consumers c, job
  WHERE c.expires_at > clock_timestamp() AND NOT c.restart
    AND job.queue = ANY (c.queues) AND job.priority = ANY (c.priorities) AND job.kind = ANY (c.kinds)
  GROUP BY c.queues, c.priorities, c.kinds
),
total AS MATERIALIZED (SELECT coalesce(sum(free), 0)::int AS free, coalesce(sum(consumers), 0) AS consumers FROM crowds),
groups(serial_group) AS (` + looseGroups + `),
heads AS MATERIALIZED (
  SELECT h.* FROM groups g CROSS JOIN job CROSS JOIN LATERAL (` + headOfGroup + `) h
  WHERE g.serial_group IS NOT NULL AND h.available_at <= now() AND (h.state = 'READY' OR $2::bool AND h.state <> 'PROCESSING')
    AND (h.priority, h.id) < (job.priority, job.id)
    AND NOT EXISTS (SELECT FROM @schema@.job_groups r WHERE r.serial_group = g.serial_group OFFSET 0)
),
ahead AS MATERIALIZED (
  SELECT c.n, r.id FROM crowds c CROSS JOIN job CROSS JOIN total CROSS JOIN LATERAL (
    SELECT f.id FROM unnest(c.running) AS q(queue) CROSS JOIN unnest(c.priorities) AS p(priority) CROSS JOIN LATERAL (
      SELECT j.id FROM @schema@.jobs_live j
      WHERE j.state = 'READY' AND j.serial_group IS NULL AND j.queue = q.queue AND j.priority BETWEEN p.priority AND p.priority
        AND j.kind = ANY (c.kinds) AND j.available_at <= now() AND (j.priority, j.id) < (job.priority, job.id)
      ORDER BY j.priority, j.id LIMIT total.free
    ) f
    UNION ALL
    SELECT d.id FROM (
      SELECT j.id FROM @schema@.jobs_live j
      WHERE $2::bool AND j.state IN ('SCHEDULED', 'WAITING', 'TEMPORARILY_FAILED', 'BROKER_FAILED', 'BACK_TO_BROKER')
        AND j.available_at <= now() AND j.serial_group IS NULL AND j.queue = ANY (c.running) AND j.priority = ANY (c.priorities)
        AND j.kind = ANY (c.kinds) AND (j.priority, j.id) < (job.priority, job.id)
      LIMIT total.free
    ) d
    UNION ALL
    SELECT h.id FROM heads h WHERE h.queue = ANY (c.running) AND h.priority = ANY (c.priorities) AND h.kind = ANY (c.kinds)
  ) r
)
SELECT c.consumers, c.free, (SELECT count(*) FROM ahead a WHERE a.n = c.n), false FROM crowds c
UNION ALL
SELECT t.consumers, t.free, (SELECT count(DISTINCT id) FROM ahead), true FROM total t WHERE t.consumers > 0`

const explainPositionSQL = `-- warren: explain position
SELECT count(*) FROM (
  SELECT FROM @schema@.jobs_live j
  WHERE j.state = 'READY' AND j.serial_group IS NULL AND j.queue = $1 AND j.priority = $2 AND j.id < $3 AND j.available_at <= now()
  LIMIT $4::int) r`

// explainTimeout bounds an explanation: it counts rows.
const explainTimeout = 10 * time.Second

// Explain implements jobstore.Explainer. All of its statements see the same moment.
func (s *Store) Explain(ctx context.Context, id jobstore.ID) (jobstore.Facts, error) {
	var f jobstore.Facts
	c, err := s.acquire(ctx)
	if err != nil {
		return f, wrap(fmt.Sprintf("explain job %d", id), err)
	}
	defer c.Release()
	moment := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, c.Conn(), moment, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, txSettingsSQL, millis(explainTimeout), "off", "force_custom_plan"); err != nil {
			return err
		}
		return s.explainIn(ctx, txSession{tx}, id, &f)
	})
	if err != nil {
		if classify(err) == away {
			s.pool.Reset()
		}
		return jobstore.Facts{}, wrap(fmt.Sprintf("job %d", id), err)
	}
	return f, nil
}

func (s *Store) explainIn(ctx context.Context, q session, id jobstore.ID, f *jobstore.Facts) error {
	jobs, err := gatherIn(ctx, q, s.sql[getSQL], scanJob, id)
	if err != nil {
		return err
	}
	if len(jobs) == 0 {
		return jobstore.ErrNotFound
	}
	f.Job = jobs[0]
	err = q.run(ctx, s.sql[explainSQL], []any{f.Job.Kind, f.Job.Identifier, f.Job.Queue}, func(r pgx.Rows) error {
		return r.Scan(&f.Now, &f.Leader, &f.KeyHolder, &f.PausedAt, &f.PausedUntil)
	})
	if err != nil {
		return err
	}
	if f.Pauses, err = gatherIn(ctx, q, s.sql[explainPausesSQL], scanPause, f.Job.Kind, f.Job.SerialGroup); err != nil {
		return err
	}
	f.Takers, err = gatherIn(ctx, q, s.sql[explainTakersSQL], scanTaker, f.Job.Queue, clamp(f.Job.Priority), f.Job.Kind)
	if err != nil || f.Job.State.Final() {
		return err
	}
	for i := range f.Takers {
		if f.Takers[i].ID == f.Job.Holder {
			f.Holder = &f.Takers[i]
		}
	}
	if f.Job.State == jobstore.Processing {
		return nil
	}
	return s.explainWaiting(ctx, q, f)
}

// explainWaiting reads what is about a job that has not started.
func (s *Store) explainWaiting(ctx context.Context, q session, f *jobstore.Facts) error {
	id := f.Job.ID
	blockers, err := gatherIn(ctx, q, s.sql[explainBlockerSQL], scanBlocker, id)
	if err != nil {
		return err
	}
	if len(blockers) > 0 {
		f.Blocker = &blockers[0]
	}
	f.Crowds, err = gatherIn(ctx, q, s.sql[explainCrowdSQL], func(r pgx.Rows) (c jobstore.Crowd, err error) {
		err = r.Scan(&c.Consumers, &c.Free, &c.Ahead, &c.Everybody)
		return c, err
	}, id, f.Leader != "")
	if err != nil {
		return err
	}
	counts, err := gatherIn(ctx, q, s.sql[explainPositionSQL], scanInt, f.Job.Queue, clamp(f.Job.Priority), id, jobstore.MaxPosition)
	if err == nil {
		f.Position = counts[0]
	}
	return err
}

func scanTaker(r pgx.Rows) (t jobstore.Taker, err error) {
	err = r.Scan(&t.ID, &t.Host, &t.PID, &t.ExpiresAt, &t.Alive, &t.Restarting, &t.Force, &t.Name, &t.TakesBand, &t.KnowsKind, &t.Bands)
	return t, err
}

func scanBlocker(r pgx.Rows) (b jobstore.Blocker, err error) {
	var dead *bool
	err = r.Scan(&b.ID, &b.State, &b.Running, &b.Host, &b.PID, &b.AttemptedAt, &b.AvailableAt, &dead)
	b.Dead = dead != nil && *dead
	return b, err
}
