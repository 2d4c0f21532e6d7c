// Package storetest is the contract of package jobstore as tests. Every store passes it:
//
//	storetest.Run(t, func(t *testing.T) jobstore.Store { return open(t) })
//
// The constructor returns a store that is migrated, empty and nobody else's, and closes it when
// the test ends. The tests only use the interfaces of package jobstore. They never look at a
// clock: what must become due is given a short delay and waited for.
package storetest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// Open makes a migrated, empty store for one test.
type Open func(t *testing.T) jobstore.Store

// Run runs the whole contract.
func Run(t *testing.T, open Open) {
	t.Helper()
	for _, part := range []struct {
		name  string
		tests []test
	}{
		{"insert", insertTests()},
		{"request", requestTests()},
		{"claim", claimTests()},
		{"next", nextTests()},
		{"record", recordTests()},
		{"group", groupTests()},
		{"key", keyTests()},
		{"settle", settleTests()},
		{"reseal", resealTests()},
		{"hold", holdTests()},
		{"sweep", sweepTests()},
		{"schedule", scheduleTests()},
		{"audit", auditTests()},
		{"read", readTests()},
		{"operate", operateTests()},
		{"change", changeTests()},
		{"housekeeper", housekeeperTests()},
		{"queues", queuesTests()},
		{"pause", pauseTests()},
		{"kinds", kindsTests()},
		{"history", historyTests()},
		{"gauges", gaugesTests()},
		{"guard", guardTests()},
		{"flow", flowTests()},
		{"journal", journalTests()},
		{"files", fileTests()},
		{"admin", adminTests()},
		{"property", propertyTests()},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			for _, one := range part.tests {
				t.Run(one.name, func(t *testing.T) {
					t.Parallel()
					one.run(&world{T: t, store: open(t)})
				})
			}
		})
	}
}

type test struct {
	name string
	run  func(w *world)
}

// long is a lease that does not end during a test, and patience how long a test waits for what
// must happen soon.
const (
	long     = time.Hour
	patience = 30 * time.Second
)

// world is a store with a test around it. Its methods fail the test.
type world struct {
	*testing.T
	store jobstore.Store
}

// bands that claimants of these tests take.
func queues() []string  { return []string{"default", "media"} }
func priorities() []int { return []int{10, 20, 30} }
func kinds() []string   { return []string{"k", "other"} }

func plain() jobstore.NewJob {
	return jobstore.NewJob{Kind: "k", Args: json.RawMessage(`{"n": 1}`), Queue: "default", Priority: 10, Mode: jobstore.Normal, MaxAttempts: 25}
}

func inGroup(group string, priority int) jobstore.NewJob {
	j := plain()
	j.SerialGroup, j.Priority = group, priority
	return j
}

func withKey(mode jobstore.Mode, identifier string) jobstore.NewJob {
	j := plain()
	j.Mode, j.Identifier = mode, identifier
	if mode == jobstore.Recurring {
		j.Every = time.Hour
	}
	return j
}

func (w *world) check(doing string, err error) {
	w.Helper()
	if err != nil {
		w.Fatalf("%s: %v", doing, err)
	}
}

func (w *world) wantErr(doing string, err, want error) {
	w.Helper()
	if !errors.Is(err, want) {
		w.Fatalf("%s: error is %v, want %v", doing, err, want)
	}
}

func (w *world) insert(jobs ...jobstore.NewJob) []jobstore.ID {
	w.Helper()
	got, err := w.store.Insert(w.Context(), jobs)
	w.check("insert", err)
	if len(got) != len(jobs) {
		w.Fatalf("insert returned %d rows for %d jobs", len(got), len(jobs))
	}
	ids := make([]jobstore.ID, len(got))
	for i, in := range got {
		ids[i] = in.ID
	}
	return ids
}

func (w *world) get(id jobstore.ID) jobstore.Job {
	w.Helper()
	j, err := w.store.Get(w.Context(), id)
	w.check("get", err)
	return j
}

func (w *world) wantState(want jobstore.State, ids ...jobstore.ID) {
	w.Helper()
	for _, id := range ids {
		if j := w.get(id); j.State != want {
			w.Fatalf("job %d is %s, want %s", id, j.State, want)
		}
	}
}

func (w *world) consumer() jobstore.Claimant { return w.consumerFor(long) }

