package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

const jobColumns = `j.id, j.queue, j.priority, j.kind, j.args, j.state, j.serial_group, j."coalesce", j.identifier, j.mode, j.every,
  j.attempts, j.max_attempts, j.lease_no, j.crashes, coalesce(j.holder, 0), j.available_at, j.announce_at, j.created_at,
  j.attempted_at, j.finished_at, j.duration_ms, j.timeout, j.error, j.errors, j.metadata, j.tags, j.output, coalesce(j.pid, 0), j.host, j.memory, coalesce(j.step, 0),
  (SELECT p.progress FROM job_progress p WHERE p.job_id = j.id)`

const getSQL = `-- warren: get
SELECT ` + jobColumns + ` FROM jobs j WHERE j.id = ?1`

// Get implements jobstore.Reader.
func (s *Store) Get(ctx context.Context, id jobstore.ID) (jobstore.Job, error) {
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]jobstore.Job, error) {
		return gather(ctx, q, getSQL, scanJob, id)
	})
	if err == nil && len(got) == 0 {
		err = jobstore.ErrNotFound
	}
	if err != nil {
		return jobstore.Job{}, s.wrap(fmt.Sprintf("job %d", id), err)
	}
	return got[0], nil
}

// List implements jobstore.Reader: rows by number, ascending. Limit 0 means 100.
func (s *Store) List(ctx context.Context, f jobstore.Filter) ([]jobstore.Job, error) {
	where, args := s.filterSQL(f)
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	text := "-- warren: list\nSELECT " + jobColumns + " FROM jobs j" + where + " ORDER BY j.id LIMIT ?"
	got, err := snapshot(ctx, s, func(ctx context.Context, q session) ([]jobstore.Job, error) {
		return gather(ctx, q, text, scanJob, append(args, limit)...)
	})
	if err != nil {
		return nil, s.wrap("list jobs", err)
	}
	return got, nil
}

func scanJob(r row) (j jobstore.Job, err error) {
	var args, available, created string
	var group, identifier, announce, attempted, finished, failure, errs, metadata, tags, output, host, memory, progress sql.NullString
	var every, timeout sql.NullInt64
	err = r.Scan(&j.ID, &j.Queue, &j.Priority, &j.Kind, &args, &j.State, &group, &j.Coalesce, &identifier, &j.Mode, &every,
		&j.Attempts, &j.MaxAttempts, &j.LeaseNo, &j.Crashes, &j.Holder, &available, &announce, &created,
		&attempted, &finished, &j.DurationMS, &timeout, &failure, &errs, &metadata, &tags, &output, &j.PID, &host, &memory, &j.Step, &progress)
	if err != nil {
		return j, err
	}
	j.Args, j.Metadata, j.Output, j.Memory, j.Tags = []byte(args), raw(metadata), raw(output), raw(memory), readTags(tags)
	j.SerialGroup, j.Identifier, j.Error, j.Host = group.String, identifier.String, failure.String, host.String
	j.Every, j.Timeout = duration(every), duration(timeout)
	j.AvailableAt, j.CreatedAt = read(available), read(created)
	j.AnnounceAt, j.AttemptedAt, j.FinishedAt = readOptional(announce), readOptional(attempted), readOptional(finished)
	if errs.Valid && json.Unmarshal([]byte(errs.String), &j.Errors) != nil {
		j.Errors = nil // somebody wrote something else into the column; the row is still readable
	}
	j.Progress = jobstore.ProgressOf(&j, raw(progress))
	return j, nil
}

const statsSQL = `-- warren: stats
SELECT queue, state, count(*) FROM jobs GROUP BY queue, state`

// Stats implements jobstore.Reader. It counts rows, so that it takes a few seconds for each million.
func (s *Store) Stats(ctx context.Context) (jobstore.Stats, error) {
	st, err := reading(ctx, s, func(ctx context.Context, q session) (jobstore.Stats, error) {
		st := jobstore.Stats{Total: zeros(), Queues: map[string]map[jobstore.State]int64{}}
		err := q.query(ctx, statsSQL, nil, func(r row) error {
			var queue string
			var state jobstore.State
			var n int64
			if err := r.Scan(&queue, &state, &n); err != nil {
				return err
			}
			if st.Queues[queue] == nil {
				st.Queues[queue] = zeros()
			}
			st.Queues[queue][state] = n
			st.Total[state] += n
			return nil
		})
		return st, err
	})
	if err != nil {
		return jobstore.Stats{}, s.wrap("count jobs", err)
	}
	return st, nil
}

func zeros() map[jobstore.State]int64 {
	m := make(map[jobstore.State]int64, len(jobstore.States()))
	for _, s := range jobstore.States() {
		m[s] = 0
	}
	return m
}

const unfinishedSQL = `-- warren: unfinished
SELECT w.value FROM json_each(?1) w
WHERE EXISTS (SELECT 1 FROM jobs j WHERE j.identifier = w.value
  AND (j.` + live + ` AND NOT (?2 AND j.state = 'PROCESSING') OR j.state = 'PERMANENTLY_FAILED'))
ORDER BY w.key`

// Unfinished implements jobstore.Reader.
func (s *Store) Unfinished(ctx context.Context, identifiers []string, excludeProcessing bool) ([]string, error) {
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]string, error) {
		return gather(ctx, q, unfinishedSQL, scanText, list(identifiers), excludeProcessing)
	})
	if err != nil {
		return nil, s.wrap("find unfinished identifiers", err)
	}
	return got, nil
}
