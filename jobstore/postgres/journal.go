package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// tellSQL has the fence of an outcome for progress. Lines are what an attempt has said, whether its lease
// still counts or not, but they must have a job.
const tellSQL = `-- warren: tell
WITH told AS (
  INSERT INTO @schema@.job_progress AS k (job_id, lease_no, progress)
  SELECT p.id, p.lease, p.progress::jsonb
  FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) AS p(holder, id, lease, progress)
  CROSS JOIN LATERAL (
    SELECT FROM @schema@.jobs_live j
    WHERE j.id = p.id AND j.lease_no = p.lease AND coalesce(j.holder, 0) = p.holder AND j.state || '' = 'PROCESSING' LIMIT 1
  ) held
  ORDER BY p.id
  ON CONFLICT (job_id) DO UPDATE SET lease_no = excluded.lease_no, told_at = now(), progress = excluded.progress
    WHERE k.lease_no <= excluded.lease_no
),
known AS MATERIALIZED (
  SELECT w.id FROM unnest($5::bigint[]) AS w(id)
  WHERE EXISTS (SELECT FROM @schema@.jobs_live j WHERE j.id = w.id) OR EXISTS (SELECT FROM @schema@.jobs_history j WHERE j.id = w.id)
),
said AS (
  INSERT INTO @schema@.job_logs (job_id, lease_no, no, at, attempt, level, text, fields)
  SELECT l.id, l.lease, l.no, least(l.at, now()), l.attempt, l.level, l.text, l.fields::jsonb
  FROM unnest($6::bigint[], $7::bigint[], $8::int[], $9::timestamptz[], $10::int[], $11::text[], $12::text[], $13::text[])
    AS l(id, lease, no, at, attempt, level, text, fields) JOIN known k ON k.id = l.id
  ORDER BY l.id, l.lease, l.no
  ON CONFLICT (job_id, lease_no, no) DO NOTHING
),
ended AS (
  DELETE FROM @schema@.job_progress k USING unnest($14::bigint[], $15::bigint[]) AS e(id, lease)
  WHERE k.job_id = e.id AND k.lease_no <= e.lease
)
SELECT w.id, b.bytes FROM unnest($16::bigint[]) AS w(id) CROSS JOIN LATERAL (
  SELECT sum(octet_length(l.text) + coalesce(octet_length(l.fields::text), 0))::bigint AS bytes FROM @schema@.job_logs l WHERE l.job_id = w.id
) b WHERE b.bytes IS NOT NULL`

// Tell implements jobstore.Teller.
func (s *Store) Tell(ctx context.Context, t jobstore.Telling) (map[jobstore.ID]int64, error) {
	args, err := tellArgs(t)
	logged := map[jobstore.ID]int64{}
	if err == nil {
		err = s.do(ctx, tellSQL, args, nil, func(r pgx.Rows) error {
			var id jobstore.ID
			var bytes int64
			err := r.Scan(&id, &bytes)
			logged[id] = bytes
			return err
		})
	}
	if err != nil {
		return nil, wrap(fmt.Sprintf("tell the progress of %d jobs and %d lines of logs", len(t.Progress), len(t.Lines)), err)
	}
	return logged, nil
}

func tellArgs(t jobstore.Telling) ([]any, error) {
	n := len(t.Progress)
	holders, ids, leases, progress := make([]int64, n), make([]int64, n), make([]int64, n), make([]string, n)
	for i, p := range t.Progress {
		text, err := json.Marshal(p.Progress)
		if err != nil {
			return nil, fmt.Errorf("%w: progress: %w", jobstore.ErrInvalid, err)
		}
		holders[i], ids[i], leases[i], progress[i] = int64(p.By), int64(p.Job), p.LeaseNo, string(text)
	}
	var ended, endedLeases []int64
	for id, lease := range t.Ended {
		ended, endedLeases = append(ended, int64(id)), append(endedLeases, lease)
	}
	args := append([]any{holders, ids, leases, progress}, lineArgs(t.Lines)...)
	return append(args, ended, endedLeases, t.Logged), nil
}

func lineArgs(lines []jobstore.Line) []any {
	n := len(lines)
	ids, leases, nos, attempts := make([]int64, n), make([]int64, n), make([]int32, n), make([]int32, n)
	at, levels, texts, fields := make([]time.Time, n), make([]string, n), make([]string, n), make([]*string, n)
	for i, l := range lines {
		ids[i], leases[i], nos[i], attempts[i] = int64(l.Job), l.LeaseNo, clamp(l.No), clamp(l.Attempt)
		at[i], levels[i], texts[i], fields[i] = l.At, string(l.Level), l.Text, optional(string(l.Fields))
	}
	jobs := slices.Compact(slices.Sorted(slices.Values(ids)))
	return []any{jobs, ids, leases, nos, at, attempts, levels, texts, fields}
}

