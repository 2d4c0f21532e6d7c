package storetest

import (
	"encoding/json"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

func resealTests() []test {
	return []test{
		{"encrypted args are found, page by page, whatever the state", sealedPages},
		{"encrypted args are not edited", sealedEdit},
		{"args are replaced if they are what they were, and nothing else", resealed},
	}
}

func sealedJob(n int) jobstore.NewJob {
	j := plain()
	j.Identifier = fmt.Sprint("job ", n)
	j.Args = json.RawMessage(fmt.Sprintf(`{"warren_sealed":"v1.old.%d"}`, n))
	return j
}

func sealedPages(w *world) {
	by := w.consumer()
	var ids []jobstore.ID
	for n := range 12 {
		ids = append(ids, w.insert(plain(), sealedJob(n))[1])
	}
	w.claimOne(by, ids[1])
	w.finish(by, w.claimOne(by, ids[2]))
	var found []jobstore.ID
	pages := 0
	for after := jobstore.ID(0); ; pages++ {
		page, err := w.store.Sealed(w.Context(), after, 5)
		w.check("sealed", err)
		for _, a := range page.Args {
			if want := sealedJob(len(found)); a.Kind != want.Kind || a.Identifier != want.Identifier || !sameJSON(a.Args, want.Args) {
				w.Fatalf("found %+v, want %+v", a, want)
			}
			found = append(found, a.ID)
		}
		if page.Last == 0 {
			break
		}
		if page.Last <= after {
			w.Fatalf("the page after %d ends at %d", after, page.Last)
		}
		after = page.Last
	}
	w.same("found", found, ids...)
	if pages != 5 {
		w.Fatalf("%d pages for 24 jobs, 5 each", pages)
	}
}

func sealedEdit(w *world) {
	ids := w.insert(sealedJob(0), plain())
	got, err := w.store.Edit(w.Context(), ids, jobstore.Edit{Args: json.RawMessage(`{"to":"clear"}`)})
	w.check("edit", err)
	w.same("edited", got.Done, ids[1])
	if len(got.Refused) != 1 || got.Refused[0] != jobstore.RefusalSealed(ids[0], jobstore.Ready) {
		w.Fatalf("refused were %+v", got.Refused)
	}
	if j := w.get(ids[0]); !sameJSON(j.Args, sealedJob(0).Args) {
		w.Fatalf("the encrypted args became %s", j.Args)
	}
	seven := 7
	got, err = w.store.Edit(w.Context(), ids, jobstore.Edit{MaxAttempts: &seven})
	w.check("edit", err)
	w.same("what is not their args is edited", got.Done, ids...)
}

func resealed(w *world) {
	by := w.consumer()
	ids := w.insert(sealedJob(0), sealedJob(1), sealedJob(2), sealedJob(3))
	lease := w.claimOne(by, ids[1])
	w.finish(by, w.claimOne(by, ids[2]))
	before := w.get(ids[0])
	changes := make([]jobstore.Resealed, len(ids))
	for i, id := range ids {
		changes[i] = jobstore.Resealed{ID: id, Old: w.get(id).Args, New: json.RawMessage(fmt.Sprintf(`{"warren_sealed":"v1.new.%d"}`, i))}
	}
	changes[3].Old = json.RawMessage(`{"warren_sealed":"v1.other.3"}`)
	done, err := w.store.Reseal(w.Context(), changes)
	w.check("reseal", err)
	if done != 3 {
		w.Fatalf("%d were changed, want 3", done)
	}
	for i, c := range changes {
		if got := w.get(c.ID).Args; sameJSON(got, c.New) != (i < 3) {
			w.Fatalf("job %d has %s", i, got)
		}
	}
	after := w.get(ids[0])
	after.Args = before.Args
	if a, b := fmt.Sprintf("%+v", before), fmt.Sprintf("%+v", after); len(a) != len(b) || before.State != after.State || !before.AvailableAt.Equal(after.AvailableAt) {
		w.Fatalf("before %s\nafter %s", a, b)
	}
	w.finish(by, lease)
	if j := w.get(ids[1]); j.State != jobstore.Finished || !sameJSON(j.Args, changes[1].New) {
		w.Fatalf("the job that ran is %+v", j)
	}
	done, err = w.store.Reseal(w.Context(), nil)
	if err != nil || done != 0 {
		w.Fatalf("nothing to change: %d, %v", done, err)
	}
}
