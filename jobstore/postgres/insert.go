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

// insertFlights batches may be under way at once; insertBatchRows is the most that one carries.
// Calls of directRows or more go on their own: they gain nothing from company.
const (
	insertFlights   = 2
	insertBatchRows = 500
	directRows      = 200
)

// Insert implements jobstore.Inserter. When ctx ends while the commit is under way, the error
// says that the jobs may be stored. Jobs with a key go on their own, because another transaction
// that holds their key may keep them waiting.
func (s *Store) Insert(ctx context.Context, jobs []jobstore.NewJob) ([]jobstore.Inserted, error) {
	if len(jobs) == 0 {
		return nil, nil
	}
	var out []jobstore.Inserted
	var err error
	if len(jobs) >= directRows || slices.ContainsFunc(jobs, keyed) {
		out, err = s.insertBatch(ctx, jobs)
	} else {
		out, err = s.insert.do(ctx, jobs)
	}
	if err != nil {
		return nil, wrap(fmt.Sprintf("insert %d jobs", len(jobs)), err)
	}
	return out, nil
}

// InsertTx implements jobstore.Inserter.
func (s *Store) InsertTx(ctx context.Context, tx jobstore.Tx, jobs []jobstore.NewJob) ([]jobstore.Inserted, error) {
	t, err := From(tx)
	if err != nil || len(jobs) == 0 {
		return nil, err
	}
	out, err := s.insertIn(ctx, txSession{t}, jobs)
	if err != nil {
		return nil, wrap(fmt.Sprintf("insert %d jobs", len(jobs)), err)
	}
	return out, nil
}

func (s *Store) insertBatch(ctx context.Context, jobs []jobstore.NewJob) (out []jobstore.Inserted, err error) {
	err = retried(ctx, func() error {
		return s.with(ctx, func(q session) error {
			out, err = s.insertIn(ctx, q, jobs)
			return err
		})
	})
	return out, err
}

func (s *Store) insertIn(ctx context.Context, q session, jobs []jobstore.NewJob) ([]jobstore.Inserted, error) {
	if !slices.ContainsFunc(jobs, special) {
		return s.insertPlain(ctx, q, jobs)
	}
	text := insertSQL
	if slices.ContainsFunc(jobs, keyed) {
		if slices.ContainsFunc(jobs, settled) {
			return s.settleIn(ctx, q, jobs)
		}
		text = insertKeyedSQL
	}
	out, err := gatherIn(ctx, q, s.sql[text], scanInserted, insertArgs(jobs)...)
	if err != nil {
		return nil, err
	}
	return out, s.inOrder(out, jobs)
}

// insertPlain asks for nothing but the numbers: the rest is as it was given.
func (s *Store) insertPlain(ctx context.Context, q session, jobs []jobstore.NewJob) ([]jobstore.Inserted, error) {
	out := make([]jobstore.Inserted, 0, len(jobs))
	err := q.run(ctx, s.sql[insertPlainSQL], insertPlainArgs(jobs), func(r pgx.Rows) error {
		c := columnsOf(r)
		out = append(out, jobstore.Inserted{Ref: jobstore.Ref{ID: jobstore.ID(c.int())}})
		return c.err
	})
	if err == nil {
		err = s.inOrder(out, jobs)
	}
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i].State, out[i].Queue, out[i].Priority = jobstore.Ready, jobs[i].Queue, jobs[i].Priority
	}
	return out, nil
}

// inOrder brings what was inserted into the order of the input, in which numbers are drawn. The rows of RETURNING promise
// none.
func (s *Store) inOrder(out []jobstore.Inserted, jobs []jobstore.NewJob) error {
	if len(out) != len(jobs) {
		return fmt.Errorf("%d of %d rows were inserted; is there a trigger or a rule on %s.jobs?", len(out), len(jobs), s.schema)
	}
	slices.SortFunc(out, func(a, b jobstore.Inserted) int { return int(a.ID - b.ID) })
	return nil
}

func keyed(j jobstore.NewJob) bool { return j.Mode == jobstore.Unique || j.Mode == jobstore.Recurring }

// special reports whether a job has more to it than insertPlainSQL writes.
func special(j jobstore.NewJob) bool {
	return j.Mode != "" && j.Mode != jobstore.Normal || j.SerialGroup != "" || j.GroupSkip || j.Coalesce != nil || j.Identifier != "" ||
		j.Every != 0 || j.UniqueFor != 0 || j.Delay > 0 || !j.AvailableAt.IsZero() || j.Timeout != 0 || len(j.Metadata) > 0 || len(j.Tags) > 0 || j.Step != 0
}

