package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func queuesTests() []test {
	return []test{
		{"a paused queue is not claimed from", queuesPause},
		{"a pause ends by itself", queuesPauseFor},
		{"what waited for a resume is announced", queuesReannounce},
		{"exactly so many consumers are told to restart", queuesRestart},
		{"one consumer is told by one of two operators", queuesRestartRace},
		{"listed with what they hold", queuesList},
	}
}

func (w *world) pause(queue string, d time.Duration, want bool) {
	w.Helper()
	known, err := w.store.Pause(w.Context(), queue, d)
	w.check("pause", err)
	if known != want {
		w.Fatalf("queue %s is known: %t", queue, known)
	}
}

func (w *world) resume(queue string, want bool) {
	w.Helper()
	was, err := w.store.Resume(w.Context(), queue)
	w.check("resume", err)
	if was != want {
		w.Fatalf("queue %s was paused: %t", queue, was)
	}
}

func queuesPause(w *world) {
	w.pause("nobody", 0, false)
	by := w.consumer()
	media := plain()
	media.Queue = "media"
	grouped, behind := inGroup("g", 10), inGroup("g", 20)
	grouped.Queue = "media"
	ids := w.insert(media, plain(), grouped, behind)
	w.pause("media", 0, true)
	w.pause("media", 0, true) // twice is once
	w.same("claimed by number", idsOf(w.claim(by, ids[0], ids[2], ids[3])))
	refs, err := w.store.Oldest(w.Context(), []jobstore.Band{{Queue: "media", Priority: 10}, {Queue: "default", Priority: 10}})
	w.check("oldest", err)
	w.same("oldest", refIDs(refs), ids[1])
	refs, _, err = w.store.ReadyFrom(w.Context(), jobstore.Band{Queue: "media", Priority: 10}, 0, 10)
	w.check("ready from", err)
	w.same("ready from", refIDs(refs))
	refs, err = w.store.Heads(w.Context(), 10)
	w.check("heads", err)
	w.same("heads", refIDs(refs))
	// A head that is paused still goes first in its group.
	w.same("claimed by order", idsOf(w.next(by, 10)), ids[1])
	w.resume("media", true)
	w.resume("media", false)
	w.same("claimed by number after it", idsOf(w.claim(by, ids[0])), ids[0])
	w.same("claimed by order after it", idsOf(w.next(by, 10)), ids[2])
}

func queuesPauseFor(w *world) {
	by := w.consumer()
	id := w.insert(plain())[0]
	w.pause("default", time.Hour, true)
	w.same("claimed", idsOf(w.claim(by, id)))
	w.pause("default", time.Millisecond, true) // a new order replaces the old one
	w.eventually("the pause is over", func() bool { return len(w.claim(by, id)) == 1 })
	w.resume("default", true)
	w.resume("default", false)
}

func queuesReannounce(w *world) {
	other, late := plain(), plain()
	other.Queue, late.Priority = "media", 20
	ids := w.insert(slices.Repeat([]jobstore.NewJob{plain()}, 5)...)
	ids = append(ids, w.insert(late, inGroup("g", 10), inGroup("h", 10))...)
	w.insert(other, inGroup("g", 10))
	at := jobstore.Position{}
	total, steps := 0, 0
	for more := true; more; steps++ {
		n, next, again, err := w.store.Reannounce(w.Context(), "default", at, 2)
		w.check("reannounce", err)
		if n > 2 || steps > 20 {
			w.Fatalf("step %d announced %d from %+v", steps, n, at)
		}
		total, at, more = total+n, next, again
	}
	refs, err := w.store.Outbox(w.Context(), 100)
	w.check("outbox", err)
	w.same("announced", refIDs(refs), ids...)
	if total != len(ids) {
		w.Fatalf("announced %d, want %d", total, len(ids))
	}
}

func (w *world) restarting() (n int) {
	w.Helper()
	list, err := w.store.Consumers(w.Context())
	w.check("consumers", err)
	for _, c := range list {
		if c.Restarting {
			n++
		}
	}
	return n
}

