package steps

import (
	"context"
	"fmt"
	"slices"

	"github.com/warrenq/warren/jobstore"
)

// Change is what a recorded attempt adds to its flow.
type Change struct {
	Step jobstore.StepID // the job's
	*jobstore.FlowChange
}

// Start inserts a flow and lets its first step go.
func Start(ctx context.Context, tx Tx, f *jobstore.NewFlow) (jobstore.StepID, []jobstore.Ref, error) {
	if len(f.Steps) == 0 {
		return 0, nil, fmt.Errorf("%w: a flow without steps", jobstore.ErrInvalid)
	}
	ids, err := tx.NewIDs(ctx, len(f.Steps))
	if err != nil {
		return 0, nil, err
	}
	e := newSettling(tx)
	for i := range f.Steps {
		s := &f.Steps[i]
		r := &Row{Waits: s.Waits, Jobs: s.Jobs, changed: true, Step: jobstore.Step{
			ID: ids[i], Flow: ids[0], Name: s.Name, Role: s.Role, State: jobstore.StepWaiting, Allow: s.Allow,
		}}
		if s.Parent >= i {
			return 0, nil, fmt.Errorf("%w: step %d is held by step %d, which comes after it", jobstore.ErrInvalid, i, s.Parent)
		}
		if s.Parent >= 0 {
			r.Parent = ids[s.Parent]
			if r.Role != jobstore.RoleCallback {
				e.rows[r.Parent].Total++
			}
		}
		e.rows[r.ID], e.full[r.ID] = r, true
	}
	for _, edge := range f.Edges {
		e.join(ids[edge.From], edge.On, ids[edge.To])
	}
	if err := tx.NewFlow(ctx, ids[0], f); err != nil {
		return 0, nil, err
	}
	if err := e.release(ctx, e.rows[ids[0]]); err != nil {
		return 0, nil, err
	}
	refs, err := e.finish(ctx)
	return ids[0], refs, err
}

func (e *settling) join(from jobstore.StepID, on jobstore.EdgeOn, to jobstore.StepID) {
	edge := jobstore.Edge{From: from, On: on, To: to}
	e.edges[from] = append(e.edges[from], edge)
	e.add = append(e.add, edge)
}

// Fill adds those jobs of a list to a step that it does not have yet. first is the place of jobs[0].
func Fill(ctx context.Context, tx Tx, step jobstore.StepID, first int, jobs []jobstore.NewJob) (have int, refs []jobstore.Ref, err error) {
	e := newSettling(tx)
	if err := e.need(ctx, step); err != nil {
		return 0, nil, err
	}
	r := e.rows[step]
	switch {
	case r == nil:
		return 0, nil, fmt.Errorf("step %d: %w", step, jobstore.ErrNotFound)
	case r.State != jobstore.StepRunning || r.Calling:
		return r.Filled, nil, fmt.Errorf("%w: step %d is %s and takes no more jobs", jobstore.ErrRefused, step, r.State)
	case first > r.Filled:
		return r.Filled, nil, fmt.Errorf("%w: step %d has %d jobs; those from %d on do not follow", jobstore.ErrInvalid, step, r.Filled, first)
	}
	for _, job := range jobs[min(r.Filled-first, len(jobs)):] {
		e.put(r, job)
		r.Filled++
	}
	e.touch(r)
	refs, err = e.finish(ctx)
	return r.Filled, refs, err
}

// change applies what an attempt adds. A step that was called off takes nothing more: what is added
// counts as cancelled.
func (e *settling) change(ctx context.Context, c Change) error {
	r := e.rows[c.Step]
	if r == nil {
		return nil
	}
	if batch := e.around(r, func(s *Row) bool { return s.Role == jobstore.RoleBatch }); batch != nil {
		e.touch(batch)
		for _, job := range c.Add {
			if batch.Calling {
				batch.Total++
				batch.Cancelled++
				continue
			}
			e.put(batch, job)
		}
	}
	in := e.around(r, func(s *Row) bool {
		p := e.holder(s)
		return p != nil && p.Role == jobstore.RoleChain
	})
	if in == nil || len(c.Prepend)+len(c.Append) == 0 {
		return nil
	}
	if len(c.Append) > 0 {
		last, err := e.lastOf(ctx, e.holder(in))
		if err == nil {
			err = e.behind(ctx, last, c.Append)
		}
		if err != nil {
			return err
		}
	}
	return e.behind(ctx, in, c.Prepend)
}

// around is the nearest step that fits: r, or one that holds it.
func (e *settling) around(r *Row, fits func(*Row) bool) *Row {
	for ; r != nil; r = e.holder(r) {
		if fits(r) {
			return r
		}
	}
	return nil
}

// lastOf is the step of a chain that none of its others follows.
func (e *settling) lastOf(ctx context.Context, chain *Row) (*Row, error) {
	list, err := e.children(ctx, chain)
	if err != nil {
		return nil, err
	}
	ids := make([]jobstore.StepID, len(list))
	for i, r := range list {
		ids[i] = r.ID
	}
	if err := e.need(ctx, ids...); err != nil {
		return nil, err
	}
	for _, r := range list {
		if !slices.ContainsFunc(e.edges[r.ID], e.toSibling) {
			return r, nil
		}
	}
	return nil, fmt.Errorf("%w: chain %d has no end", jobstore.ErrInvalid, chain.ID)
}

// toSibling reports whether an edge goes to the next step of a chain.
func (e *settling) toSibling(edge jobstore.Edge) bool {
	to := e.rows[edge.To]
	return edge.On == jobstore.OnSuccess && to != nil && to.Role != jobstore.RoleCallback
}

// behind puts jobs into a chain, one after the other, right behind one of its steps. When that step has
// finished before, it has let go what was behind it then: what is new goes when it finishes again, or now.
func (e *settling) behind(ctx context.Context, r *Row, jobs []jobstore.NewJob) error {
	if len(jobs) == 0 {
		return nil
	}
	ids, err := e.tx.NewIDs(ctx, len(jobs))
	if err != nil {
		return err
	}
	var next []jobstore.StepID
	e.edges[r.ID] = slices.DeleteFunc(slices.Clone(e.edges[r.ID]), func(edge jobstore.Edge) bool {
		if !e.toSibling(edge) {
			return false
		}
		next = append(next, edge.To)
		if i := slices.Index(e.add, edge); i >= 0 {
			e.add = slices.Delete(e.add, i, i+1)
		} else {
			e.remove = append(e.remove, edge)
		}
		return true
	})
	chain := e.holder(r)
	before := r.ID
	for i, job := range jobs {
		e.rows[ids[i]] = &Row{Waits: 1, Jobs: []jobstore.NewJob{job}, changed: true, Step: jobstore.Step{
			ID: ids[i], Flow: r.Flow, Parent: chain.ID, Role: jobstore.RoleJob, State: jobstore.StepWaiting,
		}}
		e.full[ids[i]] = true
		chain.Total++
		e.join(before, jobstore.OnSuccess, ids[i])
		before = ids[i]
	}
	for _, to := range next {
		e.join(before, jobstore.OnSuccess, to)
	}
	e.touch(chain)
	if !r.Passed {
		return nil
	}
	if r.State == jobstore.StepFinished {
		return e.arrive(ctx, e.rows[ids[0]], true)
	}
	r.Passed, r.changed = false, true
	return nil
}
