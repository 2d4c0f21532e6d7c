package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/warrenq/warren/jobstore"
)

const changeColumns = `c.id, c.verb, c.spec, c.by_whom, c.state, c.through, c.changed, c.refused, c.undone, c.note, c.started_at, c.ended_at`

const brokenChangeSQL = `-- warren: broken change
SELECT ` + changeColumns + ` FROM job_changes c
WHERE c.started_at > ?1 AND c.state = 'running' AND c.verb = ?2 AND c.spec = json(?3) ORDER BY c.id DESC LIMIT 1`

const beginChangeSQL = `-- warren: begin change
INSERT INTO job_changes (verb, spec, by_whom, started_at) VALUES (?1, json(?2), ?3, ?4)`

const changesSQL = `-- warren: changes
SELECT ` + changeColumns + ` FROM job_changes c WHERE ?1 = 0 OR c.id = ?1 ORDER BY c.id DESC LIMIT ?2`

// BeginChange implements jobstore.Changer.
func (s *Store) BeginChange(ctx context.Context, verb jobstore.Verb, spec json.RawMessage, by string) (jobstore.Change, error) {
	c, err := writing(ctx, s, func(ctx context.Context, q session) (c jobstore.Change, err error) {
		now := s.now()
		got, err := gather(ctx, q, brokenChangeSQL, scanChange, stamp(now.Add(-24*time.Hour)), string(verb), string(spec))
		if err != nil || len(got) > 0 {
			return append(got, c)[0], err
		}
		id, err := q.insert(ctx, beginChangeSQL, string(verb), string(spec), by, stamp(now))
		if err != nil {
			return c, err
		}
		got, err = gather(ctx, q, changesSQL, scanChange, id, 1)
		return append(got, c)[0], err
	})
	if err != nil {
		return c, s.wrap("begin a change", err)
	}
	return c, nil
}

func scanChange(r row) (c jobstore.Change, err error) {
	var spec, started string
	var ended sql.NullString
	err = r.Scan(&c.ID, &c.Verb, &spec, &c.By, &c.State, &c.Through, &c.Changed, &c.Refused, &c.Undone, &c.Note, &started, &ended)
	c.Spec, c.StartedAt, c.EndedAt = json.RawMessage(spec), read(started), readOptional(ended)
	return c, err
}

// Changes implements jobstore.Changer.
func (s *Store) Changes(ctx context.Context, id jobstore.ChangeID, limit int) ([]jobstore.Change, error) {
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]jobstore.Change, error) {
		return gather(ctx, q, changesSQL, scanChange, id, limit)
	})
	if err != nil {
		return nil, s.wrap("list changes", err)
	}
	return got, nil
}

func change(ctx context.Context, q session, id jobstore.ChangeID) (c jobstore.Change, err error) {
	got, err := gather(ctx, q, changesSQL, scanChange, id, 1)
	if err == nil && len(got) == 0 {
		err = fmt.Errorf("there is no change %d: %w", id, jobstore.ErrNotFound)
	}
	return append(got, c)[0], err
}

// noteChangeSQL writes down what jobs are.
const noteChangeSQL = `-- warren: note change
INSERT INTO job_change_rows (change_id, job_id, lease_no, state, available_at, finished_at, duration_ms, attempts, crashes, was)
SELECT ?1, j.id, j.lease_no, j.state, j.available_at, j.finished_at, j.duration_ms, j.attempts, j.crashes, CASE WHEN ?3 THEN
  json_object('queue', j.queue, 'priority', j.priority, 'args', j.args, 'max_attempts', j.max_attempts, 'timeout', j.timeout,
    'metadata', j.metadata, 'tags', j.tags) END
FROM json_each(?2) w CROSS JOIN jobs j ON j.id = w.value WHERE j.state <> 'PROCESSING'
ON CONFLICT DO NOTHING`

