package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/steps"
)

// InsertFlow implements jobstore.Flows.
func (s *Store) InsertFlow(ctx context.Context, f jobstore.NewFlow) (id jobstore.StepID, released []jobstore.Ref, err error) {
	type started struct {
		id   jobstore.StepID
		refs []jobstore.Ref
	}
	got, err := writing(ctx, s, func(ctx context.Context, q session) (started, error) {
		id, refs, err := steps.Start(ctx, &flowTx{s: s, q: q, outbox: f.Outbox}, &f)
		return started{id, refs}, err
	})
	if err != nil {
		return 0, nil, s.wrap("insert a flow", err)
	}
	return got.id, got.refs, nil
}

// InsertFlowTx implements jobstore.Flows.
func (s *Store) InsertFlowTx(ctx context.Context, tx jobstore.Tx, f jobstore.NewFlow) (jobstore.StepID, error) {
	t, err := From(tx)
	if err != nil {
		return 0, err
	}
	id, _, err := steps.Start(ctx, &flowTx{s: s, q: direct{t}, outbox: true}, &f)
	if err != nil {
		return 0, s.wrap("insert a flow", err)
	}
	return id, nil
}

const flowColumns = `f.id, f.name, f.version, f.state, f.args, f.metadata, f.created_at, f.ended_at`

const flowSQL = `-- warren: flow
SELECT ` + flowColumns + ` FROM job_flows f WHERE f.id = (SELECT s.flow_id FROM job_steps s WHERE s.id = ?1)`

const flowStepsSQL = `-- warren: steps of a flow
SELECT ` + stepColumns + ` FROM job_steps s WHERE s.flow_id = ?1 ORDER BY s.id`

const flowEdgesSQL = `-- warren: edges of a flow
SELECT e.from_step, e.on_what, e.to_step FROM job_steps s CROSS JOIN job_step_edges e ON e.from_step = s.id
WHERE s.flow_id = ?1 ORDER BY 1, 3`

func scanFlow(r row) (f jobstore.Flow, err error) {
	var args, metadata, ended sql.NullString
	var created string
	err = r.Scan(&f.ID, &f.Name, &f.Version, &f.State, &args, &metadata, &created, &ended)
	f.Args, f.Metadata, f.CreatedAt, f.EndedAt = raw(args), raw(metadata), read(created), readOptional(ended)
	return f, err
}

// Flow implements jobstore.Flows.
func (s *Store) Flow(ctx context.Context, step jobstore.StepID) (jobstore.Flow, error) {
	f, err := snapshot(ctx, s, func(ctx context.Context, q session) (f jobstore.Flow, err error) {
		found, err := gather(ctx, q, flowSQL, scanFlow, step)
		if err == nil && len(found) == 0 {
			err = jobstore.ErrNotFound
		}
		if err != nil {
			return f, err
		}
		f = found[0]
		f.Steps, err = gather(ctx, q, flowStepsSQL, func(r row) (st jobstore.Step, err error) {
			err = scanStep(r, &st)
			return st, err
		}, f.ID)
		if err == nil {
			f.Edges, err = gather(ctx, q, flowEdgesSQL, scanEdge, f.ID)
		}
		return f, err
	})
	if err != nil {
		return jobstore.Flow{}, s.wrap(fmt.Sprintf("flow %d", step), err)
	}
	return f, nil
}

const listFlowsSQL = `-- warren: list flows
SELECT ` + flowColumns + ` FROM job_flows f
WHERE (?1 = '' OR f.name = ?1) AND (?2 = '[]' OR f.state IN (SELECT value FROM json_each(?2))) AND (?3 = 0 OR f.id < ?3)
ORDER BY f.id DESC LIMIT ?4`

// ListFlows implements jobstore.Flows.
func (s *Store) ListFlows(ctx context.Context, f jobstore.FlowFilter) ([]jobstore.Flow, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]jobstore.Flow, error) {
		return gather(ctx, q, listFlowsSQL, scanFlow, f.Name, list(f.States), f.Before, f.Limit)
	})
	if err != nil {
		return nil, s.wrap("list flows", err)
	}
	return got, nil
}

const stepJobsSQL = `-- warren: jobs of steps
SELECT ` + jobColumns + ` FROM json_each(?1) w CROSS JOIN jobs j ON j.step = w.value AND j.id > ?3 AND j.step IS NOT NULL
WHERE ?2 = '[]' OR j.state IN (SELECT value FROM json_each(?2)) ORDER BY j.id LIMIT ?4`

