package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/warrenq/warren/jobstore"
)

func flowTests() []test {
	return []test{
		{"a chain goes step by step", chainGoes},
		{"a chain stops at a failure and goes on after a retry", chainStops},
		{"a chain goes on after a job that was deleted, skipped or is redundant", chainGoesOn},
		{"a batch tells its callbacks once each", batchCallbacks},
		{"a callback's metadata stays as it was given", callbackMetadata},
		{"a callback that fails is no failure of what it hears of", callbackFails},
		{"a failure calls a batch off", batchCalledOff},
		{"a batch is retried part by part", batchRetriedInParts},
		{"what a call off has kept goes when it is retried", keptGoesOn},
		{"a call off that comes too late changes nothing", calledOffTooLate},
		{"a batch allows failures", batchAllows},
		{"a batch holds chains, a chain holds batches", nested},
		{"a member adds members, a step adds steps", flowGrows},
		{"a job that runs again adds steps", growsAgain},
		{"a choice leaves steps out", choice},
		{"a step is filled in order, and once", filled},
		{"what ends by SQL or an operator is settled", settledByOthers},
		{"a flow is cancelled", flowCancelled},
		{"a flow that is rolled back was never there", flowRolledBack},
		{"flows are listed and pruned", flowsPruned},
		{"an outcome that is recorded again releases nothing again", recordedAgain},
		{"a quarantined member has failed", quarantinedMember},
		{"random operations keep counters and rows the same", flowProperty},
	}
}

func named(kind string) jobstore.NewJob {
	j := plain()
	j.Identifier = kind // to tell them apart
	return j
}

// chainOf is a chain of jobs with these names.
func chainOf(names ...string) jobstore.NewFlow {
	f := jobstore.NewFlow{Name: "chain", Steps: []jobstore.NewStep{{Name: "chain", Role: jobstore.RoleChain, Parent: -1}}}
	for i, n := range names {
		s := jobstore.NewStep{Name: n, Role: jobstore.RoleJob, Jobs: []jobstore.NewJob{named(n)}}
		if i > 0 {
			s.Waits = 1
			f.Edges = append(f.Edges, jobstore.NewEdge{From: i, On: jobstore.OnSuccess, To: i + 1})
		}
		f.Steps = append(f.Steps, s)
	}
	return f
}

// batchOf is a batch of jobs with these names.
func batchOf(allow int, names ...string) jobstore.NewFlow {
	s := jobstore.NewStep{Name: "batch", Role: jobstore.RoleBatch, Parent: -1, Allow: allow}
	for _, n := range names {
		s.Jobs = append(s.Jobs, named(n))
	}
	return jobstore.NewFlow{Name: "batch", Steps: []jobstore.NewStep{s}}
}

// hears adds a callback to the first step.
func hears(f *jobstore.NewFlow, on jobstore.EdgeOn) {
	s := jobstore.NewStep{Name: string(on), Role: jobstore.RoleCallback, Allow: jobstore.AllowAll, Jobs: []jobstore.NewJob{named("on-" + string(on))}}
	if on == jobstore.OnSuccess {
		s.Waits = 1
	}
	f.Steps = append(f.Steps, s)
	f.Edges = append(f.Edges, jobstore.NewEdge{From: 0, On: on, To: len(f.Steps) - 1})
}

func (w *world) start(f jobstore.NewFlow) jobstore.StepID {
	w.Helper()
	id, _, err := w.store.InsertFlow(w.Context(), f)
	w.check("insert flow", err)
	return id
}

// flow reads a flow and compares its counters with its jobs.
func (w *world) flow(id jobstore.StepID) jobstore.Flow {
	w.Helper()
	f, err := w.store.Flow(w.Context(), id)
	w.check("flow", err)
	return f
}

func (w *world) wantFlow(id jobstore.StepID, want jobstore.StepState) {
	w.Helper()
	if f := w.flow(id); f.State != want || (f.EndedAt == nil) != (want == jobstore.StepRunning) {
		w.Fatalf("flow %d is %s (ended %v), want %s; its steps are %+v", id, f.State, f.EndedAt, want, f.Steps)
	}
}

// ready are the names of the jobs that wait to be claimed.
func (w *world) ready() []string {
	w.Helper()
	list, err := w.store.List(w.Context(), jobstore.Filter{States: []jobstore.State{jobstore.Ready, jobstore.BackToBroker}, Limit: 10_000})
	w.check("list", err)
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Identifier
	}
	return names
}