const unnoteChangeSQL = `-- warren: take notes of a change back
DELETE FROM job_change_rows WHERE change_id = ?1 AND job_id IN (SELECT value FROM json_each(?2))`

const passChangeSQL = `-- warren: pass on in a change
UPDATE job_changes SET through = max(through, ?2), changed = changed + ?3, refused = refused + ?4 WHERE id = ?1`

// ChangeNext implements jobstore.Changer.
func (s *Store) ChangeNext(ctx context.Context, id jobstore.ChangeID, o jobstore.Order, ids []jobstore.ID, through jobstore.ID) (jobstore.Changed, error) {
	do, err := s.order(o)
	if err != nil {
		return jobstore.Changed{}, s.wrap(fmt.Sprintf("change %d", id), err)
	}
	ids, do.change = sortedSet(ids), id
	changed, err := writing(ctx, s, func(ctx context.Context, q session) (got jobstore.Changed, err error) {
		c, err := change(ctx, q, id)
		if err == nil && c.State != jobstore.ChangeRunning {
			err = fmt.Errorf("%w: change %d is %s", jobstore.ErrRefused, id, c.State)
		}
		if err != nil {
			return got, err
		}
		if o.Verb.Undoable() {
			if _, err := q.exec(ctx, noteChangeSQL, id, list(ids), o.Verb == jobstore.VerbEdit); err != nil {
				return got, err
			}
		}
		if got, err = s.operateIn(ctx, q, ids, do); err != nil {
			return got, err
		}
		refused := make([]jobstore.ID, len(got.Refused))
		for i, r := range got.Refused {
			refused[i] = r.ID
		}
		if _, err := q.exec(ctx, unnoteChangeSQL, id, list(refused)); err != nil {
			return got, err
		}
		_, err = q.exec(ctx, passChangeSQL, id, through, len(got.Done), len(refused))
		return got, err
	})
	if err != nil {
		return jobstore.Changed{}, s.wrap(fmt.Sprintf("change %d", id), err)
	}
	return changed, nil
}

func (s *Store) order(o jobstore.Order) (order, error) {
	switch o.Verb {
	case jobstore.VerbRetry:
		return s.retrying(), nil
	case jobstore.VerbCancel:
		return s.cancelling(), nil
	case jobstore.VerbDelete:
		return s.deleting(), nil
	case jobstore.VerbEdit:
		return s.editing(o.Edit)
	}
	return order{}, fmt.Errorf("%w: %q is no verb", jobstore.ErrInvalid, o.Verb)
}

const endChangeSQL = `-- warren: end change
UPDATE job_changes SET state = ?2, note = ?3, ended_at = ?4 WHERE id = ?1`

// EndChange implements jobstore.Changer.
func (s *Store) EndChange(ctx context.Context, id jobstore.ChangeID, state jobstore.ChangeState, note string) error {
	if _, err := s.exec(ctx, endChangeSQL, id, string(state), note, stamp(s.now())); err != nil {
		return s.wrap(fmt.Sprintf("end change %d", id), err)
	}
	return nil
}

// followSQL goes by lease numbers: one that has grown means that the job has run since.
const followSQL = `-- warren: follow change
SELECT coalesce(sum(what = 'open'), 0), coalesce(sum(what = 'finished'), 0), coalesce(sum(what = 'failed'), 0), coalesce(sum(what = 'other'), 0)
FROM (
  SELECT CASE
    WHEN j.state IN ('READY', 'PROCESSING', 'BACK_TO_BROKER') THEN 'open'
    WHEN j.lease_no = r.lease_no AND j.state IN ('SCHEDULED', 'WAITING', 'TEMPORARILY_FAILED', 'BROKER_FAILED') THEN 'open'
    WHEN j.lease_no > r.lease_no AND j.state = 'FINISHED' THEN 'finished'
    WHEN j.lease_no > r.lease_no AND j.state IN ('TEMPORARILY_FAILED', 'PERMANENTLY_FAILED', 'QUARANTINED') THEN 'failed'
    ELSE 'other' END AS what
  FROM (SELECT job_id, lease_no FROM job_change_rows WHERE change_id = ?1 ORDER BY job_id DESC LIMIT ?2) r
  LEFT JOIN jobs j ON j.id = r.job_id
)`

