package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func operateTests() []test {
	return []test{
		{"found by pages", operateFind},
		{"every order takes the states it may", operateStates},
		{"a running job is left alone", operateProcessing},
		{"retry begins anew", operateRetry},
		{"retry is refused while another holds the key", operateRetryKey},
		{"cancelling a head lets the next one go", operateCancelHead},
		{"cancel and delete end a series and free a key", operateKeys},
		{"deleting what has ended", operateDeleteEnded},
		{"a running job is asked to end, that attempt only", operateAskCancel},
		{"edit", operateEdit},
		{"an edited READY job is announced in its new band", operateEditBand},
		{"orders beside consumers", operateRace},
	}
}

type order func(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error)

func (w *world) order(do order, ids ...jobstore.ID) jobstore.Changed {
	w.Helper()
	got, err := do(w.Context(), ids)
	w.check("order", err)
	return got
}

// ordered carries out an order that must not be refused.
func (w *world) ordered(do order, ids ...jobstore.ID) {
	w.Helper()
	got := w.order(do, ids...)
	w.same("done", got.Done, ids...)
	if len(got.Refused) > 0 {
		w.Fatalf("refused: %+v", got.Refused)
	}
}

// refused carries out an order that must be refused for one job, with words in its reason.
func (w *world) refused(do order, id jobstore.ID, words ...string) {
	w.Helper()
	got := w.order(do, id)
	if len(got.Done) > 0 || len(got.Refused) != 1 || got.Refused[0].ID != id {
		w.Fatalf("an order about job %d came to %+v", id, got)
	}
	for _, word := range words {
		if !strings.Contains(got.Refused[0].Reason, word) {
			w.Fatalf("the reason %q does not say %q", got.Refused[0].Reason, word)
		}
	}
}

func (w *world) edit(e jobstore.Edit) order {
	return func(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error) {
		return w.store.Edit(ctx, ids, e)
	}
}

// inState makes a job and brings it into a state by the moves that lead there.
func (w *world) inState(state jobstore.State) jobstore.ID {
	w.Helper()
	j := plain()
	if state == jobstore.Scheduled {
		j.Delay = time.Hour
	}
	id := w.insert(j)[0]
	move := map[jobstore.State]order{jobstore.BackToBroker: w.store.Retry, jobstore.Cancelled: w.store.Cancel}[state]
	switch {
	case move != nil:
		w.ordered(move, id)
	case state != jobstore.Ready && state != jobstore.Scheduled:
		by := w.consumer()
		lease := w.claimOne(by, id)
		if state != jobstore.Processing {
			o := outcome(lease, state)
			o.Error, o.Delay = "because", time.Hour
			w.recorded(by, o)
		}
	}
	w.wantState(state, id)
	return id
}

func operateFind(w *world) {
	ids := w.insert(slices.Repeat([]jobstore.NewJob{plain()}, 7)...)
	w.ordered(w.store.Cancel, ids[3])
	var found []jobstore.ID
	f := jobstore.Filter{Kinds: []string{"k"}, Limit: 3}
	for pages := 0; ; pages++ {
		page, err := w.store.Find(w.Context(), f)
		w.check("find", err)
		if len(page) == 0 {
			if pages != 3 {
				w.Fatalf("%d pages", pages)
			}
			break
		}
		for _, t := range page {
			found = append(found, t.ID)
			if t.Queue != "default" || t.Priority != 10 || t.Kind != "k" || (t.State == jobstore.Cancelled) != (t.ID == ids[3]) {
				w.Fatalf("found %+v", t)
			}
		}
		f.After = page[len(page)-1].ID
	}
	if !slices.Equal(found, ids) {
		w.Fatalf("found %v, want %v", found, ids)
	}
}

func operateStates(w *world) {
	live := func(s jobstore.State) bool { return !s.Final() && s != jobstore.Processing }
	seven := 7
	for _, verb := range []struct {
		name  string
		do    order
		takes func(jobstore.State) bool
	}{
		{"retry", w.store.Retry, func(s jobstore.State) bool { return s != jobstore.Processing }},
		{"cancel", w.store.Cancel, live},
		{"delete", w.store.Delete, func(s jobstore.State) bool { return s != jobstore.Processing }},
		{"edit", w.edit(jobstore.Edit{MaxAttempts: &seven}), live},
	} {
		for _, state := range jobstore.States() {
			if state == jobstore.BrokerFailed || state == jobstore.Redundant || state == jobstore.Quarantined {
				continue // nothing but SQL, keys and crashes lead there
			}
			id := w.inState(state)
			if !verb.takes(state) {
				w.refused(verb.do, id, string(state), fmt.Sprint(id))
				w.wantState(state, id)
				continue
			}
			w.ordered(verb.do, id)
		}
		w.refused(verb.do, 1<<40, "no job")
	}
}

