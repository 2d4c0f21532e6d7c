package sqlite

import (
	"context"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

const undoneNextSQL = `-- warren: next of an undo
SELECT job_id FROM job_change_rows WHERE change_id = ?1 AND job_id > ?2 AND NOT undone ORDER BY job_id LIMIT ?3`

// undoableSQL finds a job that is as the change left it: not started since, in a state that the verb
// leads to. A series that ended otherwise than by a cancel would go on from its end again.
const undoableSQL = `-- warren: undoable
SELECT j.id FROM jobs j JOIN job_change_rows r ON r.change_id = ?1 AND r.job_id = j.id
WHERE j.id = ?2 AND j.lease_no = r.lease_no AND CASE ?3
  WHEN 'retry' THEN j.state IN ('BACK_TO_BROKER', 'READY')
    AND NOT (j.mode = 'recurring' AND r.state IN ('FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'QUARANTINED'))
  WHEN 'cancel' THEN j.state = 'CANCELLED'
  ELSE j.state NOT IN ('PROCESSING', 'FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED') END`

// restoreSQL goes through the rules of the table as a person's UPDATE does: keys are freed there.
const restoreSQL = `-- warren: restore
UPDATE jobs SET state = r.state, available_at = r.available_at, finished_at = r.finished_at, duration_ms = r.duration_ms,
  attempts = r.attempts, crashes = r.crashes, announce_at = CASE WHEN r.state = 'READY' THEN ?3 END,
  queue = coalesce(json_extract(r.was, '$.queue'), queue), priority = coalesce(json_extract(r.was, '$.priority'), priority),
  args = coalesce(json_extract(r.was, '$.args'), args), max_attempts = coalesce(json_extract(r.was, '$.max_attempts'), max_attempts),
  timeout = CASE WHEN r.was IS NULL THEN timeout ELSE json_extract(r.was, '$.timeout') END,
  metadata = CASE WHEN r.was IS NULL THEN metadata ELSE json_extract(r.was, '$.metadata') END,
  tags = CASE WHEN r.was IS NULL THEN tags ELSE json_extract(r.was, '$.tags') END
FROM job_change_rows r WHERE r.change_id = ?1 AND r.job_id = ?2 AND jobs.id = ?2`

const markUndoneSQL = `-- warren: mark undone
UPDATE job_change_rows SET undone = 1 WHERE change_id = ?1 AND job_id IN (SELECT value FROM json_each(?2))`

const undoingSQL = `-- warren: undoing
UPDATE job_changes SET state = 'undone', ended_at = ?2, undone = undone + ?3 WHERE id = ?1`

// UndoNext implements jobstore.Changer.
func (s *Store) UndoNext(
	ctx context.Context, id jobstore.ChangeID, after jobstore.ID, limit int,
) (got jobstore.Changed, next jobstore.ID, done bool, err error) {
	next, done = after, true
	got, err = writing(ctx, s, func(ctx context.Context, q session) (got jobstore.Changed, err error) {
		c, err := change(ctx, q, id)
		if err == nil && !c.Verb.Undoable() {
			err = fmt.Errorf("%w: what change %d deleted is gone", jobstore.ErrRefused, id)
		}
		if err != nil {
			return got, err
		}
		ids, err := gather(ctx, q, undoneNextSQL, scanInt, id, after, limit)
		if err != nil {
			return got, err
		}
		rows := make([]jobstore.ID, len(ids))
		for i, n := range ids {
			rows[i] = jobstore.ID(n)
		}
		next, done = after, len(rows) < limit
		if len(rows) > 0 {
			next = rows[len(rows)-1]
		}
		return s.undoIn(ctx, q, c, rows)
	})
	if err != nil {
		return jobstore.Changed{}, after, false, s.wrap(fmt.Sprintf("undo change %d", id), err)
	}
	return got, next, done, nil
}

func (s *Store) undoIn(ctx context.Context, q session, c jobstore.Change, ids []jobstore.ID) (jobstore.Changed, error) {
	anything := func(jobstore.State) bool { return true }
	got, err := s.operateIn(ctx, q, ids, order{past: "undone", change: c.ID, takes: anything, do: func(ctx context.Context, q session, t *subject) (string, error) {
		return s.undoOne(ctx, q, c, t)
	}})
	if err != nil {
		return got, err
	}
	if _, err := q.exec(ctx, markUndoneSQL, c.ID, list(got.Done)); err != nil {
		return got, err
	}
	_, err = q.exec(ctx, undoingSQL, c.ID, stamp(s.now()), len(got.Done))
	return got, err
}

// undoOne refuses with a reason what is not as the change left it.
func (s *Store) undoOne(ctx context.Context, q session, c jobstore.Change, t *subject) (reason string, err error) {
	found, err := gather(ctx, q, undoableSQL, scanInt, c.ID, t.id, string(c.Verb))
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return jobstore.UndoRefusal(t.id, t.state).Reason, nil
	}
	if c.Verb == jobstore.VerbCancel { // it needs its key again, and is brought to life as by a retry
		if reason, err := s.retrying().do(ctx, q, t); err != nil || reason != "" {
			return reason, err
		}
	}
	_, err = q.exec(ctx, restoreSQL, c.ID, t.id, stamp(s.now()))
	return "", err
}
