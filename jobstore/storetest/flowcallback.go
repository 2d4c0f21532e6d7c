package storetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/warrenq/warren/jobstore"
)

func batchCallbacks(w *world) {
	by := w.consumer()
	f := batchOf(jobstore.AllowAll, "a", "b", "c", "d")
	for _, on := range []jobstore.EdgeOn{jobstore.OnStart, jobstore.OnProgress, jobstore.OnSuccess, jobstore.OnFailure, jobstore.OnEach, jobstore.OnEnd} {
		hears(&f, on)
	}
	id := w.start(f)
	w.wantReady("a", "b", "c", "d", "on-start")
	w.wantEnds(by, "a", jobstore.Finished, "on-progress")
	w.wantEnds(by, "b", jobstore.PermanentlyFailed, "on-progress", "on-failure", "on-each")
	w.wantEnds(by, "c", jobstore.PermanentlyFailed, "on-progress", "on-each")
	w.wantFlow(id, jobstore.StepRunning)
	w.wantEnds(by, "d", jobstore.Finished, "on-progress", "on-success", "on-end")
	w.wantFlow(id, jobstore.StepFinished)
	w.wantReady("on-start", "on-progress", "on-progress", "on-progress", "on-progress", "on-failure", "on-each", "on-each", "on-success", "on-end")
	list, err := w.store.List(w.Context(), jobstore.Filter{Identifiers: []string{"b", "on-each", "on-progress"}})
	w.check("list", err)
	var told []string
	for _, j := range list[1:] {
		told = append(told, string(compact(j.Metadata)))
	}
	c, err := w.store.List(w.Context(), jobstore.Filter{Identifiers: []string{"c"}})
	w.check("list", err)
	want := []string{
		fmt.Sprintf(`{"warren.failed_job":%d}`, list[0].ID), fmt.Sprintf(`{"warren.failed_job":%d}`, c[0].ID),
		`{"warren.percent":25}`, `{"warren.percent":50}`, `{"warren.percent":75}`, `{"warren.percent":100}`,
	}
	if !slices.Equal(sorted(told), sorted(want)) {
		w.Fatalf("callbacks were told %q, want %q", told, want)
	}
}

func callbackMetadata(w *world) {
	by := w.consumer()
	f := batchOf(jobstore.AllowAll, "a", "b")
	for _, on := range []jobstore.EdgeOn{jobstore.OnProgress, jobstore.OnEach} {
		hears(&f, on)
	}
	f.Steps[1].Jobs[0].Metadata = json.RawMessage(`{"order": 9007199254740993, "warren.percent": "replaced"}`)
	f.Steps[2].Jobs[0].Metadata = json.RawMessage(`null`)
	w.start(f)
	w.wantEnds(by, "a", jobstore.PermanentlyFailed, "on-progress", "on-each")
	for name, want := range map[string]map[string]string{
		"on-progress": {"order": "9007199254740993", "warren.percent": "50"}, // a float64 would make it ...992
		"on-each":     {"warren.failed_job": fmt.Sprint(w.named("a").ID)},
	} {
		j := w.named(name)
		var got map[string]json.RawMessage
		w.check("decode", json.Unmarshal(j.Metadata, &got))
		if !maps.EqualFunc(got, want, func(a json.RawMessage, b string) bool { return string(a) == b }) {
			w.Fatalf("the metadata of %s is %s, want %v", name, j.Metadata, want)
		}
	}
}

// named is the first job of a name.
func (w *world) named(name string) jobstore.Job {
	w.Helper()
	list, err := w.store.List(w.Context(), jobstore.Filter{Identifiers: []string{name}, Limit: 1})
	w.check("list", err)
	if len(list) == 0 {
		w.Fatalf("there is no job %q", name)
	}
	return list[0]
}

func callbackFails(w *world) {
	by := w.consumer()
	f := batchOf(jobstore.AllowAll, "a", "b", "c")
	for _, on := range []jobstore.EdgeOn{jobstore.OnProgress, jobstore.OnFailure, jobstore.OnEach} {
		hears(&f, on)
	}
	id := w.start(f)
	w.wantEnds(by, "a", jobstore.Finished, "on-progress")
	w.wantEnds(by, "on-progress", jobstore.PermanentlyFailed)
	w.wantEnds(by, "b", jobstore.PermanentlyFailed, "on-progress", "on-failure", "on-each")
	w.wantEnds(by, "on-each", jobstore.PermanentlyFailed) // or it would release itself for ever
	w.wantEnds(by, "on-failure", jobstore.PermanentlyFailed)
	if s := w.flow(id).Steps[0]; s.State != jobstore.StepRunning || s.Failed != 1 || s.Open != 1 {
		w.Fatalf("the batch is %+v", s)
	}
}