func queuesRestart(w *world) {
	first, second := w.consumer(), w.consumer()
	dead := w.consumerFor(time.Millisecond)
	elsewhere, err := w.store.Register(w.Context(), jobstore.Consumer{Queues: []string{"elsewhere"}}, long)
	w.check("register", err)
	w.eventually("one expires", func() bool {
		list, err := w.store.Consumers(w.Context())
		w.check("consumers", err)
		return slices.ContainsFunc(list, func(c jobstore.ConsumerInfo) bool { return c.ID == dead.Holder && !c.Alive })
	})
	_, err = w.store.Restart(w.Context(), "media", 3)
	w.wantErr("more than are alive", err, jobstore.ErrRefused)
	if n := w.restarting(); n != 0 {
		w.Fatalf("%d were told by an order that was refused", n)
	}
	told, err := w.store.Restart(w.Context(), "media", 1)
	w.check("restart", err)
	if !slices.Equal(told, []jobstore.HolderID{first.Holder}) {
		w.Fatalf("told %v, want the oldest, %d", told, first.Holder)
	}
	for id, want := range map[jobstore.HolderID]bool{first.Holder: true, second.Holder: false, elsewhere: false} {
		if o, err := w.store.Renew(w.Context(), id, long); err != nil || o.Restart != want {
			w.Fatalf("consumer %d: %+v, %v", id, o, err)
		}
	}
	_, err = w.store.Restart(w.Context(), "media", 2)
	w.wantErr("one of two was told before", err, jobstore.ErrRefused)
	told, err = w.store.Restart(w.Context(), "default", 1)
	w.check("restart", err)
	if !slices.Equal(told, []jobstore.HolderID{second.Holder}) || w.restarting() != 2 {
		w.Fatalf("told %v", told)
	}
}

func queuesRestartRace(w *world) {
	for range 6 {
		w.consumer()
	}
	done := make(chan []jobstore.HolderID)
	for range 3 {
		go func() {
			told, err := w.store.Restart(w.Context(), "media", 2)
			if err != nil {
				w.Errorf("restart: %v", err)
			}
			done <- told
		}()
	}
	var all []jobstore.HolderID
	for range 3 {
		all = append(all, <-done...)
	}
	if n := len(slices.Compact(sorted(all))); n != 6 || w.restarting() != 6 {
		w.Fatalf("three orders of two told %v", all)
	}
}

func queuesList(w *world) {
	list := func() []jobstore.QueueInfo {
		w.Helper()
		got, err := w.store.Queues(w.Context())
		w.check("queues", err)
		return got
	}
	if got := list(); len(got) != 0 {
		w.Fatalf("queues of an empty store: %+v", got)
	}
	w.inState(jobstore.Scheduled)
	w.inState(jobstore.Waiting)
	w.inState(jobstore.TemporarilyFailed)
	w.inState(jobstore.Processing)
	w.inState(jobstore.PermanentlyFailed)
	w.inState(jobstore.Finished)
	w.insert(plain(), plain())
	w.pause("zoo", 0, false)
	w.pause("default", time.Hour, true)
	got := list()
	if len(got) != 3 || got[0].Queue != "default" || got[1].Queue != "media" || got[2].Queue != "zoo" {
		w.Fatalf("queues: %+v", got)
	}
	if d := got[0]; !d.Paused || d.Until == nil || len(d.Bands) != 3 {
		w.Fatalf("queue default: %+v", d)
	}
	b := got[0].Bands[0]
	if b.Oldest <= 0 {
		w.Fatalf("the oldest READY job is not there: %+v", b)
	}
	b.Oldest = 0
	consumers, err := w.store.Consumers(w.Context())
	w.check("consumers", err)
	want := jobstore.BandInfo{Priority: 10, Ready: 2, Scheduled: 1, Waiting: 1, Retrying: 1, Processing: 1, Failed: 1, Consumers: len(consumers)}
	if b != want {
		w.Fatalf("the band is %+v, want %+v", b, want)
	}
	if m := got[1]; m.Paused || fmt.Sprint(m.Bands[2].Priority, m.Bands[2].Ready) != "30 0" {
		w.Fatalf("queue media: %+v", m)
	}
	if z := got[2]; !z.Paused || z.Until != nil || len(z.Bands) != 0 {
		w.Fatalf("queue zoo: %+v", z)
	}
}