func (w *world) wantReady(names ...string) {
	w.Helper()
	if got := sorted(w.ready()); !slices.Equal(got, sorted(names)) {
		w.Fatalf("READY are %q, want %q", got, names)
	}
}

// byName claims the job with a name, whatever else waits.
func (w *world) byName(by jobstore.Claimant, name string) jobstore.Lease {
	w.Helper()
	_, err := w.store.Due(w.Context(), 100)
	w.check("due", err)
	list, err := w.store.List(w.Context(), jobstore.Filter{States: []jobstore.State{jobstore.Ready}, Identifiers: []string{name}})
	w.check("list", err)
	if len(list) == 0 {
		w.Fatalf("no job %q is READY; READY are %q", name, w.ready())
	}
	return w.claimOne(by, list[0].ID)
}

// ends runs the job with a name and returns the names that it has released.
func (w *world) ends(by jobstore.Claimant, name string, state jobstore.State) []string {
	w.Helper()
	l := w.byName(by, name)
	if l.Job.Step == 0 {
		w.Fatalf("the lease of %q does not name its step", name)
	}
	o := outcome(l, state)
	o.Step = l.Job.Step
	return w.names(w.recorded(by, o))
}

func (w *world) names(refs []jobstore.Ref) []string {
	var names []string
	for _, r := range refs {
		names = append(names, w.get(r.ID).Identifier)
	}
	return sorted(names)
}

func (w *world) wantEnds(by jobstore.Claimant, name string, state jobstore.State, released ...string) {
	w.Helper()
	if got := w.ends(by, name, state); !slices.Equal(got, sorted(released)) {
		w.Fatalf("%q, %s, has released %q, want %q", name, state, got, released)
	}
}

// settleAll does what the sweep does.
func (w *world) settleAll() {
	w.Helper()
	for range 1000 {
		look, err := w.store.Look(w.Context())
		w.check("look", err)
		if !look.Flows {
			return
		}
		_, more, err := w.store.SettleFlows(w.Context(), 100)
		w.check("settle flows", err)
		if !more {
			return
		}
	}
	w.Fatal("flows do not settle")
}

func chainGoes(w *world) {
	by := w.consumer()
	f := chainOf("a", "b", "c")
	f.Metadata = json.RawMessage(`{"order": 7}`)
	id := w.start(f)
	w.wantReady("a")
	w.wantEnds(by, "a", jobstore.TemporarilyFailed)
	w.wantReady()
	w.wantFlow(id, jobstore.StepRunning)
	w.wantEnds(by, "a", jobstore.Finished, "b")
	w.wantEnds(by, "b", jobstore.Finished, "c")
	w.wantReady("c")
	w.wantEnds(by, "c", jobstore.Finished)
	w.wantFlow(id, jobstore.StepFinished)
	got := w.flow(id)
	if s := got.Steps[0]; s.Total != 3 || s.Done != 3 || s.Open != 0 || s.Role != jobstore.RoleChain || len(got.Steps) != 4 {
		w.Fatalf("steps are %+v", got.Steps)
	}
	if string(compact(got.Metadata)) != `{"order":7}` {
		w.Fatalf("metadata is %s", got.Metadata)
	}
	jobs, err := w.store.StepJobs(w.Context(), []jobstore.StepID{got.Steps[1].ID, got.Steps[3].ID}, nil, 0, 10)
	w.check("jobs of steps", err)
	if len(jobs) != 2 || jobs[0].Identifier != "a" || jobs[1].Identifier != "c" || jobs[0].Step != got.Steps[1].ID {
		w.Fatalf("jobs of the first and the last step are %+v", jobs)
	}
	_, err = w.store.Flow(w.Context(), id+1000)
	w.wantErr("a flow that does not exist", err, jobstore.ErrNotFound)
}

func compact(text json.RawMessage) []byte {
	var v any
	if json.Unmarshal(text, &v) != nil {
		return text
	}
	out, err := json.Marshal(v)
	if err != nil {
		return text
	}
	return out
}

