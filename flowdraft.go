package warren

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/warrenq/warren/internal/argcheck"
	"github.com/warrenq/warren/jobstore"
)

// Limits of a flow when it is published.
const (
	// MaxFlowSteps is how many steps a flow may have: jobs of chains, chains, batches, callbacks.
	MaxFlowSteps = 10_000
	// MaxFlowJobs is how many jobs a flow may have. More can be added to a batch by its members.
	MaxFlowJobs = 100_000
	// MaxWaitingJobs is how many jobs a batch may have that waits for something else: they are kept
	// in one row. Its members can add more.
	MaxWaitingJobs = 1_000
)

// flowDraft makes the rows of a flow and gathers what is wrong with it.
type flowDraft struct {
	ctx    context.Context //nolint:containedctx // for publish hooks, during one call
	rules  *rules
	flow   jobstore.NewFlow
	queues []string // of the flows around what is drafted now
	inside []Flow   // the flows around it: one that holds itself has no end
	later  int      // how many of the flows around it wait for others
	jobs   int
	errs   []error
}

// draft makes the rows of a flow.
func (c *Client) draft(ctx context.Context, f Flow) (jobstore.NewFlow, error) {
	d := &flowDraft{ctx: ctx, rules: &c.rules}
	f.describe(d, -1, "")
	if err := errors.Join(d.errs...); err != nil {
		return jobstore.NewFlow{}, invalidJobError{err}
	}
	return d.flow, nil
}

// maxFlowErrors is how many mistakes are told at once.
const maxFlowErrors = 10

func (d *flowDraft) bad(where, format string, args ...any) {
	if len(d.errs) < maxFlowErrors {
		d.errs = append(d.errs, fmt.Errorf("%s: %w", where, fmt.Errorf(format, args...)))
	}
}

// step adds a step.
func (d *flowDraft) step(s jobstore.NewStep) int {
	d.flow.Steps = append(d.flow.Steps, s)
	if len(d.flow.Steps) == MaxFlowSteps+1 {
		d.errs = append(d.errs, fmt.Errorf("the flow has more than %d steps; make its parts flows of their own", MaxFlowSteps))
	}
	return len(d.flow.Steps) - 1
}

func (d *flowDraft) edge(from int, on jobstore.EdgeOn, to int) {
	d.flow.Edges = append(d.flow.Edges, jobstore.NewEdge{From: from, On: on, To: to})
}

// enter begins a flow in the flow.
func (d *flowDraft) enter(f Flow, parent int, o *flowOptions, kind, where string) (name string, ok bool) {
	name = where + kind
	if o.name != "" {
		name = fmt.Sprintf("%s%s %q", where, kind, o.name)
	}
	if slices.Contains(d.inside, f) {
		d.bad(name, "it is a part of itself")
		return name, false
	}
	if len(d.flow.Steps) > MaxFlowSteps || d.jobs > MaxFlowJobs {
		return name, false
	}
	if err := checkLabel("name", o.name); err != nil {
		d.bad(name, "%w", err)
	}
	if parent < 0 {
		d.flow.Name = firstNonEmpty(o.name, kind)
		d.metadata(name, o.meta)
	} else if len(o.meta) > 0 {
		d.bad(name, "metadata is kept with the outermost flow; give it to that one")
	}
	d.inside = append(d.inside, f)
	d.queues = append(d.queues, o.queue)
	return name, true
}

func (d *flowDraft) leave() {
	d.inside, d.queues = d.inside[:len(d.inside)-1], d.queues[:len(d.queues)-1]
}

func (d *flowDraft) metadata(where string, meta map[string]any) {
	if len(meta) == 0 {
		return
	}
	text, err := json.Marshal(meta)
	if err == nil {
		err = argcheck.Check(text, maxMetadata)
	}
	if err != nil {
		d.bad(where, "metadata: %w", err)
	}
	d.flow.Metadata = text
}

func (c *ChainFlow) describe(d *flowDraft, parent int, where string) int {
	name, ok := d.enter(c, parent, &c.options, "chain", where)
	if !ok {
		return -1
	}
	defer d.leave()
	chain := d.step(jobstore.NewStep{Name: c.options.name, Role: jobstore.RoleChain, Parent: parent})
	if len(c.steps) == 0 {
		d.bad(name, "it has no steps")
	}
	before := -1
	for i, s := range c.steps {
		if before >= 0 {
			d.later++
		}
		at := d.member(chain, s, fmt.Sprintf("%s: step %d", name, i+1))
		if before >= 0 {
			d.later--
		}
		if at < 0 {
			continue
		}
		if before >= 0 {
			d.flow.Steps[at].Waits = 1
			d.edge(before, jobstore.OnSuccess, at)
		}
		before = at
	}
	for _, job := range c.onFailure {
		d.callback(chain, jobstore.OnFailure, job, name)
	}
	return chain
}

