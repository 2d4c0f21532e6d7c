package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func historyTests() []test {
	return []test{
		{"attempts", historyOfAttempts},
		{"plain success is not noted, unless asked", historyOfSuccess},
		{"waits are noted so often and no oftener", historyOfWaits},
		{"orders and edits, by whom", historyOfOrders},
		{"mass changes", historyOfChanges},
		{"rescue", historyOfRescue},
		{"pauses and the like", historyOfPauses},
		{"a fenced outcome, and one that is repeated", historyFenced},
		{"what has ended, by kind", endedByKind},
	}
}

// history is what was noted of a job, a word each.
func (w *world) history(id jobstore.ID) (events []jobstore.JobEvent, words string) {
	w.Helper()
	job, err := w.store.Get(w.Context(), id)
	if err != nil {
		job.ID = id
	}
	events, err = w.store.History(w.Context(), &job, 1000)
	w.check("history", err)
	var list []string
	for _, e := range events {
		list = append(list, e.Event)
		if e.At.IsZero() {
			w.Fatalf("an event without a time: %+v", e)
		}
	}
	return events, strings.Join(list, ", ")
}

func (w *world) wantHistory(id jobstore.ID, want string) []jobstore.JobEvent {
	w.Helper()
	events, got := w.history(id)
	if got != want {
		w.Fatalf("history of job %d: %q, want %q", id, got, want)
	}
	return events
}

// versioned registers a consumer that has a version.
func (w *world) versioned() jobstore.Claimant {
	w.Helper()
	by := jobstore.Claimant{Host: "host-7", PID: 1, Queues: queues(), Priorities: priorities(), Kinds: kinds()}
	id, err := w.store.Register(w.Context(), jobstore.Consumer{Host: "host-7", Version: "v7", Kinds: kinds(), Queues: queues(), Priorities: priorities()}, long)
	w.check("register", err)
	by.Holder = id
	return by
}

// comesTo claims a job and records an outcome of it.
func (w *world) comesTo(by jobstore.Claimant, id jobstore.ID, out jobstore.Outcome) jobstore.Outcome {
	w.Helper()
	leases := w.claim(by, id)
	if len(leases) != 1 {
		w.Fatalf("job %d cannot be claimed", id)
	}
	out.ID, out.LeaseNo = id, leases[0].Job.LeaseNo
	rec, err := w.store.Record(w.Context(), by.Holder, []jobstore.Outcome{out})
	w.check("record", err)
	if len(rec.Fenced) > 0 {
		w.Fatalf("fenced: %v", rec.Fenced)
	}
	return out
}

// dueNow has a person run a job again.
func (w *world) dueNow(id jobstore.ID) {
	w.Helper()
	_, err := w.store.Retry(w.Context(), []jobstore.ID{id})
	w.check("retry", err)
	_, err = w.store.Due(w.Context(), 100)
	w.check("due", err)
}

func historyOfAttempts(w *world) {
	by := w.versioned()
	id := w.insert(plain())[0]
	w.comesTo(by, id, jobstore.Outcome{State: jobstore.Ready, Uncount: true})
	w.comesTo(by, id, jobstore.Outcome{State: jobstore.TemporarilyFailed, Error: "no route", Duration: 5 * time.Millisecond})
	w.dueNow(id)
	w.comesTo(by, id, jobstore.Outcome{State: jobstore.Waiting, Uncount: true, Error: strings.Repeat("ž", 600)})
	w.dueNow(id)
	w.comesTo(by, id, jobstore.Outcome{State: jobstore.Cancelled, Error: "not needed"})
	events := w.wantHistory(id, "released, failed, retried, waited, retried, cancelled")
	failed := events[1]
	if failed.Attempt != 1 || failed.Host != "host-7" || failed.Build != "v7" || failed.DurationMS == nil || *failed.DurationMS != 5 || failed.Note != "" {
		w.Fatalf("failed: %+v", failed)
	}
	job := w.get(id)
	if len(job.Errors) != 1 || job.Errors[0].At.Sub(failed.At).Abs() >= time.Millisecond {
		w.Fatalf("the error is of %v, its event of %s", job.Errors, failed.At)
	}
	if events[3].Note != strings.Repeat("ž", 500) || events[5].Note != "not needed" || events[0].Attempt != 1 || events[3].Attempt != 1 {
		w.Fatalf("notes: %+v", events)
	}
}

