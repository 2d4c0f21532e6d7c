package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func changeTests() []test {
	return []test{
		{"one that was broken off goes on", changeBrokenOff},
		{"a retry is undone", changeUndoRetry},
		{"a retried job that has started is left alone by the undo", changeUndoStarted},
		{"a cancel is undone", changeUndoCancel},
		{"an edit is undone", changeUndoEdit},
		{"the undo of a key that is taken", changeUndoKey},
		{"a recurring job", changeRecurring},
		{"what was deleted is gone", changeDelete},
		{"followed", changeFollow},
		{"conflicts are foreseen", changeConflicts},
		{"forgotten", changeForgotten},
		{"ranges of numbers", changeRanges},
	}
}

func (w *world) begin(verb jobstore.Verb) jobstore.ChangeID {
	w.Helper()
	c, err := w.store.BeginChange(w.Context(), verb, json.RawMessage(`{"limit":0}`), "ada@desk")
	w.check("begin a change", err)
	return c.ID
}

// changed carries a change out for jobs that must not be refused.
func (w *world) changed(id jobstore.ChangeID, o jobstore.Order, ids ...jobstore.ID) {
	w.Helper()
	got, err := w.store.ChangeNext(w.Context(), id, o, ids, slices.Max(ids))
	w.check("change", err)
	w.same("changed", got.Done, ids...)
}

// undone undoes a whole change, two jobs at a time.
func (w *world) undone(id jobstore.ChangeID) (all jobstore.Changed) {
	w.Helper()
	var after jobstore.ID
	for {
		got, next, done, err := w.store.UndoNext(w.Context(), id, after, 2)
		w.check("undo", err)
		all.Add(got)
		if done {
			return all
		}
		after = next
	}
}

func (w *world) change(id jobstore.ChangeID) jobstore.Change {
	w.Helper()
	list, err := w.store.Changes(w.Context(), id, 10)
	w.check("list changes", err)
	if len(list) != 1 || list[0].ID != id {
		w.Fatalf("changes %+v, want one with number %d", list, id)
	}
	return list[0]
}

func changeBrokenOff(w *world) {
	ids := w.insert(plain(), plain(), plain())
	first := w.begin(jobstore.VerbCancel)
	w.changed(first, jobstore.Order{Verb: jobstore.VerbCancel}, ids[0])
	got, err := w.store.ChangeNext(w.Context(), first, jobstore.Order{Verb: jobstore.VerbCancel}, ids[:2], ids[1])
	w.check("change", err)
	w.same("done", got.Done, ids[1])
	if len(got.Refused) != 1 || got.Refused[0].ID != ids[0] {
		w.Fatalf("refused %+v", got.Refused)
	}
	again, err := w.store.BeginChange(w.Context(), jobstore.VerbCancel, json.RawMessage(`{"limit": 0}`), "eve")
	w.check("begin again", err)
	if again.ID != first || again.Through != ids[1] || again.Changed != 2 || again.Refused != 1 || again.By != "ada@desk" ||
		again.State != jobstore.ChangeRunning || again.EndedAt != nil || again.StartedAt.IsZero() {
		w.Fatalf("begun again: %+v", again)
	}
	other, err := w.store.BeginChange(w.Context(), jobstore.VerbCancel, json.RawMessage(`{"limit":1}`), "eve")
	w.check("begin another", err)
	w.check("end", w.store.EndChange(w.Context(), first, jobstore.ChangeDone, "all well"))
	fresh := w.begin(jobstore.VerbCancel)
	if other.ID == first || fresh == first || fresh == other.ID {
		w.Fatalf("changes %d, %d and %d should be three", first, other.ID, fresh)
	}
	if c := w.change(first); c.State != jobstore.ChangeDone || c.Note != "all well" || c.EndedAt == nil {
		w.Fatalf("ended: %+v", c)
	}
	_, err = w.store.ChangeNext(w.Context(), first, jobstore.Order{Verb: jobstore.VerbCancel}, ids[2:], ids[2])
	w.wantErr("going on with one that has ended", err, jobstore.ErrRefused)
	w.wantState(jobstore.Ready, ids[2])
	_, err = w.store.ChangeNext(w.Context(), 1<<40, jobstore.Order{Verb: jobstore.VerbCancel}, ids[2:], ids[2])
	w.wantErr("a change that there is not", err, jobstore.ErrNotFound)
	_, err = w.store.ChangeNext(w.Context(), fresh, jobstore.Order{Verb: "burn"}, ids[2:], ids[2])
	w.wantErr("a verb that there is not", err, jobstore.ErrInvalid)
	list, err := w.store.Changes(w.Context(), 0, 2)
	w.check("list", err)
	if len(list) != 2 || list[0].ID != fresh || list[1].ID != other.ID {
		w.Fatalf("the newest two are %+v", list)
	}
}

