package storetest

import (
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func readTests() []test {
	return []test{
		{"no such job", func(w *world) {
			_, err := w.store.Get(w.Context(), 1<<40)
			w.wantErr("get", err, jobstore.ErrNotFound)
		}},
		{"stats count every state, zero included", readStats},
		{"filters", readFilters},
		{"pages", readPages},
		{"unfinished identifiers", readUnfinished},
	}
}

func readStats(w *world) {
	media := plain()
	media.Queue = "media"
	ids := w.insert(plain(), plain(), media)
	by := w.consumer()
	w.finish(by, w.claimOne(by, ids[0]))
	st, err := w.store.Stats(w.Context())
	w.check("stats", err)
	for _, s := range jobstore.States() {
		if _, ok := st.Total[s]; !ok {
			w.Fatalf("the total has no %s", s)
		}
		if _, ok := st.Queues["media"][s]; !ok {
			w.Fatalf("queue media has no %s", s)
		}
	}
	if st.Total[jobstore.Ready] != 2 || st.Total[jobstore.Finished] != 1 || st.Queues["media"][jobstore.Ready] != 1 ||
		st.Queues["default"][jobstore.Ready] != 1 || len(st.Queues) != 2 {
		w.Fatalf("stats: %+v", st)
	}
}

func readFilters(w *world) {
	a, b, c := plain(), inGroup("g", 20), plain()
	a.Identifier, a.Tags, a.Args = "x", []string{"red", "big"}, []byte(`{"to": {"name": "ann"}, "n": 5}`)
	b.Kind, b.Args = "other", []byte(`{"to": {"name": "bob'; DROP TABLE jobs --"}}`)
	c.Queue, c.Priority, c.Delay, c.Tags = "media", 30, time.Hour, []string{"red"}
	ids := w.insert(a, b, c)
	twenty := 20
	for _, f := range []struct {
		name string
		f    jobstore.Filter
		want []jobstore.ID
	}{
		{"all", jobstore.Filter{}, ids},
		{"state", jobstore.Filter{States: []jobstore.State{jobstore.Scheduled, jobstore.Finished}}, ids[2:]},
		{"queue", jobstore.Filter{Queues: []string{"default"}}, ids[:2]},
		{"kind", jobstore.Filter{Kinds: []string{"other", "none"}}, ids[1:2]},
		{"priority at least", jobstore.Filter{MinPriority: &twenty}, ids[1:]},
		{"priority at most", jobstore.Filter{MaxPriority: &twenty}, ids[:2]},
		{"priorities", jobstore.Filter{Priorities: []int{10, 30}}, []jobstore.ID{ids[0], ids[2]}},
		{"identifier", jobstore.Filter{Identifiers: []string{"x"}}, ids[:1]},
		{"group", jobstore.Filter{SerialGroups: []string{"g"}}, ids[1:2]},
		{"tag", jobstore.Filter{Tags: []string{"red"}}, []jobstore.ID{ids[0], ids[2]}},
		{"all tags", jobstore.Filter{Tags: []string{"red", "big"}}, ids[:1]},
		{"args", jobstore.Filter{Where: []jobstore.ArgsMatch{{Path: []string{"to", "name"}, Value: "ann"}}}, ids[:1]},
		{"a number in args", jobstore.Filter{Where: []jobstore.ArgsMatch{{Path: []string{"n"}, Value: "5"}}}, ids[:1]},
		{"two args", jobstore.Filter{Where: []jobstore.ArgsMatch{
			{Path: []string{"n"}, Value: "5"}, {Path: []string{"to", "name"}, Value: "bob"},
		}}, nil},
		{"args as an attack", jobstore.Filter{Where: []jobstore.ArgsMatch{
			{Path: []string{"to", "name"}, Value: "bob'; DROP TABLE jobs --"},
		}}, ids[1:2]},
		{"a queue as an attack", jobstore.Filter{Queues: []string{"x' OR '1'='1"}}, nil},
		{"a path as an attack", jobstore.Filter{Where: []jobstore.ArgsMatch{{Path: []string{"a}'::text[] OR true --"}, Value: ""}}}, nil},
		{"numbers", jobstore.Filter{IDs: []jobstore.ID{ids[2], ids[0], 1 << 40}}, []jobstore.ID{ids[0], ids[2]}},
		{"after", jobstore.Filter{After: ids[0]}, ids[1:]},
		{"limit", jobstore.Filter{Limit: 2}, ids[:2]},
		{"older than an hour", jobstore.Filter{OlderThan: time.Hour}, nil},
		{"several at once", jobstore.Filter{Queues: []string{"default"}, Kinds: []string{"k"}, MaxPriority: &twenty, Tags: []string{"big"}}, ids[:1]},
	} {
		got, err := w.store.List(w.Context(), f.f)
		w.check(f.name, err)
		found := make([]jobstore.ID, 0, len(got))
		for i := range got {
			found = append(found, got[i].ID)
		}
		if !slices.Equal(found, f.want) {
			w.Errorf("%s: %v, want %v", f.name, found, f.want)
		}
	}
}

func readPages(w *world) {
	var jobs []jobstore.NewJob
	for range 25 {
		jobs = append(jobs, plain())
	}
	ids := w.insert(jobs...)
	by := w.consumer()
	w.finish(by, w.claim(by, ids[3], ids[12], ids[13])...)
	var seen []jobstore.ID
	f := jobstore.Filter{Limit: 10}
	for {
		page, err := w.store.List(w.Context(), f)
		w.check("list", err)
		for i := range page {
			seen = append(seen, page[i].ID)
		}
		if len(page) < 10 {
			break
		}
		f.After = page[9].ID
	}
	if !slices.Equal(seen, ids) {
		w.Fatalf("pages: %v, want %v", seen, ids)
	}
}

func readUnfinished(w *world) {
	by := w.consumer()
	end := func(identifier string, state jobstore.State) {
		j := plain()
		j.Identifier = identifier
		l := w.claimOne(by, w.insert(j)[0])
		if state != jobstore.Processing {
			o := outcome(l, state)
			o.Delay = time.Hour
			w.recorded(by, o)
		}
	}
	end("finished", jobstore.Finished)
	end("cancelled", jobstore.Cancelled)
	end("failed", jobstore.PermanentlyFailed)
	end("backing off", jobstore.TemporarilyFailed)
	end("running", jobstore.Processing)
	end("both", jobstore.Finished)
	both := plain()
	both.Identifier = "both"
	w.insert(both)
	ask := []string{"running", "finished", "nobody", "failed", "cancelled", "both", "backing off"}
	for exclude, want := range map[bool][]string{
		false: {"running", "failed", "both", "backing off"},
		true:  {"failed", "both", "backing off"},
	} {
		got, err := w.store.Unfinished(w.Context(), ask, exclude)
		w.check("unfinished", err)
		if !slices.Equal(got, want) {
			w.Errorf("unfinished, processing excluded %t: %v, want %v", exclude, got, want)
		}
	}
}
