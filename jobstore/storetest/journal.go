package storetest

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func journalTests() []test {
	return []test{
		{"progress is there while the attempt runs, and what comes with the outcome afterwards", tellProgress},
		{"progress is fenced", tellFence},
		{"progress of what has ended is swept up", tellSwept},
		{"a successor begins without its predecessor's progress", tellSuccessor},
		{"lines are kept in their order, once each", tellLines},
		{"lines are selected", lineFilters},
		{"a log goes with its job", logGoes},
		{"logs are pruned by age", logPruned},
	}
}

func progressOf(l jobstore.Lease, done int64) jobstore.Progress {
	return jobstore.Progress{
		Job: l.Job.ID, LeaseNo: l.Job.LeaseNo, Attempt: l.Job.Attempts, Done: done, Total: 10, Message: "ünï",
		At: time.Now().UTC().Truncate(time.Millisecond), Cursors: map[string]int64{"#1": done},
	}
}

func (w *world) tell(t jobstore.Telling) map[jobstore.ID]int64 {
	w.Helper()
	logged, err := w.store.Tell(w.Context(), t)
	w.check("tell", err)
	return logged
}

func (w *world) tellDone(by jobstore.Claimant, l jobstore.Lease, done int64) {
	w.Helper()
	w.tell(jobstore.Telling{Progress: []jobstore.Told{{By: by.Holder, Progress: progressOf(l, done)}}})
}

// wantDone wants a job's progress to be so far, -1 for none.
func (w *world) wantDone(id jobstore.ID, want int64) {
	w.Helper()
	got := int64(-1)
	j := w.get(id)
	if j.Progress != nil {
		got = j.Progress.Done
	}
	if got != want {
		w.Fatalf("job %d, %s, is at %d, want %d", id, j.State, got, want)
	}
}

// ended is an outcome that brings what the attempt said last.
func ended(l jobstore.Lease, state jobstore.State, done int64) jobstore.Outcome {
	o := outcome(l, state)
	text, _ := json.Marshal(map[string]jobstore.Progress{jobstore.ProgressKey: progressOf(l, done)}) // always encodes
	o.Metadata = text
	return o
}

func tellProgress(w *world) {
	by := w.consumer()
	ids := w.insert(plain(), plain(), plain())
	leases := w.claim(by, ids...)
	w.wantDone(ids[0], -1)
	for done := range int64(3) {
		w.tell(jobstore.Telling{Progress: []jobstore.Told{
			{By: by.Holder, Progress: progressOf(leases[0], done)}, {By: by.Holder, Progress: progressOf(leases[1], 5+done)},
		}})
		w.wantDone(leases[0].Job.ID, done)
		w.wantDone(leases[1].Job.ID, 5+done)
	}
	w.wantDone(leases[2].Job.ID, -1)
	p := w.get(leases[0].Job.ID).Progress
	if want := progressOf(leases[0], 2); p.Message != want.Message || p.Total != 10 || p.Attempt != 1 || p.Cursors["#1"] != 2 {
		w.Fatalf("the progress is %+v, want %+v", p, want)
	}
	w.recorded(by, ended(leases[0], jobstore.Finished, 10), ended(leases[1], jobstore.TemporarilyFailed, 9), outcome(leases[2], jobstore.Finished))
	w.wantDone(leases[0].Job.ID, 10)
	w.wantDone(leases[1].Job.ID, 9)
	w.wantDone(leases[2].Job.ID, -1)
	w.due(leases[1].Job.ID)
	again := w.claimOne(by, leases[1].Job.ID)
	w.wantDone(again.Job.ID, -1) // this attempt has said nothing yet
	told, err := w.store.Told(w.Context(), again.Job.ID)
	w.check("told", err)
	if p := jobstore.LatestProgress(&again.Job, told); p == nil || p.Done != 9 || p.LeaseNo != 1 {
		w.Fatalf("where the earlier attempt stopped: %+v", p)
	}
	w.tellDone(by, again, 1)
	w.wantDone(again.Job.ID, 1)
	if list, err := w.store.List(w.Context(), jobstore.Filter{IDs: []jobstore.ID{again.Job.ID}}); err != nil || len(list) != 1 || list[0].Progress == nil {
		w.Fatalf("the list: %+v, %v", list, err)
	}
}

func tellFence(w *world) {
	by, other := w.consumer(), w.consumer()
	ids := w.insert(plain(), plain(), plain())
	running, done := w.claimOne(by, ids[0]), w.claimOne(by, ids[1])
	w.finish(by, done)
	wrong := progressOf(running, 3)
	wrong.LeaseNo++
	nobody := wrong
	nobody.Job = 1 << 40
	ready := nobody
	ready.Job, ready.LeaseNo = ids[2], 0
	w.tell(jobstore.Telling{Progress: []jobstore.Told{
		{By: by.Holder, Progress: wrong}, {By: by.Holder, Progress: progressOf(done, 3)}, {By: by.Holder, Progress: nobody}, {Progress: ready},
	}})
	w.tellDone(other, running, 4)
	for _, id := range append(ids, 1<<40) {
		if told, err := w.store.Told(w.Context(), id); err != nil || told != nil {
			w.Fatalf("job %d was told to be at %s (%v) without a lease", id, told, err)
		}
	}
	w.tell(jobstore.Telling{}) // nothing to tell is no error
}

