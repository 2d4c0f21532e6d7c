package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// historySQL reads the last events by two ranges of one index: those of the job, and the few that are about more.
const historySQL = `-- warren: history
SELECT e.at, e.event, coalesce(e.subject, ''), coalesce(e.attempt, 0), e.by_whom, coalesce(e.host, ''), coalesce(e.build, ''), e.duration_ms, e.note,
  coalesce(e.change_id, 0), coalesce(e.was, r.was)
FROM (
  (SELECT * FROM @schema@.job_events WHERE job_id = $1::bigint ORDER BY id DESC LIMIT $4::int)
  UNION ALL
  (SELECT * FROM @schema@.job_events WHERE job_id = 0 AND subject = ANY ($2::text[]) AND at BETWEEN $3::timestamptz AND $5::timestamptz ORDER BY id DESC LIMIT $4::int)
) e LEFT JOIN @schema@.job_change_rows r ON e.event = 'edited' AND r.change_id = e.change_id AND r.job_id = e.job_id
ORDER BY e.id DESC LIMIT $4::int`

// History implements jobstore.Historian.
func (s *Store) History(ctx context.Context, j *jobstore.Job, limit int) ([]jobstore.JobEvent, error) {
	subjects := j.Subjects()
	if j.CreatedAt.IsZero() {
		subjects = nil
	}
	got, err := gather(ctx, s, historySQL, func(r pgx.Rows) (e jobstore.JobEvent, err error) {
		var was []byte
		err = r.Scan(&e.At, &e.Event, &e.Subject, &e.Attempt, &e.By, &e.Host, &e.Build, &e.DurationMS, &e.Note, &e.Change, &was)
		e.Was = was
		return e, err
	}, j.ID, filled(subjects), j.CreatedAt, limit, j.Until())
	if err != nil {
		return nil, wrap(fmt.Sprintf("history of job %d", j.ID), err)
	}
	slices.Reverse(got)
	return got, nil
}

// noteOrderSQL notes what an order has done, in its transaction.
const noteOrderSQL = `-- warren: note an order
INSERT INTO @schema@.job_events (job_id, event, by_whom, change_id)
SELECT w.id, $2, $3, nullif($4::bigint, 0) FROM unnest($1::bigint[]) AS w(id) ORDER BY w.id`

// noteEditSQL locks jobs and notes the values that an edit is about to replace.
const noteEditSQL = `-- warren: note an edit
WITH mine AS MATERIALIZED (
  SELECT l.* FROM unnest($1::bigint[]) AS w(id) CROSS JOIN LATERAL (
    SELECT j.id, j.queue, j.priority, j.args, j.available_at, j.max_attempts, j.timeout, j.metadata, j.tags
    FROM @schema@.jobs_live j WHERE j.id = w.id AND j.state || '' <> 'PROCESSING' LIMIT 1 FOR UPDATE OF j
  ) l
),
noted AS (
  INSERT INTO @schema@.job_events (job_id, event, by_whom, was)
  SELECT m.id, 'edited', $11::text,
    CASE WHEN $2::text IS NOT NULL THEN jsonb_build_object('queue', m.queue) ELSE '{}' END
    || CASE WHEN $3::int IS NOT NULL THEN jsonb_build_object('priority', m.priority) ELSE '{}' END
    || CASE WHEN $4::text IS NOT NULL THEN jsonb_build_object('args', m.args) ELSE '{}' END
    || CASE WHEN $5::timestamptz IS NOT NULL OR $6::bigint IS NOT NULL THEN jsonb_build_object('available_at', m.available_at) ELSE '{}' END
    || CASE WHEN $7::int IS NOT NULL THEN jsonb_build_object('max_attempts', m.max_attempts) ELSE '{}' END
    || CASE WHEN $8::bigint IS NOT NULL THEN jsonb_build_object('timeout', m.timeout) ELSE '{}' END
    || CASE WHEN $9::text IS NOT NULL THEN jsonb_build_object('metadata', m.metadata) ELSE '{}' END
    || CASE WHEN $10::text[] IS NOT NULL THEN jsonb_build_object('tags', m.tags) ELSE '{}' END
  FROM mine m ORDER BY m.id
)
SELECT id FROM mine`

// forgetEventsSQL goes by numbers, which grow with time.
const forgetEventsSQL = `-- warren: forget events
DELETE FROM @schema@.job_events e USING (
  SELECT id FROM (SELECT id, at FROM @schema@.job_events ORDER BY id LIMIT $2::int) o WHERE o.at <= now() - make_interval(secs => $1::bigint / 1e6)
) old WHERE e.id = old.id`
