package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

const changeColumns = `c.id, c.verb, c.spec, c.by_whom, c.state, c.through, c.changed, c.refused, c.undone, c.note, c.started_at, c.ended_at`

// beginChangeSQL returns a change that was broken off, and makes one where there is none. Two who
// begin the same at once make two; each works on its own, and the verbs exclude each other.
const beginChangeSQL = `-- warren: begin change
WITH broken AS (
  SELECT ` + changeColumns + ` FROM @schema@.job_changes c
  WHERE c.started_at > now() - interval '1 day' AND c.state = 'running' AND c.verb = $1 AND c.spec = $2::text::jsonb
  ORDER BY c.id DESC LIMIT 1
),
made AS (
  INSERT INTO @schema@.job_changes AS c (verb, spec, by_whom) SELECT $1, $2::text::jsonb, $3 WHERE NOT EXISTS (SELECT FROM broken)
  RETURNING ` + changeColumns + `
)
SELECT * FROM broken UNION ALL SELECT * FROM made`

// BeginChange implements jobstore.Changer.
func (s *Store) BeginChange(ctx context.Context, verb jobstore.Verb, spec json.RawMessage, by string) (c jobstore.Change, err error) {
	got, err := gather(ctx, s, beginChangeSQL, scanChange, string(verb), string(spec), by)
	if err != nil {
		return c, wrap("begin a change", err)
	}
	return got[0], nil
}

func scanChange(r pgx.Rows) (c jobstore.Change, err error) {
	var spec []byte
	err = r.Scan(&c.ID, &c.Verb, &spec, &c.By, &c.State, &c.Through, &c.Changed, &c.Refused, &c.Undone, &c.Note, &c.StartedAt, &c.EndedAt)
	c.Spec = spec
	return c, err
}

const changesSQL = `-- warren: changes
SELECT ` + changeColumns + ` FROM @schema@.job_changes c WHERE $1::bigint = 0 OR c.id = $1::bigint ORDER BY c.id DESC LIMIT $2::int`

// Changes implements jobstore.Changer.
func (s *Store) Changes(ctx context.Context, id jobstore.ChangeID, limit int) ([]jobstore.Change, error) {
	got, err := gather(ctx, s, changesSQL, scanChange, id, limit)
	if err != nil {
		return nil, wrap("list changes", err)
	}
	return got, nil
}

const lockChangeSQL = `-- warren: lock change
SELECT c.verb, c.state FROM @schema@.job_changes c WHERE c.id = $1 FOR UPDATE`

// lockChange reads a change, and keeps everybody else from going on with it.
func (s *Store) lockChange(ctx context.Context, q session, id jobstore.ChangeID) (verb jobstore.Verb, state jobstore.ChangeState, err error) {
	err = q.run(ctx, s.sql[lockChangeSQL], []any{id}, func(r pgx.Rows) error { return r.Scan(&verb, &state) })
	if err == nil && verb == "" {
		err = fmt.Errorf("there is no change %d: %w", id, jobstore.ErrNotFound)
	}
	return verb, state, err
}

// noteChangeSQL writes down what locked jobs are.
const noteChangeSQL = `-- warren: note change
INSERT INTO @schema@.job_change_rows (change_id, job_id, lease_no, state, available_at, finished_at, duration_ms, attempts, crashes, was)
SELECT $1, j.id, j.lease_no, j.state, j.available_at, j.finished_at, j.duration_ms, j.attempts, j.crashes, CASE WHEN $3::boolean THEN
  jsonb_build_object('queue', j.queue, 'priority', j.priority, 'args', j.args, 'max_attempts', j.max_attempts, 'timeout', j.timeout,
    'metadata', j.metadata, 'tags', j.tags) END
FROM unnest($2::bigint[]) AS w(id) JOIN @schema@.jobs j ON j.id = w.id
ON CONFLICT DO NOTHING`

