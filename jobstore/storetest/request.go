package storetest

import (
	"slices"
	"sync"

	"github.com/warrenq/warren/jobstore"
)

func requestTests() []test {
	return []test{
		{"a request that comes again writes nothing", requestAgain},
		{"a key stands for one request", requestReused},
		{"of requests at once one writes, and all get its answer", requestRace},
		{"what fails is not remembered", requestFails},
	}
}

func request(key string, digest byte) jobstore.Request {
	return jobstore.Request{Key: key, Digest: [32]byte{digest}}
}

// once inserts for a request that must be accepted.
func (w *world) once(r jobstore.Request, jobs ...jobstore.NewJob) (out []jobstore.Inserted, again bool) {
	w.Helper()
	out, again, err := w.store.InsertOnce(w.Context(), r, jobs)
	w.check("insert once", err)
	return out, again
}

func (w *world) jobs() int {
	w.Helper()
	stats, err := w.store.Stats(w.Context())
	w.check("stats", err)
	n := 0
	for _, jobs := range stats.Total {
		n += int(jobs)
	}
	return n
}

// The answer is that of the first time, whatever has become of the jobs.
func requestAgain(w *world) {
	holder := w.insert(withKey(jobstore.Unique, "i"))[0]
	later := plain()
	later.Queue, later.Priority, later.Delay = "media", 30, long
	first, again := w.once(request("k", 1), plain(), withKey(jobstore.Unique, "i"), later)
	if again || len(first) != 3 || first[0].State != jobstore.Ready || first[1].State != jobstore.Redundant || first[1].Existing != holder ||
		first[2].State != jobstore.Scheduled || first[2].Queue != "media" || first[2].Priority != 30 {
		w.Fatalf("the first time: %+v, again %t", first, again)
	}
	by := w.consumer()
	w.finish(by, w.claimOne(by, first[0].ID))
	second, again := w.once(request("k", 1), plain(), withKey(jobstore.Unique, "i"), later)
	if !again || !slices.Equal(second, first) {
		w.Fatalf("the second time: %+v, again %t; want %+v", second, again, first)
	}
	if n := w.jobs(); n != 4 {
		w.Fatalf("there are %d jobs, want 4", n)
	}
	other, again := w.once(request("another", 1), plain())
	if again || other[0].ID == first[0].ID {
		w.Fatalf("another key: %+v, again %t", other, again)
	}
}

func requestReused(w *world) {
	w.once(request("k", 1), plain())
	_, _, err := w.store.InsertOnce(w.Context(), request("k", 2), []jobstore.NewJob{plain()})
	w.wantErr("the key with another digest", err, jobstore.ErrKeyReused)
	if n := w.jobs(); n != 1 {
		w.Fatalf("there are %d jobs, want 1", n)
	}
}

func requestRace(w *world) {
	const racers = 6
	answers, firsts := make([][]jobstore.Inserted, racers), make([]bool, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			out, again, err := w.store.InsertOnce(w.Context(), request("k", 1), []jobstore.NewJob{plain(), plain()})
			if err != nil {
				w.Errorf("racer %d: %v", i, err)
			}
			answers[i], firsts[i] = out, !again
		})
	}
	wg.Wait()
	wrote := 0
	for i := range racers {
		if firsts[i] {
			wrote++
		}
		if len(answers[i]) != 2 || !slices.Equal(answers[i], answers[0]) {
			w.Errorf("racer %d got %+v, racer 0 %+v", i, answers[i], answers[0])
		}
	}
	if n := w.jobs(); wrote != 1 || n != 2 {
		w.Fatalf("%d racers wrote %d jobs, want 1 and 2", wrote, n)
	}
}

func requestFails(w *world) {
	bad := plain()
	bad.Priority = 5000
	_, _, err := w.store.InsertOnce(w.Context(), request("k", 1), []jobstore.NewJob{plain(), bad})
	w.wantErr("a job that cannot be stored", err, jobstore.ErrInvalid)
	if out, again := w.once(request("k", 2), plain()); again || len(out) != 1 || w.jobs() != 1 {
		w.Fatalf("after the failure: %+v, again %t, %d jobs", out, again, w.jobs())
	}
}
