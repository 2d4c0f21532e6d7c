package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// scheduleColumns is a schedule with the state of its row that waits. Its first column is the clock.
const scheduleColumns = `clock_timestamp(), s.name, s.version, s.definition, s.declared, s.paused, s.tick, coalesce(s.job_id, 0), coalesce(j.state, ''),
  s.look_at, s.missed_at, s.created_at, s.changed_at, s.declared_at`

// jobOfSchedule finds that row, wherever it is.
const jobOfSchedule = ` LEFT JOIN LATERAL (
    SELECT l.state FROM @schema@.jobs_live l WHERE l.id = s.job_id
    UNION ALL SELECT h.state FROM @schema@.jobs_history h WHERE h.id = s.job_id LIMIT 1
  ) j ON true`

// schedulesSQL has one row at least, for the clock.
const schedulesSQL = `-- warren: schedules
SELECT ` + scheduleColumns + ` FROM (SELECT 1) one LEFT JOIN @schema@.job_schedules s ON $1::text[] IS NULL OR s.name = ANY ($1)` +
	jobOfSchedule + ` ORDER BY s.name`

const dueSchedulesSQL = `-- warren: due schedules
SELECT ` + scheduleColumns + ` FROM (
  SELECT * FROM @schema@.job_schedules WHERE look_at <= now() ORDER BY look_at LIMIT $1
) s` + jobOfSchedule + ` ORDER BY s.look_at`

// Schedules implements jobstore.Scheduler.
func (s *Store) Schedules(ctx context.Context, names ...string) ([]jobstore.Schedule, time.Time, error) {
	list, now, err := s.schedules(ctx, schedulesSQL, names)
	if err != nil {
		return nil, now, wrap("list schedules", err)
	}
	return list, now, nil
}

// DueSchedules implements jobstore.Scheduler.
func (s *Store) DueSchedules(ctx context.Context, limit int) ([]jobstore.Schedule, time.Time, error) {
	list, now, err := s.schedules(ctx, dueSchedulesSQL, limit)
	if err != nil {
		return nil, now, wrap("find due schedules", err)
	}
	return list, now, nil
}

func (s *Store) schedules(ctx context.Context, text string, args ...any) (list []jobstore.Schedule, now time.Time, err error) {
	err = s.do(ctx, text, args, func() { list = nil }, func(r pgx.Rows) error {
		var name, declared *string
		var version *int64
		var definition []byte
		var paused *bool
		var one jobstore.Schedule
		var tick, look, missed, created, changed, seen *time.Time
		err := r.Scan(&now, &name, &version, &definition, &declared, &paused, &tick, &one.Job, &one.JobState, &look, &missed, &created, &changed, &seen)
		if err != nil || name == nil {
			return err
		}
		one.Name, one.Version, one.Definition, one.Declared, one.Paused = *name, *version, json.RawMessage(definition), *declared, *paused
		one.Tick, one.LookAt, one.MissedAt, one.DeclaredAt = moment(tick), moment(look), moment(missed), moment(seen)
		one.CreatedAt, one.ChangedAt = moment(created), moment(changed)
		list = append(list, one)
		return nil
	})
	return list, now, err
}

func moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

func nullMoment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

const movesInput = `unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bool[], $6::timestamptz[], $7::bigint[], $8::timestamptz[],
  $9::bool[], $10::bool[]) AS i(name, version, definition, declared, paused, tick, job_id, look_at, missed, seen)`

const makeSchedulesSQL = `-- warren: make schedules
INSERT INTO @schema@.job_schedules (name, definition, declared, paused, tick, job_id, look_at, declared_at)
SELECT i.name, i.definition::jsonb, i.declared, i.paused, i.tick, i.job_id, i.look_at, CASE WHEN i.seen THEN now() END
FROM ` + movesInput + ` WHERE i.version = 0 ORDER BY i.name
ON CONFLICT (name) DO NOTHING RETURNING name`

