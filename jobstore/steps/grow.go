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
		e.create(r)
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

// create takes in a step that is not written yet: there is nothing of it to read.
func (e *settling) create(r *Row) {
	e.keep(r)
	e.full[r.ID], e.whole[r.ID] = true, true
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

// Resume lets those steps go that were kept when what holds them was called off, and makes what holds them run
// again. When a job in it is retried it does so by itself.
func Resume(ctx context.Context, tx Tx, kept []jobstore.StepID) ([]jobstore.Ref, error) {
	e := newSettling(tx)
	if err := e.need(ctx, kept...); err != nil {
		return nil, err
	}
	rows := make([]*Row, len(kept))
	for i, id := range kept {
		rows[i] = e.rows[id]
	}
	if err := e.fetch(ctx, rows); err != nil {
		return nil, err
	}
	for _, r := range rows {
		e.reopen(e.holder(r))
		if err := e.release(ctx, r); err != nil {
			return nil, err
		}
	}
	return e.finish(ctx)
}

// change applies what an attempt adds.
func (e *settling) change(ctx context.Context, c Change) error {
	r := e.rows[c.Step]
	if r == nil {
		return nil
	}
	if batch := e.around(r, func(s *Row) bool { return s.Role == jobstore.RoleBatch }); batch != nil && len(c.Add) > 0 {
		if err := e.members(ctx, batch, c.Add); err != nil {
			return err
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

// members adds jobs to a batch. One that is called off keeps each as a step of it, to go when the batch is retried: the
// attempt that adds them has ended well, and does not run again.
func (e *settling) members(ctx context.Context, batch *Row, jobs []jobstore.NewJob) error {
	e.touch(batch)
	if batch.Calling {
		_, err := e.hang(ctx, batch, 0, jobs)
		return err
	}
	for _, job := range jobs {
		e.put(batch, job)
	}
	return nil
}

// hang makes a step in another of each job.
func (e *settling) hang(ctx context.Context, in *Row, waits int, jobs []jobstore.NewJob) ([]jobstore.StepID, error) {
	ids, err := e.tx.NewIDs(ctx, len(jobs))
	if err != nil {
		return nil, err
	}
	for i, job := range jobs {
		e.create(&Row{Waits: waits, Jobs: []jobstore.NewJob{job}, changed: true, Step: jobstore.Step{
			ID: ids[i], Flow: in.Flow, Parent: in.ID, Role: jobstore.RoleJob, State: jobstore.StepWaiting,
		}})
	}
	in.Total += len(jobs)
	e.touch(in)
	return ids, nil
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

// behind puts jobs into a chain, one after the other, right behind one of its steps.
func (e *settling) behind(ctx context.Context, r *Row, jobs []jobstore.NewJob) error {
	if len(jobs) == 0 {
		return nil
	}
	ids, err := e.hang(ctx, e.holder(r), 1, jobs)
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
	before := r.ID
	for _, id := range ids {
		e.join(before, jobstore.OnSuccess, id)
		before = id
	}
	for _, to := range next {
		e.join(before, jobstore.OnSuccess, to)
	}
	return e.regrow(ctx, r, e.rows[ids[0]], next)
}

// regrow sees to it that what is new behind r goes, though r had finished before and let go what was behind it then,
// or would have: what was kept waits again, for what is new.
func (e *settling) regrow(ctx context.Context, r, first *Row, next []jobstore.StepID) error {
	if !r.Passed {
		return nil
	}
	for _, to := range next {
		if kept := e.rows[to]; kept.State == jobstore.StepWaiting {
			kept.Waits++
			kept.Came--
			kept.changed = true
		}
	}
	if r.State == jobstore.StepFinished {
		return e.arrive(ctx, first, true)
	}
	r.Passed, r.changed = false, true // its next end lets it go
	return nil
}
