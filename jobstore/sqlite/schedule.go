package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// scheduleColumns is a schedule with the state of its row that waits.
const scheduleColumns = `s.name, s.version, s.definition, s.declared, s.paused, s.tick, coalesce(s.job_id, 0), coalesce(j.state, ''),
  s.look_at, s.missed_at, s.created_at, s.changed_at, s.declared_at`

const schedulesSQL = `-- warren: schedules
SELECT ` + scheduleColumns + ` FROM job_schedules s LEFT JOIN jobs j ON j.id = s.job_id
WHERE ?1 = '[]' OR s.name IN (SELECT value FROM json_each(?1)) ORDER BY s.name`

const dueSchedulesSQL = `-- warren: due schedules
SELECT ` + scheduleColumns + ` FROM job_schedules s LEFT JOIN jobs j ON j.id = s.job_id
WHERE s.look_at <= ?1 ORDER BY s.look_at LIMIT ?2`

func scanSchedule(r row) (s jobstore.Schedule, err error) {
	var definition, created, changed string
	var tick, look, missed, seen sql.NullString
	err = r.Scan(&s.Name, &s.Version, &definition, &s.Declared, &s.Paused, &tick, &s.Job, &s.JobState, &look, &missed, &created, &changed, &seen)
	s.Definition = json.RawMessage(definition)
	s.Tick, s.LookAt, s.MissedAt, s.DeclaredAt = readOrZero(tick), readOrZero(look), readOrZero(missed), readOrZero(seen)
	s.CreatedAt, s.ChangedAt = read(created), read(changed)
	return s, err
}

func readOrZero(text sql.NullString) time.Time {
	if !text.Valid {
		return time.Time{}
	}
	return read(text.String)
}

// stampOrNull writes a time, NULL for the zero one.
func stampOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := stamp(t)
	return &text
}

// Schedules implements jobstore.Scheduler.
func (s *Store) Schedules(ctx context.Context, names ...string) ([]jobstore.Schedule, time.Time, error) {
	now := s.now()
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]jobstore.Schedule, error) {
		return gather(ctx, q, schedulesSQL, scanSchedule, list(names))
	})
	if err != nil {
		return nil, now, s.wrap("list schedules", err)
	}
	return got, now, nil
}

// DueSchedules implements jobstore.Scheduler.
func (s *Store) DueSchedules(ctx context.Context, limit int) ([]jobstore.Schedule, time.Time, error) {
	now := s.now()
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]jobstore.Schedule, error) {
		return gather(ctx, q, dueSchedulesSQL, scanSchedule, stamp(now), limit)
	})
	if err != nil {
		return nil, now, s.wrap("find due schedules", err)
	}
	return got, now, nil
}

const makeScheduleSQL = `-- warren: make schedule
INSERT INTO job_schedules (name, definition, declared, paused, tick, job_id, look_at, created_at, changed_at, declared_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, CASE WHEN ?9 THEN ?8 END)
ON CONFLICT (name) DO NOTHING`

const moveScheduleSQL = `-- warren: move schedule
UPDATE job_schedules SET version = version + 1, definition = ?2, declared = ?3, paused = ?4, tick = ?5, job_id = ?6, look_at = ?7,
  changed_at = CASE WHEN definition <> ?2 OR paused <> ?4 THEN ?8 ELSE changed_at END,
  declared_at = CASE WHEN ?9 THEN ?8 ELSE declared_at END, missed_at = CASE WHEN ?10 THEN ?8 ELSE missed_at END
WHERE name = ?1 AND version = ?11`

const removeScheduleSQL = `-- warren: remove schedule
DELETE FROM job_schedules WHERE name = ?1 AND version = ?2`

const removeTicksSQL = `-- warren: remove ticks
DELETE FROM job_ticks WHERE schedule = ?1`

const withdrawSQL = `-- warren: withdraw
UPDATE jobs SET state = 'CANCELLED', finished_at = ?2, announce_at = NULL, error = ?3 WHERE id = ?1 AND state = 'SCHEDULED'`

const withdrawTickSQL = `-- warren: withdraw tick
DELETE FROM job_ticks WHERE schedule = ?1 AND tick = ?2 AND run = 0 AND job_id = ?3`

const takenTickSQL = `-- warren: taken tick
SELECT count(*) FROM job_ticks WHERE schedule = ?1 AND tick = ?2 AND run = 0`

const addTickSQL = `-- warren: add tick
INSERT INTO job_ticks (schedule, tick, run, job_id) VALUES (?1, ?2, ?3, ?4)`

const waitsSQL = `-- warren: row that waits
UPDATE job_schedules SET job_id = ?2 WHERE name = ?1`

const forgetTicksSQL = `-- warren: forget ticks
DELETE FROM job_ticks WHERE schedule = ?1 AND tick < (SELECT tick FROM job_ticks WHERE schedule = ?1 ORDER BY tick DESC LIMIT 1 OFFSET ?2)`

