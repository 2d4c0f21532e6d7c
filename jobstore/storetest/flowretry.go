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