func chainStops(w *world) {
	for _, state := range []jobstore.State{jobstore.PermanentlyFailed, jobstore.Cancelled} {
		by := w.consumer()
		f := chainOf("a", "b", "c")
		hears(&f, jobstore.OnFailure)
		id := w.start(f)
		w.wantEnds(by, "a", jobstore.Finished, "b")
		l := w.byName(by, "b")
		o := outcome(l, state)
		o.Step = l.Job.Step
		want, told := jobstore.StepCancelled, []string(nil)
		if state == jobstore.PermanentlyFailed {
			want, told = jobstore.StepFailed, []string{"on-failure"}
		}
		if got := w.names(w.recorded(by, o)); !slices.Equal(got, told) {
			w.Fatalf("a step that is %s has released %q", state, got)
		}
		w.wantFlow(id, want)
		if state == jobstore.PermanentlyFailed {
			w.wantEnds(by, "on-failure", jobstore.PermanentlyFailed) // it changes nothing
			w.wantFlow(id, want)
		}
		changed, err := w.store.Retry(w.Context(), []jobstore.ID{l.Job.ID})
		w.check("retry", err)
		w.same("retried", changed.Done, l.Job.ID)
		w.wantFlow(id, jobstore.StepRunning)
		if c := w.flow(id).Steps[0]; c.Failed != 0 || c.Cancelled != 0 || c.Done != 1 || c.Open != 1 {
			w.Fatalf("after the retry the chain is %+v", c)
		}
		w.wantEnds(by, "b", jobstore.Finished, "c")
		w.wantEnds(by, "c", jobstore.Finished)
		w.wantFlow(id, jobstore.StepFinished)
	}
}

func chainGoesOn(w *world) {
	by := w.consumer()
	f := chainOf("a", "b", "c", "d")
	key := named("b")
	key.Mode = jobstore.Unique
	f.Steps[2].Jobs = []jobstore.NewJob{key}
	holder := w.insert(key)
	id := w.start(f)
	w.wantReady("a", "b")
	l := w.byName(by, "a")
	o := outcome(l, jobstore.Finished)
	o.Step, o.Error = l.Job.Step, "skipped: nothing to do"
	if got := w.names(w.recorded(by, o)); !slices.Equal(got, []string{"c"}) { // b is redundant at its insert
		w.Fatalf("released %q", got)
	}
	list, err := w.store.List(w.Context(), jobstore.Filter{Identifiers: []string{"c"}})
	w.check("list", err)
	changed, err := w.store.Delete(w.Context(), []jobstore.ID{list[0].ID, holder[0]})
	w.check("delete", err)
	w.same("deleted", changed.Done, list[0].ID, holder[0])
	w.wantReady("d")
	w.wantEnds(by, "d", jobstore.Finished)
	w.wantFlow(id, jobstore.StepFinished)
	jobs, err := w.store.StepJobs(w.Context(), []jobstore.StepID{w.flow(id).Steps[4].ID}, nil, 0, 10)
	w.check("jobs", err)
	_, err = w.store.Delete(w.Context(), []jobstore.ID{jobs[0].ID}) // what has ended changes nothing
	w.check("delete", err)
	w.settleAll()
	w.wantFlow(id, jobstore.StepFinished)
}

func batchCalledOff(w *world) {
	by := w.consumer()
	f := batchOf(0, "a", "b", "c", "d")
	hears(&f, jobstore.OnSuccess)
	hears(&f, jobstore.OnEnd)
	id := w.start(f)
	running := w.byName(by, "b")
	w.wantEnds(by, "a", jobstore.PermanentlyFailed)
	look, err := w.store.Look(w.Context())
	w.check("look", err)
	if !look.Flows {
		w.Fatal("a batch that is called off is no work for the sweep")
	}
	w.settleAll()
	w.wantReady()
	orders, err := w.store.Renew(w.Context(), by.Holder, long)
	w.check("renew", err)
	if len(orders.Cancel) != 1 || orders.Cancel[running.Job.ID] != running.Job.LeaseNo {
		w.Fatalf("the running member is not asked to end: %v", orders.Cancel)
	}
	w.wantFlow(id, jobstore.StepRunning)
	o := outcome(running, jobstore.Cancelled)
	o.Step = running.Job.Step
	if got := w.names(w.recorded(by, o)); !slices.Equal(got, []string{"on-end"}) {
		w.Fatalf("released %q", got)
	}
	w.wantFlow(id, jobstore.StepFailed)
	if s := w.flow(id).Steps[0]; s.Failed != 1 || s.Cancelled != 3 || s.Open != 0 || s.Calling {
		w.Fatalf("the batch is %+v", s)
	}
	ids := w.jobsOf(id, jobstore.PermanentlyFailed, jobstore.Cancelled)
	changed, err := w.store.Retry(w.Context(), ids)
	w.check("retry", err)
	if len(changed.Done) != 4 {
		w.Fatalf("retried %+v", changed)
	}
	w.wantFlow(id, jobstore.StepRunning)
	w.settleAll()
	w.wantEnds(by, "a", jobstore.Finished)
	w.wantEnds(by, "b", jobstore.Finished)
	w.wantEnds(by, "c", jobstore.Finished)
	w.wantEnds(by, "d", jobstore.Finished, "on-success") // on-end has gone before
	w.wantFlow(id, jobstore.StepFinished)
}

