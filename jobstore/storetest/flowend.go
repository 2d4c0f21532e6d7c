package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// settledByOthers ends members by everything but a recorded outcome.
func settledByOthers(w *world) {
	by := w.consumer()
	absorbed := named("absorbed")
	absorbed.SerialGroup, absorbed.Coalesce = "g", new(int64(5))
	first := named("first")
	first.SerialGroup, first.Coalesce = "g", new(int64(1))
	f := batchOf(jobstore.AllowAll, "cancelled", "deleted")
	f.Steps[0].Jobs = append(f.Steps[0].Jobs, first, absorbed)
	hears(&f, jobstore.OnEnd)
	id := w.start(f)
	list, err := w.store.List(w.Context(), jobstore.Filter{Identifiers: []string{"cancelled", "deleted"}})
	w.check("list", err)
	c, err := w.store.BeginChange(w.Context(), jobstore.VerbCancel, []byte(`{}`), "test")
	w.check("begin a change", err)
	_, err = w.store.ChangeNext(w.Context(), c.ID, jobstore.Order{Verb: jobstore.VerbCancel}, []jobstore.ID{list[0].ID}, list[0].ID)
	w.check("change", err)
	if s := w.flow(id).Steps[0]; s.Cancelled != 1 {
		w.Fatalf("after a mass change the batch is %+v", s)
	}
	_, _, _, err = w.store.UndoNext(w.Context(), c.ID, 0, 10)
	w.check("undo", err)
	w.settleAll()
	if s := w.flow(id).Steps[0]; s.Cancelled != 0 || s.Open != 4 {
		w.Fatalf("after the undo the batch is %+v", s)
	}
	_, err = w.store.Cancel(w.Context(), []jobstore.ID{list[0].ID})
	w.check("cancel", err)
	_, err = w.store.Delete(w.Context(), []jobstore.ID{list[1].ID})
	w.check("delete", err)
	w.wantEnds(by, "first", jobstore.Finished) // when it started it absorbed the other
	w.settleAll()
	w.wantReady("on-end")
	w.wantFlow(id, jobstore.StepFinished)
	if s := w.flow(id).Steps[0]; s.Total != 4 || s.Done != 3 || s.Cancelled != 1 || s.Open != 0 {
		w.Fatalf("the batch is %+v", s)
	}
}

func flowCancelled(w *world) {
	by := w.consumer()
	f := jobstore.NewFlow{Name: "nested", Steps: []jobstore.NewStep{
		{Name: "batch", Role: jobstore.RoleBatch, Parent: -1, Jobs: []jobstore.NewJob{named("x")}},
		{Name: "inner", Role: jobstore.RoleChain, Parent: 0},
		{Name: "p", Role: jobstore.RoleJob, Parent: 1, Jobs: []jobstore.NewJob{named("p")}},
		{Name: "q", Role: jobstore.RoleJob, Parent: 1, Waits: 1, Jobs: []jobstore.NewJob{named("q")}},
	}, Edges: []jobstore.NewEdge{{From: 2, On: jobstore.OnSuccess, To: 3}}}
	hears(&f, jobstore.OnEnd)
	id := w.start(f)
	running := w.byName(by, "p")
	w.check("cancel", w.store.CancelStep(w.Context(), id))
	w.settleAll()
	w.wantReady()
	w.wantFlow(id, jobstore.StepRunning)
	o := outcome(running, jobstore.Finished) // it did not listen, and nothing follows all the same
	o.Step, o.Flow = running.Job.Step, &jobstore.FlowChange{Add: []jobstore.NewJob{named("more")}}
	w.recorded(by, o)
	w.settleAll()
	w.wantReady("on-end")
	w.wantFlow(id, jobstore.StepCancelled)
	w.wantErr("cancel what has ended", w.store.CancelStep(w.Context(), id), jobstore.ErrRefused)
	w.wantErr("cancel what does not exist", w.store.CancelStep(w.Context(), id+1000), jobstore.ErrNotFound)
}

var errRollBack = errors.New("roll back")