// moveSchedulesSQL locks before it compares versions: of two leaders the second finds another version.
const moveSchedulesSQL = `-- warren: move schedules
WITH mine AS MATERIALIZED (
  SELECT s.name FROM unnest($1::text[], $2::bigint[]) AS w(name, version) JOIN @schema@.job_schedules s ON s.name = w.name
  WHERE s.version = w.version ORDER BY s.name FOR NO KEY UPDATE OF s
)
UPDATE @schema@.job_schedules s SET version = s.version + 1, definition = i.definition::jsonb, declared = i.declared, paused = i.paused,
  tick = i.tick, job_id = i.job_id, look_at = i.look_at, missed_at = CASE WHEN i.missed THEN now() ELSE s.missed_at END,
  changed_at = CASE WHEN (s.definition, s.paused) IS DISTINCT FROM (i.definition::jsonb, i.paused) THEN now() ELSE s.changed_at END,
  declared_at = CASE WHEN i.seen THEN now() ELSE s.declared_at END
FROM ` + movesInput + ` JOIN mine ON mine.name = i.name
WHERE s.name = i.name RETURNING s.name`

const removeSchedulesSQL = `-- warren: remove schedules
WITH gone AS (
  DELETE FROM @schema@.job_schedules s USING unnest($1::text[], $2::bigint[]) AS w(name, version)
  WHERE s.name = w.name AND s.version = w.version RETURNING s.name
), forgotten AS (
  DELETE FROM @schema@.job_ticks t USING gone WHERE t.schedule = gone.name
)
SELECT name FROM gone`

// withdrawSQL moves rows that wait to the history, as an order to cancel does. Those that have been let go
// stay as they are, and so do their ticks.
const withdrawSQL = `-- warren: withdraw
WITH mine AS MATERIALIZED (
  SELECT l.id, w.schedule, w.tick, w.reason FROM unnest($1::bigint[], $2::text[], $3::timestamptz[], $4::text[]) AS w(id, schedule, tick, reason)
  CROSS JOIN LATERAL (
    SELECT j.id FROM @schema@.jobs_live j WHERE j.id = w.id AND j.state || '' = 'SCHEDULED' LIMIT 1 FOR UPDATE OF j
  ) l
),
ended AS (
  DELETE FROM @schema@.jobs_live j USING mine WHERE j.id = mine.id RETURNING j.*, mine.reason
),
history AS (
  INSERT INTO @schema@.jobs_history (` + carriedColumns + `, state, finished_at, crashes, outcome_lease, attempts, error, metadata)
  SELECT ` + carriedColumns + `, 'CANCELLED', now(), crashes, outcome_lease, attempts, reason, metadata FROM ended
)
DELETE FROM @schema@.job_ticks t USING mine WHERE t.schedule = mine.schedule AND t.tick = mine.tick AND t.run = 0 AND t.job_id = mine.id`

const takenTicksSQL = `-- warren: taken ticks
SELECT w.ord - 1 FROM unnest($1::text[], $2::timestamptz[]) WITH ORDINALITY AS w(schedule, tick, ord)
WHERE EXISTS (SELECT FROM @schema@.job_ticks t WHERE t.schedule = w.schedule AND t.tick = w.tick AND t.run = 0 OFFSET 0)`

const plantedSQL = `-- warren: planted
WITH ticks AS (
  INSERT INTO @schema@.job_ticks (schedule, tick, run, job_id)
  SELECT i.schedule, i.tick, CASE WHEN i.manual THEN i.id ELSE 0 END, i.id
  FROM unnest($1::text[], $2::timestamptz[], $3::bool[], $4::bigint[]) AS i(schedule, tick, manual, id)
)
UPDATE @schema@.job_schedules s SET job_id = i.id
FROM unnest($1::text[], $5::bool[], $4::bigint[]) AS i(schedule, next, id) WHERE s.name = i.schedule AND i.next`

