package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func recordTests() []test {
	return []test{
		{"each outcome leaves its row as it should be", recordRows},
		{"a mixed batch", recordBatch},
		{"only the lease's holder records", recordFence},
		{"a lease that was taken over is fenced", recordFencedAfterRescue},
		{"recording twice is the same as once", recordTwice},
		{"another outcome under the same lease is fenced", func(w *world) {
			by := w.consumer()
			l := w.claimOne(by, w.insert(plain())[0])
			w.finish(by, l)
			w.same("fenced", w.record(by, outcome(l, jobstore.PermanentlyFailed)).Fenced, l.Job.ID)
			w.wantState(jobstore.Finished, l.Job.ID)
		}},
		{"handed back jobs are released and keep their attempt", recordHandedBack},
		{"the history of errors", recordErrors},
		{"metadata merges and output is kept", recordMetadata},
		{"a note is in the row while the job runs", noteRunning},
		{"only the lease's holder notes", noteFence},
		{"notes of many at once", noteRace},
		{"a transaction decides", recordTx},
		{"return without a registration", recordReturn},
	}
}

func recordRows(w *world) {
	by := w.consumer()
	for _, c := range []struct {
		state    jobstore.State
		delay    time.Duration
		uncount  bool
		attempts int
	}{
		{jobstore.Finished, 0, false, 1},
		{jobstore.PermanentlyFailed, 0, false, 1},
		{jobstore.Cancelled, 0, false, 1},
		{jobstore.TemporarilyFailed, time.Hour, false, 1},
		{jobstore.Waiting, time.Hour, true, 0},
		{jobstore.Ready, 0, true, 0},
	} {
		id := w.insert(plain())[0]
		o := outcome(w.claimOne(by, id), c.state)
		o.Delay, o.Uncount, o.Error = c.delay, c.uncount, "because"
		o.Memory = []byte(`{"before": 1, "after": 2}`)
		w.recorded(by, o)
		j := w.get(id)
		if j.State != c.state || j.Attempts != c.attempts || j.LeaseNo != 1 || j.Holder != 0 || j.Error != "because" ||
			j.DurationMS == nil || *j.DurationMS != 5 || (j.FinishedAt != nil) != c.state.Final() || j.Host != "host" || j.PID != 7 ||
			!sameJSON(j.Memory, o.Memory) || !sameJSON(j.Args, plain().Args) {
			w.Fatalf("%s left %+v", c.state, j)
		}
		if c.delay > 0 && j.AvailableAt.Sub(*j.AttemptedAt) < c.delay {
			w.Fatalf("%s is due at %s, %s after %s", c.state, j.AvailableAt, j.AvailableAt.Sub(*j.AttemptedAt), *j.AttemptedAt)
		}
	}
}

func recordBatch(w *world) {
	by := w.consumer()
	states := []jobstore.State{jobstore.Finished, jobstore.TemporarilyFailed, jobstore.Ready, jobstore.PermanentlyFailed, jobstore.Waiting}
	var jobs []jobstore.NewJob
	for range 50 {
		jobs = append(jobs, plain())
	}
	ids := w.insert(jobs...)
	var done []jobstore.Outcome
	for i, l := range w.claim(by, ids...) {
		o := outcome(l, states[i%len(states)])
		o.Delay = time.Hour
		if o.State == jobstore.Ready {
			o.Delay, o.Uncount = 0, true
		}
		done = append(done, o)
	}
	if released := w.recorded(by, done...); len(released) != 10 {
		w.Fatalf("%d jobs were released, want the 10 that were handed back", len(released))
	}
	for _, o := range done {
		w.wantState(o.State, o.ID)
	}
}

func recordFence(w *world) {
	by, other := w.consumer(), w.consumer()
	id := w.insert(plain())[0]
	l := w.claimOne(by, id)
	w.same("another holder", w.record(other, outcome(l, jobstore.Finished)).Fenced, id)
	wrong := outcome(l, jobstore.Finished)
	wrong.LeaseNo++
	w.same("another lease", w.record(by, wrong).Fenced, id)
	wrong.LeaseNo, wrong.ID = 1, 1<<40
	w.same("no such job", w.record(by, wrong).Fenced, 1<<40)
	w.wantState(jobstore.Processing, id)
	w.finish(by, l)
	w.wantState(jobstore.Finished, id)
}

func recordFencedAfterRescue(w *world) {
	by := w.consumer()
	id := w.insert(plain())[0]
	l := w.claimOne(by, id)
	w.dies(by)
	w.rescued(id)
	o := outcome(l, jobstore.TemporarilyFailed)
	w.same("before the next claim", w.record(by, o).Fenced, id)
	other := w.consumer()
	again := w.claimOne(other, id)
	if again.Job.LeaseNo != 2 || again.Job.Crashes != 1 {
		w.Fatalf("the second lease is %+v", again.Job)
	}
	w.same("after it", w.record(by, outcome(l, jobstore.Finished)).Fenced, id)
	w.finish(other, again)
	if j := w.get(id); j.State != jobstore.Finished || j.Attempts != 2 {
		w.Fatalf("the row is %+v", j)
	}
}

// rescued waits until the job's holder has expired and the job was handed back.
func (w *world) rescued(id jobstore.ID) {
	w.Helper()
	w.eventually("the job is rescued", func() bool {
		_, err := w.store.Rescue(w.Context(), 100, 0)
		w.check("rescue", err)
		return w.get(id).State != jobstore.Processing
	})
}

