package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// Record implements jobstore.Recorder.
func (s *Store) Record(ctx context.Context, by jobstore.HolderID, done []jobstore.Outcome) (jobstore.Recorded, error) {
	if len(done) == 0 {
		return jobstore.Recorded{}, nil
	}
	rec, err := writing(ctx, s, func(ctx context.Context, q session) (jobstore.Recorded, error) {
		rec, freed, err := s.recordIn(ctx, q, by, done)
		if err != nil {
			return rec, err
		}
		heads, err := s.headsOf(ctx, q, freed)
		rec.Released = append(rec.Released, heads...)
		return rec, err
	})
	if err != nil {
		return jobstore.Recorded{}, s.wrap(fmt.Sprintf("record %d outcomes", len(done)), err)
	}
	return rec, nil
}

// RecordTx implements jobstore.Recorder.
func (s *Store) RecordTx(ctx context.Context, tx jobstore.Tx, by jobstore.HolderID, done []jobstore.Outcome) (jobstore.Recorded, error) {
	t, err := From(tx)
	if err != nil || len(done) == 0 {
		return jobstore.Recorded{}, err
	}
	rec, _, err := s.recordIn(ctx, direct{t}, by, done)
	if err != nil {
		return jobstore.Recorded{}, s.wrap(fmt.Sprintf("record %d outcomes", len(done)), err)
	}
	return rec, nil
}

// Return implements jobstore.Recorder.
func (s *Store) Return(ctx context.Context, by jobstore.HolderID, leases map[jobstore.ID]int64) ([]jobstore.Ref, error) {
	done := make([]jobstore.Outcome, 0, len(leases))
	for id, lease := range leases {
		done = append(done, jobstore.Outcome{ID: id, LeaseNo: lease, State: jobstore.Ready, Uncount: true})
	}
	rec, err := s.Record(ctx, by, done)
	return rec.Released, err
}

const leasedSQL = `-- warren: leased
SELECT id, queue, priority, serial_group, state, coalesce(holder, 0), lease_no, outcome_lease, attempts, errors, metadata
FROM jobs WHERE id = ?1`

// leased is what an outcome is compared with.
type leased struct {
	jobstore.Ref
	group            sql.NullString
	state            jobstore.State
	holder           jobstore.HolderID
	lease, recorded  int64
	attempts         int
	errors, metadata sql.NullString
}

func scanLeased(r row) (l leased, err error) {
	err = r.Scan(&l.ID, &l.Queue, &l.Priority, &l.group, &l.state, &l.holder, &l.lease, &l.recorded, &l.attempts, &l.errors, &l.metadata)
	return l, err
}

// under reports whether the job is still leased so.
func (l *leased) under(by jobstore.HolderID, lease int64) bool {
	return l.state == jobstore.Processing && l.holder == by && l.lease == lease
}

// before reports whether this outcome was written by an earlier call whose reply was lost. One
// that let the job live on may have been followed by anything since.
func (l *leased) before(o *jobstore.Outcome) bool {
	return l.recorded == o.LeaseNo && (l.state == o.State || !o.State.Final())
}

// recordIn returns what was recorded and the serial groups that may go on.
func (s *Store) recordIn(ctx context.Context, q session, by jobstore.HolderID, done []jobstore.Outcome) (rec jobstore.Recorded, freed []string, err error) {
	now := s.now()
	for i := range done {
		o := &done[i]
		found, err := gather(ctx, q, leasedSQL, scanLeased, o.ID)
		if err != nil {
			return rec, freed, err
		}
		if len(found) == 0 {
			rec.Fenced = append(rec.Fenced, o.ID)
			continue
		}
		l := &found[0]
		switch {
		case l.under(by, o.LeaseNo):
			if err := settle(ctx, q, l, o, now); err != nil {
				return rec, freed, err
			}
		case !l.before(o):
			rec.Fenced = append(rec.Fenced, o.ID)
			continue
		}
		switch {
		case l.group.Valid:
			freed = append(freed, l.group.String)
		case o.State == jobstore.Ready && o.Delay == 0: // announced again when it was recorded before
			rec.Released = append(rec.Released, l.Ref)
		}
	}
	return rec, freed, nil
}

const endSQL = `-- warren: record an end
UPDATE jobs SET state = ?2, finished_at = ?3, holder = NULL, claim_token = NULL, announce_at = NULL, outcome_lease = lease_no,
  attempts = ?4, error = ?5, errors = coalesce(?6, errors), output = coalesce(?7, output), metadata = coalesce(?8, metadata),
  duration_ms = ?9, memory = coalesce(?10, memory)
WHERE id = ?1`

const keepSQL = `-- warren: record an attempt
UPDATE jobs SET state = ?2, available_at = ?3, holder = NULL, claim_token = NULL, announce_at = ?11, outcome_lease = lease_no,
  attempts = ?4, error = coalesce(?5, error), errors = coalesce(?6, errors), output = coalesce(?7, output),
  metadata = coalesce(?8, metadata), duration_ms = ?9, memory = coalesce(?10, memory)
WHERE id = ?1`

// settle writes an outcome under its lease.
func settle(ctx context.Context, q session, l *leased, o *jobstore.Outcome, now time.Time) error {
	attempts := l.attempts
	if o.Uncount {
		attempts = max(0, attempts-1)
	}
	metadata, err := merged(l.metadata.String, o.Metadata)
	if err != nil {
		return err
	}
	args := []any{
		o.ID, string(o.State), stamp(now), attempts, optional(o.Error), history(l, o, now), optional(string(o.Output)), metadata,
		o.Duration.Milliseconds(), optional(string(o.Memory)),
	}
	if o.State.Final() {
		_, err := q.exec(ctx, endSQL, args...)
		return err
	}
	due := later(now, o.Delay)
	args[2] = due
	var announce *string
	if o.State == jobstore.Ready && o.Delay > 0 {
		announce = &due
	}
	_, err = q.exec(ctx, keepSQL, append(args, announce)...)
	return err
}

// mostErrors is how many entries the history of errors keeps.
const mostErrors = 20

// history is a job's history with one more error, NULL for an outcome that adds none.
func history(l *leased, o *jobstore.Outcome, now time.Time) *string {
	if o.Error == "" || o.State != jobstore.TemporarilyFailed && o.State != jobstore.PermanentlyFailed {
		return nil
	}
	entries := unlist[jobstore.AttemptError](l.errors.String)
	entries = append(entries, jobstore.AttemptError{At: now.UTC().Truncate(time.Millisecond), Attempt: l.attempts, Error: o.Error, State: o.State})
	text := list(entries[max(0, len(entries)-mostErrors):])
	return &text
}

// merged lays an outcome's metadata over the row's, key by key; NULL leaves them as they are.
func merged(old string, over json.RawMessage) (*string, error) {
	base, more := object([]byte(old)), object(over)
	if base == nil || more == nil {
		return optional(string(over)), nil
	}
	maps.Copy(base, more)
	text, err := json.Marshal(base)
	if err != nil {
		return nil, fmt.Errorf("%w: metadata: %w", jobstore.ErrInvalid, err)
	}
	return optional(string(text)), nil
}

// object is a JSON object by its keys, nil for anything else.
func object(text []byte) (keys map[string]json.RawMessage) {
	if json.Unmarshal(text, &keys) != nil {
		return nil
	}
	return keys
}