const unnoteChangeSQL = `-- warren: take notes of a change back
DELETE FROM @schema@.job_change_rows r USING unnest($2::bigint[]) AS w(id) WHERE r.change_id = $1 AND r.job_id = w.id`

const passChangeSQL = `-- warren: pass on in a change
UPDATE @schema@.job_changes SET through = greatest(through, $2::bigint), changed = changed + $3::int, refused = refused + $4::int WHERE id = $1`

// ChangeNext implements jobstore.Changer.
func (s *Store) ChangeNext(ctx context.Context, id jobstore.ChangeID, o jobstore.Order, ids []jobstore.ID, through jobstore.ID) (jobstore.Changed, error) {
	past, step := s.order(o)
	return s.operate(ctx, past, ids, func(ctx context.Context, q session, ids []jobstore.ID) (t touched, err error) {
		if _, state, err := s.lockChange(ctx, q, id); err != nil || state != jobstore.ChangeRunning {
			if err == nil {
				err = fmt.Errorf("%w: change %d is %s", jobstore.ErrRefused, id, state)
			}
			return t, err
		}
		mine, err := s.lockIn(ctx, q, ids)
		if err != nil {
			return t, err
		}
		if o.Verb.Undoable() {
			if err := q.run(ctx, s.sql[noteChangeSQL], []any{id, mine, o.Verb == jobstore.VerbEdit}, nil); err != nil {
				return t, err
			}
		}
		t, err = step(ctx, q, ids)
		if t.change = id; err != nil {
			return t, err
		}
		rest := without(mine, t.done)
		if err := q.run(ctx, s.sql[unnoteChangeSQL], []any{id, rest}, nil); err != nil {
			return t, err
		}
		err = q.run(ctx, s.sql[passChangeSQL], []any{id, through, len(t.done), len(ids) - len(t.done)}, nil)
		return t, err
	})
}

// without returns what is in list and not in gone.
func without(list, gone []jobstore.ID) []jobstore.ID {
	set := make(map[jobstore.ID]bool, len(gone))
	for _, id := range gone {
		set[id] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(id jobstore.ID) bool { return set[id] })
}

// order is what a verb does and how it is called afterwards.
func (s *Store) order(o jobstore.Order) (past string, step orderStep) {
	switch o.Verb {
	case jobstore.VerbRetry:
		return "retried", s.retryIn
	case jobstore.VerbCancel:
		return "cancelled", s.cancelIn
	case jobstore.VerbDelete:
		return "deleted", s.deleteIn
	case jobstore.VerbEdit:
		return "edited", s.editIn(o.Edit)
	}
	return string(o.Verb), func(context.Context, session, []jobstore.ID) (touched, error) {
		return touched{}, fmt.Errorf("%w: %q is no verb", jobstore.ErrInvalid, o.Verb)
	}
}

const endChangeSQL = `-- warren: end change
UPDATE @schema@.job_changes SET state = $2, note = $3, ended_at = now() WHERE id = $1`

// EndChange implements jobstore.Changer.
func (s *Store) EndChange(ctx context.Context, id jobstore.ChangeID, state jobstore.ChangeState, note string) error {
	if err := s.exec(ctx, endChangeSQL, id, string(state), note); err != nil {
		return wrap(fmt.Sprintf("end change %d", id), err)
	}
	return nil
}

