package postgres

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/steps"
)

// lockFlowsSQL locks the flows that the ends of jobs are about, in the order of their numbers, so that
// two who end jobs of the same flows never wait for each other. Jobs are locked before flows.
const lockFlowsSQL = `-- warren: lock flows
SELECT f.id FROM @schema@.job_flows f WHERE f.id IN (
  SELECT s.flow_id FROM @schema@.job_step_ends e JOIN @schema@.job_steps s ON s.id = e.step WHERE e.job_id = ANY ($1::bigint[])
  UNION SELECT s.flow_id FROM @schema@.job_steps s WHERE s.id = ANY ($2::bigint[]))
ORDER BY f.id FOR UPDATE OF f`

// flowTx implements steps.Tx.
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
	held := make([]jobstore.StepID, len(changes))
	for i, c := range changes {
		held[i] = c.Step
	}
	flows, err := gatherIn(ctx, q, s.sql[lockFlowsSQL], scanInt, jobs, held)
	if err != nil || len(flows) == 0 {
		return nil, err
	}
	return steps.Settle(ctx, &flowTx{s: s, q: q, outbox: outbox}, jobs, changes)
}

const newStepIDsSQL = `-- warren: new steps
SELECT nextval('@schema@.job_steps_id_seq') FROM generate_series(1, $1::int)`

// NewIDs implements steps.Tx.
func (t *flowTx) NewIDs(ctx context.Context, n int) ([]jobstore.StepID, error) {
	return gatherIn(ctx, t.q, t.s.sql[newStepIDsSQL], scanStepID, n)
}

func scanStepID(r pgx.Rows) (id jobstore.StepID, err error) {
	err = r.Scan(&id)
	return id, err
}

const newFlowSQL = `-- warren: new flow
INSERT INTO @schema@.job_flows (id, name, version, args, metadata) VALUES ($1, $2, $3, $4::text::jsonb, $5::text::jsonb)`

// NewFlow implements steps.Tx.
func (t *flowTx) NewFlow(ctx context.Context, id jobstore.StepID, f *jobstore.NewFlow) error {
	return t.q.run(ctx, t.s.sql[newFlowSQL], []any{id, f.Name, clamp(f.Version), optional(string(f.Args)), optional(string(f.Metadata))}, nil)
}

const takeEndsSQL = `-- warren: take ends
DELETE FROM @schema@.job_step_ends WHERE job_id = ANY ($1::bigint[])
RETURNING seq, job_id, step, coalesce(was, ''), coalesce(state, '')`

// Ends implements steps.Tx.
func (t *flowTx) Ends(ctx context.Context, jobs []jobstore.ID) ([]steps.End, error) {
	return gatherIn(ctx, t.q, t.s.sql[takeEndsSQL], func(r pgx.Rows) (e steps.End, err error) {
		err = r.Scan(&e.Seq, &e.Job, &e.Step, &e.Was, &e.State)
		return e, err
	}, jobs)
}

const stepColumns = `s.id, s.flow_id, s.parent, s.name, s.role, s.state, s.total, s.open, s.done, s.failed, s.cancelled, s.allow, s.calling,
  s.started_at, s.ended_at`

const stepRowColumns = stepColumns + `, s.waits, s.came, s.percent, s.filled, s.passed, s.jobs::text`

const stepsHeldSQL = `
WITH RECURSIVE held AS (
  SELECT id, parent FROM @schema@.job_steps WHERE id = ANY ($1::bigint[])
  UNION SELECT p.id, p.parent FROM held h JOIN @schema@.job_steps p ON p.id = h.parent
)`

const loadStepsSQL = `-- warren: load steps` + stepsHeldSQL + `, wanted AS (
  SELECT id, true AS here FROM held
  UNION SELECT e.to_step, false FROM held h JOIN @schema@.job_step_edges e ON e.from_step = h.id
)
SELECT ` + stepRowColumns + `, w.here FROM wanted w JOIN @schema@.job_steps s ON s.id = w.id`

const loadEdgesSQL = `-- warren: load edges` + stepsHeldSQL + `
SELECT e.from_step, e.on_what, e.to_step FROM held h JOIN @schema@.job_step_edges e ON e.from_step = h.id ORDER BY 1, 3`

// Load implements steps.Tx.
func (t *flowTx) Load(ctx context.Context, ids []jobstore.StepID) (rows, targets []*steps.Row, edges []jobstore.Edge, err error) {
	err = t.q.run(ctx, t.s.sql[loadStepsSQL], []any{ids}, func(r pgx.Rows) error {
		var here bool
		row, err := scanStepRow(r, &here)
		if here {
			rows = append(rows, row)
		} else {
			targets = append(targets, row)
		}
		return err
	})
	if err == nil {
		edges, err = gatherIn(ctx, t.q, t.s.sql[loadEdgesSQL], scanEdge, ids)
	}
	return rows, targets, edges, err
}

func scanStep(r pgx.Rows, s *jobstore.Step, more ...any) error {
	return r.Scan(append([]any{
		&s.ID, &s.Flow, &s.Parent, &s.Name, &s.Role, &s.State, &s.Total, &s.Open, &s.Done, &s.Failed, &s.Cancelled,
		&s.Allow, &s.Calling, &s.StartedAt, &s.EndedAt,
	}, more...)...)
}

func scanStepRow(r pgx.Rows, more ...any) (*steps.Row, error) {
	var row steps.Row
	var jobs *string
	err := scanStep(r, &row.Step, append([]any{&row.Waits, &row.Came, &row.Percent, &row.Filled, &row.Passed, &jobs}, more...)...)
	if err == nil && jobs != nil {
		err = json.Unmarshal([]byte(*jobs), &row.Jobs)
	}
	return &row, err
}

