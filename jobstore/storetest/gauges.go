package storetest

import (
	"fmt"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func gaugesTests() []test {
	return []test{
		{"an empty store has no backlog", func(w *world) {
			w.gauges(100, nil, 0)
		}},
		{"live jobs are counted by band and state, ended ones are not", gaugesCount},
		{"counting stops at the limit", gaugesLimit},
	}
}

// gauges compares what there is, without its ages.
func (w *world) gauges(limit int, want map[string]int64, outbox int64) jobstore.Gauges {
	w.Helper()
	b, err := w.store.Gauges(w.Context(), limit)
	w.check("gauges", err)
	got := map[string]int64{}
	for _, x := range b.Bands {
		got[fmt.Sprintf("%s/%d %s", x.Queue, x.Priority, x.State)] += x.Jobs
	}
	if len(got) != len(want) || b.Outbox != outbox {
		w.Fatalf("backlog %v, outbox %d; want %v, outbox %d", got, b.Outbox, want, outbox)
	}
	for k, n := range want {
		if got[k] != n {
			w.Fatalf("backlog %v, want %v", got, want)
		}
	}
	return b
}

func gaugesCount(w *world) {
	media, later, hidden := plain(), plain(), plain()
	media.Queue, media.Priority = "media", 30
	later.Delay = time.Hour
	hidden.Outbox = true
	ids := w.insert(plain(), plain(), media, later, inGroup("g", 20), inGroup("g", 20), hidden)
	by := w.consumer()
	running := w.claim(by, ids[0], ids[4])
	w.gauges(100, map[string]int64{
		"default/10 READY": 2, "default/10 PROCESSING": 1, "default/10 SCHEDULED": 1, "media/30 READY": 1,
		"default/20 PROCESSING": 1, "default/20 READY": 1,
	}, 1)
	w.finish(by, running...)
	failed := w.claimOne(by, ids[1])
	again := outcome(failed, jobstore.TemporarilyFailed)
	again.Delay = time.Hour
	w.recorded(by, again)
	b := w.gauges(100, map[string]int64{
		"default/10 READY": 1, "default/10 SCHEDULED": 1, "default/10 TEMPORARILY_FAILED": 1, "media/30 READY": 1, "default/20 READY": 1,
	}, 1)
	for _, x := range b.Bands {
		if x.Queue == "media" && x.Age <= 0 {
			w.Fatalf("the job of queue media has no age: %+v", b)
		}
		if x.State != jobstore.Ready && x.Age != 0 {
			w.Fatalf("only READY jobs have an age: %+v", x)
		}
	}
	if b.OutboxAge <= 0 {
		w.Fatalf("the outbox has no age: %+v", b)
	}
}

func gaugesLimit(w *world) {
	var jobs []jobstore.NewJob
	for range 10 {
		media := plain()
		media.Queue = "media"
		jobs = append(jobs, plain(), media)
	}
	w.insert(jobs...)
	w.gauges(4, map[string]int64{"default/10 READY": 4, "media/10 READY": 4}, 0)
	w.gauges(10, map[string]int64{"default/10 READY": 10, "media/10 READY": 10}, 0)
}
