package warren

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/warrenq/warren/internal/argcheck"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// DefinedFlow is a flow of named steps that wait for each other in any way that has no cycle. Package flow
// makes them; there is little reason to write one by hand.
type DefinedFlow struct {
	Name    string
	Version int // at least 1
	Args    any // what it was started with, encoded as JSON; see FlowRun.Args
	Steps   []DefinedStep
}

// DefinedStep is a step of a DefinedFlow.
type DefinedStep struct {
	Name  string
	After []string // steps that have to finish, or be left out, before it; none = it goes at once, twice is once
	Job   any      // an Args, an Item, a *ChainFlow or a *BatchFlow
	// Decide says that the job's output is a jobstore.Choice: it says which of the steps after it go.
	Decide bool
	// AllowFailures lets what comes after it go although its jobs have failed.
	AllowFailures bool
}

func (f *DefinedFlow) describe(d *flowDraft, parent int, where string) int {
	o := flowOptions{name: f.Name}
	name, ok := d.enter(f, parent, &o, "flow", where)
	if !ok {
		return -1
	}
	defer d.leave()
	if f.Name == "" || f.Version < 1 {
		d.bad(name, "version %d: a defined flow needs a name and a version of at least 1", f.Version)
	}
	if len(f.Steps) == 0 {
		d.bad(name, "it has no steps")
	}
	if parent < 0 {
		d.flow.Version = f.Version
		d.arguments(name, f.Args)
	} else if f.Args != nil {
		d.bad(name, "a flow with args cannot be a part of another: the args belong to the outermost one")
	}
	root := d.step(jobstore.NewStep{Name: f.Name, Role: jobstore.RoleFlow, Parent: parent})
	places := map[string]int{}
	for i := range f.Steps {
		f.place(d, &f.Steps[i], root, name, places)
	}
	for i := range f.Steps {
		s := &f.Steps[i]
		for _, before := range s.predecessors() {
			from, known := places[before]
			switch {
			case !known:
				d.bad(name, "step %q waits for %q, which is none of its steps (%s)", s.Name, before, strings.Join(f.names(), ", "))
			case from >= 0 && places[s.Name] >= 0:
				d.edge(from, jobstore.OnSuccess, places[s.Name])
			}
		}
	}
	if ring := f.cycle(); ring != "" {
		d.bad(name, "steps wait for each other: %s", ring)
	}
	return root
}

// place adds a step.
func (f *DefinedFlow) place(d *flowDraft, s *DefinedStep, root int, where string, places map[string]int) {
	where = fmt.Sprintf("%s: step %q", where, s.Name)
	if _, twice := places[s.Name]; twice {
		d.bad(where, "there are two of this name")
		return
	}
	if s.Name == "" {
		d.bad(where, "it has no name")
	}
	if err := checkLabel("name", s.Name); err != nil {
		d.bad(where, "%w", err)
	}
	if len(s.After) > 0 {
		d.later++
		defer func() { d.later-- }()
	}
	at := d.member(root, s.Job, where)
	places[s.Name] = at
	if at < 0 {
		return
	}
	step := &d.flow.Steps[at]
	step.Name, step.Waits = s.Name, len(s.predecessors())
	if s.AllowFailures {
		step.Allow = jobstore.AllowAll
	}
	if s.Decide {
		step.Role = jobstore.RoleDecide
	}
}

// predecessors are the steps of After, each once: there is one edge from each, however often it is named,
// and a step that waited for more of them than there are would never go.
func (s *DefinedStep) predecessors() []string {
	names := slices.Clone(s.After)
	slices.Sort(names)
	return slices.Compact(names)
}

func (d *flowDraft) arguments(where string, args any) {
	if args == nil {
		return
	}
	text, err := encode(args)
	if err == nil {
		err = argcheck.Check(text, d.rules.maxArgs)
	}
	if err != nil {
		d.bad(where, "args: %w", err)
	}
	d.flow.Args = text
}

func (f *DefinedFlow) names() []string {
	names := make([]string, len(f.Steps))
	for i := range f.Steps {
		names[i] = f.Steps[i].Name
	}
	return names
}

// cycle names steps that wait for each other, "" when there are none.
func (f *DefinedFlow) cycle() string {
	after := map[string][]string{}
	for i := range f.Steps {
		after[f.Steps[i].Name] = f.Steps[i].After
	}
	state := map[string]int{} // 1 = being looked at, 2 = fine
	var path []string
	var look func(name string) bool
	look = func(name string) bool {
		path = append(path, name)
		switch state[name] {
		case 1:
			return true
		case 2:
			path = path[:len(path)-1]
			return false
		}
		state[name] = 1
		if slices.ContainsFunc(after[name], look) {
			return true
		}
		state[name] = 2
		path = path[:len(path)-1]
		return false
	}
	if !slices.ContainsFunc(f.names(), look) {
		return ""
	}
	path = path[slices.Index(path, path[len(path)-1]):]
	slices.Reverse(path)
	return strings.Join(path, " → ")
}

