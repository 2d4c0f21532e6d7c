package steps

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/warrenq/warren/jobstore"
)

// told releases the callbacks that hear of failures and of progress, and calls a batch off that another
// failure has given more than it allows. Failures that it had before it was retried call nothing off: the
// first of its jobs that ran again would be cancelled by those that are still to be retried.
func (e *settling) told(ctx context.Context, r *Row) error {
	failed := e.failed[r.ID]
	delete(e.failed, r.ID)
	if len(failed) > 0 {
		if err := e.fire(ctx, r, jobstore.OnFailure); err != nil {
			return err
		}
		for _, edge := range e.edges[r.ID] {
			if edge.On == jobstore.OnEach {
				for _, job := range failed {
					e.again(e.rows[edge.To], "warren.failed_job", int64(job))
				}
			}
		}
	}
	if r.worse && r.Role == jobstore.RoleBatch && r.Allow != jobstore.AllowAll && r.Failed > r.Allow && r.Open > 0 && !r.Calling {
		r.Calling = true
		e.touch(r)
	}
	r.worse = false
	percent := r.Percent
	if r.Total > 0 {
		percent = 100 * (r.Done + r.Failed + r.Cancelled) / r.Total
	}
	if percent > r.Percent {
		r.Percent = percent
		r.changed = true
		for _, edge := range e.edges[r.ID] {
			if edge.On == jobstore.OnProgress {
				e.again(e.rows[edge.To], "warren.percent", int64(percent))
			}
		}
	}
	return nil
}

// again releases the jobs of a callback, however often it has gone before, with a member more in their metadata.
func (e *settling) again(r *Row, key string, value int64) {
	if r == nil {
		return
	}
	r.State = jobstore.StepRunning
	e.touch(r)
	for _, job := range r.Jobs {
		job.Metadata = with(job.Metadata, key, value)
		e.put(r, job)
	}
}

// with adds a member to an object. The others stay as they are: numbers may have more digits than a float64.
func with(object json.RawMessage, key string, value int64) json.RawMessage {
	var all map[string]json.RawMessage
	if len(object) > 0 && json.Unmarshal(object, &all) != nil {
		return object // a list, say: then it stays as its publisher gave it
	}
	if all == nil { // none, or null
		all = map[string]json.RawMessage{}
	}
	all[key] = strconv.AppendInt(nil, value, 10)
	text, err := json.Marshal(all)
	if err != nil { // what was decoded encodes
		return object
	}
	return text
}

// put lets a job of a running step go.
func (e *settling) put(r *Row, job jobstore.NewJob) {
	job.Step = r.ID
	r.Total++
	r.Open++
	r.changed = true
	e.jobs = append(e.jobs, job)
}