func operateAskCancel(w *world) {
	ids := w.insert(plain(), plain(), plain())
	by := w.consumer()
	cancelled := func(want map[jobstore.ID]int64) {
		w.Helper()
		orders, err := w.store.Renew(w.Context(), by.Holder, long)
		w.check("renew", err)
		if !maps.Equal(orders.Cancel, want) {
			w.Fatalf("to be cancelled are %v, want %v", orders.Cancel, want)
		}
	}
	cancelled(nil)
	leases := w.claim(by, ids[:2]...)
	got, err := w.store.AskCancel(w.Context(), ids)
	w.check("ask", err)
	w.same("asked for", got.Done, ids[:2]...)
	if len(got.Refused) != 1 || got.Refused[0].ID != ids[2] {
		w.Fatalf("refused %+v", got.Refused)
	}
	cancelled(map[jobstore.ID]int64{ids[0]: leases[0].Job.LeaseNo, ids[1]: leases[1].Job.LeaseNo})
	w.finish(by, leases[0])
	o := outcome(leases[1], jobstore.Cancelled)
	w.recorded(by, o)
	w.wantState(jobstore.Cancelled, ids[1])
	cancelled(nil)
	w.ordered(w.store.Retry, ids[1])
	w.due(ids[1])
	next := w.claimOne(by, ids[1])
	cancelled(nil) // what was asked for was another attempt
	_, err = w.store.AskCancel(w.Context(), ids[1:2])
	w.check("ask again", err)
	cancelled(map[jobstore.ID]int64{ids[1]: next.Job.LeaseNo})
}

func operateProcessing(w *world) {
	by := w.consumer()
	ids := w.insert(plain(), plain())
	lease := w.claimOne(by, ids[0])
	got := w.order(w.store.Delete, ids...)
	w.same("deleted", got.Done, ids[1])
	if len(got.Refused) != 1 || got.Refused[0].State != jobstore.Processing || got.Refused[0].Missing() {
		w.Fatalf("refused: %+v", got.Refused)
	}
	w.finish(by, lease)
}

func operateRetry(w *world) {
	by := w.consumer()
	id := w.inState(jobstore.PermanentlyFailed)
	later := w.inState(jobstore.TemporarilyFailed)
	w.ordered(w.store.Retry, id, later)
	for _, id := range []jobstore.ID{id, later} {
		if j := w.get(id); j.State != jobstore.BackToBroker || j.Attempts != 0 || j.Crashes != 0 || j.FinishedAt != nil || len(j.Errors) != 1 {
			w.Fatalf("a retried job is %+v", j)
		}
	}
	for _, id := range []jobstore.ID{id, later} {
		w.due(id)
		if lease := w.claimOne(by, id); lease.Job.Attempts != 1 || lease.Job.LeaseNo != 2 {
			w.Fatalf("its next attempt is %+v", lease.Job)
		}
	}
}

func operateRetryKey(w *world) {
	first := w.insert(withKey(jobstore.Unique, "u"))[0]
	second := w.insert(withKey(jobstore.Unique, "u"))[0]
	w.wantState(jobstore.Redundant, second)
	w.refused(w.store.Retry, second, fmt.Sprintf("job %d holds its key", first), "kind k, identifier u")
	w.ordered(w.store.Cancel, first)
	// One key for two: the first of them gets it, in one order as in two.
	got := w.order(w.store.Retry, first, second)
	w.same("retried", got.Done, first)
	w.refused(w.store.Retry, second, "holds its key")
	if third := w.insert(withKey(jobstore.Unique, "u"))[0]; w.get(third).State != jobstore.Redundant {
		w.Fatalf("the key of a retried job is free: %+v", w.get(third))
	}
}

func operateCancelHead(w *world) {
	for _, do := range []order{w.store.Cancel, w.store.Delete, w.edit(jobstore.Edit{Delay: new(time.Hour)})} {
		group := fmt.Sprint("g", w.insert(plain())[0])
		ids := w.insert(inGroup(group, 10), inGroup(group, 10))
		w.ordered(do, ids[0])
		if j := w.get(ids[1]); j.State != jobstore.Ready {
			w.Fatalf("the next member is %+v", j)
		}
		refs, err := w.store.Outbox(w.Context(), 100)
		w.check("outbox", err)
		announced := slices.Contains(refIDs(refs), ids[1])
		// A member that is only postponed still goes first.
		if still, err := w.store.Find(w.Context(), jobstore.Filter{IDs: ids[:1], States: []jobstore.State{jobstore.Scheduled}}); err != nil || announced == (len(still) == 1) {
			w.Fatalf("announced %t, postponed %v, %v", announced, still, err)
		}
	}
}