const forgetTicksSQL = `-- warren: forget ticks
DELETE FROM @schema@.job_ticks t USING unnest($1::text[]) AS w(name)
WHERE t.schedule = w.name AND t.tick < (
  SELECT p.tick FROM @schema@.job_ticks p WHERE p.schedule = w.name ORDER BY p.tick DESC OFFSET $2 LIMIT 1)`

// MoveSchedules implements jobstore.Scheduler.
func (s *Store) MoveSchedules(ctx context.Context, moves []jobstore.ScheduleMove) (moved []string, err error) {
	if len(moves) == 0 {
		return nil, nil
	}
	err = retried(ctx, func() error {
		return s.inTx(ctx, false, func(ctx context.Context, tx pgx.Tx) (err error) {
			moved, err = s.moveIn(ctx, txSession{tx}, moves)
			return err
		})
	})
	if err != nil {
		return nil, wrap(fmt.Sprintf("move %d schedules", len(moves)), err)
	}
	return moved, nil
}

func (s *Store) moveIn(ctx context.Context, q session, moves []jobstore.ScheduleMove) (moved []string, err error) {
	var gone, rest []jobstore.ScheduleMove
	for _, m := range moves {
		if m.Delete {
			gone = append(gone, m)
		} else {
			rest = append(rest, m)
		}
	}
	names := func(text string, args []any) error {
		got, err := gatherIn(ctx, q, s.sql[text], func(r pgx.Rows) (name string, err error) { return name, r.Scan(&name) }, args...)
		moved = append(moved, got...)
		return err
	}
	if len(gone) > 0 {
		if err := names(removeSchedulesSQL, moveArgs(gone)[:2]); err != nil {
			return nil, err
		}
	}
	if slices.ContainsFunc(rest, func(m jobstore.ScheduleMove) bool { return m.Version == 0 }) {
		if err := names(makeSchedulesSQL, moveArgs(rest)); err != nil {
			return nil, err
		}
	}
	if slices.ContainsFunc(rest, func(m jobstore.ScheduleMove) bool { return m.Version != 0 }) {
		if err := names(moveSchedulesSQL, moveArgs(rest)); err != nil {
			return nil, err
		}
	}
	moves = slices.DeleteFunc(slices.Clone(moves), func(m jobstore.ScheduleMove) bool { return !slices.Contains(moved, m.Name) })
	if err := s.withdrawIn(ctx, q, moves); err != nil {
		return nil, err
	}
	return moved, s.plantIn(ctx, q, moves)
}

func moveArgs(moves []jobstore.ScheduleMove) []any {
	n := len(moves)
	names, versions, definitions, declared := make([]string, n), make([]int64, n), make([]string, n), make([]string, n)
	paused, missed, seen := make([]bool, n), make([]bool, n), make([]bool, n)
	ticks, looks, jobs := make([]*time.Time, n), make([]*time.Time, n), make([]*int64, n)
	for i, m := range moves {
		names[i], versions[i], definitions[i], declared[i] = m.Name, m.Version, string(m.Definition), m.Declared
		paused[i], missed[i], seen[i] = m.Paused, m.Missed, m.Seen
		ticks[i], looks[i] = nullMoment(m.Tick), nullMoment(m.LookAt)
		if m.Job != 0 {
			jobs[i] = new(int64(m.Job))
		}
	}
	return []any{names, versions, definitions, declared, paused, ticks, jobs, looks, missed, seen}
}

