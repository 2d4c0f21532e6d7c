package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/steps"
)

// InsertFlow implements jobstore.Flows.
func (s *Store) InsertFlow(ctx context.Context, f jobstore.NewFlow) (id jobstore.StepID, released []jobstore.Ref, err error) {
	err = retried(ctx, func() error {
		return s.inTx(ctx, false, func(ctx context.Context, tx pgx.Tx) (err error) {
			id, released, err = steps.Start(ctx, &flowTx{s: s, q: txSession{tx}, outbox: f.Outbox}, &f)
			return err
		})
	})
	if err != nil {
		return 0, nil, wrap("insert a flow", err)
	}
	return id, released, nil
}

// InsertFlowTx implements jobstore.Flows.
func (s *Store) InsertFlowTx(ctx context.Context, tx jobstore.Tx, f jobstore.NewFlow) (jobstore.StepID, error) {
	t, err := From(tx)
	if err != nil {
		return 0, err
	}
	id, _, err := steps.Start(ctx, &flowTx{s: s, q: txSession{t}, outbox: true}, &f)
	if err != nil {
		return 0, wrap("insert a flow", err)
	}
	return id, nil
}

const flowColumns = `f.id, f.name, f.version, f.state, f.args, f.metadata, f.created_at, f.ended_at`

const flowSQL = `-- warren: flow
SELECT ` + flowColumns + ` FROM @schema@.job_flows f WHERE f.id = (SELECT s.flow_id FROM @schema@.job_steps s WHERE s.id = $1)`

const flowStepsSQL = `-- warren: steps of a flow
SELECT ` + stepColumns + ` FROM @schema@.job_steps s WHERE s.flow_id = $1 ORDER BY s.id`

const flowEdgesSQL = `-- warren: edges of a flow
SELECT e.from_step, e.on_what, e.to_step FROM @schema@.job_steps s JOIN @schema@.job_step_edges e ON e.from_step = s.id
WHERE s.flow_id = $1 ORDER BY 1, 3`

func scanFlow(r pgx.Rows) (f jobstore.Flow, err error) {
	var args, metadata []byte
	err = r.Scan(&f.ID, &f.Name, &f.Version, &f.State, &args, &metadata, &f.CreatedAt, &f.EndedAt)
	f.Args, f.Metadata = args, metadata
	return f, err
}

// Flow implements jobstore.Flows.
func (s *Store) Flow(ctx context.Context, step jobstore.StepID) (f jobstore.Flow, err error) {
	found, err := gather(ctx, s, flowSQL, scanFlow, step)
	if err == nil && len(found) == 0 {
		err = jobstore.ErrNotFound
	}
	if err == nil {
		f = found[0]
		f.Steps, err = gather(ctx, s, flowStepsSQL, func(r pgx.Rows) (st jobstore.Step, err error) {
			err = scanStep(r, &st)
			return st, err
		}, f.ID)
	}
	if err == nil {
		f.Edges, err = gather(ctx, s, flowEdgesSQL, scanEdge, f.ID)
	}
	if err != nil {
		return jobstore.Flow{}, wrap(fmt.Sprintf("flow %d", step), err)
	}
	return f, nil
}

const listFlowsSQL = `-- warren: list flows
SELECT ` + flowColumns + ` FROM @schema@.job_flows f
WHERE ($1::text = '' OR f.name = $1::text) AND (cardinality($2::text[]) = 0 OR f.state = ANY ($2::text[])) AND ($3::bigint = 0 OR f.id < $3::bigint)
ORDER BY f.id DESC LIMIT $4::int`

// ListFlows implements jobstore.Flows.
func (s *Store) ListFlows(ctx context.Context, f jobstore.FlowFilter) ([]jobstore.Flow, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	states := make([]string, len(f.States))
	for i, st := range f.States {
		states[i] = string(st)
	}
	got, err := bulk(ctx, s, listFlowsSQL, scanFlow, f.Name, states, f.Before, f.Limit)
	if err != nil {
		return nil, wrap("list flows", err)
	}
	return got, nil
}

const stepJobsSQL = `-- warren: jobs of steps
SELECT ` + jobColumns + ` FROM unnest($1::bigint[]) AS w(step) CROSS JOIN LATERAL (
  SELECT * FROM (SELECT * FROM @schema@.jobs_live l WHERE l.step = w.step AND l.id > $3::bigint
      AND (cardinality($2::text[]) = 0 OR l.state || '' = ANY ($2::text[])) ORDER BY l.id LIMIT $4::int) a
  UNION ALL
  SELECT * FROM (SELECT * FROM @schema@.jobs_history l WHERE l.step = w.step AND l.id > $3::bigint
      AND (cardinality($2::text[]) = 0 OR l.state || '' = ANY ($2::text[])) ORDER BY l.id LIMIT $4::int) b
) j ORDER BY j.id LIMIT $4::int`

