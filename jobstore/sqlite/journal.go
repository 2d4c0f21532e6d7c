package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

const tellProgressSQL = `-- warren: tell
INSERT INTO job_progress (job_id, lease_no, told_at, progress) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (job_id) DO UPDATE SET lease_no = excluded.lease_no, told_at = excluded.told_at, progress = excluded.progress
  WHERE job_progress.lease_no <= excluded.lease_no`

const sayLinesSQL = `-- warren: say
INSERT INTO job_logs (job_id, lease_no, no, at, attempt, level, text, fields)
SELECT l.value ->> 0, l.value ->> 1, l.value ->> 2, l.value ->> 3, l.value ->> 4, l.value ->> 5, l.value ->> 6, l.value ->> 7 FROM json_each(?1) l
WHERE EXISTS (SELECT 1 FROM jobs j WHERE j.id = l.value ->> 0)
ON CONFLICT (job_id, lease_no, no) DO NOTHING`

const endTellingSQL = `-- warren: tell no more
DELETE FROM job_progress WHERE job_id = ?1 AND lease_no <= ?2`

const loggedSQL = `-- warren: logged
SELECT job_id, sum(length(CAST(text AS BLOB)) + coalesce(length(CAST(fields AS BLOB)), 0)) FROM job_logs
WHERE job_id IN (SELECT value FROM json_each(?1)) GROUP BY job_id`

// Tell implements jobstore.Teller.
func (s *Store) Tell(ctx context.Context, t jobstore.Telling) (map[jobstore.ID]int64, error) {
	logged, err := writing(ctx, s, func(ctx context.Context, q session) (map[jobstore.ID]int64, error) { return s.tellIn(ctx, q, t) })
	if err != nil {
		return nil, s.wrap(fmt.Sprintf("tell the progress of %d jobs and %d lines of logs", len(t.Progress), len(t.Lines)), err)
	}
	return logged, nil
}

func (s *Store) tellIn(ctx context.Context, q session, t jobstore.Telling) (map[jobstore.ID]int64, error) {
	logged := map[jobstore.ID]int64{}
	err := q.query(ctx, loggedSQL, []any{list(t.Logged)}, func(r row) error {
		var id jobstore.ID
		var bytes int64
		err := r.Scan(&id, &bytes)
		logged[id] = bytes
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.tellProgress(ctx, q, t.Progress); err != nil {
		return nil, err
	}
	if len(t.Lines) > 0 {
		if _, err := q.exec(ctx, sayLinesSQL, list(lineValues(s.now(), t.Lines))); err != nil {
			return nil, err
		}
	}
	for id, lease := range t.Ended {
		if _, err := q.exec(ctx, endTellingSQL, id, lease); err != nil {
			return nil, err
		}
	}
	return logged, nil
}

// tellProgress has the fence of an outcome.
func (s *Store) tellProgress(ctx context.Context, q session, told []jobstore.Told) error {
	ids := make([]jobstore.ID, len(told))
	for i := range told {
		ids[i] = told[i].Job
	}
	rows, err := leasedOf(ctx, q, ids)
	if err != nil {
		return err
	}
	now := stamp(s.now())
	for i := range told {
		p := &told[i]
		if l := rows[p.Job]; l == nil || !l.under(p.By, p.LeaseNo) {
			continue
		}
		text, err := json.Marshal(p.Progress)
		if err != nil {
			return fmt.Errorf("%w: progress: %w", jobstore.ErrInvalid, err)
		}
		if _, err := q.exec(ctx, tellProgressSQL, p.Job, p.LeaseNo, now, string(text)); err != nil {
			return err
		}
	}
	return nil
}

func lineValues(now time.Time, lines []jobstore.Line) [][]any {
	values := make([][]any, len(lines))
	for i, l := range lines {
		at := l.At
		if at.After(now) {
			at = now
		}
		values[i] = []any{l.Job, l.LeaseNo, l.No, stamp(at), l.Attempt, l.Level, l.Text, optional(string(l.Fields))}
	}
	return values
}

const toldSQL = `-- warren: told
SELECT progress FROM job_progress WHERE job_id = ?1`

// Told implements jobstore.Teller.
func (s *Store) Told(ctx context.Context, id jobstore.ID) ([]byte, error) {
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]string, error) { return gather(ctx, q, toldSQL, scanText, id) })
	if err != nil {
		return nil, s.wrap(fmt.Sprintf("read the progress of job %d", id), err)
	}
	if len(got) == 0 {
		return nil, nil
	}
	return []byte(got[0]), nil
}