func scanEdge(r pgx.Rows) (e jobstore.Edge, err error) {
	err = r.Scan(&e.From, &e.On, &e.To)
	return e, err
}

const childrenSQL = `-- warren: steps held by steps
SELECT ` + stepRowColumns + ` FROM @schema@.job_steps s WHERE s.parent = ANY ($1::bigint[]) AND s.parent > 0 AND s.role <> 'callback' ORDER BY s.id`

// Children implements steps.Tx.
func (t *flowTx) Children(ctx context.Context, parents []jobstore.StepID) ([]*steps.Row, error) {
	return gatherIn(ctx, t.q, t.s.sql[childrenSQL], func(r pgx.Rows) (*steps.Row, error) { return scanStepRow(r) }, parents)
}

const jobOutputSQL = `-- warren: output of a job
SELECT h.output::text FROM @schema@.jobs_history h WHERE h.id = $1`

// Output implements steps.Tx.
func (t *flowTx) Output(ctx context.Context, job jobstore.ID) (json.RawMessage, error) {
	got, err := gatherIn(ctx, t.q, t.s.sql[jobOutputSQL], func(r pgx.Rows) (out *string, err error) {
		err = r.Scan(&out)
		return out, err
	}, job)
	if err != nil || len(got) == 0 {
		return nil, err
	}
	return json.RawMessage(text(got[0])), nil
}

// Insert implements steps.Tx.
func (t *flowTx) Insert(ctx context.Context, jobs []jobstore.NewJob) ([]jobstore.Inserted, error) {
	for i := range jobs {
		jobs[i].Outbox = t.outbox
	}
	return t.s.insertIn(ctx, t.q, jobs)
}

// writeStepsSQL makes steps, and changes those that exist. What never changes is not written again.
const writeStepsSQL = `-- warren: write steps
INSERT INTO @schema@.job_steps AS s (id, flow_id, parent, name, role, state, waits, came, total, open, done, failed, cancelled, allow,
  percent, filled, passed, calling, started_at, ended_at, jobs)
SELECT x.id, x.flow, x.parent, x.name, x.role, x.state, x.waits, x.came, x.total, x.open, x.done, x.failed, x.cancelled, x.allow,
  x.percent, x.filled, x.passed, x.calling, CASE WHEN x.state <> 'waiting' THEN now() END,
  CASE WHEN x.state NOT IN ('waiting', 'running') THEN now() END, x.jobs
FROM jsonb_to_recordset($1::text::jsonb) AS x(id bigint, flow bigint, parent bigint, name text, role text, state text, waits int, came int,
  total int, open int, done int, failed int, cancelled int, allow int, percent int, filled int, passed boolean, calling boolean, jobs jsonb)
ORDER BY x.id
ON CONFLICT (id) DO UPDATE SET state = excluded.state, waits = excluded.waits, came = excluded.came, total = excluded.total,
  open = excluded.open, done = excluded.done, failed = excluded.failed, cancelled = excluded.cancelled, percent = excluded.percent,
  filled = excluded.filled, passed = excluded.passed, calling = excluded.calling,
  started_at = CASE WHEN s.started_at IS NULL THEN excluded.started_at ELSE s.started_at END,
  ended_at = CASE WHEN s.ended_at IS NULL OR excluded.ended_at IS NULL THEN excluded.ended_at ELSE s.ended_at END, jobs = excluded.jobs`

// Write implements steps.Tx.
func (t *flowTx) Write(ctx context.Context, rows []*steps.Row) error {
	texts, err := steps.Encode(rows)
	if err != nil {
		return err
	}
	for _, text := range texts {
		if err := t.q.run(ctx, t.s.sql[writeStepsSQL], []any{text}, nil); err != nil {
			return err
		}
	}
	return nil
}

const addEdgesSQL = `-- warren: add edges
INSERT INTO @schema@.job_step_edges (from_step, on_what, to_step)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[]) ON CONFLICT DO NOTHING`

const removeEdgesSQL = `-- warren: remove edges
DELETE FROM @schema@.job_step_edges e USING unnest($1::bigint[], $2::text[], $3::bigint[]) AS x(f, o, t)
WHERE e.from_step = x.f AND e.on_what = x.o AND e.to_step = x.t`

// WriteEdges implements steps.Tx.
func (t *flowTx) WriteEdges(ctx context.Context, add, remove []jobstore.Edge) error {
	if len(remove) > 0 {
		if err := t.q.run(ctx, t.s.sql[removeEdgesSQL], edgeArgs(remove), nil); err != nil {
			return err
		}
	}
	if len(add) == 0 {
		return nil
	}
	return t.q.run(ctx, t.s.sql[addEdgesSQL], edgeArgs(add), nil)
}

func edgeArgs(edges []jobstore.Edge) []any {
	from, on, to := make([]int64, len(edges)), make([]string, len(edges)), make([]int64, len(edges))
	for i, e := range edges {
		from[i], on[i], to[i] = int64(e.From), string(e.On), int64(e.To)
	}
	return []any{from, on, to}
}

const writeFlowSQL = `-- warren: write flow
UPDATE @schema@.job_flows SET state = $2, ended_at = CASE WHEN $2::text <> 'running' THEN now() END WHERE id = $1`

// WriteFlow implements steps.Tx.
func (t *flowTx) WriteFlow(ctx context.Context, id jobstore.StepID, state jobstore.StepState) error {
	return t.q.run(ctx, t.s.sql[writeFlowSQL], []any{id, string(state)}, nil)
}