// fire releases what waits for something that happens once.
func (e *settling) fire(ctx context.Context, r *Row, on jobstore.EdgeOn) error {
	for _, edge := range e.edges[r.ID] {
		if to := e.rows[edge.To]; edge.On == on && to != nil {
			if err := e.release(ctx, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// release lets a step go that waits: its jobs, and the steps in it that wait for no other. What is in a step
// that is called off is kept instead.
func (e *settling) release(ctx context.Context, r *Row) error {
	p := e.holder(r)
	if r.State != jobstore.StepWaiting || p != nil && p.Calling {
		return nil
	}
	e.touch(r)
	if p != nil {
		p.Open++
		e.touch(p)
	}
	r.State = jobstore.StepRunning
	for _, job := range r.Jobs {
		e.put(r, job)
	}
	if r.Role != jobstore.RoleCallback {
		r.Jobs = nil
	}
	if err := e.fetch(ctx, []*Row{r}); err != nil {
		return err
	}
	if err := e.releaseFirst(ctx, r); err != nil {
		return err
	}
	return e.fire(ctx, r, jobstore.OnStart)
}

// releaseFirst releases the steps in r that wait for no other.
func (e *settling) releaseFirst(ctx context.Context, r *Row) error {
	if !r.holds() {
		return nil
	}
	children, err := e.children(ctx, r)
	if err != nil {
		return err
	}
	for _, c := range children {
		if c.Waits == 0 {
			if err := e.release(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// holds reports whether there may be steps in r.
func (r *Row) holds() bool {
	return r.Role == jobstore.RoleChain || r.Role == jobstore.RoleBatch || r.Role == jobstore.RoleFlow
}

// kept releases what was kept while r was called off, now that r runs again and has nothing else to do.
func (e *settling) kept(ctx context.Context, r *Row) error {
	if !r.mayKeep() {
		return nil
	}
	return e.releaseFirst(ctx, r)
}

func (r *Row) mayKeep() bool {
	return r.holds() && r.Open == 0 && !r.Calling && r.Done+r.Failed+r.Cancelled < r.Total
}

// end is what a step comes to that has nothing open.
func (e *settling) end(ctx context.Context, r *Row) error {
	r.State = r.result()
	r.Calling = false
	r.changed = true
	if err := e.fire(ctx, r, jobstore.OnEnd); err != nil {
		return err
	}
	if r.State == jobstore.StepFinished && !r.Passed {
		r.Passed = true
		goes, err := e.chosen(ctx, r)
		if err == nil {
			err = e.pass(ctx, r, goes)
		}
		if err != nil {
			return err
		}
	}
	if p := e.holder(r); p != nil {
		n := p.stepCounter(r.State)
		*n++
		p.worse = p.worse || n == &p.Failed
		p.Open--
		e.touch(p)
	}
	if r.ID == r.Flow {
		e.flows[r.ID] = r.State
	}
	return nil
}

// result is what a step has come to. One that was called off when all of it ended well all the same has
// finished: nothing of it is there to be retried.
func (r *Row) result() jobstore.StepState {
	limited := r.Allow != jobstore.AllowAll
	switch {
	case r.Done == r.Total:
		return jobstore.StepFinished
	case limited && r.Failed > r.Allow:
		return jobstore.StepFailed
	case r.Calling, limited && r.Failed+r.Cancelled > r.Allow:
		return jobstore.StepCancelled
	}
	return jobstore.StepFinished
}

// chosen says which of the steps behind r go.
func (e *settling) chosen(ctx context.Context, r *Row) (goes func(*Row) bool, err error) {
	if r.Role != jobstore.RoleDecide {
		return func(*Row) bool { return true }, nil
	}
	text, err := e.tx.Output(ctx, e.last[r.ID])
	if err != nil {
		return nil, err
	}
	var c jobstore.Choice
	if len(text) > 0 {
		if err := json.Unmarshal(text, &c); err != nil {
			return nil, fmt.Errorf("%w: the output of job %d is no choice: %w", jobstore.ErrInvalid, e.last[r.ID], err)
		}
	}
	return func(to *Row) bool { return to.Role == jobstore.RoleCallback || slices.Contains(c.Go, to.Name) }, nil
}

// pass sends r's edges OnSuccess out.
func (e *settling) pass(ctx context.Context, r *Row, goes func(*Row) bool) error {
	for _, edge := range e.edges[r.ID] {
		to := e.rows[edge.To]
		if edge.On != jobstore.OnSuccess || to == nil {
			continue
		}
		if err := e.arrive(ctx, to, goes(to)); err != nil {
			return err
		}
	}
	return nil
}

// arrive takes an edge in. A step to which none came but from steps that were left out is left out, too.
func (e *settling) arrive(ctx context.Context, r *Row, came bool) error {
	if r.State != jobstore.StepWaiting {
		return nil
	}
	r.changed = true
	r.Waits--
	if came {
		r.Came++
	}
	switch {
	case r.Waits > 0:
		return nil
	case r.Came > 0:
		return e.release(ctx, r)
	}
	r.State, r.Passed = jobstore.StepSkipped, true
	if p := e.holder(r); p != nil {
		p.Done++
		e.touch(p)
	}
	if err := e.need(ctx, r.ID); err != nil {
		return err
	}
	return e.pass(ctx, r, func(*Row) bool { return false })
}