func historyOfSuccess(w *world) {
	by := w.versioned()
	ids := w.insert(plain(), plain(), plain())
	w.comesTo(by, ids[0], jobstore.Outcome{State: jobstore.Finished})
	w.comesTo(by, ids[1], jobstore.Outcome{State: jobstore.Finished, Output: json.RawMessage(`1`)})
	w.comesTo(by, ids[2], jobstore.Outcome{State: jobstore.Finished, Noted: true, Duration: time.Second})
	w.wantHistory(ids[0], "")
	w.wantHistory(ids[1], "")
	if e := w.wantHistory(ids[2], "finished")[0]; e.Attempt != 1 || e.Build != "v7" || *e.DurationMS != 1000 {
		w.Fatalf("finished: %+v", e)
	}
}

func historyOfWaits(w *world) {
	by := w.versioned()
	id := w.insert(plain())[0]
	for range 101 {
		w.comesTo(by, id, jobstore.Outcome{State: jobstore.Ready, Uncount: true})
	}
	w.wantHistory(id, strings.TrimSuffix(strings.Repeat("released, ", 21), ", "))
}

func historyOfOrders(w *world) {
	job := plain()
	job.Tags = []string{"old"}
	ids := w.insert(job, plain())
	ctx := jobstore.WithActor(w.Context(), "ann@desk")
	_, err := w.store.Edit(ctx, ids[:1], jobstore.Edit{Priority: new(20), Args: json.RawMessage(`{"n": 2}`), Tags: &[]string{"new"}, Delay: new(time.Duration(0))})
	w.check("edit", err)
	_, err = w.store.Cancel(ctx, ids)
	w.check("cancel", err)
	_, err = w.store.Cancel(ctx, ids) // which is refused, and so nothing happened
	w.check("cancel", err)
	_, err = w.store.Retry(w.Context(), ids[:1])
	w.check("retry", err)
	_, err = w.store.Delete(ctx, ids[:1])
	w.check("delete", err)
	events := w.wantHistory(ids[0], "edited, cancelled, retried, deleted")
	if events[0].By != "ann@desk" || events[1].By != "ann@desk" || events[2].By != "" || events[3].By != "ann@desk" {
		w.Fatalf("by whom: %+v", events)
	}
	var was map[string]json.RawMessage
	w.check("read what was", json.Unmarshal(events[0].Was, &was))
	if len(was) != 4 || string(was["priority"]) != "10" || !sameJSON(was["args"], plain().Args) || !sameJSON(was["tags"], json.RawMessage(`["old"]`)) || was["available_at"] == nil {
		w.Fatalf("what was: %s", events[0].Was)
	}
	w.wantHistory(ids[1], "cancelled")
	by := w.versioned()
	running := w.insert(plain())
	w.claim(by, running...)
	_, err = w.store.Edit(ctx, running, jobstore.Edit{Priority: new(20)})
	w.check("edit", err)
	_, err = w.store.AskCancel(ctx, running)
	w.check("ask", err)
	w.wantHistory(running[0], "asked to cancel")
}

func historyOfChanges(w *world) {
	id := w.insert(plain())[0]
	ctx := jobstore.WithActor(w.Context(), "bob@desk")
	c, err := w.store.BeginChange(ctx, jobstore.VerbEdit, json.RawMessage(`{}`), "bob@desk")
	w.check("begin", err)
	order := jobstore.Order{Verb: jobstore.VerbEdit, Edit: jobstore.Edit{Args: json.RawMessage(`{"n": 3}`)}}
	_, err = w.store.ChangeNext(ctx, c.ID, order, []jobstore.ID{id}, id)
	w.check("change", err)
	_, _, _, err = w.store.UndoNext(ctx, c.ID, 0, 10)
	w.check("undo", err)
	events := w.wantHistory(id, "edited, undone")
	var was struct{ Args json.RawMessage }
	w.check("read what was", json.Unmarshal(events[0].Was, &was))
	if events[0].Change != c.ID || events[1].Change != c.ID || events[1].By != "bob@desk" || !sameJSON(was.Args, plain().Args) {
		w.Fatalf("a change: %+v", events)
	}
}

func historyOfRescue(w *world) {
	ids := w.insert(plain(), plain())
	by := w.versioned()
	w.claim(by, ids...)
	w.check("deregister", w.store.Deregister(w.Context(), by.Holder))
	_, err := w.store.Rescue(w.Context(), 1, 3)
	w.check("rescue", err)
	_, err = w.store.Rescue(w.Context(), 10, 1)
	w.check("rescue", err)
	events := append(w.wantHistory(ids[0], "rescued"), w.wantHistory(ids[1], "quarantined")...)
	if slices.ContainsFunc(events, func(e jobstore.JobEvent) bool { return e.Attempt != 1 || e.Host != "host-7" || e.Build != "v7" }) {
		w.Fatalf("rescued: %+v", events)
	}
}

