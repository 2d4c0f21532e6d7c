package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

const undoneNextSQL = `-- warren: next of an undo
SELECT job_id FROM @schema@.job_change_rows WHERE change_id = $1 AND job_id > $2 AND NOT undone ORDER BY job_id LIMIT $3::int`

// undoableSQL finds those that are as the change left them: not started since, in the state that
// the verb leads to. A series that ended otherwise than by a cancel would go on from its end again.
const undoableSQL = `-- warren: undoable
SELECT j.id FROM unnest($2::bigint[]) AS w(id)
JOIN @schema@.jobs j ON j.id = w.id
JOIN @schema@.job_change_rows r ON r.change_id = $1 AND r.job_id = w.id
WHERE j.lease_no = r.lease_no AND CASE $3::text
  WHEN 'retry' THEN j.state IN ('BACK_TO_BROKER', 'READY')
    AND NOT (j.mode = 'recurring' AND r.state IN ('FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'QUARANTINED'))
  WHEN 'cancel' THEN j.state = 'CANCELLED'
  ELSE j.state IN ('READY', 'SCHEDULED', 'WAITING', 'TEMPORARILY_FAILED', 'BROKER_FAILED', 'BACK_TO_BROKER') END`

// restoreSQL goes through the rules of the table as a person's UPDATE does: keys are freed there.
const restoreSQL = `-- warren: restore
UPDATE @schema@.jobs j SET state = r.state, available_at = r.available_at, attempts = r.attempts, crashes = r.crashes,
  announce_at = CASE WHEN r.state = 'READY' THEN now() END,
  queue = coalesce(r.was ->> 'queue', j.queue), priority = coalesce((r.was ->> 'priority')::smallint, j.priority),
  args = coalesce(r.was -> 'args', j.args), max_attempts = coalesce((r.was ->> 'max_attempts')::int, j.max_attempts),
  timeout = CASE WHEN r.was IS NULL THEN j.timeout ELSE (r.was ->> 'timeout')::interval END,
  metadata = CASE WHEN r.was IS NULL THEN j.metadata ELSE nullif(r.was -> 'metadata', 'null') END,
  tags = CASE WHEN r.was IS NULL THEN j.tags ELSE (SELECT array_agg(x.v) FROM jsonb_array_elements_text(nullif(r.was -> 'tags', 'null')) AS x(v)) END
FROM unnest($2::bigint[]) AS w(id), @schema@.job_change_rows r
WHERE j.id = w.id AND r.change_id = $1 AND r.job_id = w.id
RETURNING j.id, j.serial_group`

// restoreEndSQL gives jobs their end back, which the rules set to now.
const restoreEndSQL = `-- warren: restore the end
UPDATE @schema@.jobs_history j SET finished_at = r.finished_at, duration_ms = r.duration_ms
FROM unnest($2::bigint[]) AS w(id), @schema@.job_change_rows r
WHERE j.id = w.id AND r.change_id = $1 AND r.job_id = w.id AND r.finished_at IS NOT NULL`

const markUndoneSQL = `-- warren: mark undone
WITH marked AS (
  UPDATE @schema@.job_change_rows r SET undone = true FROM unnest($2::bigint[]) AS w(id) WHERE r.change_id = $1 AND r.job_id = w.id RETURNING 1
)
UPDATE @schema@.job_changes SET state = 'undone', ended_at = now(), undone = undone + (SELECT count(*) FROM marked) WHERE id = $1`

// UndoNext implements jobstore.Changer.
func (s *Store) UndoNext(
	ctx context.Context, id jobstore.ChangeID, after jobstore.ID, limit int,
) (got jobstore.Changed, next jobstore.ID, done bool, err error) {
	ids, err := gather(ctx, s, undoneNextSQL, scanID, id, after, limit)
	if err != nil {
		return got, after, false, wrap(fmt.Sprintf("undo change %d", id), err)
	}
	next = after
	if len(ids) > 0 {
		next = ids[len(ids)-1]
	}
	var groups []string
	err = retried(ctx, func() error {
		return s.inTx(ctx, false, func(ctx context.Context, tx pgx.Tx) (err error) {
			got, groups, err = s.undoIn(ctx, txSession{tx}, id, ids)
			return err
		})
	})
	if err != nil {
		return jobstore.Changed{}, after, false, wrap(fmt.Sprintf("undo change %d", id), err)
	}
	s.announceHeads(ctx, groups)
	return got, next, len(ids) < limit, nil
}

func (s *Store) undoIn(ctx context.Context, q session, id jobstore.ChangeID, ids []jobstore.ID) (got jobstore.Changed, groups []string, err error) {
	verb, _, err := s.lockChange(ctx, q, id)
	if err == nil && !verb.Undoable() {
		err = fmt.Errorf("%w: what change %d deleted is gone", jobstore.ErrRefused, id)
	}
	if err != nil {
		return got, nil, err
	}
	if _, err := s.lockIn(ctx, q, ids); err != nil {
		return got, nil, err
	}
	mine, err := gatherIn(ctx, q, s.sql[undoableSQL], scanID, id, ids, string(verb))
	if err != nil {
		return got, nil, err
	}
	if verb == jobstore.VerbCancel { // they need their keys again, and are brought to life as by a retry
		t, err := s.retryIn(ctx, q, mine)
		if err != nil {
			return got, nil, err
		}
		got.Refused, mine = t.refused, t.done
	}
	var t touched
	if err := q.run(ctx, s.sql[restoreSQL], []any{id, mine}, t.scan); err != nil {
		return got, nil, err
	}
	for _, text := range []string{restoreEndSQL, markUndoneSQL} {
		if err := q.run(ctx, s.sql[text], []any{id, mine}, nil); err != nil {
			return got, nil, err
		}
	}
	got.Done = t.done
	if err := q.run(ctx, s.sql[noteOrderSQL], []any{t.done, jobstore.EventUndone, jobstore.Actor(ctx), id}, nil); err != nil {
		return got, nil, err
	}
	return got, t.groups, s.explainUndo(ctx, q, ids, &got)
}

// explainUndo adds a refusal for each job that was not undone.
func (s *Store) explainUndo(ctx context.Context, q session, ids []jobstore.ID, got *jobstore.Changed) error {
	known := append([]jobstore.ID(nil), got.Done...)
	for _, r := range got.Refused {
		known = append(known, r.ID)
	}
	rest := without(ids, known)
	if len(rest) == 0 {
		return nil
	}
	states := map[jobstore.ID]jobstore.State{}
	err := q.run(ctx, s.sql[statesSQL], []any{rest}, func(r pgx.Rows) error {
		var id jobstore.ID
		var state jobstore.State
		err := r.Scan(&id, &state)
		states[id] = state
		return err
	})
	for _, id := range rest {
		got.Refused = append(got.Refused, jobstore.UndoRefusal(id, states[id]))
	}
	return err
}