// jobsOf lists the jobs of a flow's steps, callbacks excepted.
func (w *world) jobsOf(id jobstore.StepID, states ...jobstore.State) []jobstore.ID {
	w.Helper()
	var steps []jobstore.StepID
	for _, s := range w.flow(id).Steps {
		if s.Role != jobstore.RoleCallback {
			steps = append(steps, s.ID)
		}
	}
	jobs, err := w.store.StepJobs(w.Context(), steps, states, 0, 10_000)
	w.check("jobs of steps", err)
	ids := make([]jobstore.ID, len(jobs))
	for i := range jobs {
		ids[i] = jobs[i].ID
	}
	return ids
}

func batchAllows(w *world) {
	by := w.consumer()
	id := w.start(batchOf(1, "a", "b", "c"))
	w.wantEnds(by, "a", jobstore.PermanentlyFailed)
	w.settleAll()
	w.wantReady("b", "c")
	w.wantEnds(by, "b", jobstore.Cancelled)
	w.wantEnds(by, "c", jobstore.Finished)
	w.wantFlow(id, jobstore.StepCancelled) // one too many
	all := w.start(batchOf(jobstore.AllowAll, "x"))
	w.wantEnds(by, "x", jobstore.PermanentlyFailed)
	w.wantFlow(all, jobstore.StepFinished)
}

func nested(w *world) {
	by := w.consumer()
	// a, then a batch of x and the chain p, q, then z
	f := jobstore.NewFlow{Name: "nested", Steps: []jobstore.NewStep{
		{Name: "outer", Role: jobstore.RoleChain, Parent: -1},
		{Name: "a", Role: jobstore.RoleJob, Jobs: []jobstore.NewJob{named("a")}},
		{Name: "batch", Role: jobstore.RoleBatch, Waits: 1, Jobs: []jobstore.NewJob{named("x")}},
		{Name: "inner", Role: jobstore.RoleChain, Parent: 2},
		{Name: "p", Role: jobstore.RoleJob, Parent: 3, Jobs: []jobstore.NewJob{named("p")}},
		{Name: "q", Role: jobstore.RoleJob, Parent: 3, Waits: 1, Jobs: []jobstore.NewJob{named("q")}},
		{Name: "z", Role: jobstore.RoleJob, Waits: 1, Jobs: []jobstore.NewJob{named("z")}},
	}, Edges: []jobstore.NewEdge{
		{From: 1, On: jobstore.OnSuccess, To: 2}, {From: 4, On: jobstore.OnSuccess, To: 5}, {From: 2, On: jobstore.OnSuccess, To: 6},
	}}
	id := w.start(f)
	w.wantReady("a")
	w.wantEnds(by, "a", jobstore.Finished, "p", "x")
	w.wantEnds(by, "p", jobstore.Finished, "q")
	w.wantEnds(by, "x", jobstore.Finished)
	w.wantEnds(by, "q", jobstore.PermanentlyFailed)
	w.wantFlow(id, jobstore.StepFailed)
	_, err := w.store.Retry(w.Context(), w.jobsOf(id, jobstore.PermanentlyFailed))
	w.check("retry", err)
	w.wantFlow(id, jobstore.StepRunning)
	w.wantEnds(by, "q", jobstore.Finished, "z")
	w.wantEnds(by, "z", jobstore.Finished)
	w.wantFlow(id, jobstore.StepFinished)
}

func flowGrows(w *world) {
	by := w.consumer()
	f := chainOf("a", "z")
	f.Steps[1] = jobstore.NewStep{Name: "batch", Role: jobstore.RoleBatch, Jobs: []jobstore.NewJob{named("m")}}
	id := w.start(f)
	l := w.byName(by, "m")
	o := outcome(l, jobstore.Finished)
	o.Step = l.Job.Step
	o.Flow = &jobstore.FlowChange{
		Add: []jobstore.NewJob{named("n1"), named("n2")}, Prepend: []jobstore.NewJob{named("y1"), named("y2")}, Append: []jobstore.NewJob{named("last")},
	}
	for range 2 { // a reply that is lost changes nothing
		w.recorded(by, o)
		w.wantReady("n1", "n2")
	}
	w.wantEnds(by, "n1", jobstore.Finished)
	w.wantEnds(by, "n2", jobstore.Finished, "y1")
	w.wantEnds(by, "y1", jobstore.Finished, "y2")
	w.wantEnds(by, "y2", jobstore.Finished, "z")
	w.wantEnds(by, "z", jobstore.Finished, "last")
	w.wantEnds(by, "last", jobstore.Finished)
	w.wantFlow(id, jobstore.StepFinished)

	id = w.start(chainOf("only"))
	l = w.byName(by, "only")
	o = outcome(l, jobstore.PermanentlyFailed) // an attempt that fails adds nothing
	o.Step, o.Flow = l.Job.Step, &jobstore.FlowChange{Append: []jobstore.NewJob{named("never")}}
	w.recorded(by, o)
	w.wantReady()
	w.wantFlow(id, jobstore.StepFailed)
}

