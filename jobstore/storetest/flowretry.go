package storetest

import (
	"github.com/warrenq/warren/jobstore"
)

// batchRetriedInParts: what has failed and is not retried yet does not cancel what is. Another failure does.
func batchRetriedInParts(w *world) {
	by := w.consumer()
	f := batchOf(0, "a", "b")
	f.Steps = append(f.Steps, jobstore.NewStep{Name: "inner", Role: jobstore.RoleChain},
		jobstore.NewStep{Name: "c", Role: jobstore.RoleJob, Parent: 1, Jobs: []jobstore.NewJob{named("c")}})
	id := w.start(f)
	held := map[string]jobstore.Lease{}
	for _, name := range []string{"a", "b", "c"} {
		held[name] = w.byName(by, name)
	}
	for _, l := range held {
		w.recorded(by, stepOutcome(l, jobstore.PermanentlyFailed))
	}
	for _, name := range []string{"c", "a", "b"} {
		w.wantFlow(id, jobstore.StepFailed)
		w.order(w.store.Retry, held[name].Job.ID)
		w.settleAll()
		w.wantReady(name)
		w.wantEnds(by, name, jobstore.Finished)
	}
	w.wantFlow(id, jobstore.StepFinished)

	w.order(w.store.Retry, held["a"].Job.ID, held["b"].Job.ID)
	w.wantEnds(by, "b", jobstore.PermanentlyFailed)
	w.settleAll()
	w.wantReady()
	w.wantFlow(id, jobstore.StepFailed)
}

// growsAgain: a chain grows by an attempt that an operator has ordered after its step had let the next one go.
func growsAgain(w *world) {
	by := w.consumer()
	jobs := func(names ...string) (list []jobstore.NewJob) {
		for _, n := range names {
			list = append(list, named(n))
		}
		return list
	}
	for _, c := range []struct {
		chain  []string
		again  int // how many of its first jobs run again
		change jobstore.FlowChange
		then   []string // what runs after the first of these, each when the one before has ended
	}{
		{[]string{"a"}, 1, jobstore.FlowChange{Prepend: jobs("x", "y")}, []string{"x", "y"}},
		{[]string{"a", "b"}, 1, jobstore.FlowChange{Prepend: jobs("x")}, []string{"x"}},
		{[]string{"a"}, 1, jobstore.FlowChange{Append: jobs("z")}, []string{"z"}},
		{[]string{"a", "b"}, 1, jobstore.FlowChange{Append: jobs("z")}, []string{"z"}},
		{[]string{"a"}, 1, jobstore.FlowChange{Prepend: jobs("x"), Append: jobs("z")}, []string{"x", "z"}},
		{[]string{"a", "b"}, 2, jobstore.FlowChange{Append: jobs("z")}, []string{"b", "z"}}, // z waits for b, which runs again
	} {
		id := w.start(chainOf(c.chain...))
		for i, name := range c.chain {
			w.wantEnds(by, name, jobstore.Finished, c.chain[i+1:min(i+2, len(c.chain))]...)
		}
		w.wantFlow(id, jobstore.StepFinished)
		w.order(w.store.Retry, w.jobsOf(id)[:c.again]...)
		l := w.byName(by, "a")
		o := stepOutcome(l, jobstore.Finished)
		o.Flow = &c.change
		w.recorded(by, o)
		for _, name := range c.then {
			w.wantReady(name)
			w.ends(by, name, jobstore.Finished)
		}
		w.wantReady()
		w.wantFlow(id, jobstore.StepFinished)
		if s := w.flow(id).Steps[0]; s.Done != s.Total {
			w.Fatalf("of the chain %q with %+v some never ran: %+v", c.chain, c.change, s)
		}
	}
}

// withChain is a batch of x and of a chain: c1, then a batch of m and n, then c3.
func withChain() jobstore.NewFlow {
	f := batchOf(0, "x")
	f.Steps = append(f.Steps, jobstore.NewStep{Name: "chain", Role: jobstore.RoleChain},
		jobstore.NewStep{Name: "c1", Role: jobstore.RoleJob, Parent: 1, Jobs: []jobstore.NewJob{named("c1")}},
		jobstore.NewStep{Name: "c2", Role: jobstore.RoleBatch, Parent: 1, Waits: 1, Jobs: []jobstore.NewJob{named("m"), named("n")}},
		jobstore.NewStep{Name: "c3", Role: jobstore.RoleJob, Parent: 1, Waits: 1, Jobs: []jobstore.NewJob{named("c3")}})
	f.Edges = append(f.Edges, jobstore.NewEdge{From: 2, On: jobstore.OnSuccess, To: 3}, jobstore.NewEdge{From: 3, On: jobstore.OnSuccess, To: 4})
	hears(&f, jobstore.OnSuccess)
	return f
}