// FlowRun is the flow that a job is part of, as its handler sees it.
type FlowRun struct {
	client *Client
	step   jobstore.StepID
	flow   jobstore.Flow
}

// FlowRunOf is the flow of the job that ctx belongs to. It fails outside of one.
func FlowRunOf(ctx context.Context) (*FlowRun, error) {
	scope := worker.ScopeOf(ctx)
	if scope == nil {
		return nil, errNoAttempt
	}
	job := scope.Job()
	c, err := clientOf(ctx, job)
	if err != nil {
		return nil, err
	}
	f, err := c.cfg.Store.Flow(ctx, job.Step)
	return &FlowRun{client: c, step: job.Step, flow: f}, err
}

// Args decodes what the flow was started with.
func (r *FlowRun) Args(into any) error {
	if len(r.flow.Args) == 0 {
		return errors.New("the flow was started without args")
	}
	return json.Unmarshal(r.flow.Args, into)
}

// ID is the flow's number.
func (r *FlowRun) ID() jobstore.StepID { return r.flow.ID }

// Outputs are the outputs of the jobs of a step, by the numbers of the jobs; a job without one is left out.
func (r *FlowRun) Outputs(ctx context.Context, step string) ([]json.RawMessage, error) {
	i := slices.IndexFunc(r.flow.Steps, func(s jobstore.Step) bool { return s.Name == step && s.Role != jobstore.RoleCallback })
	if i < 0 {
		return nil, fmt.Errorf("flow %d has no step %q", r.flow.ID, step)
	}
	var out []json.RawMessage
	for after := jobstore.ID(0); ; {
		jobs, err := r.client.cfg.Store.StepJobs(ctx, []jobstore.StepID{r.flow.Steps[i].ID}, []jobstore.State{jobstore.Finished}, after, 500)
		if err != nil || len(jobs) == 0 {
			return out, err
		}
		for i := range jobs {
			if len(jobs[i].Output) > 0 {
				out = append(out, jobs[i].Output)
			}
		}
		after = jobs[len(jobs)-1].ID
	}
}

// Output decodes the output of an earlier step of the flow that the job of ctx is part of: what its handler
// gave to SetOutput. Of a step with several jobs it is that of the last; see Outputs.
func Output[T any](ctx context.Context, step string) (T, error) {
	var v T
	list, err := Outputs[T](ctx, step)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("step %q has no output; its handler gives one with SetOutput", step)
	}
	if err != nil {
		return v, err
	}
	return list[len(list)-1], nil
}

// Outputs decodes the outputs of all jobs of an earlier step, such as those of a fan-out.
func Outputs[T any](ctx context.Context, step string) ([]T, error) {
	run, err := FlowRunOf(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := run.Outputs(ctx, step)
	if err != nil {
		return nil, err
	}
	list := make([]T, len(raw))
	for i := range raw {
		if err := json.Unmarshal(raw[i], &list[i]); err != nil {
			return nil, fmt.Errorf("output of step %q: %w", step, err)
		}
	}
	return list, nil
}

// fillBatch is how many jobs of a fan-out one transaction inserts.
const fillBatch = 500

// Fill adds jobs to the step of the job that ctx belongs to, in parts of 500, at most MaxFlowJobs. An attempt
// that was broken off is followed by one that goes on at the same place, so that the list must be the
// same each time.
func (r *FlowRun) Fill(ctx context.Context, jobs []any) error {
	if len(jobs) > MaxFlowJobs {
		return Permanent(fmt.Errorf("a fan-out of %d jobs; at most %d are allowed", len(jobs), MaxFlowJobs))
	}
	store := r.client.cfg.Store
	have, _, err := store.AddMembers(ctx, r.step, 0, nil)
	if err != nil {
		return err
	}
	if have > len(jobs) {
		return Permanent(fmt.Errorf("an earlier attempt has added %d jobs, and this one would add %d: what makes the list must always make the same", have, len(jobs)))
	}
	for have < len(jobs) {
		part := jobs[have:min(have+fillBatch, len(jobs))]
		d := &flowDraft{ctx: ctx, rules: &r.client.rules}
		list := make([]jobstore.NewJob, 0, len(part))
		for i, v := range part {
			if job, ok := d.job(v, fmt.Sprintf("job %d", have+i+1)); ok {
				list = append(list, job)
			}
		}
		if err := errors.Join(d.errs...); err != nil {
			return Permanent(invalidJobError{err})
		}
		now, released, err := store.AddMembers(ctx, r.step, have, list)
		if err != nil {
			return err
		}
		r.client.relay.Add(released...)
		have = now
	}
	return nil
}