const toldSQL = `-- warren: told
SELECT progress FROM @schema@.job_progress WHERE job_id = $1`

// Told implements jobstore.Teller.
func (s *Store) Told(ctx context.Context, id jobstore.ID) ([]byte, error) {
	got, err := gather(ctx, s, toldSQL, func(r pgx.Rows) (text []byte, err error) {
		err = r.Scan(&text)
		return text, err
	}, id)
	if err != nil {
		return nil, wrap(fmt.Sprintf("read the progress of job %d", id), err)
	}
	return slices.Concat(got...), nil
}

const linesSQL = `-- warren: lines
SELECT l.lease_no, l.no, l.at, l.attempt, l.level, l.text, l.fields FROM @schema@.job_logs l
WHERE l.job_id = $1 AND (l.lease_no, l.no) > ($2::bigint, $3::int) AND ($4::int = 0 OR l.attempt = $4) AND (cardinality($5::text[]) = 0 OR l.level = ANY ($5))
ORDER BY l.job_id, l.lease_no, l.no LIMIT $6`

const lastLinesSQL = `-- warren: last lines
SELECT l.lease_no, l.no, l.at, l.attempt, l.level, l.text, l.fields FROM @schema@.job_logs l
WHERE l.job_id = $1 AND (l.lease_no, l.no) > ($2::bigint, $3::int) AND ($4::int = 0 OR l.attempt = $4) AND (cardinality($5::text[]) = 0 OR l.level = ANY ($5))
ORDER BY l.job_id DESC, l.lease_no DESC, l.no DESC LIMIT $6`

// Lines implements jobstore.LogKeeper.
func (s *Store) Lines(ctx context.Context, f jobstore.LineFilter) ([]jobstore.Line, error) {
	text, limit := linesSQL, f.Most()
	if f.Last > 0 {
		text, limit = lastLinesSQL, f.Last
	}
	levels := make([]string, len(f.Levels))
	for i, l := range f.Levels {
		levels[i] = string(l)
	}
	got, err := gather(ctx, s, text, func(r pgx.Rows) (jobstore.Line, error) {
		l := jobstore.Line{Job: f.Job}
		var fields []byte
		err := r.Scan(&l.LeaseNo, &l.No, &l.At, &l.Attempt, &l.Level, &l.Text, &fields)
		l.Fields = fields
		return l, err
	}, f.Job, f.After.LeaseNo, clamp(f.After.No), clamp(f.Attempt), levels, limit)
	if err != nil {
		return nil, wrap(fmt.Sprintf("read the log of job %d", f.Job), err)
	}
	if f.Last > 0 {
		slices.Reverse(got)
	}
	return got, nil
}

const clearLinesSQL = `-- warren: clear lines
WITH gone AS (DELETE FROM @schema@.job_logs WHERE job_id = $1 RETURNING 1) SELECT count(*) FROM gone`

// ClearLines implements jobstore.LogKeeper.
func (s *Store) ClearLines(ctx context.Context, id jobstore.ID) (int, error) {
	n, err := gather(ctx, s, clearLinesSQL, scanInt, id)
	if err != nil {
		return 0, wrap(fmt.Sprintf("clear the log of job %d", id), err)
	}
	return int(n[0]), nil
}

// pruneLinesSQL takes its rows by where they are: their numbers would be looked up one by one again.
const pruneLinesSQL = `-- warren: prune lines
WITH past AS MATERIALIZED (
  SELECT l.ctid FROM @schema@.job_logs l WHERE l.at <= now() - make_interval(secs => $1::bigint / 1e6) ORDER BY l.at LIMIT $2
  FOR UPDATE SKIP LOCKED
),
gone AS (DELETE FROM @schema@.job_logs l WHERE l.ctid = ANY (ARRAY(SELECT ctid FROM past)) RETURNING 1)
SELECT count(*) FROM gone`

// PruneLines implements jobstore.LogKeeper.
func (s *Store) PruneLines(ctx context.Context, age time.Duration, limit int) (int, error) {
	if age < 0 || limit < 1 {
		return 0, wrap("prune logs", errors.Join(jobstore.ErrInvalid, fmt.Errorf("an age of %s, %d lines at a time", age, limit)))
	}
	n, err := gather(ctx, s, pruneLinesSQL, scanInt, age.Microseconds(), limit)
	if err != nil {
		return 0, wrap("prune logs", err)
	}
	return int(n[0]), nil
}

// retainProgressSQL forgets the progress of jobs that have ended: there are as many rows as jobs have run
// lately.
const retainProgressSQL = `-- warren: retain progress
DELETE FROM @schema@.job_progress WHERE job_id IN (
  SELECT p.job_id FROM @schema@.job_progress p WHERE NOT EXISTS (SELECT FROM @schema@.jobs_live j WHERE j.id = p.job_id)
  LIMIT $1 FOR UPDATE SKIP LOCKED)`