// StepJobs implements jobstore.Flows.
func (s *Store) StepJobs(ctx context.Context, of []jobstore.StepID, states []jobstore.State, after jobstore.ID, limit int) ([]jobstore.Job, error) {
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]jobstore.Job, error) {
		return gather(ctx, q, stepJobsSQL, scanJob, list(of), list(states), after, limit)
	})
	if err != nil {
		return nil, s.wrap("list the jobs of steps", err)
	}
	return got, nil
}

const stepStateSQL = `-- warren: state of a step
SELECT state FROM job_steps WHERE id = ?1`

func stepState(ctx context.Context, q session, step jobstore.StepID) (state string, err error) {
	found, err := gather(ctx, q, stepStateSQL, scanText, step)
	if err == nil && len(found) == 0 {
		err = jobstore.ErrNotFound
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}

const callStepSQL = `-- warren: call a step off
UPDATE job_steps SET calling = 1 WHERE id = ?1 AND state = 'running'`

// CancelStep implements jobstore.Flows.
func (s *Store) CancelStep(ctx context.Context, step jobstore.StepID) error {
	_, err := writing(ctx, s, func(ctx context.Context, q session) (struct{}, error) {
		state, err := stepState(ctx, q, step)
		if err != nil {
			return struct{}{}, err
		}
		n, err := q.exec(ctx, callStepSQL, step)
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: it is %s", jobstore.ErrRefused, state)
		}
		return struct{}{}, err
	})
	if err != nil {
		return s.wrap(fmt.Sprintf("cancel step %d", step), err)
	}
	return nil
}

// keptStepsSQL finds what waits for nothing but that the step that holds it runs again.
const keptStepsSQL = `-- warren: kept steps
SELECT s.id FROM job_steps s CROSS JOIN job_steps p ON p.id = s.parent
WHERE s.flow_id = (SELECT flow_id FROM job_steps WHERE id = ?1) AND s.state = 'waiting' AND s.waits = 0 AND s.role <> 'callback'
  AND p.state NOT IN ('waiting', 'skipped') ORDER BY s.id`

// ResumeFlow implements jobstore.Flows.
func (s *Store) ResumeFlow(ctx context.Context, step jobstore.StepID) error {
	_, err := writing(ctx, s, func(ctx context.Context, q session) (struct{}, error) {
		if _, err := stepState(ctx, q, step); err != nil {
			return struct{}{}, err
		}
		kept, err := gather(ctx, q, keptStepsSQL, func(r row) (id jobstore.StepID, err error) {
			err = r.Scan(&id)
			return id, err
		}, step)
		if err == nil {
			_, err = steps.Resume(ctx, &flowTx{s: s, q: q, outbox: true}, kept)
		}
		return struct{}{}, err
	})
	if err != nil {
		return s.wrap(fmt.Sprintf("resume flow %d", step), err)
	}
	return nil
}

// AddMembers implements jobstore.Flows.
func (s *Store) AddMembers(
	ctx context.Context, step jobstore.StepID, first int, jobs []jobstore.NewJob,
) (have int, released []jobstore.Ref, err error) {
	type added struct {
		have int
		refs []jobstore.Ref
	}
	got, err := writing(ctx, s, func(ctx context.Context, q session) (added, error) {
		have, refs, err := steps.Fill(ctx, &flowTx{s: s, q: q}, step, first, jobs)
		return added{have, refs}, err
	})
	if err != nil {
		return 0, nil, s.wrap(fmt.Sprintf("add jobs to step %d", step), err)
	}
	return got.have, got.refs, nil
}

const oldFlowsSQL = `-- warren: old flows
SELECT id FROM job_flows WHERE state IN ('finished', 'failed') AND ended_at <= ?1 OR state = 'cancelled' AND ended_at <= ?2
  OR state = 'running' AND created_at <= ?3 ORDER BY id LIMIT ?4`