func (b *BatchFlow) describe(d *flowDraft, parent int, where string) int {
	name, ok := d.enter(b, parent, &b.options, "batch", where)
	if !ok {
		return -1
	}
	defer d.leave()
	if b.options.name == "" {
		d.bad(name, "it has no name; people look for it by that")
	}
	if b.allow == badAllow {
		d.bad(name, "the number of failures that are allowed is negative")
	}
	if len(b.members) == 0 {
		d.bad(name, "it is empty; a batch that its members fill needs the first of them")
	}
	batch := d.step(jobstore.NewStep{Name: b.options.name, Role: jobstore.RoleBatch, Parent: parent, Allow: b.allow})
	for i, m := range b.members {
		place := fmt.Sprintf("%s: member %d", name, i+1)
		if f, nested := m.(Flow); nested {
			f.describe(d, batch, place+": ")
			continue
		}
		if job, ok := d.counted(m, place); ok {
			d.flow.Steps[batch].Jobs = append(d.flow.Steps[batch].Jobs, job)
		}
	}
	if n := len(d.flow.Steps[batch].Jobs); d.later > 0 && n > MaxWaitingJobs {
		d.bad(name, "it has %d jobs and waits for other steps; at most %d may wait: let a member add the others", n, MaxWaitingJobs)
	}
	for _, cb := range b.callbacks {
		d.callback(batch, cb.on, cb.args, name)
	}
	return batch
}

// member adds a step that is a job or a flow.
func (d *flowDraft) member(parent int, v any, where string) int {
	if f, nested := v.(Flow); nested {
		return f.describe(d, parent, where+": ")
	}
	job, ok := d.counted(v, where)
	if !ok {
		return -1
	}
	return d.step(jobstore.NewStep{Name: job.Kind, Role: jobstore.RoleJob, Parent: parent, Jobs: []jobstore.NewJob{job}})
}

// callback adds a job that goes by what becomes of a step.
func (d *flowDraft) callback(of int, on jobstore.EdgeOn, v any, where string) {
	job, ok := d.job(v, fmt.Sprintf("%s: callback on %s", where, on))
	if !ok {
		return
	}
	at := d.step(jobstore.NewStep{Name: string(on), Role: jobstore.RoleCallback, Parent: of, Allow: jobstore.AllowAll, Jobs: []jobstore.NewJob{job}})
	if on == jobstore.OnSuccess {
		d.flow.Steps[at].Waits = 1
	}
	d.edge(of, on, at)
}

// job makes a job of what a caller gave.
func (d *flowDraft) job(v any, where string) (jobstore.NewJob, bool) {
	var item Item
	switch given := v.(type) {
	case Item:
		item = given
	case *Item:
		item = *given
	case Args:
		item = Item{Args: given}
	default:
		d.bad(where, "a %T is no part of a flow; give an Args, an Item, a chain or a batch", v)
		return jobstore.NewJob{}, false
	}
	for _, q := range slices.Backward(d.queues) {
		item.Opts.Queue = firstNonEmpty(item.Opts.Queue, q)
	}
	job, err := d.rules.flowJob(d.ctx, item)
	if err != nil {
		d.bad(where, "%w", err)
		return job, false
	}
	return job, true
}

// counted is job for one of those that MaxFlowJobs is about, which callbacks are not.
func (d *flowDraft) counted(v any, where string) (jobstore.NewJob, bool) {
	if d.jobs++; d.jobs == MaxFlowJobs+1 {
		d.errs = append(d.errs, fmt.Errorf("the flow has more than %d jobs; let the members of its batch add the others", MaxFlowJobs))
	}
	return d.job(v, where)
}

// flowJob is newJobs for a job of a flow, which cannot be everything that others can.
func (r *rules) flowJob(ctx context.Context, item Item) (jobstore.NewJob, error) {
	jobs, err := r.newJobs(ctx, []Item{item})
	if err != nil {
		return jobstore.NewJob{}, err
	}
	job := jobs[0]
	switch {
	case job.Mode == jobstore.Recurring:
		return job, inField("mode", errors.New("a recurring job has no end that a flow could go on from; let the flow end with a job that publishes it"))
	case job.Settled():
		return job, inField("replace", errors.New("a job of a flow cannot replace another, and its key cannot end at its start: the flow waits for the job itself"))
	}
	return job, nil
}