func choice(w *world) {
	by := w.consumer()
	// d chooses a or b; c follows both; e follows b only
	step := func(name string, waits int) jobstore.NewStep {
		return jobstore.NewStep{Name: name, Role: jobstore.RoleJob, Waits: waits, Jobs: []jobstore.NewJob{named(name)}}
	}
	f := jobstore.NewFlow{Name: "flow", Version: 3, Args: json.RawMessage(`{"n":1}`), Steps: []jobstore.NewStep{
		{Name: "flow", Role: jobstore.RoleFlow, Parent: -1},
		{Name: "d", Role: jobstore.RoleDecide, Jobs: []jobstore.NewJob{named("d")}},
		step("a", 1), step("b", 1), step("c", 2), step("e", 1),
	}, Edges: []jobstore.NewEdge{
		{From: 1, On: jobstore.OnSuccess, To: 2},
		{From: 1, On: jobstore.OnSuccess, To: 3},
		{From: 2, On: jobstore.OnSuccess, To: 4},
		{From: 3, On: jobstore.OnSuccess, To: 4},
		{From: 3, On: jobstore.OnSuccess, To: 5},
	}}
	for _, c := range []struct{ output, first, then string }{
		{`{"go":["a"]}`, "a", "c"}, {`{"go":[]}`, "", ""}, {"", "", ""},
	} {
		id := w.start(f)
		l := w.byName(by, "d")
		o := outcome(l, jobstore.Finished)
		o.Step, o.Output = l.Job.Step, json.RawMessage(c.output)
		w.recorded(by, o)
		if c.first != "" {
			w.wantReady(c.first)
			w.wantEnds(by, c.first, jobstore.Finished, c.then)
			w.wantEnds(by, c.then, jobstore.Finished)
		}
		w.wantReady()
		w.wantFlow(id, jobstore.StepFinished)
		if e := w.flow(id).Steps[5]; e.State != jobstore.StepSkipped {
			w.Fatalf("step e is %+v", e)
		}
		if got := w.flow(id); got.Version != 3 || string(compact(got.Args)) != `{"n":1}` {
			w.Fatalf("flow is %+v", got)
		}
	}
}

func filled(w *world) {
	by := w.consumer()
	f := chainOf("fill", "after")
	id := w.start(f)
	step := w.flow(id).Steps[1].ID
	l := w.byName(by, "fill")
	for _, c := range []struct {
		first, n, have int
		err            error
	}{{0, 2, 2, nil}, {0, 2, 2, nil}, {1, 3, 4, nil}, {6, 1, 4, jobstore.ErrInvalid}, {4, 0, 4, nil}} {
		jobs := make([]jobstore.NewJob, c.n)
		for i := range jobs {
			jobs[i] = named(fmt.Sprint("m", c.first+i))
		}
		have, refs, err := w.store.AddMembers(w.Context(), step, c.first, jobs)
		if !errors.Is(err, c.err) || err == nil && have != c.have {
			w.Fatalf("%+v: %d, %d released, error %v", c, have, len(refs), err)
		}
	}
	w.wantReady("m0", "m1", "m2", "m3")
	o := outcome(l, jobstore.Finished)
	o.Step = l.Job.Step
	w.recorded(by, o)
	for _, n := range []string{"m3", "m1", "m0"} {
		w.wantEnds(by, n, jobstore.Finished)
	}
	w.wantEnds(by, "m2", jobstore.Finished, "after")
	_, _, err := w.store.AddMembers(w.Context(), step, 4, []jobstore.NewJob{named("late")})
	w.wantErr("add to a step that has ended", err, jobstore.ErrRefused)
	_, _, err = w.store.AddMembers(w.Context(), step+1000, 0, nil)
	w.wantErr("add to a step that does not exist", err, jobstore.ErrNotFound)
}
