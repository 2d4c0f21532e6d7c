// Package flow defines whole processes in one place: steps, what each waits for, conditions, fan-out and
// fan-in, and outputs that become the inputs of what follows.
//
//	var process = flow.Define("process-data", 3, func(b *flow.Builder) {
//		fetch := b.Step("fetch", Fetch{})
//		parts := b.FanOut("part", func(ctx context.Context, r *warren.FlowRun) ([]any, error) { … }).After(fetch)
//		b.Step("report", Report{}).After(parts).If(func(ctx context.Context, r *warren.FlowRun) (bool, string, error) { … })
//	})
//
//	flow.Register(&registry, process)                             // in consumers
//	client.PublishFlow(ctx, process.Start(Params{File: "a.csv"})) // anywhere
//
// A step's job is of an ordinary kind, so that the same kinds serve several flows. What is known when the
// flow is started needs no more than the database; functions (conditions, computed inputs, fan-out) run as
// jobs of the kind flow:NAME/VERSION in consumers that have registered the definition. A flow that runs
// keeps its version: raise it with every change, and register the old one for as long as its flows run. Where
// no consumer has it those jobs wait, and 'warren why' says so.
//
// A choice and its reason are the output of the job that made it.
package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// Definition is a flow that can be started any number of times.
type Definition struct {
	name    string
	version int
	steps   []*Step
}

// Builder collects the steps of a definition.
type Builder struct{ d *Definition }

// Step is a step that is being defined.
type Step struct {
	name  string
	job   any
	opts  warren.PublishOpts
	after []string
	when  Condition
	make  Maker
	allow bool
}

// Condition says whether a step goes, and why, from the outputs of those before it. An error is tried again.
type Condition func(ctx context.Context, r *warren.FlowRun) (goes bool, why string, err error)

// Maker makes the jobs of a step (warren.Args or warren.Items) from the outputs of those before it: none, or up
// to warren.MaxFlowJobs. For the same outputs it must make the same. An error is tried again.
type Maker func(ctx context.Context, r *warren.FlowRun) ([]any, error)

// Define defines a flow. What is wrong with it (a cycle, a step that does not exist, two of a name) is an
// error of PublishFlow.
func Define(name string, version int, build func(b *Builder)) *Definition {
	d := &Definition{name: name, version: version}
	build(&Builder{d})
	return d
}

// Step adds a step whose job is known: an Args, an Item, a *ChainFlow or a *BatchFlow.
func (b *Builder) Step(name string, job any) *Step {
	s := &Step{name: name, job: job}
	b.d.steps = append(b.d.steps, s)
	return s
}

// From adds a step whose one job is made of what came before.
func (b *Builder) From(name string, job func(ctx context.Context, r *warren.FlowRun) (any, error)) *Step {
	return b.FanOut(name, func(ctx context.Context, r *warren.FlowRun) ([]any, error) {
		one, err := job(ctx, r)
		return []any{one}, err
	})
}

// FanOut adds a step with as many jobs as are made of what came before. What comes after it waits for all.
func (b *Builder) FanOut(name string, jobs Maker) *Step {
	s := b.Step(name, nil)
	s.make = jobs
	return s
}

// Sequence lets steps go one after the other.
func (b *Builder) Sequence(steps ...*Step) {
	for i := 1; i < len(steps); i++ {
		steps[i].After(steps[i-1])
	}
}

// After lets the step wait for others to finish. Those that are left out do not hold it up, unless all are:
// then it is left out, too.
func (s *Step) After(steps ...*Step) *Step {
	for _, before := range steps {
		s.after = append(s.after, before.name)
	}
	return s
}

// AfterNamed is After for steps by name, such as those that are defined later.
func (s *Step) AfterNamed(names ...string) *Step {
	s.after = append(s.after, names...)
	return s
}

// If lets the step go only when a condition holds.
func (s *Step) If(when Condition) *Step {
	s.when = when
	return s
}

// AllowFailures lets what comes after the step go although its jobs have failed.
func (s *Step) AllowFailures() *Step {
	s.allow = true
	return s
}

// Queue is for the jobs of the step that name none.
func (s *Step) Queue(name string) *Step {
	s.opts.Queue = name
	return s
}

// Opts are for the jobs of the step that are given as Args.
func (s *Step) Opts(o warren.PublishOpts) *Step {
	s.opts = o
	return s
}

