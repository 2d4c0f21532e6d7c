package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// Insert implements jobstore.Inserter. When ctx ends while the commit is under way, the error says
// that the jobs may be stored.
func (s *Store) Insert(ctx context.Context, jobs []jobstore.NewJob) ([]jobstore.Inserted, error) {
	if len(jobs) == 0 {
		return nil, nil
	}
	out, err := writing(ctx, s, func(ctx context.Context, q session) ([]jobstore.Inserted, error) {
		return s.insertIn(ctx, q, jobs)
	})
	if err != nil {
		return nil, s.wrap(fmt.Sprintf("insert %d jobs", len(jobs)), err)
	}
	return out, nil
}

// InsertTx implements jobstore.Inserter.
func (s *Store) InsertTx(ctx context.Context, tx jobstore.Tx, jobs []jobstore.NewJob) ([]jobstore.Inserted, error) {
	t, err := From(tx)
	if err != nil || len(jobs) == 0 {
		return nil, err
	}
	out, err := s.insertIn(ctx, direct{t}, jobs)
	if err != nil {
		return nil, s.wrap(fmt.Sprintf("insert %d jobs", len(jobs)), err)
	}
	return out, nil
}

const insertSQL = `-- warren: insert
INSERT INTO jobs (state, created_at, available_at, announce_at, kind, args, queue, priority, serial_group, group_skip, "coalesce",
  identifier, mode, every, unique_for, max_attempts, timeout, metadata, tags, step)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)`

// insertIn inserts row by row: numbers ascend in the order of the input. A trigger decides about keys.
func (s *Store) insertIn(ctx context.Context, q session, jobs []jobstore.NewJob) ([]jobstore.Inserted, error) {
	out := make([]jobstore.Inserted, len(jobs))
	now := s.now()
	for i := range jobs {
		j := &jobs[i]
		if j.Settled() {
			in, replaced, err := s.settle(ctx, q, j, now)
			if err != nil {
				return nil, err
			}
			if replaced {
				out[i] = in
				continue
			}
		}
		args, state, err := insertArgs(j, now)
		if err != nil {
			return nil, err
		}
		id, err := q.insert(ctx, insertSQL, args...)
		if err != nil {
			return nil, err
		}
		out[i] = jobstore.Inserted{Ref: jobstore.Ref{ID: jobstore.ID(id), Band: jobstore.Band{Queue: j.Queue, Priority: j.Priority}}, State: state}
		if keyed(j) {
			if err := decided(ctx, q, &out[i]); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func keyed(j *jobstore.NewJob) bool {
	return j.Mode == jobstore.Unique || j.Mode == jobstore.Recurring
}

const decidedSQL = `-- warren: decided by key
SELECT k.job_id FROM jobs j JOIN job_keys k ON k.kind = j.kind AND k.identifier = j.identifier WHERE j.id = ?1 AND j.state = 'REDUNDANT'`

// decided reads what the trigger has made of a job with a key.
func decided(ctx context.Context, q session, in *jobstore.Inserted) error {
	holders, err := gather(ctx, q, decidedSQL, scanInt, in.ID)
	if err == nil && len(holders) > 0 {
		in.State, in.Existing = jobstore.Redundant, jobstore.ID(holders[0])
	}
	return err
}

// insertArgs turns a job into the parameters of insertSQL.
func insertArgs(j *jobstore.NewJob, now time.Time) (args []any, state jobstore.State, err error) {
	created := stamp(now)
	due := later(now, j.Delay)
	if !j.AvailableAt.IsZero() {
		if due, err = instant(j.AvailableAt); err != nil {
			return nil, "", err
		}
	}
	state = jobstore.Ready
	var announce *string
	switch {
	case due > created:
		state = jobstore.Scheduled
	case j.Outbox:
		announce = &created
	}
	input, mode := string(j.Args), string(j.Mode)
	if input == "" {
		input = "{}"
	}
	if mode == "" {
		mode = string(jobstore.Normal)
	}
	uniqueFor := millis(j.UniqueFor)
	if j.UniqueFor == jobstore.Forever {
		uniqueFor = new(int64(-1))
	}
	if j.UniqueFor == jobstore.UntilStart {
		uniqueFor = new(int64(0))
	}
	return []any{
		string(state), created, due, announce, j.Kind, input, j.Queue, j.Priority, optional(j.SerialGroup), j.GroupSkip, j.Coalesce,
		optional(j.Identifier), mode, millis(j.Every), uniqueFor, j.MaxAttempts, millis(j.Timeout), optional(string(j.Metadata)), tagList(j.Tags),
		stepOf(j),
	}, state, nil
}

// stepOf is NULL for a job without a flow.
func stepOf(j *jobstore.NewJob) *int64 {
	if j.Step == 0 {
		return nil
	}
	return new(int64(j.Step))
}

// tagList is NULL for no tags.
func tagList(tags []string) *string {
	if len(tags) == 0 {
		return nil
	}
	text := list(tags)
	return &text
}