// StepJobs implements jobstore.Flows.
func (s *Store) StepJobs(ctx context.Context, of []jobstore.StepID, states []jobstore.State, after jobstore.ID, limit int) ([]jobstore.Job, error) {
	names := make([]string, len(states))
	for i, st := range states {
		names[i] = string(st)
	}
	got, err := gather(ctx, s, stepJobsSQL, scanJob, of, names, after, limit)
	if err != nil {
		return nil, wrap("list the jobs of steps", err)
	}
	return got, nil
}

const lockStepSQL = `-- warren: lock the flow of a step
SELECT s.state FROM @schema@.job_steps s JOIN @schema@.job_flows f ON f.id = s.flow_id WHERE s.id = $1 FOR UPDATE OF f`

// lockStep locks the flow of a step and returns the step's state.
func (s *Store) lockStep(ctx context.Context, q session, step jobstore.StepID) (state string, err error) {
	found, err := gatherIn(ctx, q, s.sql[lockStepSQL], scanText, step)
	if err == nil && len(found) == 0 {
		err = jobstore.ErrNotFound
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}

const callStepSQL = `-- warren: call a step off
UPDATE @schema@.job_steps SET calling = true WHERE id = $1 AND state = 'running' RETURNING id`

// CancelStep implements jobstore.Flows.
func (s *Store) CancelStep(ctx context.Context, step jobstore.StepID) error {
	err := retried(ctx, func() error {
		return s.inTx(ctx, false, func(ctx context.Context, tx pgx.Tx) error {
			q := txSession{tx}
			state, err := s.lockStep(ctx, q, step)
			if err != nil {
				return err
			}
			called, err := gatherIn(ctx, q, s.sql[callStepSQL], scanStepID, step)
			if err == nil && len(called) == 0 {
				err = fmt.Errorf("%w: it is %s", jobstore.ErrRefused, state)
			}
			return err
		})
	})
	if err != nil {
		return wrap(fmt.Sprintf("cancel step %d", step), err)
	}
	return nil
}

// keptStepsSQL finds what waits for nothing but that the step that holds it runs again.
const keptStepsSQL = `-- warren: kept steps
SELECT s.id FROM @schema@.job_steps s JOIN @schema@.job_steps p ON p.id = s.parent
WHERE s.flow_id = (SELECT flow_id FROM @schema@.job_steps WHERE id = $1) AND s.state = 'waiting' AND s.waits = 0 AND s.role <> 'callback'
  AND p.state NOT IN ('waiting', 'skipped') ORDER BY s.id`

// ResumeFlow implements jobstore.Flows.
func (s *Store) ResumeFlow(ctx context.Context, step jobstore.StepID) error {
	err := retried(ctx, func() error {
		return s.inTx(ctx, false, func(ctx context.Context, tx pgx.Tx) error {
			q := txSession{tx}
			if _, err := s.lockStep(ctx, q, step); err != nil {
				return err
			}
			kept, err := gatherIn(ctx, q, s.sql[keptStepsSQL], scanStepID, step)
			if err == nil {
				_, err = steps.Resume(ctx, &flowTx{s: s, q: q, outbox: true}, kept)
			}
			return err
		})
	})
	if err != nil {
		return wrap(fmt.Sprintf("resume flow %d", step), err)
	}
	return nil
}

// AddMembers implements jobstore.Flows.
func (s *Store) AddMembers(
	ctx context.Context, step jobstore.StepID, first int, jobs []jobstore.NewJob,
) (have int, released []jobstore.Ref, err error) {
	err = retried(ctx, func() error {
		return s.inTx(ctx, false, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := gatherIn(ctx, txSession{tx}, s.sql[lockStepSQL], scanText, step); err != nil {
				return err
			}
			have, released, err = steps.Fill(ctx, &flowTx{s: s, q: txSession{tx}}, step, first, jobs)
			return err
		})
	})
	if err != nil {
		return have, nil, wrap(fmt.Sprintf("add jobs to step %d", step), err)
	}
	return have, released, nil
}

// pruneFlowsSQL removes flows with what is theirs. Ends that come later are of no step, and are dropped.
const pruneFlowsSQL = `-- warren: prune flows
WITH old AS MATERIALIZED (
  SELECT f.id FROM @schema@.job_flows f
  WHERE ($1::bigint > 0 AND f.state IN ('finished', 'failed') AND f.ended_at <= now() - make_interval(secs => $1::bigint / 1e6))
     OR ($2::bigint > 0 AND f.state = 'cancelled' AND f.ended_at <= now() - make_interval(secs => $2::bigint / 1e6))
     OR ($3::bigint > 0 AND f.ended_at IS NULL AND f.created_at <= now() - make_interval(secs => $3::bigint / 1e6))
  ORDER BY f.id LIMIT $4::int FOR UPDATE SKIP LOCKED
),
steps AS (DELETE FROM @schema@.job_steps s USING old WHERE s.flow_id = old.id RETURNING s.id),
edges AS (DELETE FROM @schema@.job_step_edges e USING steps WHERE e.from_step = steps.id)
DELETE FROM @schema@.job_flows f USING old WHERE f.id = old.id RETURNING f.id`