func historyOfPauses(w *world) {
	w.paused(jobstore.PauseOfKind, "k") // before there was a job
	w.resumed(jobstore.PauseOfKind, "k")
	w.starts("1", "one", false)
	after := w.get(w.insert(plain())[0]).CreatedAt // or at the same moment, by clocks that know milliseconds
	id := w.insert(inGroup("g", 10))[0]
	for !w.get(id).CreatedAt.After(after) {
		id = w.insert(inGroup("g", 10))[0]
	}
	w.paused(jobstore.PauseOfGroup, "g")
	w.paused(jobstore.PauseOfGroup, "h")
	w.paused(jobstore.PauseOfAll, "")
	w.resumed(jobstore.PauseOfAll, "")
	ctx := jobstore.WithActor(w.Context(), "cid@desk")
	w.check("disable", w.store.DisableKind(ctx, "k", "why not"))
	w.resumed(jobstore.PauseOfDisabled, "k")
	_, err := w.store.ResumeOf(w.Context(), jobstore.PauseOfDisabled, "k") // which it is not
	w.check("resume", err)
	_, err = w.store.Pause(ctx, "default", 0)
	w.check("pause", err)
	_, err = w.store.Resume(ctx, "default")
	w.check("resume", err)
	w.check("settings", w.store.SetKindSettings(ctx, "k", nil, json.RawMessage(`{"a":1}`)))
	events := w.wantHistory(id, "paused, paused, resumed, disabled, enabled, paused, resumed, settings changed")
	if e := events[3]; e.Subject != "kind k" || e.By != "cid@desk" || e.Note != "why not" {
		w.Fatalf("disabled: %+v", e)
	}
	if events[0].Subject != "group g" || events[5].Subject != "queue default" || string(events[7].Was) != "{}" {
		w.Fatalf("subjects: %s", fmt.Sprint(events))
	}
}

func historyFenced(w *world) {
	by := w.versioned()
	id := w.insert(plain())[0]
	out := w.comesTo(by, id, jobstore.Outcome{State: jobstore.PermanentlyFailed, Error: "bad"})
	_, err := w.store.Record(w.Context(), by.Holder, []jobstore.Outcome{out})
	w.check("record again", err)
	out.LeaseNo = 7
	_, err = w.store.Record(w.Context(), by.Holder, []jobstore.Outcome{out})
	w.check("record under another lease", err)
	w.wantHistory(id, "failed")
}

func endedByKind(w *world) {
	by := w.versioned()
	other := plain()
	other.Kind, other.Metadata = "other", json.RawMessage(`{"created_by": "ann"}`)
	ids := w.insert(plain(), plain(), plain(), other, other)
	w.comesTo(by, ids[0], jobstore.Outcome{State: jobstore.Finished, Duration: 10 * time.Millisecond})
	w.comesTo(by, ids[1], jobstore.Outcome{State: jobstore.Finished, Duration: 20 * time.Millisecond})
	w.comesTo(by, ids[2], jobstore.Outcome{State: jobstore.PermanentlyFailed, Error: "no", Duration: 60 * time.Millisecond})
	_, err := w.store.Cancel(w.Context(), ids[3:4])
	w.check("cancel", err)
	list, err := w.store.EndedByKind(w.Context(), long)
	w.check("count", err)
	if len(list) != 2 || list[0].Kind != "k" || list[0].MeanMS != 30 || list[0].MostMS != 60 || list[0].States[jobstore.Finished] != 2 ||
		list[0].Success == nil || *list[0].Success < 0.66 || *list[0].Success > 0.67 || list[0].Last.IsZero() {
		w.Fatalf("ended: %+v", list)
	}
	if o := list[1]; o.Kind != "other" || o.Success != nil || o.States[jobstore.Cancelled] != 1 || len(o.States) != 5 {
		w.Fatalf("ended: %+v", o)
	}
	if list, err = w.store.EndedByKind(w.Context(), -long); err != nil || len(list) != 0 {
		w.Fatalf("nothing has ended yet: %+v, %v", list, err)
	}
	found, err := w.store.List(w.Context(), jobstore.Filter{CreatedBy: []string{"ann", "bob"}})
	w.check("list", err)
	if len(found) != 2 || found[0].ID != ids[3] {
		w.Fatalf("by ann: %+v", found)
	}
}