// calledOff plays such a batch until x has called it off and c1, which ran meanwhile, has ended well all the same. Each
// tick of the sweep brings the call a level further down.
func (w *world) calledOff(by jobstore.Claimant, ticks int) (id jobstore.StepID, c1 jobstore.Lease) {
	w.Helper()
	id = w.start(withChain())
	c1 = w.byName(by, "c1")
	w.wantEnds(by, "x", jobstore.PermanentlyFailed)
	for range ticks {
		w.settleAll()
	}
	w.recorded(by, stepOutcome(c1, jobstore.Finished))
	for range 3 {
		w.settleAll()
	}
	w.wantReady()
	w.wantFlow(id, jobstore.StepFailed)
	return id, c1
}

// goesOn runs the rest of such a batch.
func (w *world) goesOn(by jobstore.Claimant, id jobstore.StepID) {
	w.Helper()
	w.wantFlow(id, jobstore.StepRunning)
	w.settleAll()
	w.wantReady("x", "m", "n")
	w.wantEnds(by, "x", jobstore.Finished)
	w.wantEnds(by, "m", jobstore.Finished)
	w.wantEnds(by, "n", jobstore.Finished, "c3")
	w.wantEnds(by, "c3", jobstore.Finished, "on-success")
	w.wantFlow(id, jobstore.StepFinished)
	w.wantEnds(by, "on-success", jobstore.Finished)
}

func keptGoesOn(w *world) {
	by := w.consumer()
	failed := []jobstore.State{jobstore.PermanentlyFailed, jobstore.Cancelled}
	for ticks := range 4 { // with none m and n are released, and cancelled
		id, _ := w.calledOff(by, ticks)
		w.order(w.store.Retry, w.jobsOf(id, failed...)...)
		w.check("resume", w.store.ResumeFlow(w.Context(), id))
		w.goesOn(by, id)
		w.check("resume what has finished", w.store.ResumeFlow(w.Context(), id))
		w.wantFlow(id, jobstore.StepFinished)
	}

	// A job of the chain that runs again makes it go on, too, though it had finished.
	id, c1 := w.calledOff(by, 2)
	w.order(w.store.Retry, append(w.jobsOf(id, failed...), c1.Job.ID)...)
	w.wantEnds(by, "c1", jobstore.Finished, "m", "n")
	w.goesOn(by, id)

	// What that job adds comes before what was kept.
	id, c1 = w.calledOff(by, 2)
	w.order(w.store.Retry, append(w.jobsOf(id, failed...), c1.Job.ID)...)
	o := stepOutcome(w.byName(by, "c1"), jobstore.Finished)
	o.Flow = &jobstore.FlowChange{Prepend: []jobstore.NewJob{named("c1b")}}
	w.recorded(by, o)
	w.check("resume", w.store.ResumeFlow(w.Context(), id)) // it waits for what was added
	w.wantReady("x", "c1b")
	w.wantEnds(by, "c1b", jobstore.Finished, "m", "n")
	w.goesOn(by, id)

	// What a member adds to a batch that is called off.
	id = w.start(batchOf(0, "x", "adds"))
	adds := stepOutcome(w.byName(by, "adds"), jobstore.Finished)
	adds.Flow = &jobstore.FlowChange{Add: []jobstore.NewJob{named("n1"), named("n2")}}
	w.wantEnds(by, "x", jobstore.PermanentlyFailed)
	w.recorded(by, adds)
	w.wantReady()
	w.wantFlow(id, jobstore.StepFailed)
	w.order(w.store.Retry, w.jobsOf(id, failed...)...)
	w.check("resume", w.store.ResumeFlow(w.Context(), id))
	w.wantEnds(by, "n1", jobstore.Finished)
	w.wantEnds(by, "n2", jobstore.Finished)
	w.wantEnds(by, "x", jobstore.Finished)
	if s := w.flow(id).Steps[0]; s.State != jobstore.StepFinished || s.Done != 4 || s.Total != 4 {
		w.Fatalf("the batch is %+v", s)
	}

	// What waits for others than those that were called off stays.
	chain := w.start(chainOf("a", "b"))
	w.check("resume what runs", w.store.ResumeFlow(w.Context(), chain))
	w.wantReady("a")
	w.wantErr("resume what does not exist", w.store.ResumeFlow(w.Context(), chain+1000), jobstore.ErrNotFound)
}

// calledOffTooLate: a step of which everything has ended well has finished. Were it cancelled, nothing of it could be
// retried, and what holds it could never end well.
func calledOffTooLate(w *world) {
	by := w.consumer()
	f := batchOf(0, "a")
	f.Steps = append(f.Steps, jobstore.NewStep{Name: "inner", Role: jobstore.RoleChain},
		jobstore.NewStep{Name: "p", Role: jobstore.RoleJob, Parent: 1, Jobs: []jobstore.NewJob{named("p")}})
	hears(&f, jobstore.OnSuccess)
	id := w.start(f)
	a, p := w.byName(by, "a"), w.byName(by, "p")
	w.check("cancel", w.store.CancelStep(w.Context(), id))
	for range 3 {
		w.settleAll()
	}
	w.recorded(by, stepOutcome(p, jobstore.Finished))
	w.recorded(by, stepOutcome(a, jobstore.Finished))
	w.wantReady("on-success")
	w.wantFlow(id, jobstore.StepFinished)
}