func (s *Store) withdrawIn(ctx context.Context, q session, moves []jobstore.ScheduleMove) error {
	var ids []int64
	var names, reasons []string
	var ticks []time.Time
	for _, m := range moves {
		if m.Withdraw != 0 {
			ids, names, reasons, ticks = append(ids, int64(m.Withdraw)), append(names, m.Name), append(reasons, m.Reason), append(ticks, m.WithdrawTick)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return q.run(ctx, s.sql[withdrawSQL], []any{ids, names, ticks, reasons}, nil)
}

// planting is a row to insert, with the name of its schedule.
type planting struct {
	jobstore.Planting

	name string
}

// plantIn inserts the rows of ticks that have none. The schedules are locked, so that nobody else plants.
func (s *Store) plantIn(ctx context.Context, q session, moves []jobstore.ScheduleMove) error {
	var all []planting
	for _, m := range moves {
		for _, p := range m.Plant {
			all = append(all, planting{p, m.Name})
		}
	}
	all, err := s.notTaken(ctx, q, all)
	if err != nil || len(all) == 0 {
		return err
	}
	n := len(all)
	names, ticks, manual, next, jobs := make([]string, n), make([]time.Time, n), make([]bool, n), make([]bool, n), make([]jobstore.NewJob, n)
	for i, p := range all {
		names[i], ticks[i], manual[i], next[i], jobs[i] = p.name, p.Tick, p.Manual, p.Next, p.Job
	}
	inserted, err := s.insertIn(ctx, q, jobs)
	if err != nil {
		return err
	}
	ids := make([]int64, n)
	for i, in := range inserted {
		ids[i] = int64(in.ID)
	}
	if err := q.run(ctx, s.sql[plantedSQL], []any{names, ticks, manual, ids, next}, nil); err != nil {
		return err
	}
	return q.run(ctx, s.sql[forgetTicksSQL], []any{slices.Compact(names), jobstore.RunsKept}, nil)
}

// notTaken leaves out the ticks that have a row.
func (s *Store) notTaken(ctx context.Context, q session, all []planting) ([]planting, error) {
	if len(all) == 0 {
		return nil, nil
	}
	names, ticks := make([]string, len(all)), make([]time.Time, len(all))
	for i, p := range all {
		names[i], ticks[i] = p.name, p.Tick
	}
	taken, err := gatherIn(ctx, q, s.sql[takenTicksSQL], func(r pgx.Rows) (i int, err error) { return i, r.Scan(&i) }, names, ticks)
	if err != nil {
		return nil, err
	}
	free := make([]planting, 0, len(all))
	for i, p := range all {
		if p.Manual || !slices.Contains(taken, i) {
			free = append(free, p)
		}
	}
	return free, nil
}

// seeSchedulesSQL leaves out what somebody changes right now: it waits for nobody.
const seeSchedulesSQL = `-- warren: see schedules
WITH mine AS MATERIALIZED (SELECT name FROM @schema@.job_schedules WHERE name = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED)
UPDATE @schema@.job_schedules s SET declared_at = now() FROM mine WHERE s.name = mine.name`

// SeeSchedules implements jobstore.Scheduler.
func (s *Store) SeeSchedules(ctx context.Context, names []string) error {
	if err := s.exec(ctx, seeSchedulesSQL, names); err != nil {
		return wrap(fmt.Sprintf("note that %d schedules are declared", len(names)), err)
	}
	return nil
}

const scheduleRunsSQL = `-- warren: schedule runs
SELECT t.tick, t.run <> 0, t.job_id, coalesce(j.state, '')
FROM (SELECT * FROM @schema@.job_ticks WHERE schedule = $1 ORDER BY tick DESC, run DESC LIMIT $2) t LEFT JOIN LATERAL (
  SELECT l.state FROM @schema@.jobs_live l WHERE l.id = t.job_id
  UNION ALL SELECT h.state FROM @schema@.jobs_history h WHERE h.id = t.job_id LIMIT 1
) j ON true ORDER BY t.tick DESC, t.run DESC`

// ScheduleRuns implements jobstore.Scheduler.
func (s *Store) ScheduleRuns(ctx context.Context, name string, limit int) ([]jobstore.ScheduleRun, error) {
	got, err := gather(ctx, s, scheduleRunsSQL, func(r pgx.Rows) (t jobstore.ScheduleRun, err error) {
		err = r.Scan(&t.Tick, &t.Manual, &t.Job, &t.State)
		return t, err
	}, name, limit)
	if err != nil {
		return nil, wrap("list the runs of schedule "+name, err)
	}
	return got, nil
}
