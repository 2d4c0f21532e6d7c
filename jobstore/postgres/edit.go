package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// editSQL changes what is given. Through the trigger, a READY job that gets another band is put into
// the outbox, and one that gets a later time becomes SCHEDULED.
const editSQL = `-- warren: edit
WITH mine AS MATERIALIZED (` + orderedLive + `)
UPDATE @schema@.jobs_live j SET
  queue = CASE WHEN $2::text IS NOT NULL THEN $2::text ELSE j.queue END,
  priority = CASE WHEN $3::int IS NOT NULL THEN $3::int ELSE j.priority END,
  args = CASE WHEN $4::text IS NOT NULL THEN $4::text::jsonb ELSE j.args END,
  available_at = CASE WHEN $5::timestamptz IS NOT NULL THEN $5::timestamptz
    WHEN $6::bigint IS NOT NULL THEN now() + make_interval(secs => $6::bigint / 1e6) ELSE j.available_at END,
  max_attempts = CASE WHEN $7::int IS NOT NULL THEN $7::int ELSE j.max_attempts END,
  timeout = CASE WHEN $8::bigint IS NULL THEN j.timeout WHEN $8::bigint > 0 THEN make_interval(secs => $8::bigint / 1e6) END,
  metadata = CASE WHEN $9::text IS NOT NULL THEN $9::text::jsonb ELSE j.metadata END,
  tags = CASE WHEN $10::text[] IS NOT NULL THEN nullif($10::text[], '{}') ELSE j.tags END
FROM mine WHERE j.id = mine.id
RETURNING j.id, j.serial_group`

// Edit implements jobstore.Operator.
func (s *Store) Edit(ctx context.Context, ids []jobstore.ID, e jobstore.Edit) (jobstore.Changed, error) {
	args := editArgs(e)
	return s.operate(ctx, "edited", ids, s.notSealed(e, func(ctx context.Context, q session, ids []jobstore.ID) (t touched, err error) {
		mine, err := gatherIn(ctx, q, s.sql[noteEditSQL], scanID, append(append([]any{ids}, args...), jobstore.Actor(ctx))...)
		if err != nil {
			return t, err
		}
		err = q.run(ctx, s.sql[editSQL], append([]any{mine}, args...), t.scan)
		t.noted = true
		return t, err
	}))
}

// sealedOfSQL finds those of some jobs whose args are encrypted. Nobody encrypts the args of a job that is there.
const sealedOfSQL = `-- warren: edit, encrypted
SELECT j.id, j.state FROM unnest($1::bigint[]) AS w(id) CROSS JOIN LATERAL (
  SELECT l.id, l.state FROM @schema@.jobs_live l
  WHERE l.id = w.id AND l.state || '' <> 'PROCESSING' AND jsonb_typeof(l.args) = 'object' AND l.args ? 'warren_sealed' LIMIT 1) j
ORDER BY j.id`

// notSealed refuses new args for jobs whose args are encrypted, and has edit do the others.
func (s *Store) notSealed(e jobstore.Edit, edit orderStep) orderStep {
	if len(e.Args) == 0 {
		return edit
	}
	return func(ctx context.Context, q session, ids []jobstore.ID) (touched, error) {
		var sealed []jobstore.Refusal
		err := q.run(ctx, s.sql[sealedOfSQL], []any{ids}, func(r pgx.Rows) error {
			var id jobstore.ID
			var state jobstore.State
			err := r.Scan(&id, &state)
			sealed = append(sealed, jobstore.RefusalSealed(id, state))
			return err
		})
		if err != nil {
			return touched{}, err
		}
		t, err := edit(ctx, q, slices.DeleteFunc(slices.Clone(ids), func(id jobstore.ID) bool {
			return slices.ContainsFunc(sealed, func(r jobstore.Refusal) bool { return r.ID == id })
		}))
		t.refused = append(t.refused, sealed...)
		return t, err
	}
}

func (s *Store) editIn(e jobstore.Edit) orderStep {
	args := editArgs(e)
	return s.notSealed(e, func(ctx context.Context, q session, ids []jobstore.ID) (t touched, err error) {
		err = q.run(ctx, s.sql[editSQL], append([]any{ids}, args...), t.scan)
		return t, err
	})
}

// editArgs are those of editSQL and noteEditSQL behind the numbers of the jobs.
func editArgs(e jobstore.Edit) []any {
	var at *time.Time
	if !e.AvailableAt.IsZero() {
		at = &e.AvailableAt
	}
	var tags []string // NULL unless given
	if e.Tags != nil {
		tags = filled(*e.Tags)
	}
	return []any{
		e.Queue, number(e.Priority), optional(string(e.Args)), at, span(e.Delay), number(e.MaxAttempts), span(e.Timeout),
		optional(string(e.Metadata)), tags,
	}
}

func number(n *int) *int32 {
	if n == nil {
		return nil
	}
	v := clamp(*n)
	return &v
}

// span is a duration in microseconds that may be zero, NULL for none.
func span(d *time.Duration) *int64 {
	if d == nil {
		return nil
	}
	us := max(0, d.Microseconds())
	if us == 0 && *d > 0 {
		us = 1
	}
	return &us
}