// Follow implements jobstore.Changer.
func (s *Store) Follow(ctx context.Context, id jobstore.ChangeID, limit int) (jobstore.Followed, error) {
	f, err := reading(ctx, s, func(ctx context.Context, q session) (f jobstore.Followed, err error) {
		err = q.query(ctx, followSQL, []any{id, limit}, func(r row) error {
			return r.Scan(&f.Open, &f.Finished, &f.Failed, &f.Other)
		})
		return f, err
	})
	if err != nil {
		return f, s.wrap(fmt.Sprintf("follow change %d", id), err)
	}
	return f, nil
}

const oldChangeSQL = `-- warren: old change
SELECT id FROM job_changes WHERE started_at <= ?1 ORDER BY started_at LIMIT 1`

const forgetRowsSQL = `-- warren: forget rows of a change
DELETE FROM job_change_rows WHERE change_id = ?1 AND job_id IN (SELECT job_id FROM job_change_rows WHERE change_id = ?1 ORDER BY job_id LIMIT ?2)`

const forgetChangeSQL = `-- warren: forget a change
DELETE FROM job_changes WHERE id = ?1`

const forgetLeaseSQL = `-- warren: forget the lease of a change
DELETE FROM warren_leaders WHERE name = 'change ' || ?1`

// ForgetChanges implements jobstore.Changer.
func (s *Store) ForgetChanges(ctx context.Context, age time.Duration, limit int) (int, error) {
	gone, err := writing(ctx, s, func(ctx context.Context, q session) (gone int64, err error) {
		old, err := gather(ctx, q, oldChangeSQL, scanInt, stamp(s.now().Add(-age)))
		if err != nil || len(old) == 0 {
			return 0, err
		}
		if gone, err = q.exec(ctx, forgetRowsSQL, old[0], limit); err != nil || gone >= int64(limit) {
			return gone, err
		}
		n, err := q.exec(ctx, forgetChangeSQL, old[0])
		if err == nil {
			_, err = q.exec(ctx, forgetLeaseSQL, old[0])
		}
		return gone + n, err
	})
	if err != nil {
		return 0, s.wrap("forget old changes", err)
	}
	return int(gone), nil
}

// conflictsSQL looks for jobs that another one keeps from their key. Of several with one key the
// first gets it.
const conflictsSQL = `-- warren: conflicts
SELECT * FROM (
  SELECT j.id, j.state, coalesce(k.job_id, min(j.id) OVER (PARTITION BY j.kind, j.identifier)) AS owner, j.kind, j.identifier
  FROM json_each(?1) w CROSS JOIN jobs j ON j.id = w.value
  LEFT JOIN job_keys k ON k.kind = j.kind AND k.identifier = j.identifier AND (k.until IS NULL OR k.until > ?2)
  WHERE j.mode <> 'normal'
) WHERE owner <> id ORDER BY id`

// Conflicts implements jobstore.Changer.
func (s *Store) Conflicts(ctx context.Context, ids []jobstore.ID) ([]jobstore.Refusal, error) {
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]jobstore.Refusal, error) {
		return gather(ctx, q, conflictsSQL, func(r row) (no jobstore.Refusal, err error) {
			var owner jobstore.ID
			var kind, identifier string
			err = r.Scan(&no.ID, &no.State, &owner, &kind, &identifier)
			no.Reason = keyTaken(no.ID, owner, kind, identifier)
			return no, err
		}, list(ids), stamp(s.now()))
	})
	if err != nil {
		return nil, s.wrap("look for conflicts", err)
	}
	return got, nil
}
