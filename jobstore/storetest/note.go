package storetest

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/warrenq/warren/jobstore"
)

func (w *world) note(by jobstore.Claimant, notes ...jobstore.Note) {
	w.Helper()
	w.check("note", w.store.Note(w.Context(), by.Holder, notes))
}

func noteOf(l jobstore.Lease, metadata string) jobstore.Note {
	return jobstore.Note{ID: l.Job.ID, LeaseNo: l.Job.LeaseNo, Metadata: json.RawMessage(metadata)}
}

func (w *world) wantMetadata(id jobstore.ID, want string) {
	w.Helper()
	if j := w.get(id); !sameJSON(j.Metadata, json.RawMessage(want)) {
		w.Fatalf("job %d has metadata %s, want %s", id, j.Metadata, want)
	}
}

// noteRunning: two jobs, one with metadata of its own and one without, in one call, and twice.
func noteRunning(w *world) {
	by := w.consumer()
	with := plain()
	with.Metadata = []byte(`{"a": 1, "b": 1}`)
	ids := w.insert(with, plain())
	first, second := w.claimOne(by, ids[0]), w.claimOne(by, ids[1])
	before := w.get(ids[0])
	for range 2 {
		w.note(by, noteOf(first, `{"b": 2, "c": [3]}`), noteOf(second, `{"c": "ünï"}`))
		w.wantMetadata(ids[0], `{"a": 1, "b": 2, "c": [3]}`)
		w.wantMetadata(ids[1], `{"c": "ünï"}`)
	}
	after := w.get(ids[0])
	after.Metadata = before.Metadata
	if fmt.Sprintf("%+v", after) != fmt.Sprintf("%+v", before) {
		w.Fatalf("a note changed more than the metadata:\nbefore %+v\nafter  %+v", before, after)
	}
	o := outcome(first, jobstore.Finished)
	o.Metadata = []byte(`{"c": 4}`)
	w.recorded(by, o)
	w.wantMetadata(ids[0], `{"a": 1, "b": 2, "c": 4}`)
	w.note(by) // nothing to note is no error
}

func noteFence(w *world) {
	by, other := w.consumer(), w.consumer()
	ids := w.insert(plain(), plain(), plain())
	running, ended := w.claimOne(by, ids[0]), w.claimOne(by, ids[1])
	w.finish(by, ended)
	wrong := noteOf(running, `{"no": 1}`)
	wrong.LeaseNo++
	ready := jobstore.Note{ID: ids[2], Metadata: []byte(`{"no": 1}`)}
	nobody := jobstore.Note{ID: 1 << 40, LeaseNo: 1, Metadata: []byte(`{"no": 1}`)}
	w.note(other, noteOf(running, `{"no": 1}`))
	w.note(by, wrong, noteOf(ended, `{"no": 1}`), ready, nobody)
	for _, id := range ids {
		if j := w.get(id); len(j.Metadata) != 0 {
			w.Fatalf("job %d, %s, got metadata %s without a lease", id, j.State, j.Metadata)
		}
	}
}

// noteRace: calls share statements, and one whose data cannot be stored fails alone.
func noteRace(w *world) {
	by := w.consumer()
	var jobs []jobstore.NewJob
	for range 40 {
		jobs = append(jobs, plain())
	}
	leases := w.claim(by, w.insert(jobs...)...)
	var wg sync.WaitGroup
	for i, l := range leases {
		wg.Go(func() {
			text := fmt.Sprintf(`{"n": %d}`, i)
			if i == 7 {
				text = `{"n": `
			}
			err := w.store.Note(w.Context(), by.Holder, []jobstore.Note{noteOf(l, text)})
			if (err != nil) != (i == 7) {
				w.Errorf("note %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	for i, l := range leases {
		if i != 7 {
			w.wantMetadata(l.Job.ID, fmt.Sprintf(`{"n": %d}`, i))
		}
	}
}
