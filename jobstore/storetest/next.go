package storetest

import (
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func nextTests() []test {
	return []test{
		{"nothing is there", func(w *world) {
			w.same("next", idsOf(w.next(w.consumer(), 10)))
			w.insert(plain())
			w.same("next 0", idsOf(w.next(w.consumer(), 0)))
		}},
		{"priority first, over all queues, then number", nextOrder},
		{"only what is due, known and ready", func(w *world) {
			later, strange := plain(), plain()
			later.Delay, strange.Kind = time.Hour, "strange"
			ids := w.insert(later, strange, plain())
			by := w.consumer()
			w.same("next", idsOf(w.next(by, 10)), ids[2])
			w.same("next", idsOf(w.next(by, 10)))
		}},
		{"a queue that is not taken stays", func(w *world) {
			media := plain()
			media.Queue = "media"
			ids := w.insert(media, plain())
			by := w.consumer()
			by.Queues = []string{"default"}
			w.same("next", idsOf(w.next(by, 10)), ids[1])
		}},
		{"heads of groups take their turn among the others", nextGroups},
	}
}

func nextOrder(w *world) {
	var jobs []jobstore.NewJob
	for _, p := range []int{30, 10, 20, 10, 30, 20} {
		for _, q := range queues() {
			j := plain()
			j.Priority, j.Queue = p, q
			jobs = append(jobs, j)
		}
	}
	w.insert(jobs...)
	by := w.consumer()
	var got []jobstore.Ref
	for range 4 {
		for _, l := range w.next(by, 3) {
			got = append(got, l.Job.Ref())
		}
	}
	if len(got) != 12 || !slices.IsSortedFunc(got, func(a, b jobstore.Ref) int {
		if a.Priority != b.Priority {
			return a.Priority - b.Priority
		}
		return int(a.ID - b.ID)
	}) {
		w.Fatalf("the order was %v", got)
	}
}

func nextGroups(w *world) {
	ids := w.insert(plain(), inGroup("g", 10), inGroup("g", 10), plain(), inGroup("h", 20), inGroup("i", 10), plain())
	by := w.consumer()
	got := w.next(by, 4)
	if !slices.Equal(idsOf(got), []jobstore.ID{ids[0], ids[1], ids[3], ids[5]}) {
		w.Fatalf("next took %v of %v", idsOf(got), ids)
	}
	w.same("the rest that may go", idsOf(w.next(by, 10)), ids[6], ids[4])
}