func changeUndoRetry(w *world) {
	states := []jobstore.State{
		jobstore.PermanentlyFailed, jobstore.TemporarilyFailed, jobstore.Finished, jobstore.Cancelled, jobstore.Scheduled, jobstore.Ready,
	}
	var ids []jobstore.ID
	var before []jobstore.Job
	for _, s := range states {
		ids = append(ids, w.inState(s))
		before = append(before, w.get(ids[len(ids)-1]))
	}
	c := w.begin(jobstore.VerbRetry)
	w.changed(c, jobstore.Order{Verb: jobstore.VerbRetry}, ids...)
	_, err := w.store.Due(w.Context(), 3) // some are READY already
	w.check("due", err)
	part, _, done, err := w.store.UndoNext(w.Context(), c, 0, 4) // and then whoever undid it is killed
	w.check("undo", err)
	if done || len(part.Done) != 4 {
		w.Fatalf("a part of an undo: %+v, done %t", part, done)
	}
	w.same("undone", append(part.Done, w.undone(c).Done...), ids...)
	for i, was := range before {
		is := w.get(ids[i])
		ended := func(j jobstore.Job) string {
			if j.FinishedAt == nil {
				return ""
			}
			return j.FinishedAt.String()
		}
		if is.State != was.State || is.Attempts != was.Attempts || is.Error != was.Error || len(is.Errors) != len(was.Errors) ||
			!is.AvailableAt.Equal(was.AvailableAt) || ended(is) != ended(was) || is.LeaseNo != was.LeaseNo {
			w.Fatalf("undone %+v, before %+v", is, was)
		}
	}
	if got := w.change(c); got.State != jobstore.ChangeUndone || got.Undone != len(ids) {
		w.Fatalf("undone: %+v", got)
	}
	if again := w.undone(c); len(again.Done)+len(again.Refused) > 0 {
		w.Fatalf("undone twice: %+v", again)
	}
	_, err = w.store.ChangeNext(w.Context(), c, jobstore.Order{Verb: jobstore.VerbRetry}, ids, slices.Max(ids))
	w.wantErr("going on with one that is undone", err, jobstore.ErrRefused)
}

func changeUndoStarted(w *world) {
	var failed []jobstore.ID
	for range 5 {
		failed = append(failed, w.inState(jobstore.PermanentlyFailed))
	}
	c := w.begin(jobstore.VerbRetry)
	w.changed(c, jobstore.Order{Verb: jobstore.VerbRetry}, failed...)
	_, err := w.store.Due(w.Context(), 100)
	w.check("due", err)
	by := w.consumer()
	w.claimOne(by, failed[0])
	w.finish(by, w.claimOne(by, failed[1]))
	w.ordered(w.store.Delete, failed[2])
	w.returned(by, []jobstore.Lease{w.claimOne(by, failed[4])}) // READY as before, and it has run
	got := w.undone(c)
	w.same("undone", got.Done, failed[3])
	if len(got.Refused) != 4 {
		w.Fatalf("refused %+v", got.Refused)
	}
	for _, no := range got.Refused {
		if want := map[bool]string{true: "no job", false: "has started"}[no.ID == failed[2]]; !strings.Contains(no.Reason, want) {
			w.Fatalf("the reason %q does not say %q", no.Reason, want)
		}
	}
	w.wantState(jobstore.Processing, failed[0])
	w.wantState(jobstore.Finished, failed[1])
	w.wantState(jobstore.PermanentlyFailed, failed[3])
}