func scanInserted(r pgx.Rows) (in jobstore.Inserted, err error) {
	err = r.Scan(&in.ID, &in.Queue, &in.Priority, &in.State, &in.Existing)
	return in, err
}

const insertInput = `
  SELECT nextval('@schema@.jobs_id_seq') AS id, i.kind, i.args::jsonb AS args, i.queue, i.priority, i.serial_group, i.group_skip,
         i.coalesces, i.identifier, i.mode, make_interval(secs => i.every / 1e6) AS every,
         make_interval(secs => i.unique_for / 1e6) AS unique_for, t.due, t.due > now() AS later, i.max_attempts,
         make_interval(secs => i.timeout / 1e6) AS timeout, i.metadata::jsonb AS metadata,
         CASE WHEN i.tags IS NOT NULL THEN ARRAY(SELECT jsonb_array_elements_text(i.tags::jsonb)) END AS tags, i.outbox, i.step, i.ord
  FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[], $6::bool[], $7::bigint[], $8::text[], $9::text[],
              $10::bigint[], $11::bigint[], $12::timestamptz[], $13::bigint[], $14::int[], $15::bigint[], $16::text[],
              $17::text[], $18::bool[], $19::bigint[]) WITH ORDINALITY
       AS i(kind, args, queue, priority, serial_group, group_skip, coalesces, identifier, mode, every, unique_for, at, delay,
            max_attempts, timeout, metadata, tags, outbox, step, ord),
       LATERAL (SELECT CASE WHEN i.at IS NOT NULL THEN i.at ELSE now() + make_interval(secs => i.delay / 1e6) END AS due) t
  ORDER BY i.ord`

const insertColumns = `(id, state, available_at, announce_at, finished_at, kind, args, queue, priority, serial_group, group_skip,
  "coalesce", identifier, mode, every, unique_for, max_attempts, timeout, metadata, tags, step)`

// insertSQL writes jobs without a key. They are live, so that it names the partition.
const insertSQL = `-- warren: insert
INSERT INTO @schema@.jobs_live ` + insertColumns + `
SELECT id, CASE WHEN later THEN 'SCHEDULED' ELSE 'READY' END, due, CASE WHEN outbox AND NOT later THEN now() END, NULL,
       kind, args, queue, priority, serial_group, group_skip, coalesces, identifier, mode, every, unique_for, max_attempts,
       timeout, metadata, tags, step
FROM (` + insertInput + `) i
RETURNING id, queue, priority, state, 0::bigint`

// insertPlainSQL writes jobs that are to run now and have neither key, group nor anything else that
// is rare. It spares each row a third of what insertSQL costs.
const insertPlainSQL = `-- warren: insert, plain
INSERT INTO @schema@.jobs_live (id, announce_at, kind, args, queue, priority, max_attempts)
SELECT nextval('@schema@.jobs_id_seq'), CASE WHEN i.outbox THEN now() END, i.kind, i.args::jsonb, i.queue, i.priority, i.max_attempts
FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::int[], $6::bool[]) WITH ORDINALITY
     AS i(kind, args, queue, priority, max_attempts, outbox, ord)
ORDER BY i.ord
RETURNING id`

// insertKeyedSQL takes the keys first, in their order. ON CONFLICT DO UPDATE waits for whoever is
// just taking the same key, and returns who has it afterwards: two publishers cannot both win.
const insertKeyedSQL = `-- warren: insert, with keys
WITH input AS MATERIALIZED (` + insertInput + `),
keys AS (
  INSERT INTO @schema@.job_keys AS k (kind, identifier, job_id, until)
  SELECT DISTINCT ON (kind, identifier) kind, identifier, id,
         CASE WHEN unique_for < interval '0' THEN 'infinity' ELSE now() + unique_for END
  FROM input WHERE mode <> 'normal' ORDER BY kind, identifier, ord
  ON CONFLICT (kind, identifier) DO UPDATE SET
    job_id = CASE WHEN k.until <= now() THEN excluded.job_id ELSE k.job_id END,
    until  = CASE WHEN k.until <= now() THEN excluded.until ELSE k.until END
  RETURNING kind, identifier, job_id
),
decided AS MATERIALIZED (
  SELECT i.*, CASE WHEN k.job_id <> i.id THEN k.job_id ELSE 0 END AS existing,
         CASE WHEN k.job_id <> i.id THEN 'REDUNDANT' WHEN i.later THEN 'SCHEDULED' ELSE 'READY' END AS state
  FROM input i LEFT JOIN keys k ON i.mode <> 'normal' AND k.kind = i.kind AND k.identifier = i.identifier
),
written AS (
  INSERT INTO @schema@.jobs ` + insertColumns + `
  SELECT id, state, due, CASE WHEN outbox AND state = 'READY' THEN now() END, CASE WHEN state = 'REDUNDANT' THEN now() END,
         kind, args, queue, priority, serial_group, group_skip, coalesces, identifier, mode, every, unique_for, max_attempts,
         timeout, metadata, tags, step
  FROM decided ORDER BY ord
  RETURNING id
)
SELECT d.id, d.queue, d.priority, d.state, d.existing FROM decided d JOIN written w ON w.id = d.id`

