package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func insertTests() []test {
	return []test{
		{"numbers ascend in the order of the input", func(w *world) {
			jobs := make([]jobstore.NewJob, 300)
			for i := range jobs {
				jobs[i] = plain()
			}
			ids := w.insert(jobs...)
			for i := 1; i < len(ids); i++ {
				if ids[i] <= ids[i-1] {
					w.Fatalf("number %d follows %d", ids[i], ids[i-1])
				}
			}
		}},
		{"every column comes back", insertColumns},
		{"a future time is SCHEDULED", func(w *world) {
			delayed, later, past := plain(), plain(), plain()
			delayed.Delay = time.Hour
			later.AvailableAt = time.Now().Add(24 * time.Hour)
			past.AvailableAt = time.Now().Add(-24 * time.Hour)
			ids := w.insert(delayed, later, past)
			w.wantState(jobstore.Scheduled, ids[0], ids[1])
			w.wantState(jobstore.Ready, ids[2])
			w.same("claimed", idsOf(w.claim(w.consumer(), ids...)), ids[2])
		}},
		{"nothing is inserted for no jobs", func(w *world) { w.insert() }},
		{"a bad job fails the call and nothing of it is stored", func(w *world) {
			bad := plain()
			bad.Args = json.RawMessage(`{"nul": "\u0000"`)
			_, err := w.store.Insert(w.Context(), []jobstore.NewJob{plain(), bad, plain()})
			w.wantErr("insert", err, jobstore.ErrInvalid)
			w.wantTotal(0)
		}},
		{"one caller's bad data fails nobody else", insertBadNeighbour},
		{"a transaction decides", insertTx},
		{"an ended context is an error", func(w *world) {
			ctx, cancel := context.WithCancel(w.Context())
			cancel()
			if _, err := w.store.Insert(ctx, []jobstore.NewJob{plain()}); err == nil {
				w.Fatal("insert with an ended context succeeded")
			}
		}},
	}
}

func (w *world) wantTotal(want int64) {
	w.Helper()
	st, err := w.store.Stats(w.Context())
	w.check("stats", err)
	var n int64
	for _, c := range st.Total {
		n += c
	}
	if n != want {
		w.Fatalf("there are %d jobs, want %d", n, want)
	}
}

func insertColumns(w *world) {
	five := int64(5)
	in := jobstore.NewJob{
		Kind: "k", Args: json.RawMessage(`{"to": "a@b.c"}`), Queue: "media", Priority: 20, SerialGroup: "g", GroupSkip: true,
		Coalesce: &five, Identifier: "i", Mode: jobstore.Recurring, Every: 90 * time.Second, MaxAttempts: 3,
		Timeout: 1500 * time.Millisecond, Metadata: json.RawMessage(`{"trace": "t"}`), Tags: []string{"a", `b"c`},
	}
	j := w.get(w.insert(in)[0])
	switch {
	case j.Kind != in.Kind, j.Queue != in.Queue, j.Priority != in.Priority, j.SerialGroup != in.SerialGroup,
		j.Coalesce == nil || *j.Coalesce != five, j.Identifier != in.Identifier, j.Mode != in.Mode, j.Every != in.Every,
		j.MaxAttempts != in.MaxAttempts, j.Timeout != in.Timeout, len(j.Tags) != 2 || j.Tags[1] != in.Tags[1],
		!sameJSON(j.Args, in.Args), !sameJSON(j.Metadata, in.Metadata):
		w.Fatalf("inserted %+v, got %+v", in, j)
	case j.State != jobstore.Ready, j.Attempts != 0, j.LeaseNo != 0, j.Crashes != 0, j.Holder != 0, j.AnnounceAt != nil,
		j.CreatedAt.IsZero(), j.FinishedAt != nil:
		w.Fatalf("a new row is %+v", j)
	}
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return len(a) == len(b)
	}
	p, err1 := json.Marshal(x)
	q, err2 := json.Marshal(y)
	return err1 == nil && err2 == nil && string(p) == string(q)
}

func insertBadNeighbour(w *world) {
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			j := plain()
			if i%4 == 0 {
				j.Args = json.RawMessage(`not json`)
			}
			got, err := w.store.Insert(w.Context(), []jobstore.NewJob{j})
			switch {
			case i%4 == 0 && !errors.Is(err, jobstore.ErrInvalid):
				w.Errorf("bad data: error is %v, want ErrInvalid", err)
			case i%4 != 0 && (err != nil || len(got) != 1):
				w.Errorf("good data beside bad data: %v, %v", got, err)
			}
		})
	}
	wg.Wait()
	w.wantTotal(24)
}

func insertTx(w *world) {
	no := errors.New("no")
	err := w.store.InTx(w.Context(), func(ctx context.Context, tx jobstore.Tx) error {
		if _, err := w.store.InsertTx(ctx, tx, []jobstore.NewJob{plain()}); err != nil {
			return err
		}
		return no
	})
	w.wantErr("rolled back", err, no)
	w.wantTotal(0)
	err = w.store.InTx(w.Context(), func(ctx context.Context, tx jobstore.Tx) error {
		out := plain()
		out.Outbox = true
		_, err := w.store.InsertTx(ctx, tx, []jobstore.NewJob{out, withKey(jobstore.Unique, "x"), withKey(jobstore.Unique, "x")})
		return err
	})
	w.check("committed", err)
	w.wantTotal(3)
	refs, err := w.store.Outbox(w.Context(), 10)
	w.check("outbox", err)
	if len(refs) != 1 {
		w.Fatalf("the outbox has %v, want the one row that asked for it", refs)
	}
}