func tellSwept(w *world) {
	by := w.consumer()
	ids := w.insert(plain(), plain(), plain())
	leases := w.claim(by, ids...)
	for _, l := range leases {
		w.tellDone(by, l, 1)
	}
	w.finish(by, leases[0], leases[1])
	w.tell(jobstore.Telling{Ended: map[jobstore.ID]int64{leases[0].Job.ID: leases[0].Job.LeaseNo, leases[2].Job.ID: leases[2].Job.LeaseNo - 1}})
	left := func(want ...bool) {
		w.Helper()
		for i, l := range leases {
			if told, err := w.store.Told(w.Context(), l.Job.ID); err != nil || (told != nil) != want[i] {
				w.Fatalf("job %d: %s, %v; want something: %t", l.Job.ID, told, err, want[i])
			}
		}
	}
	left(false, true, true)
	_, err := w.store.Retain(w.Context(), jobstore.Retention{}, 100)
	w.check("retain", err)
	left(false, false, true)
}

func tellSuccessor(w *world) {
	by := w.consumer()
	first := withKey(jobstore.Recurring, "series")
	first.Every = time.Millisecond
	id := w.insert(first)[0]
	w.recorded(by, ended(w.claimOne(by, id), jobstore.Finished, 10))
	w.wantDone(id, 10)
	list, err := w.store.List(w.Context(), jobstore.Filter{Identifiers: []string{"series"}, After: id})
	w.check("list", err)
	if len(list) != 1 || list[0].Progress != nil {
		w.Fatalf("the successor: %+v", list)
	}
}

func lineOf(l jobstore.Lease, no int, level jobstore.Level, text string) jobstore.Line {
	return jobstore.Line{
		Job: l.Job.ID, LeaseNo: l.Job.LeaseNo, No: no, At: time.Now().Add(-time.Hour), Attempt: l.Job.Attempts, Level: level, Text: text,
		Fields: json.RawMessage(`{"n":` + strconv.Itoa(no) + `}`),
	}
}

// say has an attempt say texts at info.
func (w *world) say(l jobstore.Lease, texts ...string) {
	w.Helper()
	var t jobstore.Telling
	for i, text := range texts {
		t.Lines = append(t.Lines, lineOf(l, i+1, jobstore.LevelInfo, text))
	}
	w.tell(t)
}

func (w *world) lines(f jobstore.LineFilter) (texts []string) {
	w.Helper()
	list, err := w.store.Lines(w.Context(), f)
	w.check("lines", err)
	for _, l := range list {
		texts = append(texts, l.Text)
	}
	return texts
}

func (w *world) wantLines(f jobstore.LineFilter, want ...string) {
	w.Helper()
	if got := w.lines(f); !slices.Equal(got, want) {
		w.Fatalf("lines %+v: %q, want %q", f, got, want)
	}
}

func tellLines(w *world) {
	by := w.consumer()
	ids := w.insert(plain(), plain())
	a, b := w.claimOne(by, ids[0]), w.claimOne(by, ids[1])
	future := lineOf(a, 3, jobstore.LevelError, "from a clock that goes before")
	future.At = time.Now().Add(time.Hour)
	bare := lineOf(a, 2, jobstore.LevelWarn, "zwei\n2")
	bare.Fields = nil
	first := jobstore.Telling{
		Lines:  []jobstore.Line{lineOf(a, 1, jobstore.LevelInfo, "ünï"), bare, lineOf(b, 1, jobstore.LevelInfo, "other"), {Job: 1 << 40, LeaseNo: 1, No: 1, Level: jobstore.LevelInfo}},
		Logged: ids,
	}
	if logged := w.tell(first); len(logged) != 0 {
		w.Fatalf("before the first line there were %v bytes", logged)
	}
	again := first // its reply was lost
	again.Lines = append(slices.Clone(first.Lines), future)
	size := int64(len("ünï") + len(`{"n":1}`) + len("zwei\n2"))
	if logged := w.tell(again); logged[ids[0]] < size || logged[ids[0]] > size+4 { // a store may write JSON with spaces
		w.Fatalf("logged %v bytes, want about %d", logged, size)
	}
	w.wantLines(jobstore.LineFilter{Job: ids[0]}, "ünï", "zwei\n2", "from a clock that goes before")
	w.wantLines(jobstore.LineFilter{Job: ids[1]}, "other")
	w.wantLines(jobstore.LineFilter{Job: 1 << 40})
	list, err := w.store.Lines(w.Context(), jobstore.LineFilter{Job: ids[0]})
	w.check("lines", err)
	l := list[0]
	if l.Job != ids[0] || l.LeaseNo != 1 || l.No != 1 || l.Attempt != 1 || l.Level != jobstore.LevelInfo || !sameJSON(l.Fields, []byte(`{"n":1}`)) {
		w.Fatalf("a line is %+v", l)
	}
	if len(list[1].Fields) != 0 || list[2].At.After(future.At.Add(-time.Minute)) {
		w.Fatalf("lines are %+v", list)
	}
}