func changeUndoCancel(w *world) {
	head, next := w.insert(inGroup("g", 10))[0], w.insert(inGroup("g", 10))[0]
	ids := []jobstore.ID{w.inState(jobstore.Scheduled), w.inState(jobstore.TemporarilyFailed), w.inState(jobstore.Waiting), w.insert(withKey(jobstore.Unique, "u"))[0], head}
	var before []jobstore.Job
	for _, id := range ids {
		before = append(before, w.get(id))
	}
	c := w.begin(jobstore.VerbCancel)
	w.changed(c, jobstore.Order{Verb: jobstore.VerbCancel}, ids...)
	w.wantState(jobstore.Cancelled, ids...)
	w.same("undone", w.undone(c).Done, ids...)
	for i, was := range before {
		if is := w.get(ids[i]); is.State != was.State || is.Attempts != was.Attempts || is.FinishedAt != nil || !is.AvailableAt.Equal(was.AvailableAt) {
			w.Fatalf("undone %+v, before %+v", is, was)
		}
	}
	w.wantState(jobstore.Redundant, w.insert(withKey(jobstore.Unique, "u"))...)
	by := w.consumer()
	if got := w.claim(by, next); len(got) > 0 {
		w.Fatalf("job %d ran before the head of its group", next)
	}
	w.claimOne(by, head)
	w.claimOne(by, ids[3])
}

func changeUndoEdit(w *world) {
	j := plain()
	j.Args, j.Metadata, j.Tags, j.Timeout = json.RawMessage(`{"a": "b\"c"}`), json.RawMessage(`{"m": [1]}`), []string{"x", `y"z`}, time.Minute
	ids := []jobstore.ID{w.insert(j)[0], w.inState(jobstore.Scheduled), w.insert(plain())[0]}
	before := []jobstore.Job{w.get(ids[0]), w.get(ids[1]), w.get(ids[2])}
	queue, priority, attempts, now, second := "media", 20, 3, time.Duration(0), time.Second
	c := w.begin(jobstore.VerbEdit)
	w.changed(c, jobstore.Order{Verb: jobstore.VerbEdit, Edit: jobstore.Edit{
		Queue: &queue, Priority: &priority, Args: json.RawMessage(`[]`), Delay: &now, MaxAttempts: &attempts, Timeout: &second,
		Metadata: json.RawMessage(`{}`), Tags: &[]string{"new"},
	}}, ids...)
	w.same("undone", w.undone(c).Done, ids...)
	describe := func(j jobstore.Job) string {
		return fmt.Sprint(j.State, j.Queue, j.Priority, canonical(j.Args), j.MaxAttempts, j.Timeout, canonical(j.Metadata), j.Tags)
	}
	for i, was := range before {
		if is := w.get(ids[i]); describe(is) != describe(was) || was.State == jobstore.Scheduled && !is.AvailableAt.Equal(was.AvailableAt) {
			w.Fatalf("undone  %s\nbefore %s", describe(is), describe(was))
		}
	}
}