func operateKeys(w *world) {
	for i, do := range []order{w.store.Cancel, w.store.Delete} {
		name := fmt.Sprint("s", i)
		series := w.insert(withKey(jobstore.Recurring, name))[0]
		w.ordered(do, series)
		left, err := w.store.Find(w.Context(), jobstore.Filter{Identifiers: []string{name}, States: []jobstore.State{jobstore.Scheduled, jobstore.Ready}})
		w.check("find", err)
		if len(left) != 0 {
			w.Fatalf("a series that was ended has %v", left)
		}
		if again := w.insert(withKey(jobstore.Recurring, name))[0]; w.get(again).State != jobstore.Ready {
			w.Fatalf("its identifier is not free: %+v", w.get(again))
		}
	}
	forever := withKey(jobstore.Unique, "f")
	forever.UniqueFor = jobstore.Forever
	id := w.insert(forever)[0]
	w.ordered(w.store.Cancel, id)
	if again := w.insert(forever)[0]; w.get(again).State != jobstore.Redundant {
		w.Fatal("a key for ever was freed by a cancel")
	}
	w.ordered(w.store.Delete, id)
	if again := w.insert(forever)[0]; w.get(again).State != jobstore.Ready {
		w.Fatal("a key for ever outlives the job that an operator deleted")
	}
}

func operateDeleteEnded(w *world) {
	by := w.consumer()
	series := w.insert(withKey(jobstore.Recurring, "r"))[0]
	w.finish(by, w.claimOne(by, series))
	w.ordered(w.store.Delete, series)
	_, err := w.store.Get(w.Context(), series)
	w.wantErr("get", err, jobstore.ErrNotFound)
	left, err := w.store.Find(w.Context(), jobstore.Filter{Identifiers: []string{"r"}})
	w.check("find", err)
	if len(left) != 1 || left[0].State != jobstore.Scheduled {
		w.Fatalf("deleting one that has ended took the series along: %v", left)
	}
	if dup := w.insert(withKey(jobstore.Recurring, "r"))[0]; w.get(dup).State != jobstore.Redundant {
		w.Fatal("the series lost its key")
	}
}

func operateEdit(w *world) {
	queue, priority, attempts, timeout, tags := "media", 30, 3, 2*time.Second, []string{"a", "b"}
	all := jobstore.Edit{
		Queue: &queue, Priority: &priority, Args: json.RawMessage(`{"n": 2}`), Delay: new(time.Hour), MaxAttempts: &attempts,
		Timeout: &timeout, Metadata: json.RawMessage(`{"m": 1}`), Tags: &tags,
	}
	id := w.insert(plain())[0]
	w.ordered(w.edit(jobstore.Edit{}), id)
	w.ordered(w.edit(all), id)
	j := w.get(id)
	if j.Queue != queue || j.Priority != priority || string(j.Args) != `{"n": 2}` || j.State != jobstore.Scheduled || j.MaxAttempts != 3 ||
		j.Timeout != timeout || string(j.Metadata) != `{"m": 1}` || !slices.Equal(j.Tags, tags) {
		w.Fatalf("edited: %+v", j)
	}
	at := j.CreatedAt.Add(-time.Hour)
	w.ordered(w.edit(jobstore.Edit{AvailableAt: at, Timeout: new(time.Duration), Tags: new([]string), MaxAttempts: new(int)}), id)
	if j = w.get(id); !j.AvailableAt.Equal(at) || j.Timeout != 0 || j.Tags != nil || j.MaxAttempts != 0 || j.Priority != priority {
		w.Fatalf("edited again: %+v", j)
	}
	w.due(id)
	got, err := w.store.Edit(w.Context(), []jobstore.ID{id}, jobstore.Edit{Priority: new(1 << 20)})
	w.wantErr("a priority that no row takes", err, jobstore.ErrInvalid)
	if len(got.Done) > 0 {
		w.Fatalf("done: %v", got.Done)
	}
}

func operateEditBand(w *world) {
	id := w.insert(plain())[0]
	w.ordered(w.edit(jobstore.Edit{Priority: new(30)}), id)
	refs, err := w.store.Outbox(w.Context(), 10)
	w.check("outbox", err)
	if len(refs) != 1 || refs[0].ID != id || refs[0].Priority != 30 {
		w.Fatalf("the outbox has %+v", refs)
	}
}

// operateRace cancels and retries what consumers claim and finish at the same moment: every job
// ends exactly once, whoever ends it.
func operateRace(w *world) {
	by := w.consumer()
	ids := w.insert(slices.Repeat([]jobstore.NewJob{plain(), inGroup("g", 10)}, 100)...)
	cancelled := make(chan []jobstore.ID, 1)
	go func() {
		var done []jobstore.ID
		for part := range slices.Chunk(ids, 10) {
			got, err := w.store.Cancel(w.Context(), part)
			if err != nil {
				w.Errorf("cancel: %v", err)
			}
			done = append(done, got.Done...)
		}
		cancelled <- done
	}()
	var ran []jobstore.ID
	for part := range slices.Chunk(ids, 7) {
		leases := w.claim(by, part...)
		ran = append(ran, idsOf(leases)...)
		w.finish(by, leases...)
	}
	done := <-cancelled
	w.wantState(jobstore.Finished, ran...)
	w.wantState(jobstore.Cancelled, done...)
	for _, id := range ids {
		if n := len(slices.DeleteFunc(append(slices.Clone(ran), done...), func(x jobstore.ID) bool { return x != id })); n > 1 {
			w.Fatalf("job %d ended %d times", id, n)
		}
	}
}