func recordTwice(w *world) {
	by := w.consumer()
	ids := w.insert(plain(), plain(), inGroup("g", 10), inGroup("g", 10))
	var done []jobstore.Outcome
	for i, l := range w.claim(by, ids[:3]...) {
		o := outcome(l, jobstore.Finished)
		if i == 1 {
			o.State, o.Delay, o.Error = jobstore.TemporarilyFailed, time.Millisecond, "once"
		}
		done = append(done, o)
	}
	w.same("released", refIDs(w.recorded(by, done...)), ids[3])
	w.same("released again", refIDs(w.recorded(by, done...)), ids[3])
	failed := done[1].ID
	w.due(failed)
	w.recorded(by, done[1])
	second := w.claimOne(by, failed)
	w.recorded(by, done[1])
	if j := w.get(failed); j.State != jobstore.Processing || len(j.Errors) != 1 || j.Attempts != 2 {
		w.Fatalf("a repeated outcome changed the row: %+v", j)
	}
	w.finish(by, second)
}

func recordHandedBack(w *world) {
	by := w.consumer()
	ids := w.insert(plain(), plain())
	leases := w.claim(by, ids...)
	now, later := outcome(leases[0], jobstore.Ready), outcome(leases[1], jobstore.Ready)
	now.Uncount, later.Uncount, later.Delay = true, true, time.Hour
	w.same("released", refIDs(w.recorded(by, now, later)), now.ID)
	w.same("claimed", idsOf(w.claim(w.consumer(), ids...)), now.ID)
	if j := w.get(now.ID); !j.AvailableAt.Equal(leases[0].Job.AvailableAt) {
		w.Fatalf("a job handed back is due since %s, not since %s", j.AvailableAt, leases[0].Job.AvailableAt)
	}
	j := w.get(later.ID)
	if j.State != jobstore.Ready || j.Attempts != 0 || j.AnnounceAt == nil || j.AnnounceAt.Before(j.AvailableAt) {
		w.Fatalf("a job handed back for later is %+v", j)
	}
}

func recordErrors(w *world) {
	by := w.consumer()
	id := w.insert(plain())[0]
	for i := range 25 {
		o := outcome(w.claimOne(by, id), jobstore.TemporarilyFailed)
		o.Error, o.Delay = fmt.Sprintf("failure %d — ünïcode", i+1), 0
		w.recorded(by, o)
		w.due(id)
	}
	j := w.get(id)
	if len(j.Errors) != 20 || j.Errors[0].Attempt != 6 || j.Errors[19].Attempt != 25 || j.Errors[19].At.IsZero() ||
		j.Errors[19].State != jobstore.TemporarilyFailed || j.Errors[19].Error != j.Error || !strings.HasPrefix(j.Error, "failure 25") {
		w.Fatalf("after 25 failures: error %q, history %+v", j.Error, j.Errors)
	}
	w.finish(by, w.claimOne(by, id))
	if j := w.get(id); j.Error != "" || len(j.Errors) != 20 {
		w.Fatalf("a success after failures left error %q and %d entries", j.Error, len(j.Errors))
	}
}

func recordMetadata(w *world) {
	by := w.consumer()
	in := plain()
	in.Metadata = []byte(`{"a": 1, "b": 1}`)
	id := w.insert(in)[0]
	o := outcome(w.claimOne(by, id), jobstore.Finished)
	o.Metadata, o.Output = []byte(`{"b": 2, "c": 3}`), []byte(`["out"]`)
	w.recorded(by, o)
	j := w.get(id)
	if !sameJSON(j.Metadata, []byte(`{"a": 1, "b": 2, "c": 3}`)) || !sameJSON(j.Output, o.Output) {
		w.Fatalf("metadata %s, output %s", j.Metadata, j.Output)
	}
}

func recordTx(w *world) {
	by := w.consumer()
	no := errors.New("no")
	id := w.insert(plain())[0]
	done := []jobstore.Outcome{outcome(w.claimOne(by, id), jobstore.Finished)}
	err := w.store.InTx(w.Context(), func(ctx context.Context, tx jobstore.Tx) error {
		rec, err := w.store.RecordTx(ctx, tx, by.Holder, done)
		if err != nil || len(rec.Fenced) != 0 {
			w.Errorf("record in a transaction: %+v, %v", rec, err)
		}
		return no
	})
	w.wantErr("rolled back", err, no)
	w.wantState(jobstore.Processing, id)
	err = w.store.InTx(w.Context(), func(ctx context.Context, tx jobstore.Tx) error {
		_, err := w.store.RecordTx(ctx, tx, by.Holder, done)
		return err
	})
	w.check("committed", err)
	w.wantState(jobstore.Finished, id)
	err = w.store.InTx(w.Context(), func(ctx context.Context, tx jobstore.Tx) error {
		wrong := done[0]
		wrong.LeaseNo++
		rec, err := w.store.RecordTx(ctx, tx, by.Holder, []jobstore.Outcome{wrong})
		w.same("fenced", rec.Fenced, id)
		return err
	})
	w.check("a fenced outcome", err)
}

func recordReturn(w *world) {
	by := w.consumer()
	ids := w.insert(plain(), inGroup("g", 10), inGroup("g", 10), plain())
	leases := map[jobstore.ID]int64{ids[3]: 9}
	for _, l := range w.claim(by, ids[0], ids[1], ids[3]) {
		if l.Job.ID != ids[3] {
			leases[l.Job.ID] = l.Job.LeaseNo
		}
	}
	w.check("deregister", w.store.Deregister(w.Context(), by.Holder))
	refs, err := w.store.Return(w.Context(), by.Holder, leases)
	w.check("return", err)
	w.same("returned", refIDs(refs), ids[0], ids[1])
	for _, id := range ids[:2] {
		if j := w.get(id); j.State != jobstore.Ready || j.Attempts != 0 || j.Crashes != 0 || j.Holder != 0 {
			w.Fatalf("returned row is %+v", j)
		}
	}
	w.wantState(jobstore.Processing, ids[3])
}
