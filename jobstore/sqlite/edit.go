package sqlite

import (
	"context"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// editSQL changes what is given. Through the trigger, a READY job that gets another band is put into
// the outbox, and one that gets a later time becomes SCHEDULED.
const editSQL = `-- warren: edit
UPDATE jobs SET queue = coalesce(?2, queue), priority = coalesce(?3, priority), args = coalesce(?4, args),
  available_at = coalesce(?5, available_at), max_attempts = coalesce(?6, max_attempts),
  timeout = CASE WHEN ?7 IS NULL THEN timeout WHEN ?7 > 0 THEN ?7 END, metadata = coalesce(?8, metadata),
  tags = CASE WHEN ?9 IS NULL THEN tags ELSE nullif(?9, '[]') END
WHERE id = ?1`

const isSealedSQL = `-- warren: edit, encrypted
SELECT 1 FROM jobs WHERE id = ?1 AND json_type(args) = 'object' AND json_type(args, '$.warren_sealed') IS NOT NULL`

// Edit implements jobstore.Operator.
func (s *Store) Edit(ctx context.Context, ids []jobstore.ID, e jobstore.Edit) (jobstore.Changed, error) {
	o, err := s.editing(e)
	if err != nil {
		return jobstore.Changed{}, s.wrap("edit jobs", err)
	}
	change, columns := o.do, list(edited(e))
	o.event, o.do = noted, func(ctx context.Context, q session, t *subject) (string, error) {
		if reason, err := refuseSealed(ctx, q, t, e); reason != "" || err != nil {
			return reason, err
		}
		if _, err := q.exec(ctx, noteEditSQL, t.id, stamp(s.now()), jobstore.Actor(ctx), columns); err != nil {
			return "", err
		}
		return change(ctx, q, t)
	}
	return s.operate(ctx, ids, o)
}

// edited are the columns that an edit gives new values.
func edited(e jobstore.Edit) (columns []string) {
	for _, c := range []struct {
		name string
		is   bool
	}{
		{"queue", e.Queue != nil},
		{"priority", e.Priority != nil},
		{"args", len(e.Args) > 0},
		{"available_at", e.Delay != nil || !e.AvailableAt.IsZero()},
		{"max_attempts", e.MaxAttempts != nil},
		{"timeout", e.Timeout != nil},
		{"metadata", len(e.Metadata) > 0},
		{"tags", e.Tags != nil},
	} {
		if c.is {
			columns = append(columns, c.name)
		}
	}
	return columns
}

// refuseSealed gives the reason why a job with encrypted args gets no new ones.
func refuseSealed(ctx context.Context, q session, t *subject, e jobstore.Edit) (reason string, err error) {
	if len(e.Args) == 0 {
		return "", nil
	}
	sealed, err := gather(ctx, q, isSealedSQL, scanInt, t.id)
	if err != nil || len(sealed) == 0 {
		return "", err
	}
	return jobstore.RefusalSealed(t.id, t.state).Reason, nil
}

func (s *Store) editing(e jobstore.Edit) (order, error) {
	var named, tags *string
	if !e.AvailableAt.IsZero() {
		at, err := instant(e.AvailableAt)
		if err != nil {
			return order{}, err
		}
		named = &at
	}
	if e.Tags != nil {
		tags = new(list(*e.Tags))
	}
	return order{past: "edited", takes: mayStillRun, do: func(ctx context.Context, q session, t *subject) (string, error) {
		due := named
		if due == nil && e.Delay != nil {
			due = new(later(s.now(), *e.Delay))
		}
		if reason, err := refuseSealed(ctx, q, t, e); reason != "" || err != nil {
			return reason, err
		}
		_, err := q.exec(ctx, editSQL, t.id, e.Queue, e.Priority, optional(string(e.Args)), due, e.MaxAttempts, span(e.Timeout),
			optional(string(e.Metadata)), tags)
		return "", err
	}}, nil
}

// span is a duration in milliseconds that may be zero, NULL for none.
func span(d *time.Duration) *int64 {
	if d == nil {
		return nil
	}
	if ms := millis(max(0, *d)); ms != nil {
		return ms
	}
	return new(int64)
}
