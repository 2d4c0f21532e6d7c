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
