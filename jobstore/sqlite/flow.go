package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/steps"
)

// flowTx implements steps.Tx in the writer's transaction, which is what locks the flows.
type flowTx struct {
	s      *Store
	q      session
	outbox bool // released jobs are due for announcing by the sweep
}

// settleFlows settles what has become of jobs in the transaction that did it.
func (s *Store) settleFlows(ctx context.Context, q session, jobs []jobstore.ID, changes []steps.Change, outbox bool) ([]jobstore.Ref, error) {
	if len(jobs) == 0 {
		return nil, nil
	}
	return steps.Settle(ctx, &flowTx{s: s, q: q, outbox: outbox}, jobs, changes)
}

const newStepIDSQL = `-- warren: new steps
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'job_steps'), 0)`

const reserveStepsSQL = `-- warren: reserve steps
INSERT INTO job_steps (id, flow_id, role) VALUES (?1, 0, 'callback')`

const unreserveStepsSQL = `-- warren: reserved steps
DELETE FROM job_steps WHERE id = ?1`

// NewIDs implements steps.Tx. The last of the numbers is used once at once, so that nobody gets one twice.
func (t *flowTx) NewIDs(ctx context.Context, n int) ([]jobstore.StepID, error) {
	last, err := gather(ctx, t.q, newStepIDSQL, scanInt)
	if err != nil {
		return nil, err
	}
	ids := make([]jobstore.StepID, n)
	for i := range ids {
		ids[i] = jobstore.StepID(last[0] + int64(i) + 1)
	}
	for _, text := range []string{reserveStepsSQL, unreserveStepsSQL} {
		if _, err := t.q.exec(ctx, text, ids[n-1]); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

const newFlowSQL = `-- warren: new flow
INSERT INTO job_flows (id, name, version, args, metadata, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)`

// NewFlow implements steps.Tx.
func (t *flowTx) NewFlow(ctx context.Context, id jobstore.StepID, f *jobstore.NewFlow) error {
	_, err := t.q.exec(ctx, newFlowSQL, id, f.Name, f.Version, optional(string(f.Args)), optional(string(f.Metadata)), stamp(t.s.now()))
	return err
}

const endsSQL = `-- warren: ends
SELECT seq, job_id, step, coalesce(was, ''), coalesce(state, '') FROM job_step_ends WHERE job_id IN (SELECT value FROM json_each(?1))`

const takeEndsSQL = `-- warren: take ends
DELETE FROM job_step_ends WHERE job_id IN (SELECT value FROM json_each(?1))`

// Ends implements steps.Tx.
func (t *flowTx) Ends(ctx context.Context, jobs []jobstore.ID) ([]steps.End, error) {
	ends, err := gather(ctx, t.q, endsSQL, func(r row) (e steps.End, err error) {
		err = r.Scan(&e.Seq, &e.Job, &e.Step, &e.Was, &e.State)
		return e, err
	}, list(jobs))
	if err != nil || len(ends) == 0 {
		return nil, err
	}
	_, err = t.q.exec(ctx, takeEndsSQL, list(jobs))
	return ends, err
}

const stepColumns = `s.id, s.flow_id, s.parent, s.name, s.role, s.state, s.total, s.open, s.done, s.failed, s.cancelled, s.allow, s.calling,
  s.started_at, s.ended_at`

const stepRowColumns = stepColumns + `, s.waits, s.came, s.percent, s.filled, s.passed, s.jobs`

const stepsHeldSQL = `
WITH RECURSIVE held(id, parent) AS (
  SELECT id, parent FROM job_steps WHERE id IN (SELECT value FROM json_each(?1))
  UNION SELECT p.id, p.parent FROM held h JOIN job_steps p ON p.id = h.parent
)`

const loadStepsSQL = `-- warren: load steps` + stepsHeldSQL + `
SELECT ` + stepRowColumns + `, w.here FROM (
  SELECT id, true AS here FROM held
  UNION SELECT e.to_step, false FROM held h CROSS JOIN job_step_edges e ON e.from_step = h.id
) w CROSS JOIN job_steps s ON s.id = w.id`

const loadEdgesSQL = `-- warren: load edges` + stepsHeldSQL + `
SELECT e.from_step, e.on_what, e.to_step FROM held h CROSS JOIN job_step_edges e ON e.from_step = h.id ORDER BY 1, 3`

// Load implements steps.Tx.
func (t *flowTx) Load(ctx context.Context, ids []jobstore.StepID) (rows, targets []*steps.Row, edges []jobstore.Edge, err error) {
	err = t.q.query(ctx, loadStepsSQL, []any{list(ids)}, func(r row) error {
		var here bool
		s, err := scanStepRow(r, &here)
		if here {
			rows = append(rows, s)
		} else {
			targets = append(targets, s)
		}
		return err
	})
	if err == nil {
		edges, err = gather(ctx, t.q, loadEdgesSQL, scanEdge, list(ids))
	}
	return rows, targets, edges, err
}

func scanStep(r row, s *jobstore.Step, more ...any) error {
	var started, ended sql.NullString
	err := r.Scan(append([]any{
		&s.ID, &s.Flow, &s.Parent, &s.Name, &s.Role, &s.State, &s.Total, &s.Open, &s.Done, &s.Failed, &s.Cancelled,
		&s.Allow, &s.Calling, &started, &ended,
	}, more...)...)
	s.StartedAt, s.EndedAt = readOptional(started), readOptional(ended)
	return err
}

func scanStepRow(r row, more ...any) (*steps.Row, error) {
	var s steps.Row
	var jobs sql.NullString
	err := scanStep(r, &s.Step, append([]any{&s.Waits, &s.Came, &s.Percent, &s.Filled, &s.Passed, &jobs}, more...)...)
	if err == nil && jobs.Valid {
		err = json.Unmarshal([]byte(jobs.String), &s.Jobs)
	}
	return &s, err
}

func scanEdge(r row) (e jobstore.Edge, err error) {
	err = r.Scan(&e.From, &e.On, &e.To)
	return e, err
}

const childrenSQL = `-- warren: steps held by steps
SELECT ` + stepRowColumns + ` FROM json_each(?1) w CROSS JOIN job_steps s ON s.parent = w.value AND s.parent > 0
WHERE s.role <> 'callback' ORDER BY s.id`

// Children implements steps.Tx.
func (t *flowTx) Children(ctx context.Context, parents []jobstore.StepID) ([]*steps.Row, error) {
	return gather(ctx, t.q, childrenSQL, func(r row) (*steps.Row, error) { return scanStepRow(r) }, list(parents))
}

const jobOutputSQL = `-- warren: output of a job
SELECT coalesce(output, '') FROM jobs WHERE id = ?1`

// Output implements steps.Tx.
func (t *flowTx) Output(ctx context.Context, job jobstore.ID) (json.RawMessage, error) {
	got, err := gather(ctx, t.q, jobOutputSQL, scanText, job)
	if err != nil || len(got) == 0 {
		return nil, err
	}
	return json.RawMessage(got[0]), nil
}

// Insert implements steps.Tx.
func (t *flowTx) Insert(ctx context.Context, jobs []jobstore.NewJob) ([]jobstore.Inserted, error) {
	for i := range jobs {
		jobs[i].Outbox = t.outbox
	}
	return t.s.insertIn(ctx, t.q, jobs)
}

// writeStepsSQL makes steps, and changes those that exist. What never changes is not written again. The
// WHERE keeps the parser from taking ON for a join's.
const writeStepsSQL = `-- warren: write steps
INSERT INTO job_steps AS s (id, flow_id, parent, name, role, state, waits, came, total, open, done, failed, cancelled, allow, percent,
  filled, passed, calling, started_at, ended_at, jobs)
SELECT value ->> 'id', value ->> 'flow', value ->> 'parent', value ->> 'name', value ->> 'role', value ->> 'state', value ->> 'waits',
  value ->> 'came', value ->> 'total', value ->> 'open', value ->> 'done', value ->> 'failed', value ->> 'cancelled', value ->> 'allow',
  value ->> 'percent', value ->> 'filled', value ->> 'passed', value ->> 'calling',
  CASE WHEN value ->> 'state' <> 'waiting' THEN ?2 END, CASE WHEN value ->> 'state' NOT IN ('waiting', 'running') THEN ?2 END, value -> 'jobs'
FROM json_each(?1) WHERE true
ON CONFLICT (id) DO UPDATE SET state = excluded.state, waits = excluded.waits, came = excluded.came, total = excluded.total,
  open = excluded.open, done = excluded.done, failed = excluded.failed, cancelled = excluded.cancelled, percent = excluded.percent,
  filled = excluded.filled, passed = excluded.passed, calling = excluded.calling,
  started_at = coalesce(s.started_at, excluded.started_at),
  ended_at = CASE WHEN s.ended_at IS NULL OR excluded.ended_at IS NULL THEN excluded.ended_at ELSE s.ended_at END, jobs = excluded.jobs`

// Write implements steps.Tx.
func (t *flowTx) Write(ctx context.Context, rows []*steps.Row) error {
	texts, err := steps.Encode(rows)
	if err != nil {
		return err
	}
	for _, text := range texts {
		if _, err := t.q.exec(ctx, writeStepsSQL, text, stamp(t.s.now())); err != nil {
			return err
		}
	}
	return nil
}

const addEdgesSQL = `-- warren: add edges
INSERT OR IGNORE INTO job_step_edges (from_step, on_what, to_step)
SELECT value ->> 'from', value ->> 'on', value ->> 'to' FROM json_each(?1)`

const removeEdgesSQL = `-- warren: remove edges
DELETE FROM job_step_edges WHERE (from_step, on_what, to_step) IN (
  SELECT value ->> 'from', value ->> 'on', value ->> 'to' FROM json_each(?1))`

// WriteEdges implements steps.Tx.
func (t *flowTx) WriteEdges(ctx context.Context, add, remove []jobstore.Edge) error {
	_, err := t.q.exec(ctx, removeEdgesSQL, list(remove))
	if err == nil {
		_, err = t.q.exec(ctx, addEdgesSQL, list(add))
	}
	return err
}

const writeFlowSQL = `-- warren: write flow
UPDATE job_flows SET state = ?2, ended_at = CASE WHEN ?2 <> 'running' THEN ?3 END WHERE id = ?1`

// WriteFlow implements steps.Tx.
func (t *flowTx) WriteFlow(ctx context.Context, id jobstore.StepID, state jobstore.StepState) error {
	_, err := t.q.exec(ctx, writeFlowSQL, id, string(state), stamp(t.s.now()))
	return err
}