func lineFilters(w *world) {
	by := w.consumer()
	id := w.insert(plain())[0]
	one := w.claimOne(by, id)
	w.say(one, "a", "b", "c")
	w.recorded(by, outcome(one, jobstore.TemporarilyFailed))
	w.due(id)
	two := w.claimOne(by, id)
	w.tell(jobstore.Telling{Lines: []jobstore.Line{lineOf(two, 1, jobstore.LevelWarn, "d"), lineOf(two, 2, jobstore.LevelError, "e")}})
	job := jobstore.LineFilter{Job: id}
	with := func(change func(f *jobstore.LineFilter)) jobstore.LineFilter {
		f := job
		change(&f)
		return f
	}
	w.wantLines(job, "a", "b", "c", "d", "e")
	w.wantLines(with(func(f *jobstore.LineFilter) { f.Limit = 2 }), "a", "b")
	w.wantLines(with(func(f *jobstore.LineFilter) { f.Last = 2 }), "d", "e")
	w.wantLines(with(func(f *jobstore.LineFilter) { f.Last = 4; f.Attempt = 1 }), "a", "b", "c")
	w.wantLines(with(func(f *jobstore.LineFilter) { f.Levels = jobstore.Levels(jobstore.LevelWarn) }), "d", "e")
	w.wantLines(with(func(f *jobstore.LineFilter) { f.Levels = []jobstore.Level{jobstore.LevelInfo}; f.Last = 1 }), "c")
	w.wantLines(with(func(f *jobstore.LineFilter) { f.Attempt = 2 }), "d", "e")
	w.wantLines(with(func(f *jobstore.LineFilter) { f.After = jobstore.LineMark{LeaseNo: 1, No: 2} }), "c", "d", "e")
	w.wantLines(with(func(f *jobstore.LineFilter) { f.After = jobstore.LineMark{LeaseNo: 2, No: 2} }))
}

func logGoes(w *world) {
	by := w.consumer()
	ids := w.insert(plain(), plain(), plain(), plain(), plain())
	leases := w.claim(by, ids...)
	for _, l := range leases {
		w.say(l, "said")
	}
	w.finish(by, leases[:4]...)
	w.recorded(by, outcome(leases[4], jobstore.TemporarilyFailed))
	left := func(want string) {
		w.Helper()
		var got strings.Builder
		for _, l := range leases {
			got.WriteString(strconv.Itoa(len(w.lines(jobstore.LineFilter{Job: l.Job.ID}))))
		}
		if got.String() != want {
			w.Fatalf("lines left by job: %s, want %s", got.String(), want)
		}
	}
	left("11111")
	_, err := w.store.Delete(w.Context(), []jobstore.ID{leases[1].Job.ID, leases[4].Job.ID})
	w.check("delete", err)
	left("10110")
	_, err = w.store.Retry(w.Context(), []jobstore.ID{leases[3].Job.ID}) // it leaves the history and is there all the same
	w.check("retry", err)
	left("10110")
	if n, err := w.store.ClearLines(w.Context(), leases[0].Job.ID); err != nil || n != 1 {
		w.Fatalf("cleared %d lines, %v", n, err)
	}
	left("00110")
	_, err = w.store.Retain(w.Context(), jobstore.Retention{jobstore.Finished: 0}, 100)
	w.check("retain", err)
	left("00010")
}

func logPruned(w *world) {
	by := w.consumer()
	id := w.insert(plain())[0]
	l := w.claimOne(by, id)
	w.say(l, strings.Split("abcd", "")...) // an hour ago
	young := lineOf(l, 9, jobstore.LevelInfo, "young")
	young.At = time.Now().Add(-time.Minute)
	w.tell(jobstore.Telling{Lines: []jobstore.Line{young}})
	for _, want := range []int{3, 1, 0} {
		if n, err := w.store.PruneLines(w.Context(), 30*time.Minute, 3); err != nil || n != want {
			w.Fatalf("pruned %d lines, %v; want %d", n, err, want)
		}
	}
	w.wantLines(jobstore.LineFilter{Job: id}, "young")
	_, err := w.store.PruneLines(w.Context(), -time.Second, 3)
	w.wantErr("a negative age", err, jobstore.ErrInvalid)
	_, err = w.store.PruneLines(w.Context(), time.Hour, 0)
	w.wantErr("nothing at a time", err, jobstore.ErrInvalid)
}