// pruneFlowsSQL removes flows with what is theirs. Ends that come later are of no step, and are dropped.
func pruneFlowsSQL() []string {
	return []string{
		`-- warren: prune edges of flows
DELETE FROM job_step_edges WHERE from_step IN (SELECT s.id FROM json_each(?1) w CROSS JOIN job_steps s ON s.flow_id = w.value)`,
		`-- warren: prune steps of flows
DELETE FROM job_steps WHERE flow_id IN (SELECT value FROM json_each(?1))`,
		`-- warren: prune flows
DELETE FROM job_flows WHERE id IN (SELECT value FROM json_each(?1))`,
	}
}

// PruneFlows implements jobstore.Flows.
func (s *Store) PruneFlows(ctx context.Context, ages jobstore.FlowAges, limit int) (int, error) {
	now := s.now()
	before := func(age time.Duration) string {
		if age <= 0 {
			return never
		}
		return stamp(now.Add(-age))
	}
	n, err := writing(ctx, s, func(ctx context.Context, q session) (int, error) {
		old, err := gather(ctx, q, oldFlowsSQL, scanInt, before(ages.Finished), before(ages.Cancelled), before(ages.Unfinished), limit)
		for _, text := range pruneFlowsSQL() {
			if err == nil && len(old) > 0 {
				_, err = q.exec(ctx, text, list(old))
			}
		}
		return len(old), err
	})
	if err != nil {
		return 0, s.wrap("prune flows", err)
	}
	return n, nil
}

const unsettledSQL = `-- warren: unsettled ends
SELECT job_id FROM job_step_ends ORDER BY seq LIMIT ?1`

// callInnerSQL calls off what runs inside of steps that are called off.
const callInnerSQL = `-- warren: call inner steps off
UPDATE job_steps SET calling = 1 WHERE id IN (
  SELECT c.id FROM job_steps p CROSS JOIN job_steps c ON c.parent = p.id AND c.parent > 0
  WHERE p.calling AND c.role <> 'callback' AND c.state = 'running' AND NOT c.calling)`

// calledJobsSQL lists jobs of steps that are called off, those left out that have been asked to end.
const calledJobsSQL = `-- warren: jobs to call off
SELECT j.id, j.state = 'PROCESSING' FROM job_steps s CROSS JOIN jobs j ON j.step = s.id AND j.step IS NOT NULL AND j.` + live + `
WHERE s.calling AND NOT (j.state = 'PROCESSING' AND EXISTS (SELECT 1 FROM job_cancels k WHERE k.job_id = j.id AND k.lease_no = j.lease_no)) LIMIT ?1`

// SettleFlows implements jobstore.Flows.
func (s *Store) SettleFlows(ctx context.Context, limit int) (released []jobstore.Ref, more bool, err error) {
	type settled struct {
		left int
		refs []jobstore.Ref
	}
	got, err := writing(ctx, s, func(ctx context.Context, q session) (settled, error) {
		left, err := gather(ctx, q, unsettledSQL, scanInt, limit)
		if err != nil {
			return settled{}, err
		}
		ids := make([]jobstore.ID, len(left))
		for i, id := range left {
			ids[i] = jobstore.ID(id)
		}
		refs, err := s.settleFlows(ctx, q, ids, nil, false)
		if err == nil {
			_, err = q.exec(ctx, callInnerSQL)
		}
		return settled{len(left), refs}, err
	})
	if err != nil {
		return nil, false, s.wrap("settle flows", err)
	}
	called, err := s.callOff(ctx, limit)
	return got.refs, got.left == limit || called == limit, err
}

// callOff cancels jobs of steps that were called off; those that run are asked to end.
func (s *Store) callOff(ctx context.Context, limit int) (n int, err error) {
	type called struct{ waiting, running []jobstore.ID }
	c, err := reading(ctx, s, func(ctx context.Context, q session) (c called, err error) {
		err = q.query(ctx, calledJobsSQL, []any{limit}, func(r row) error {
			var id jobstore.ID
			var runs bool
			err := r.Scan(&id, &runs)
			if runs {
				c.running = append(c.running, id)
			} else {
				c.waiting = append(c.waiting, id)
			}
			return err
		})
		return c, err
	})
	if err == nil && len(c.waiting) > 0 {
		_, err = s.Cancel(ctx, c.waiting)
	}
	if err == nil && len(c.running) > 0 {
		_, err = s.AskCancel(ctx, c.running)
	}
	if err != nil {
		return 0, s.wrap("cancel the jobs of steps", err)
	}
	return len(c.waiting) + len(c.running), nil
}
