package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/steps"
)

// Record implements jobstore.Recorder.
func (s *Store) Record(ctx context.Context, by jobstore.HolderID, done []jobstore.Outcome) (jobstore.Recorded, error) {
	if len(done) == 0 {
		return jobstore.Recorded{}, nil
	}
	rec, err := writing(ctx, s, func(ctx context.Context, q session) (jobstore.Recorded, error) {
		rec, freed, err := s.recordSteps(ctx, q, by, done, false)
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
	rec, _, err := s.recordSteps(ctx, direct{t}, by, done, true)
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
FROM jobs WHERE id IN (SELECT value FROM json_each(?1))`

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

// leasedOf reads the rows of jobs.
func leasedOf(ctx context.Context, q session, ids []jobstore.ID) (map[jobstore.ID]*leased, error) {
	found, err := gather(ctx, q, leasedSQL, scanLeased, list(ids))
	rows := make(map[jobstore.ID]*leased, len(found))
	for i := range found {
		rows[found[i].ID] = &found[i]
	}
	return rows, err
}

// recordSteps records outcomes and settles the flows of those that have ended.
func (s *Store) recordSteps(
	ctx context.Context, q session, by jobstore.HolderID, done []jobstore.Outcome, outbox bool,
) (rec jobstore.Recorded, freed []string, err error) {
	rec, freed, accepted, err := s.recordIn(ctx, q, by, done)
	if err != nil {
		return rec, freed, err
	}
	var ended []jobstore.ID
	var changes []steps.Change
	for _, o := range accepted {
		if o.Step == 0 || !o.State.Final() {
			continue
		}
		ended = append(ended, o.ID)
		if o.Flow != nil && o.State == jobstore.Finished {
			changes = append(changes, steps.Change{Step: o.Step, FlowChange: o.Flow})
		}
	}
	released, err := s.settleFlows(ctx, q, ended, changes, outbox)
	rec.Released = append(rec.Released, released...)
	return rec, freed, err
}

// recordIn returns what was recorded, the serial groups that may go on, and the outcomes that this call
// has written.
func (s *Store) recordIn(
	ctx context.Context, q session, by jobstore.HolderID, done []jobstore.Outcome,
) (rec jobstore.Recorded, freed []string, accepted []*jobstore.Outcome, err error) {
	ids := make([]jobstore.ID, len(done))
	for i := range done {
		ids[i] = done[i].ID
	}
	rows, err := leasedOf(ctx, q, ids)
	if err != nil {
		return rec, nil, nil, err
	}
	w := settling{now: s.now(), by: by}
	for i := range done {
		o := &done[i]
		l := rows[o.ID]
		switch {
		case l != nil && l.under(by, o.LeaseNo):
			if err := w.add(l, o); err != nil {
				return rec, nil, nil, err
			}
			accepted = append(accepted, o)
			l.state, l.recorded = o.State, o.LeaseNo // the same outcome twice in a call is one
		case l == nil || !l.before(o):
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
	return rec, freed, accepted, w.write(ctx, q)
}

// settledColumns are what endSQL and keepSQL set from an array of each job's own values, and what
// they set for all. An UPDATE of a table with triggers costs more to begin than for a row more.
const settledColumns = `state = o.value ->> 1, attempts = o.value ->> 3, errors = coalesce(o.value ->> 5, errors),
  output = coalesce(o.value ->> 6, output), metadata = coalesce(o.value ->> 7, metadata), duration_ms = o.value ->> 8,
  memory = coalesce(o.value ->> 9, memory), holder = NULL, claim_token = NULL, outcome_lease = lease_no`

const endSQL = `-- warren: record ends
UPDATE jobs SET ` + settledColumns + `, finished_at = o.value ->> 2, error = o.value ->> 4, announce_at = NULL
FROM json_each(?1) o WHERE jobs.id = o.value ->> 0`

const keepSQL = `-- warren: record attempts
UPDATE jobs SET ` + settledColumns + `, available_at = coalesce(o.value ->> 2, available_at), error = coalesce(o.value ->> 4, error), announce_at = o.value ->> 10
FROM json_each(?1) o WHERE jobs.id = o.value ->> 0`

// settling gathers outcomes that are to be written under their leases.
type settling struct {
	now        time.Time
	by         jobstore.HolderID
	ends, keep [][]any
	events     [][]any
}

func (w *settling) add(l *leased, o *jobstore.Outcome) error {
	if event, note := eventOf(o); event != "" {
		w.events = append(w.events, []any{o.ID, stamp(w.now), event, l.attempts, o.Duration.Milliseconds(), note, w.by})
	}
	attempts := l.attempts
	if o.Uncount {
		attempts = max(0, attempts-1)
	}
	metadata, err := merged(l.metadata.String, o.Metadata)
	if err != nil {
		return err
	}
	values := []any{
		o.ID, o.State, stamp(w.now), attempts, optional(o.Error), history(l, o, w.now), optional(string(o.Output)), metadata,
		o.Duration.Milliseconds(), optional(string(o.Memory)),
	}
	if o.State.Final() {
		w.ends = append(w.ends, values)
		return nil
	}
	due := later(w.now, o.Delay)
	values[2] = due
	var announce *string
	switch {
	case o.State != jobstore.Ready:
	case o.Delay > 0:
		announce = &due
	case o.Uncount: // as if it had not been claimed
		values[2] = nil
	}
	w.keep = append(w.keep, append(values, announce))
	return nil
}

func (w *settling) write(ctx context.Context, q session) error {
	if len(w.ends) > 0 {
		if _, err := q.exec(ctx, endSQL, list(w.ends)); err != nil {
			return err
		}
	}
	if len(w.keep) > 0 {
		if _, err := q.exec(ctx, keepSQL, list(w.keep)); err != nil {
			return err
		}
	}
	if len(w.events) > 0 {
		if _, err := q.exec(ctx, noteAttemptsSQL, list(w.events)); err != nil {
			return err
		}
	}
	return nil
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
