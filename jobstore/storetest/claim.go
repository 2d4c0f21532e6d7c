package storetest

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func claimTests() []test {
	return []test{
		{"a lease carries what a handler needs", claimLease},
		{"a number is claimed once", claimOnce},
		{"only READY rows can be claimed", claimStates},
		{"a number outside of what the claimant takes changes nothing", claimForged},
		{"an unknown kind goes to the outbox for later", claimUnknownKind},
		{"a consumer whose lease has expired gets nothing", func(w *world) {
			id := w.insert(plain())[0]
			by := w.consumerFor(time.Millisecond)
			w.eventually("the lease expires", func() bool {
				_, err := w.store.Renew(w.Context(), by.Holder, time.Millisecond)
				return err != nil
			})
			_, err := w.store.Claim(w.Context(), by, []jobstore.ID{id})
			w.wantErr("claim", err, jobstore.ErrHolderGone)
			_, err = w.store.ClaimNext(w.Context(), by, 1)
			w.wantErr("claim next", err, jobstore.ErrHolderGone)
			by.Holder = 1 << 40
			_, err = w.store.Claim(w.Context(), by, []jobstore.ID{id})
			w.wantErr("claim by nobody", err, jobstore.ErrHolderGone)
			w.wantState(jobstore.Ready, id)
		}},
		{"a lost reply is repeated, with what else is there", claimAgain},
		{"what a lost claim granted is released", claimReleaseUnknown},
		{"many claimants never share a job", claimRace},
	}
}

func claimLease(w *world) {
	seven := int64(7)
	in := inGroup("g", 20)
	in.Coalesce, in.Identifier, in.Timeout, in.MaxAttempts, in.Tags = &seven, "i", 3*time.Second, 4, []string{"t"}
	in.Metadata = []byte(`{"m": 1}`)
	id := w.insert(in)[0]
	by := w.consumer()
	got := w.claimOne(by, id).Job
	if got.Kind != in.Kind || got.Queue != in.Queue || got.Priority != 20 || got.SerialGroup != "g" || got.Identifier != "i" ||
		got.Coalesce == nil || *got.Coalesce != 7 || got.Timeout != in.Timeout || got.MaxAttempts != 4 || got.Attempts != 1 ||
		got.LeaseNo != 1 || got.CreatedAt.IsZero() || got.AvailableAt.Before(got.CreatedAt) ||
		got.AttemptedAt == nil || got.AttemptedAt.Before(got.AvailableAt) || got.Mode != jobstore.Normal || got.State != jobstore.Processing ||
		!sameJSON(got.Args, in.Args) || !sameJSON(got.Metadata, in.Metadata) || !slices.Equal(got.Tags, in.Tags) {
		w.Fatalf("the lease of %+v is %+v", in, got)
	}
	row := w.get(id)
	if row.State != jobstore.Processing || row.Holder != by.Holder || row.Host != by.Host || row.PID != by.PID ||
		row.AttemptedAt == nil || row.Attempts != 1 || row.LeaseNo != 1 {
		w.Fatalf("the claimed row is %+v", row)
	}
}

func claimOnce(w *world) {
	ids := w.insert(plain(), plain(), plain())
	by, other := w.consumer(), w.consumer()
	w.same("first claim, with a number twice", idsOf(w.claim(by, ids[0], ids[1], ids[0])), ids[0], ids[1])
	w.same("second claim", idsOf(w.claim(other, ids...)), ids[2])
	w.same("a claim of nothing but duplicates and forgeries", idsOf(w.claim(other, ids[0], 1<<40)))
}

func claimStates(w *world) {
	by := w.consumer()
	for _, state := range []jobstore.State{
		jobstore.Finished, jobstore.PermanentlyFailed, jobstore.Cancelled, jobstore.TemporarilyFailed, jobstore.Waiting,
	} {
		id := w.insert(plain())[0]
		done := outcome(w.claimOne(by, id), state)
		done.Delay = time.Hour
		w.recorded(by, done)
		w.wantState(state, id)
		w.same("claim of a job that is "+string(state), idsOf(w.claim(by, id)))
	}
	later := plain()
	later.Delay = time.Hour
	w.same("claim of a SCHEDULED job", idsOf(w.claim(by, w.insert(later)...)))
}

func claimForged(w *world) {
	foreign, low := plain(), plain()
	foreign.Queue, low.Priority = "foreign", 40
	ids := w.insert(foreign, low)
	by := w.consumer()
	w.same("claimed", idsOf(w.claim(by, ids...)))
	w.same("next", idsOf(w.next(by, 10)))
	for _, id := range ids {
		if j := w.get(id); j.State != jobstore.Ready || j.LeaseNo != 0 || j.Attempts != 0 || j.AnnounceAt != nil {
			w.Fatalf("a refused claim left %+v", j)
		}
	}
}