// Kind is the kind of the jobs that run the functions of this version.
func (d *Definition) Kind() string { return fmt.Sprintf("flow:%s/%d", d.name, d.version) }

// order is what a job of Kind is told.
type order struct {
	Step   string `json:"step"`
	Decide bool   `json:"decide,omitempty"`
}

// Start is a flow of this definition for Client.PublishFlow. args may be nil.
func (d *Definition) Start(args any) warren.Flow {
	f := &warren.DefinedFlow{Name: d.name, Version: d.version, Args: args}
	for _, s := range d.steps {
		step := warren.DefinedStep{Name: s.name, After: slices.Clone(s.after), Job: s.item(s.job), AllowFailures: s.allow}
		if s.make != nil {
			step.Job = warren.Item{Kind: d.Kind(), Args: order{Step: s.name}}
		}
		if s.when != nil {
			f.Steps = append(f.Steps, warren.DefinedStep{
				Name: s.name + "?", After: step.After, Decide: true, Job: warren.Item{Kind: d.Kind(), Args: order{Step: s.name, Decide: true}},
			})
			step.After = []string{s.name + "?"}
		}
		f.Steps = append(f.Steps, step)
	}
	return f
}

// item gives a job the step's options.
func (s *Step) item(job any) any {
	switch j := job.(type) {
	case warren.Item:
		if j.Opts.Queue == "" {
			j.Opts.Queue = s.opts.Queue
		}
		return j
	case warren.Args:
		return warren.Item{Args: j, Opts: s.opts}
	}
	return job
}

// Register makes a consumer run the functions of definitions.
func Register(r *warren.Registry, definitions ...*Definition) {
	for _, d := range definitions {
		r.Raw(d.Kind(), d.drive)
	}
}

// drive runs a function of the definition.
func (d *Definition) drive(ctx context.Context, job *jobstore.Job) error {
	var o order
	if err := json.Unmarshal(job.Args, &o); err != nil {
		return warren.Permanent(fmt.Errorf("args of kind %s: %w", job.Kind, err))
	}
	i := slices.IndexFunc(d.steps, func(s *Step) bool { return s.name == o.Step })
	if i < 0 || o.Decide && d.steps[i].when == nil || !o.Decide && d.steps[i].make == nil {
		return warren.Permanent(fmt.Errorf("flow %s version %d has no such step %q here: it was changed, and its version was not raised", d.name, d.version, o.Step))
	}
	s := d.steps[i]
	run, err := warren.FlowRunOf(ctx)
	if err != nil {
		return err
	}
	if o.Decide {
		goes, why, err := s.when(ctx, run)
		if err != nil {
			return fmt.Errorf("condition of step %q: %w", s.name, err)
		}
		choice := jobstore.Choice{Go: []string{}, Why: map[string]string{s.name: why}}
		if goes {
			choice.Go = append(choice.Go, s.name)
		}
		return warren.SetOutput(ctx, choice)
	}
	jobs, err := s.make(ctx, run)
	if err != nil {
		return fmt.Errorf("jobs of step %q: %w", s.name, err)
	}
	for i := range jobs {
		jobs[i] = s.item(jobs[i])
	}
	return run.Fill(ctx, jobs)
}

// Mermaid draws the definition for mermaid.js: conditions are rhombs, fan-outs are doubled boxes.
func (d *Definition) Mermaid() string {
	var b strings.Builder
	b.WriteString("graph TD\n")
	place := map[string]int{}
	for i, s := range d.steps {
		place[s.name] = i
		box := fmt.Sprintf("[%q]", s.name)
		if s.make != nil {
			box = fmt.Sprintf("[[%q]]", s.name)
		}
		fmt.Fprintf(&b, "  s%d%s\n", i, box)
		if s.when != nil {
			fmt.Fprintf(&b, "  c%d{%q}\n  c%d --> s%d\n", i, s.name+"?", i, i)
		}
	}
	for i, s := range d.steps {
		to := fmt.Sprintf("s%d", i)
		if s.when != nil {
			to = fmt.Sprintf("c%d", i)
		}
		for _, before := range s.after {
			fmt.Fprintf(&b, "  s%d --> %s\n", place[before], to)
		}
	}
	return b.String()
}