// insertPlainArgs is insertArgs for insertPlainSQL.
func insertPlainArgs(jobs []jobstore.NewJob) []any {
	n := len(jobs)
	kind, args, queue, outbox := make([]string, n), make([]string, n), make([]string, n), make([]bool, n)
	priority, maxAttempts := make([]int32, n), make([]int32, n)
	for i := range jobs {
		j := &jobs[i]
		kind[i], args[i], queue[i], outbox[i] = j.Kind, argsText(j), j.Queue, j.Outbox
		priority[i], maxAttempts[i] = clamp(j.Priority), clamp(j.MaxAttempts)
	}
	return []any{kind, args, queue, priority, maxAttempts, outbox}
}

func argsText(j *jobstore.NewJob) string {
	if len(j.Args) == 0 {
		return "{}"
	}
	return string(j.Args)
}

// insertArgs turns rows into one array for each column.
func insertArgs(jobs []jobstore.NewJob) []any {
	n := len(jobs)
	kind, args, queue, mode := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	priority, maxAttempts := make([]int32, n), make([]int32, n)
	group, identifier, metadata, tags := make([]*string, n), make([]*string, n), make([]*string, n), make([]*string, n)
	skip, outbox := make([]bool, n), make([]bool, n)
	coalesces, every, periods, timeout := make([]*int64, n), make([]*int64, n), make([]*int64, n), make([]*int64, n)
	delay, at, step := make([]int64, n), make([]*time.Time, n), make([]*int64, n)
	for i := range jobs {
		j := &jobs[i]
		kind[i], args[i], queue[i], mode[i] = j.Kind, argsText(j), j.Queue, string(j.Mode)
		if mode[i] == "" {
			mode[i] = string(jobstore.Normal)
		}
		priority[i], maxAttempts[i] = clamp(j.Priority), clamp(j.MaxAttempts)
		group[i], identifier[i] = optional(j.SerialGroup), optional(j.Identifier)
		metadata[i], tags[i] = optional(string(j.Metadata)), tagsJSON(j.Tags)
		skip[i], outbox[i], coalesces[i] = j.GroupSkip, j.Outbox, j.Coalesce
		every[i], periods[i], timeout[i] = micros(j.Every), uniqueFor(j.UniqueFor), micros(j.Timeout)
		delay[i] = max(0, j.Delay.Microseconds())
		if !j.AvailableAt.IsZero() {
			at[i] = &j.AvailableAt
		}
		if j.Step != 0 {
			step[i] = new(int64(j.Step))
		}
	}
	return []any{
		kind, args, queue, priority, group, skip, coalesces, identifier, mode,
		every, periods, at, delay, maxAttempts, timeout, metadata, tags, outbox, step,
	}
}

// clamp keeps a number that no column takes outside of every column, instead of wrapping it around.
func clamp(n int) int32 { return int32(min(max(n, -1), 1<<30)) }

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// micros is a duration for make_interval, NULL for none. What is shorter than a microsecond is one.
func micros(d time.Duration) *int64 {
	if d == 0 {
		return nil
	}
	us := d.Microseconds()
	if us == 0 && d > 0 {
		us = 1
	}
	return &us
}

func tagsJSON(tags []string) *string {
	if len(tags) == 0 {
		return nil
	}
	b, err := json.Marshal(tags)
	if err != nil { // strings always encode
		return nil
	}
	return optional(string(b))
}