// canonical is JSON without the spaces that a database may add.
func canonical(text json.RawMessage) string {
	if len(text) == 0 {
		return ""
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%#v", v)
}

func changeUndoKey(w *world) {
	id := w.insert(withKey(jobstore.Unique, "u"))[0]
	c := w.begin(jobstore.VerbCancel)
	w.changed(c, jobstore.Order{Verb: jobstore.VerbCancel}, id)
	other := w.insert(withKey(jobstore.Unique, "u"))[0]
	got := w.undone(c)
	if len(got.Done) > 0 || len(got.Refused) != 1 || !strings.Contains(got.Refused[0].Reason, fmt.Sprintf("job %d holds its key", other)) {
		w.Fatalf("undone although its key is taken: %+v", got)
	}
	w.ordered(w.store.Cancel, other)
	w.same("undone at another try", w.undone(c).Done, id)
	w.wantState(jobstore.Redundant, w.insert(withKey(jobstore.Unique, "u"))...)
}

func changeRecurring(w *world) {
	id := w.insert(withKey(jobstore.Recurring, "r"))[0]
	c := w.begin(jobstore.VerbCancel)
	w.changed(c, jobstore.Order{Verb: jobstore.VerbCancel}, id)
	w.same("undone", w.undone(c).Done, id)
	by := w.consumer()
	w.finish(by, w.claimOne(by, id))
	next, err := w.store.Find(w.Context(), jobstore.Filter{Identifiers: []string{"r"}, States: []jobstore.State{jobstore.Scheduled}})
	w.check("find", err)
	if len(next) != 1 {
		w.Fatalf("the series goes on with %+v", next)
	}
}

func changeDelete(w *world) {
	id := w.insert(plain())[0]
	c := w.begin(jobstore.VerbDelete)
	w.changed(c, jobstore.Order{Verb: jobstore.VerbDelete}, id)
	_, _, _, err := w.store.UndoNext(w.Context(), c, 0, 10)
	w.wantErr("undoing a delete", err, jobstore.ErrRefused)
	if got := w.change(c); got.Changed != 1 || got.State != jobstore.ChangeRunning {
		w.Fatalf("the change is %+v", got)
	}
	_, _, _, err = w.store.UndoNext(w.Context(), 1<<40, 0, 10)
	w.wantErr("undoing nothing", err, jobstore.ErrNotFound)
}

func changeFollow(w *world) {
	var ids []jobstore.ID
	for range 6 {
		ids = append(ids, w.inState(jobstore.PermanentlyFailed))
	}
	c := w.begin(jobstore.VerbRetry)
	w.changed(c, jobstore.Order{Verb: jobstore.VerbRetry}, ids...)
	follow := func(limit int, want jobstore.Followed) {
		w.Helper()
		got, err := w.store.Follow(w.Context(), c, limit)
		w.check("follow", err)
		if got != want || got.Jobs() != want.Jobs() {
			w.Fatalf("followed %+v, want %+v", got, want)
		}
	}
	follow(100, jobstore.Followed{Open: 6})
	_, err := w.store.Due(w.Context(), 100)
	w.check("due", err)
	by := w.consumer()
	w.finish(by, w.claimOne(by, ids[1]))
	w.recorded(by, outcome(w.claimOne(by, ids[2]), jobstore.PermanentlyFailed))
	again := outcome(w.claimOne(by, ids[3]), jobstore.TemporarilyFailed)
	again.Delay = time.Hour
	w.recorded(by, again)
	w.ordered(w.store.Cancel, ids[4])
	w.claimOne(by, ids[5])
	follow(100, jobstore.Followed{Open: 2, Finished: 1, Failed: 2, Other: 1})
	follow(2, jobstore.Followed{Open: 1, Other: 1})
}

func changeConflicts(w *world) {
	first := w.insert(withKey(jobstore.Unique, "a"))[0]
	w.ordered(w.store.Cancel, first)
	second := w.insert(withKey(jobstore.Unique, "a"))[0]
	one, two := w.insert(withKey(jobstore.Unique, "b"))[0], w.insert(withKey(jobstore.Unique, "b"))[0]
	w.ordered(w.store.Cancel, one)
	free := w.insert(plain())[0]
	got, err := w.store.Conflicts(w.Context(), []jobstore.ID{first, second, one, two, free})
	w.check("conflicts", err)
	if len(got) != 2 || got[0].ID != first || !strings.Contains(got[0].Reason, fmt.Sprintf("job %d holds", second)) ||
		got[1].ID != two || !strings.Contains(got[1].Reason, fmt.Sprintf("job %d holds", one)) {
		w.Fatalf("conflicts %+v", got)
	}
	w.same("retried as foreseen", w.order(w.store.Retry, first, second, one, two, free).Done, second, one, free)
}

func changeForgotten(w *world) {
	ids := w.insert(plain(), plain(), plain())
	c := w.begin(jobstore.VerbCancel)
	w.changed(c, jobstore.Order{Verb: jobstore.VerbCancel}, ids...)
	forget := func(age time.Duration, limit, want int) {
		w.Helper()
		n, err := w.store.ForgetChanges(w.Context(), age, limit)
		w.check("forget", err)
		if n != want {
			w.Fatalf("%d rows were forgotten, want %d", n, want)
		}
	}
	forget(time.Hour, 100, 0)
	forget(0, 2, 2)
	w.change(c)
	forget(0, 2, 2) // the last row, and the change
	forget(0, 2, 0)
	list, err := w.store.Changes(w.Context(), 0, 10)
	w.check("list", err)
	if len(list) != 0 {
		w.Fatalf("still there: %+v", list)
	}
	w.wantState(jobstore.Cancelled, ids...)
}

func changeRanges(w *world) {
	ids := w.insert(slices.Repeat([]jobstore.NewJob{plain()}, 9)...)
	got, err := w.store.Find(w.Context(), jobstore.Filter{Ranges: [][2]jobstore.ID{{ids[6], ids[7]}, {ids[1], ids[2]}, {ids[4], ids[4]}}, Kinds: []string{"k"}})
	w.check("find", err)
	var found []jobstore.ID
	for _, t := range got {
		found = append(found, t.ID)
		if t.CreatedAt.IsZero() {
			w.Fatalf("job %d was created at no time", t.ID)
		}
	}
	if !slices.Equal(found, []jobstore.ID{ids[1], ids[2], ids[4], ids[6], ids[7]}) {
		w.Fatalf("found %v of %v", found, ids)
	}
}