const selectedLines = `
SELECT lease_no, no, at, attempt, level, text, fields FROM job_logs
WHERE job_id = ?1 AND (lease_no, no) > (?2, ?3) AND (?4 = 0 OR attempt = ?4) AND (?5 = '[]' OR level IN (SELECT value FROM json_each(?5)))
ORDER BY `

const (
	linesSQL     = `-- warren: lines` + selectedLines + `lease_no, no LIMIT ?6`
	lastLinesSQL = `-- warren: last lines` + selectedLines + `lease_no DESC, no DESC LIMIT ?6`
)

// Lines implements jobstore.LogKeeper.
func (s *Store) Lines(ctx context.Context, f jobstore.LineFilter) ([]jobstore.Line, error) {
	text, limit := linesSQL, f.Most()
	if f.Last > 0 {
		text, limit = lastLinesSQL, f.Last
	}
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]jobstore.Line, error) {
		return gather(ctx, q, text, func(r row) (jobstore.Line, error) {
			l := jobstore.Line{Job: f.Job}
			var at string
			var fields sql.NullString
			err := r.Scan(&l.LeaseNo, &l.No, &at, &l.Attempt, &l.Level, &l.Text, &fields)
			l.At, l.Fields = read(at), raw(fields)
			return l, err
		}, f.Job, f.After.LeaseNo, f.After.No, f.Attempt, list(f.Levels), limit)
	})
	if err != nil {
		return nil, s.wrap(fmt.Sprintf("read the log of job %d", f.Job), err)
	}
	if f.Last > 0 {
		slices.Reverse(got)
	}
	return got, nil
}

const clearLinesSQL = `-- warren: clear lines
DELETE FROM job_logs WHERE job_id = ?1`

// ClearLines implements jobstore.LogKeeper.
func (s *Store) ClearLines(ctx context.Context, id jobstore.ID) (int, error) {
	n, err := writing(ctx, s, func(ctx context.Context, q session) (int64, error) { return q.exec(ctx, clearLinesSQL, id) })
	if err != nil {
		return 0, s.wrap(fmt.Sprintf("clear the log of job %d", id), err)
	}
	return int(n), nil
}

const pruneLinesSQL = `-- warren: prune lines
DELETE FROM job_logs WHERE (job_id, lease_no, no) IN (
  SELECT job_id, lease_no, no FROM job_logs WHERE at <= ?1 ORDER BY at LIMIT ?2)`

// PruneLines implements jobstore.LogKeeper.
func (s *Store) PruneLines(ctx context.Context, age time.Duration, limit int) (int, error) {
	if age < 0 || limit < 1 {
		return 0, s.wrap("prune logs", errors.Join(jobstore.ErrInvalid, fmt.Errorf("an age of %s, %d lines at a time", age, limit)))
	}
	n, err := writing(ctx, s, func(ctx context.Context, q session) (int64, error) {
		return q.exec(ctx, pruneLinesSQL, stamp(s.now().Add(-age)), limit)
	})
	if err != nil {
		return 0, s.wrap("prune logs", err)
	}
	return int(n), nil
}

// retainProgressSQL forgets the progress of jobs that have ended.
const retainProgressSQL = `-- warren: retain progress
DELETE FROM job_progress WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = job_progress.job_id AND j.` + live + `)`