func claimUnknownKind(w *world) {
	strange := plain()
	strange.Kind = "strange"
	ids := w.insert(strange, plain())
	got, err := w.store.Claim(w.Context(), w.consumer(), ids)
	w.check("claim", err)
	w.same("claimed", idsOf(got.Leases), ids[1])
	w.same("unknown", got.UnknownKind, ids[0])
	j := w.get(ids[0])
	if j.State != jobstore.Ready || j.Attempts != 0 || j.AnnounceAt == nil || j.AnnounceAt.Sub(j.CreatedAt) < time.Second {
		w.Fatalf("a job of an unknown kind became %+v", j)
	}
}

func claimAgain(w *world) {
	ids := w.insert(plain(), plain(), inGroup("g", 10), plain())
	by, other := w.consumer(), w.consumer()
	by.Token = 42
	first := w.claim(by, ids[:3]...)
	if len(first) != 3 {
		w.Fatalf("claimed %v", idsOf(first))
	}
	w.claimOne(other, ids[3])
	late := w.insert(plain())[0]
	by.Again = true
	again := w.claim(by, append(slices.Clone(ids), late, ids[0])...) // a number twice is one lease
	w.same("again", idsOf(again), ids[0], ids[1], ids[2], late)
	for _, l := range again {
		if j := w.get(l.Job.ID); l.Job.LeaseNo != 1 || l.Job.Attempts != 1 || j.LeaseNo != 1 {
			w.Fatalf("repeated claim: lease %+v, row %+v", l.Job, j)
		}
	}
	by.Token = 43
	w.same("another token", idsOf(w.claim(by, ids...)))
	w.finish(by, again...)
}

func claimReleaseUnknown(w *world) {
	ids := w.insert(plain(), plain(), inGroup("g", 10), inGroup("g", 10))
	by := w.consumer()
	by.Token = 42
	leases := w.claim(by, ids...)
	refs, err := w.store.ReleaseUnknown(w.Context(), by.Holder, []int64{41, 43}, ids[:1])
	w.check("release what other claims were granted", err)
	w.same("released of other claims", refIDs(refs))
	refs, err = w.store.ReleaseUnknown(w.Context(), by.Holder, []int64{41, 42}, ids[:1])
	w.check("release unknown", err)
	w.same("released", refIDs(refs), ids[1], ids[2])
	w.wantState(jobstore.Processing, ids[0])
	for _, id := range ids[1:3] {
		if j := w.get(id); j.State != jobstore.Ready || j.Attempts != 0 || j.LeaseNo != 1 || j.Crashes != 0 || j.Holder != 0 {
			w.Fatalf("released row is %+v", j)
		}
	}
	for _, l := range leases {
		if l.Job.ID != ids[0] {
			w.same("fenced", w.record(by, outcome(l, jobstore.Finished)).Fenced, l.Job.ID)
		}
	}
	refs, err = w.store.ReleaseUnknown(w.Context(), by.Holder, []int64{42}, nil)
	w.check("release everything", err)
	w.same("released", refIDs(refs), ids[0])
}

// claimRace lets consumers claim overlapping batches. No two leases may share a job or a number.
func claimRace(w *world) {
	jobs := make([]jobstore.NewJob, 400)
	for i := range jobs {
		jobs[i] = plain()
	}
	ids := w.insert(jobs...)
	var mu sync.Mutex
	taken := map[jobstore.ID]jobstore.HolderID{}
	var wg sync.WaitGroup
	for c := range 8 {
		by := w.consumer()
		wg.Go(func() {
			for at := 0; at < len(ids); at += 20 {
				var got []jobstore.Lease
				var err error
				if c%2 == 0 {
					var claimed jobstore.Claimed
					claimed, err = w.store.Claim(w.Context(), by, ids[at:min(at+40, len(ids))])
					got = claimed.Leases
				} else {
					if got, err = w.store.ClaimNext(w.Context(), by, 20); errors.Is(err, jobstore.ErrBusy) {
						continue
					}
				}
				if err != nil {
					w.Errorf("claim: %v", err)
					return
				}
				mu.Lock()
				for _, l := range got {
					if before, twice := taken[l.Job.ID]; twice {
						w.Errorf("job %d was leased to %d and to %d", l.Job.ID, before, by.Holder)
					}
					taken[l.Job.ID] = by.Holder
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	by := w.consumer()
	rest := w.claim(by, ids...)
	if len(taken)+len(rest) != len(ids) {
		w.Fatalf("%d jobs were leased in the race and %d after it, of %d", len(taken), len(rest), len(ids))
	}
}