// PruneFlows implements jobstore.Flows.
func (s *Store) PruneFlows(ctx context.Context, ages jobstore.FlowAges, limit int) (int, error) {
	gone, err := bulk(ctx, s, pruneFlowsSQL, scanInt, us(ages.Finished), us(ages.Cancelled), us(ages.Unfinished), limit)
	if err != nil {
		return 0, wrap("prune flows", err)
	}
	return len(gone), nil
}

func us(d time.Duration) int64 { return max(0, d.Microseconds()) }

const unsettledSQL = `-- warren: unsettled ends
SELECT job_id FROM @schema@.job_step_ends ORDER BY seq LIMIT $1::int`

// strayEndsSQL drops what is of no step: its flow was pruned.
const strayEndsSQL = `-- warren: stray ends
DELETE FROM @schema@.job_step_ends e USING unnest($1::bigint[]) AS w(id)
WHERE e.job_id = w.id AND NOT EXISTS (SELECT FROM @schema@.job_steps s WHERE s.id = e.step)`

// callInnerSQL calls off what runs inside of steps that are called off, and skips flows that somebody
// has locked: this comes again.
const callInnerSQL = `-- warren: call inner steps off
WITH free AS MATERIALIZED (
  SELECT f.id FROM @schema@.job_flows f
  WHERE f.id IN (SELECT s.flow_id FROM @schema@.job_steps s WHERE s.calling) ORDER BY f.id FOR UPDATE SKIP LOCKED
)
UPDATE @schema@.job_steps c SET calling = true FROM @schema@.job_steps p, free
WHERE p.calling AND p.flow_id = free.id AND c.parent = p.id AND c.parent > 0 AND c.role <> 'callback' AND c.state = 'running' AND NOT c.calling`

// calledJobsSQL lists jobs of steps that are called off, those left out that have been asked to end.
const calledJobsSQL = `-- warren: jobs to call off
SELECT j.id, j.state = 'PROCESSING' FROM @schema@.job_steps s CROSS JOIN LATERAL (
  SELECT l.id, l.state, l.lease_no FROM @schema@.jobs_live l WHERE l.step = s.id
    AND NOT (l.state || '' = 'PROCESSING' AND EXISTS (SELECT FROM @schema@.job_cancels k WHERE k.job_id = l.id AND k.lease_no = l.lease_no))
  LIMIT $1::int
) j WHERE s.calling LIMIT $1::int`

// SettleFlows implements jobstore.Flows.
func (s *Store) SettleFlows(ctx context.Context, limit int) (released []jobstore.Ref, more bool, err error) {
	left, err := gather(ctx, s, unsettledSQL, scanID, limit)
	if err == nil && len(left) > 0 {
		err = retried(ctx, func() error {
			return s.inTx(ctx, false, func(ctx context.Context, tx pgx.Tx) (err error) {
				released, err = s.settleFlows(ctx, txSession{tx}, left, nil, false)
				return err
			})
		})
		if err == nil {
			err = s.exec(ctx, strayEndsSQL, left)
		}
	}
	if err == nil {
		err = s.exec(ctx, callInnerSQL)
	}
	if err != nil {
		return released, false, wrap("settle flows", err)
	}
	called, err := s.callOff(ctx, limit)
	return released, len(left) == limit || called == limit, err
}

// callOff cancels jobs of steps that were called off; those that run are asked to end.
func (s *Store) callOff(ctx context.Context, limit int) (n int, err error) {
	var waiting, running []jobstore.ID
	err = s.do(ctx, calledJobsSQL, []any{limit}, func() { waiting, running = nil, nil }, func(r pgx.Rows) error {
		var id jobstore.ID
		var runs bool
		err := r.Scan(&id, &runs)
		if runs {
			running = append(running, id)
		} else {
			waiting = append(waiting, id)
		}
		return err
	})
	if err == nil {
		_, err = s.Cancel(ctx, waiting)
	}
	if err == nil {
		_, err = s.AskCancel(ctx, running)
	}
	if err != nil {
		return 0, wrap("cancel the jobs of steps", err)
	}
	return len(waiting) + len(running), nil
}

// flowStatements are those of chains, batches and flows.
func flowStatements() []string {
	return []string{
		lockFlowsSQL, newStepIDsSQL, newFlowSQL, takeEndsSQL, loadStepsSQL, loadEdgesSQL, childrenSQL, jobOutputSQL, writeStepsSQL,
		addEdgesSQL, removeEdgesSQL, writeFlowSQL, flowSQL, flowStepsSQL, flowEdgesSQL, listFlowsSQL, stepJobsSQL, lockStepSQL,
		callStepSQL, keptStepsSQL, pruneFlowsSQL, unsettledSQL, strayEndsSQL, callInnerSQL, calledJobsSQL,
	}
}
