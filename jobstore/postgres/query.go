package postgres

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

const jobColumns = `j.id, j.queue, j.priority, j.kind, j.args, j.state, j.serial_group, j."coalesce", j.identifier, j.mode,
  (extract(epoch FROM j.every) * 1e6)::bigint, j.attempts, j.max_attempts, j.lease_no, j.crashes, j.holder, j.available_at,
  j.announce_at, j.created_at, j.attempted_at, j.finished_at, j.duration_ms, (extract(epoch FROM j.timeout) * 1e6)::bigint,
  j.error, j.errors, j.metadata, j.tags, j.output, j.pid, j.host, j.memory, j.step,
  (SELECT p.progress FROM @schema@.job_progress p WHERE p.job_id = j.id)`

const getSQL = `-- warren: get
SELECT ` + jobColumns + ` FROM @schema@.jobs j WHERE j.id = $1`

// Get implements jobstore.Reader.
func (s *Store) Get(ctx context.Context, id jobstore.ID) (jobstore.Job, error) {
	got, err := gather(ctx, s, getSQL, scanJob, id)
	if err == nil && len(got) == 0 {
		err = jobstore.ErrNotFound
	}
	if err != nil {
		return jobstore.Job{}, wrap(fmt.Sprintf("job %d", id), err)
	}
	return got[0], nil
}

// List implements jobstore.Reader: rows by number, ascending. Limit 0 means 100.
func (s *Store) List(ctx context.Context, f jobstore.Filter) ([]jobstore.Job, error) {
	where, args := filterSQL(f)
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	args = append(args, limit)
	text := s.withSchema("-- warren: list\nSELECT " + jobColumns + " FROM @schema@.jobs j" + where +
		fmt.Sprintf(" ORDER BY j.id LIMIT $%d", len(args)))
	var out []jobstore.Job
	err := s.inTx(ctx, true, func(ctx context.Context, tx pgx.Tx) (err error) {
		out, err = gatherIn(ctx, txSession{tx}, text, scanJob, args...)
		return err
	})
	if err != nil {
		return nil, wrap("list jobs", err)
	}
	return out, nil
}

func scanJob(r pgx.Rows) (j jobstore.Job, err error) {
	var args, errs, metadata, output, memory, progress []byte
	var group, identifier, failure, host *string
	var every, timeout, holder, step *int64
	var pid *int
	err = r.Scan(&j.ID, &j.Queue, &j.Priority, &j.Kind, &args, &j.State, &group, &j.Coalesce, &identifier, &j.Mode, &every,
		&j.Attempts, &j.MaxAttempts, &j.LeaseNo, &j.Crashes, &holder, &j.AvailableAt, &j.AnnounceAt, &j.CreatedAt,
		&j.AttemptedAt, &j.FinishedAt, &j.DurationMS, &timeout, &failure, &errs, &metadata, &j.Tags, &output, &pid, &host, &memory, &step, &progress)
	if err != nil {
		return j, err
	}
	j.Args, j.Metadata, j.Output, j.Memory = args, metadata, output, memory
	j.SerialGroup, j.Identifier, j.Error, j.Host = text(group), text(identifier), text(failure), text(host)
	j.Every, j.Timeout = duration(every), duration(timeout)
	if holder != nil {
		j.Holder = jobstore.HolderID(*holder)
	}
	if step != nil {
		j.Step = jobstore.StepID(*step)
	}
	if pid != nil {
		j.PID = *pid
	}
	if errs != nil && json.Unmarshal(errs, &j.Errors) != nil {
		j.Errors = nil // somebody wrote something else into the column; the row is still readable
	}
	j.Progress = jobstore.ProgressOf(&j, progress)
	return j, nil
}

const statsSQL = `-- warren: stats
SELECT queue, state, count(*) FROM @schema@.jobs GROUP BY queue, state`

// Stats implements jobstore.Reader. It counts rows, so that it takes about a second for each few
// million; it has bulkTimeout to do so.
func (s *Store) Stats(ctx context.Context) (jobstore.Stats, error) {
	st := jobstore.Stats{Total: zeros(), Queues: map[string]map[jobstore.State]int64{}}
	err := s.inTx(ctx, true, func(ctx context.Context, tx pgx.Tx) error {
		return txSession{tx}.run(ctx, s.sql[statsSQL], nil, func(r pgx.Rows) error {
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
	})
	if err != nil {
		return jobstore.Stats{}, wrap("count jobs", err)
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
SELECT w.identifier FROM unnest($1::text[]) WITH ORDINALITY AS w(identifier, ord)
WHERE EXISTS (SELECT FROM @schema@.jobs_live j WHERE j.identifier = w.identifier AND NOT ($2 AND j.state || '' = 'PROCESSING'))
   OR EXISTS (SELECT FROM @schema@.jobs_history j WHERE j.identifier = w.identifier AND j.state || '' = 'PERMANENTLY_FAILED')
ORDER BY w.ord`

// Unfinished implements jobstore.Reader.
func (s *Store) Unfinished(ctx context.Context, identifiers []string, excludeProcessing bool) ([]string, error) {
	got, err := gather(ctx, s, unfinishedSQL, scanText, identifiers, excludeProcessing)
	if err != nil {
		return nil, wrap("find unfinished identifiers", err)
	}
	return got, nil
}

func scanText(r pgx.Rows) (text string, err error) {
	err = r.Scan(&text)
	return text, err
}