// MoveSchedules implements jobstore.Scheduler.
func (s *Store) MoveSchedules(ctx context.Context, moves []jobstore.ScheduleMove) ([]string, error) {
	if len(moves) == 0 {
		return nil, nil
	}
	moved, err := writing(ctx, s, func(ctx context.Context, q session) (moved []string, err error) {
		for i := range moves {
			done, err := s.moveIn(ctx, q, &moves[i])
			if err != nil {
				return nil, err
			}
			if done {
				moved = append(moved, moves[i].Name)
			}
		}
		return moved, nil
	})
	if err != nil {
		return nil, s.wrap(fmt.Sprintf("move %d schedules", len(moves)), err)
	}
	return moved, nil
}

func (s *Store) moveIn(ctx context.Context, q session, m *jobstore.ScheduleMove) (done bool, err error) {
	now := stamp(s.now())
	var n int64
	switch {
	case m.Delete:
		if n, err = q.exec(ctx, removeScheduleSQL, m.Name, m.Version); err == nil && n > 0 {
			_, err = q.exec(ctx, removeTicksSQL, m.Name)
		}
	default:
		args := []any{m.Name, string(m.Definition), m.Declared, m.Paused, stampOrNull(m.Tick), nullID(m.Job), stampOrNull(m.LookAt), now, m.Seen}
		if m.Version == 0 {
			n, err = q.exec(ctx, makeScheduleSQL, args...)
		} else {
			n, err = q.exec(ctx, moveScheduleSQL, append(args, m.Missed, m.Version)...)
		}
	}
	if err != nil || n == 0 {
		return false, err
	}
	if m.Withdraw != 0 {
		n, err := q.exec(ctx, withdrawSQL, m.Withdraw, now, optional(m.Reason))
		if err == nil && n > 0 {
			_, err = q.exec(ctx, withdrawTickSQL, m.Name, stamp(m.WithdrawTick), m.Withdraw)
		}
		if err != nil {
			return false, err
		}
	}
	return true, s.plantIn(ctx, q, m)
}

func nullID(id jobstore.ID) *int64 {
	if id == 0 {
		return nil
	}
	return new(int64(id))
}

// plantIn inserts the rows of ticks that have none.
func (s *Store) plantIn(ctx context.Context, q session, m *jobstore.ScheduleMove) error {
	for i := range m.Plant {
		p := &m.Plant[i]
		tick := stamp(p.Tick)
		if !p.Manual {
			taken, err := gather(ctx, q, takenTickSQL, scanInt, m.Name, tick)
			if err != nil {
				return err
			}
			if taken[0] > 0 {
				continue
			}
		}
		in, err := s.insertIn(ctx, q, []jobstore.NewJob{p.Job})
		if err != nil {
			return err
		}
		var run jobstore.ID
		if p.Manual {
			run = in[0].ID
		}
		if _, err := q.exec(ctx, addTickSQL, m.Name, tick, run, in[0].ID); err != nil {
			return err
		}
		if p.Next {
			if _, err := q.exec(ctx, waitsSQL, m.Name, in[0].ID); err != nil {
				return err
			}
		}
	}
	if len(m.Plant) == 0 {
		return nil
	}
	_, err := q.exec(ctx, forgetTicksSQL, m.Name, jobstore.RunsKept)
	return err
}

const seeSchedulesSQL = `-- warren: see schedules
UPDATE job_schedules SET declared_at = ?1 WHERE name IN (SELECT value FROM json_each(?2))`

// SeeSchedules implements jobstore.Scheduler.
func (s *Store) SeeSchedules(ctx context.Context, names []string) error {
	if _, err := s.exec(ctx, seeSchedulesSQL, stamp(s.now()), list(names)); err != nil {
		return s.wrap(fmt.Sprintf("note that %d schedules are declared", len(names)), err)
	}
	return nil
}

const scheduleRunsSQL = `-- warren: schedule runs
SELECT t.tick, t.run <> 0, t.job_id, coalesce(j.state, '') FROM job_ticks t LEFT JOIN jobs j ON j.id = t.job_id
WHERE t.schedule = ?1 ORDER BY t.tick DESC, t.run DESC LIMIT ?2`

// ScheduleRuns implements jobstore.Scheduler.
func (s *Store) ScheduleRuns(ctx context.Context, name string, limit int) ([]jobstore.ScheduleRun, error) {
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]jobstore.ScheduleRun, error) {
		return gather(ctx, q, scheduleRunsSQL, func(r row) (t jobstore.ScheduleRun, err error) {
			var tick string
			err = r.Scan(&tick, &t.Manual, &t.Job, &t.State)
			t.Tick = read(tick)
			return t, err
		}, name, limit)
	})
	if err != nil {
		return nil, s.wrap("list the runs of schedule "+name, err)
	}
	return got, nil
}
