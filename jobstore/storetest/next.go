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
		{"in turn, and only the bands that have one", nextTurns},
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

// Of three bands with steps 1, 2 and 4, the second at a disadvantage of 3, ten jobs are 6, 2 and 2.
func nextTurns(w *world) {
	band := func(queue string, priority, n int, group string) []jobstore.ID {
		jobs := make([]jobstore.NewJob, n)
		for i := range jobs {
			jobs[i] = plain()
			jobs[i].Queue, jobs[i].Priority, jobs[i].SerialGroup = queue, priority, group
		}
		return w.insert(jobs...)
	}
	best, media, low := band("default", 10, 20, ""), band("media", 20, 20, ""), band("default", 30, 1, "g")
	low = append(low, band("default", 30, 20, "")...)
	band("media", 10, 20, "")
	by := w.consumer()
	by.Turns = []jobstore.Turn{
		{Band: jobstore.Band{Queue: "default", Priority: 30}, Step: 4},
		{Band: jobstore.Band{Queue: "media", Priority: 20}, At: 3, Step: 2},
		{Band: jobstore.Band{Queue: "default", Priority: 10}, Step: 1},
	}
	want := []jobstore.ID{best[0], low[0], best[1], best[2], best[3], media[0], best[4], low[1], best[5], media[1]}
	if got := idsOf(w.next(by, 10)); !slices.Equal(got, want) {
		w.Fatalf("ten in turn are %v, want %v", got, want)
	}
	by.Turns = by.Turns[1:2]
	w.pause("media", 0, true)
	w.same("next of a queue that is paused", idsOf(w.next(by, 10)))
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