func flowRolledBack(w *world) {
	var id jobstore.StepID
	err := w.store.InTx(w.Context(), func(ctx context.Context, tx jobstore.Tx) (err error) {
		if id, err = w.store.InsertFlowTx(ctx, tx, chainOf("a", "b")); err == nil {
			err = errRollBack
		}
		return err
	})
	w.wantErr("roll back", err, errRollBack)
	_, err = w.store.Flow(w.Context(), id)
	w.wantErr("a flow that was rolled back", err, jobstore.ErrNotFound)
	w.wantReady()
	w.check("commit", w.store.InTx(w.Context(), func(ctx context.Context, tx jobstore.Tx) (err error) {
		id, err = w.store.InsertFlowTx(ctx, tx, chainOf("a", "b"))
		return err
	}))
	w.wantReady("a")
	refs, err := w.store.Outbox(w.Context(), 10)
	w.check("outbox", err)
	if len(refs) != 1 {
		w.Fatalf("the outbox has %v", refs)
	}

	by := w.consumer()
	l := w.byName(by, "a")
	o := outcome(l, jobstore.Finished)
	o.Step = l.Job.Step
	w.check("record in a transaction", w.store.InTx(w.Context(), func(ctx context.Context, tx jobstore.Tx) error {
		_, err := w.store.RecordTx(ctx, tx, by.Holder, []jobstore.Outcome{o})
		return err
	}))
	w.wantReady("b")
	if refs, err = w.store.Outbox(w.Context(), 10); err != nil || len(refs) != 1 {
		w.Fatalf("the outbox has %v, error %v", refs, err)
	}
}

func flowsPruned(w *world) {
	by := w.consumer()
	ended, running, cancelled := w.start(chainOf("a")), w.start(chainOf("b", "c")), w.start(batchOf(0, "d"))
	w.wantEnds(by, "a", jobstore.Finished)
	w.check("cancel", w.store.CancelStep(w.Context(), cancelled))
	w.settleAll()
	list := func(f jobstore.FlowFilter) (ids []jobstore.StepID) {
		flows, err := w.store.ListFlows(w.Context(), f)
		w.check("list flows", err)
		for _, f := range flows {
			ids = append(ids, f.ID)
		}
		return ids
	}
	wantIDs := func(what string, got []jobstore.StepID, want ...jobstore.StepID) {
		w.Helper()
		if len(got) != len(want) {
			w.Fatalf("%s: %v, want %v", what, got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				w.Fatalf("%s: %v, want %v", what, got, want)
			}
		}
	}
	wantIDs("all", list(jobstore.FlowFilter{}), cancelled, running, ended)
	wantIDs("chains", list(jobstore.FlowFilter{Name: "chain"}), running, ended)
	wantIDs("a page", list(jobstore.FlowFilter{Before: cancelled, Limit: 1}), running)
	wantIDs("by state", list(jobstore.FlowFilter{States: []jobstore.StepState{jobstore.StepCancelled, jobstore.StepFinished}}), cancelled, ended)
	prune := func(want int, ages jobstore.FlowAges) {
		w.Helper()
		got := 0
		w.eventually("flows are pruned", func() bool {
			n, err := w.store.PruneFlows(w.Context(), ages, 10)
			w.check("prune", err)
			got += n
			return got == want
		})
	}
	prune(0, jobstore.FlowAges{Finished: time.Hour, Cancelled: time.Hour, Unfinished: time.Hour})
	prune(1, jobstore.FlowAges{Finished: time.Microsecond})
	prune(1, jobstore.FlowAges{Cancelled: time.Microsecond})
	wantIDs("what is left", list(jobstore.FlowFilter{}), running)
	prune(1, jobstore.FlowAges{Unfinished: time.Microsecond})
	w.wantEnds(by, "b", jobstore.Finished) // its flow is gone, and nothing waits for it
	w.settleAll()
	look, err := w.store.Look(w.Context())
	w.check("look", err)
	if look.Flows {
		w.Fatal("the end of a job whose flow was pruned stays to be settled")
	}
	next := w.start(chainOf("e"))
	if next <= cancelled {
		w.Fatalf("flow %d has a number that was used before", next)
	}
}

func recordedAgain(w *world) {
	by := w.consumer()
	id := w.start(batchOf(0, "a", "b"))
	l := w.byName(by, "a")
	o := outcome(l, jobstore.Finished)
	o.Step = l.Job.Step
	for range 3 {
		w.recorded(by, o, o)
	}
	if s := w.flow(id).Steps[0]; s.Done != 1 || s.Open != 1 {
		w.Fatalf("the batch is %+v", s)
	}
	other := w.consumer()
	if rec := w.record(other, jobstore.Outcome{ID: l.Job.ID, LeaseNo: l.Job.LeaseNo + 1, State: jobstore.PermanentlyFailed, Step: l.Job.Step}); len(rec.Fenced) != 1 {
		w.Fatalf("a forged outcome came to %+v", rec)
	}
	if s := w.flow(id).Steps[0]; s.Done != 1 || s.Failed != 0 {
		w.Fatalf("the batch is %+v", s)
	}
}

func quarantinedMember(w *world) {
	id := w.start(chainOf("a", "b"))
	by := w.consumer()
	w.byName(by, "a")
	w.dies(by)
	w.eventually("the dead consumer's job is quarantined", func() bool {
		r, err := w.store.Rescue(w.Context(), 10, 1)
		w.check("rescue", err)
		return len(r.Quarantined) == 1
	})
	w.wantFlow(id, jobstore.StepFailed)
}