func (w *world) consumerFor(ttl time.Duration) jobstore.Claimant {
	w.Helper()
	id, err := w.store.Register(w.Context(), jobstore.Consumer{
		Name: "shop/mail", Host: "host", PID: 7, Version: "v1", Kinds: kinds(), Queues: queues(), Priorities: priorities(), Slots: 4,
	}, ttl)
	w.check("register", err)
	return jobstore.Claimant{
		Holder: id, Host: "host", PID: 7, Queues: queues(), Priorities: priorities(), Kinds: kinds(), Token: 1,
	}
}

// dies lets a consumer's lease end, now that it has done what the test wants of it: a short lease from
// the beginning could be over before that.
func (w *world) dies(by jobstore.Claimant) {
	w.Helper()
	_, err := w.store.Renew(w.Context(), by.Holder, time.Millisecond)
	w.check("renew", err)
}

func (w *world) claim(by jobstore.Claimant, ids ...jobstore.ID) []jobstore.Lease {
	w.Helper()
	got, err := w.store.Claim(w.Context(), by, ids)
	w.check("claim", err)
	return got.Leases
}

// claimOne claims a job that must be claimable.
func (w *world) claimOne(by jobstore.Claimant, id jobstore.ID) jobstore.Lease {
	w.Helper()
	got := w.claim(by, id)
	if len(got) != 1 || got[0].Job.ID != id {
		w.Fatalf("claim of job %d returned %v, the row is %+v", id, idsOf(got), w.get(id))
	}
	return got[0]
}

func (w *world) next(by jobstore.Claimant, n int) []jobstore.Lease {
	w.Helper()
	got, err := w.store.ClaimNext(w.Context(), by, n)
	w.check("claim next", err)
	return got
}

func (w *world) record(by jobstore.Claimant, done ...jobstore.Outcome) jobstore.Recorded {
	w.Helper()
	rec, err := w.store.Record(w.Context(), by.Holder, done)
	w.check("record", err)
	return rec
}

// recorded records an outcome that must be accepted.
func (w *world) recorded(by jobstore.Claimant, done ...jobstore.Outcome) []jobstore.Ref {
	w.Helper()
	rec := w.record(by, done...)
	if len(rec.Fenced) != 0 {
		w.Fatalf("outcomes of %v were fenced", rec.Fenced)
	}
	return rec.Released
}

func (w *world) finish(by jobstore.Claimant, leases ...jobstore.Lease) []jobstore.Ref {
	w.Helper()
	done := make([]jobstore.Outcome, len(leases))
	for i, l := range leases {
		done[i] = outcome(l, jobstore.Finished)
	}
	return w.recorded(by, done...)
}

func outcome(l jobstore.Lease, state jobstore.State) jobstore.Outcome {
	return jobstore.Outcome{
		ID: l.Job.ID, LeaseNo: l.Job.LeaseNo, State: state, Duration: 5 * time.Millisecond,
		SerialGroup: l.Job.SerialGroup, Mode: l.Job.Mode,
	}
}

// eventually repeats step until it reports true.
func (w *world) eventually(what string, step func() bool) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !step() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.Fatalf("in vain: %s", what)
		}
	}
}

// due makes a delayed job READY by the sweep.
func (w *world) due(id jobstore.ID) {
	w.Helper()
	w.eventually("the job becomes due", func() bool {
		_, err := w.store.Due(w.Context(), 100)
		w.check("due", err)
		return w.get(id).State == jobstore.Ready
	})
}

func idsOf(leases []jobstore.Lease) []jobstore.ID {
	ids := make([]jobstore.ID, len(leases))
	for i, l := range leases {
		ids[i] = l.Job.ID
	}
	return ids
}

func refIDs(refs []jobstore.Ref) []jobstore.ID {
	ids := make([]jobstore.ID, len(refs))
	for i, r := range refs {
		ids[i] = r.ID
	}
	return ids
}

func sorted[T cmp.Ordered](list []T) []T {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

// same compares without regard to order.
func (w *world) same(what string, got []jobstore.ID, want ...jobstore.ID) {
	w.Helper()
	if !slices.Equal(sorted(got), sorted(want)) {
		w.Fatalf("%s: %v, want %v", what, got, want)
	}
}
