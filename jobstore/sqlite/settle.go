package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// holderSQL finds the job that keeps a key which is not free. ?3 is now.
const holderSQL = `-- warren: holder
SELECT j.id, j.state, j.lease_no, j.unique_for, j.created_at, j.available_at FROM job_keys k JOIN jobs j ON j.id = k.job_id
WHERE k.kind = ?1 AND k.identifier = ?2 AND (k.until IS NULL OR k.until > ?3)`

// takeKeySQL makes a key free, for the trigger to give to the job that is inserted next.
const takeKeySQL = `-- warren: take a key
DELETE FROM job_keys WHERE kind = ?1 AND identifier = ?2 AND job_id = ?3`

// replaceSQL gives a job the values of a new one. ?2 has the bits of jobstore.Replace.
const replaceSQL = `-- warren: replace
UPDATE jobs SET args = CASE WHEN ?2 & 1 THEN ?3 ELSE args END, metadata = CASE WHEN ?2 & 1 THEN ?4 ELSE metadata END,
  tags = CASE WHEN ?2 & 1 THEN ?5 ELSE tags END, queue = CASE WHEN ?2 & 2 THEN ?6 ELSE queue END,
  priority = CASE WHEN ?2 & 2 THEN ?7 ELSE priority END, available_at = ?8,
  announce_at = CASE WHEN state = 'READY' AND ?9 THEN NULL ELSE announce_at END,
  state = CASE WHEN state = 'READY' AND ?9 THEN 'SCHEDULED' ELSE state END
WHERE id = ?1`

const replacedSQL = `-- warren: replaced
SELECT id, queue, priority, state FROM jobs WHERE id = ?1`

// keyHolder is the job that keeps a key.
type keyHolder struct {
	id                 jobstore.ID
	state              jobstore.State
	lease              int64
	uniqueFor          sql.NullInt64
	created, available string
}

func scanHolder(r row) (h keyHolder, err error) {
	err = r.Scan(&h.id, &h.state, &h.lease, &h.uniqueFor, &h.created, &h.available)
	return h, err
}

// settle decides about a job's key where that takes more than looking whether it is free: the holder gives
// it up because it has started, or takes over what the new job replaces, which is reported. In every
// other case the new job is inserted and the trigger decides.
func (s *Store) settle(ctx context.Context, q session, j *jobstore.NewJob, now time.Time) (in jobstore.Inserted, replaced bool, err error) {
	found, err := gather(ctx, q, holderSQL, scanHolder, j.Kind, j.Identifier, stamp(now))
	if err != nil || len(found) == 0 {
		return in, false, err
	}
	h := found[0]
	if h.uniqueFor.Valid && h.uniqueFor.Int64 == 0 && h.lease > 0 {
		_, err := q.exec(ctx, takeKeySQL, j.Kind, j.Identifier, h.id)
		return in, false, err
	}
	if j.Replace == 0 || h.state == jobstore.Processing || h.state.Final() {
		return in, false, nil
	}
	if err := s.replace(ctx, q, &h, j, now); err != nil {
		return in, false, err
	}
	err = q.query(ctx, replacedSQL, []any{h.id}, func(r row) error { return r.Scan(&in.ID, &in.Queue, &in.Priority, &in.State) })
	in.Existing = in.ID
	return in, true, err
}

func (s *Store) replace(ctx context.Context, q session, h *keyHolder, j *jobstore.NewJob, now time.Time) error {
	args, _, err := insertArgs(j, now)
	if err != nil {
		return err
	}
	due := h.available
	if j.Replace&jobstore.ReplaceTime != 0 {
		due = args[2].(string)
		if j.MaxWait > 0 {
			due = min(due, later(read(h.created), j.MaxWait))
		}
	}
	// Only a READY job's state depends on the time: the sweep makes the others READY.
	later := due > stamp(now)
	_, err = q.exec(ctx, replaceSQL, h.id, int(j.Replace), args[5], optional(string(j.Metadata)), tagList(j.Tags), j.Queue, j.Priority, due, later)
	return err
}