// followSQL goes by lease numbers: one that has grown means that the job has run since.
const followSQL = `-- warren: follow change
SELECT count(*) FILTER (WHERE what = 'open'), count(*) FILTER (WHERE what = 'finished'),
  count(*) FILTER (WHERE what = 'failed'), count(*) FILTER (WHERE what = 'other')
FROM (
  SELECT CASE
    WHEN j.state IN ('READY', 'PROCESSING', 'BACK_TO_BROKER') THEN 'open'
    WHEN j.lease_no = r.lease_no AND j.state IN ('SCHEDULED', 'WAITING', 'TEMPORARILY_FAILED', 'BROKER_FAILED') THEN 'open'
    WHEN j.lease_no > r.lease_no AND j.state = 'FINISHED' THEN 'finished'
    WHEN j.lease_no > r.lease_no AND j.state IN ('TEMPORARILY_FAILED', 'PERMANENTLY_FAILED', 'QUARANTINED') THEN 'failed'
    ELSE 'other' END AS what
  FROM (SELECT job_id, lease_no FROM @schema@.job_change_rows WHERE change_id = $1 ORDER BY job_id DESC LIMIT $2::int) r
  LEFT JOIN LATERAL (
    SELECT l.state, l.lease_no FROM @schema@.jobs_live l WHERE l.id = r.job_id
    UNION ALL SELECT h.state, h.lease_no FROM @schema@.jobs_history h WHERE h.id = r.job_id LIMIT 1
  ) j ON true
) f`

// Follow implements jobstore.Changer.
func (s *Store) Follow(ctx context.Context, id jobstore.ChangeID, limit int) (f jobstore.Followed, err error) {
	err = s.do(ctx, followSQL, []any{id, limit}, nil, func(r pgx.Rows) error {
		return r.Scan(&f.Open, &f.Finished, &f.Failed, &f.Other)
	})
	if err != nil {
		return f, wrap(fmt.Sprintf("follow change %d", id), err)
	}
	return f, nil
}

// forgetChangesSQL removes rows of one old change, and the change with its last row and its lease.
const forgetChangesSQL = `-- warren: forget changes
WITH old AS (
  SELECT c.id FROM @schema@.job_changes c WHERE c.started_at <= now() - make_interval(secs => $1::bigint / 1e6)
  ORDER BY c.started_at LIMIT 1 FOR UPDATE SKIP LOCKED
),
gone AS (
  DELETE FROM @schema@.job_change_rows r USING (
    SELECT x.change_id, x.job_id FROM @schema@.job_change_rows x WHERE x.change_id = (SELECT id FROM old) ORDER BY x.job_id LIMIT $2::int
  ) o WHERE r.change_id = o.change_id AND r.job_id = o.job_id RETURNING 1
),
last AS (
  DELETE FROM @schema@.job_changes c USING old WHERE c.id = old.id AND (SELECT count(*) FROM gone) < $2::int RETURNING c.id
),
lease AS (DELETE FROM @schema@.leaders l USING last WHERE l.name = 'change ' || last.id)
SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM last)`

// ForgetChanges implements jobstore.Changer.
func (s *Store) ForgetChanges(ctx context.Context, age time.Duration, limit int) (gone int, err error) {
	err = s.do(ctx, forgetChangesSQL, []any{age.Microseconds(), limit}, nil, func(r pgx.Rows) error { return r.Scan(&gone) })
	if err != nil {
		return 0, wrap("forget old changes", err)
	}
	return gone, nil
}

// conflictsSQL is retryKeysSQL that takes nothing. Of several with one key the first gets it.
const conflictsSQL = `-- warren: conflicts
SELECT j.id, j.state, coalesce(k.job_id, j.first), j.kind, j.identifier
FROM (
  SELECT j.id, j.state, j.kind, j.identifier, min(j.id) OVER (PARTITION BY j.kind, j.identifier) AS first
  FROM unnest($1::bigint[]) AS w(id) JOIN @schema@.jobs j ON j.id = w.id WHERE j.mode <> 'normal'
) j LEFT JOIN @schema@.job_keys k ON k.kind = j.kind AND k.identifier = j.identifier AND (k.until IS NULL OR k.until > now())
WHERE coalesce(k.job_id, j.first) <> j.id ORDER BY j.id`

// Conflicts implements jobstore.Changer.
func (s *Store) Conflicts(ctx context.Context, ids []jobstore.ID) ([]jobstore.Refusal, error) {
	got, err := gather(ctx, s, conflictsSQL, scanKeyless, ids)
	if err != nil {
		return nil, wrap("look for conflicts", err)
	}
	return got, nil
}
