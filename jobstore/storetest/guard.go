package storetest

import (
	"slices"
	"sync"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func guardTests() []test {
	return []test{
		{"a bucket gives what it has, then moments of their own", admitMoments},
		{"a job that comes at its moment begins, and never more than the bucket has", admitDue},
		{"a job that is dropped takes no moment", admitDrop},
		{"buckets are asked at the same time", admitRace},
		{"a lock has so many places", lockPlaces},
		{"a lock ends with its lease", lockEndsWithLease},
		{"a place that is given back goes to the first that waits", unlockWakes},
		{"locks are asked for at the same time", lockRace},
		{"a breaker opens, lets one try, and closes", breakerRound},
		{"a breaker counts within its period", breakerPeriod},
		{"the one that tries is as alive as its lease", breakerProbeDies},
	}
}

func (w *world) admit(asked ...jobstore.Admission) []jobstore.Admitted {
	w.Helper()
	got, err := w.store.Admit(w.Context(), asked)
	w.check("admit", err)
	if len(got) != len(asked) {
		w.Fatalf("%d answers to %d admissions", len(got), len(asked))
	}
	return got
}

// wantWait compares with a minute of tolerance, in tests whose steps are hours.
func (w *world) wantWait(what string, got jobstore.Admitted, want time.Duration) {
	w.Helper()
	if got.Begin || got.Wait > want || got.Wait < want-time.Minute {
		w.Fatalf("%s: %+v, want a wait of %s", what, got, want)
	}
}

func admitMoments(w *world) {
	a := jobstore.Admission{Key: "a", Step: time.Hour, Burst: 2 * time.Hour}
	other := jobstore.Admission{Key: "ünï", Step: 2 * time.Hour, Burst: 2 * time.Hour}
	got := w.admit(a, other, a, a, other, a)
	for _, i := range []int{0, 1, 2} {
		if got[i] != (jobstore.Admitted{Begin: true}) {
			w.Fatalf("admission %d: %+v, want a beginning", i, got[i])
		}
	}
	w.wantWait("the third", got[3], time.Hour)
	w.wantWait("the second of the other", got[4], 2*time.Hour)
	w.wantWait("the fourth", got[5], 2*time.Hour)
	w.wantWait("the fifth, later", w.admit(a)[0], 3*time.Hour)
	cheap := a
	cheap.Step = time.Minute
	w.wantWait("a cheap one queues behind them", w.admit(cheap)[0], 3*time.Hour+time.Minute)
	if got, err := w.store.Admit(w.Context(), nil); err != nil || len(got) != 0 {
		w.Fatalf("nothing asked: %v, %v", got, err)
	}
}

// admitDue asks in one call, in which no time passes: due jobs may all come at once, as when consumers
// were away, and yet the bucket gives two a second.
func admitDue(w *world) {
	a := jobstore.Admission{Key: "a", Step: 500 * time.Millisecond, Burst: 500 * time.Millisecond}
	due := a
	due.Due = true
	got := w.admit(a, due, due, due, due)
	want := []jobstore.Admitted{
		{Wait: 2 * time.Second}, // it came new, so that it goes behind those that waited
		{Begin: true},
		{Begin: true, Wait: 500 * time.Millisecond},
		{Begin: true, Wait: jobstore.HoldOn},
		{Wait: 1500 * time.Millisecond}, // holding on would take too long
	}
	if !slices.Equal(got, want) {
		w.Fatalf("admitted %+v, want %+v", got, want)
	}
}

func admitDrop(w *world) {
	a := jobstore.Admission{Key: "a", Step: time.Hour, Burst: time.Hour}
	drop := a
	drop.Drop = true
	if got := w.admit(drop)[0]; got != (jobstore.Admitted{Begin: true}) {
		w.Fatalf("a full bucket: %+v", got)
	}
	for _, got := range w.admit(drop, drop, drop) {
		w.wantWait("dropped", got, time.Hour)
	}
	w.wantWait("the next that waits", w.admit(a)[0], time.Hour)
}

func admitRace(w *world) {
	const jobs, burst = 40, 5
	var mu sync.Mutex
	var waits []time.Duration
	var wg sync.WaitGroup
	for range jobs {
		wg.Go(func() {
			got, err := w.store.Admit(w.Context(), []jobstore.Admission{{Key: "a", Step: time.Hour, Burst: burst * time.Hour}})
			if err != nil {
				w.Errorf("admit: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, got[0].Wait)
		})
	}
	wg.Wait()
	slices.Sort(waits)
	for i, wait := range waits {
		want := time.Duration(max(0, i+1-burst)) * time.Hour
		if wait > want || wait < want-time.Minute {
			w.Fatalf("wait %d is %s, want %s; all are %v", i, wait, want, waits)
		}
	}
}

// running claims so many jobs.
func (w *world) running(by jobstore.Claimant, n int) []jobstore.Lease {
	w.Helper()
	jobs := make([]jobstore.NewJob, n)
	for i := range jobs {
		jobs[i] = plain()
	}
	leases := make([]jobstore.Lease, n)
	for i, id := range w.insert(jobs...) {
		leases[i] = w.claimOne(by, id)
	}
	return leases
}

func lockOf(l jobstore.Lease, places int) jobstore.Lock {
	return jobstore.Lock{Key: "a", Places: places, ID: l.Job.ID, LeaseNo: l.Job.LeaseNo}
}

func (w *world) wantLocks(what string, asked []jobstore.Lock, want ...bool) {
	w.Helper()
	got, err := w.store.Lock(w.Context(), asked)
	w.check("lock", err)
	if !slices.Equal(got, want) {
		w.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func lockPlaces(w *world) {
	by := w.consumer()
	l := w.running(by, 4)
	w.wantLocks("two places", []jobstore.Lock{lockOf(l[0], 2), lockOf(l[1], 2), lockOf(l[2], 2)}, true, true, false)
	w.wantLocks("again, under the same lease", []jobstore.Lock{lockOf(l[1], 2)}, true)
	w.wantLocks("places are what is asked for now", []jobstore.Lock{lockOf(l[2], 3), lockOf(l[3], 3)}, true, false)
	other := lockOf(l[3], 1)
	other.Key = "another"
	w.wantLocks("another key", []jobstore.Lock{other}, true)
	refs, err := w.store.Unlock(w.Context(), []jobstore.Lock{lockOf(l[0], 0)})
	w.check("unlock", err)
	w.same("nobody waits", refIDs(refs))
	w.wantLocks("the place is free", []jobstore.Lock{lockOf(l[3], 3)}, true)
	// What is given back twice, or was never had, frees nobody's place.
	for _, h := range []jobstore.Lock{lockOf(l[0], 0), {Key: "a", ID: l[1].Job.ID, LeaseNo: 99}, {Key: "none", ID: 1 << 40}} {
		_, err = w.store.Unlock(w.Context(), []jobstore.Lock{h})
		w.check("unlock", err)
	}
	w.wantLocks("all are taken", []jobstore.Lock{lockOf(l[0], 3)}, false)
}

func lockEndsWithLease(w *world) {
	by, dying := w.consumer(), w.consumer()
	l := w.running(by, 2)
	w.wantLocks("taken", []jobstore.Lock{lockOf(l[0], 1), lockOf(l[1], 1)}, true, false)
	w.finish(by, l[0])
	w.wantLocks("its job has ended, without an unlock", []jobstore.Lock{lockOf(l[1], 1)}, true)
	// The same job under its next lease: what the lease before had is gone.
	w.recorded(by, jobstore.Outcome{ID: l[1].Job.ID, LeaseNo: l[1].Job.LeaseNo, State: jobstore.Ready, Uncount: true})
	again := w.claimOne(by, l[1].Job.ID)
	crashed := w.running(dying, 1)[0]
	w.wantLocks("free", []jobstore.Lock{lockOf(crashed, 1), lockOf(again, 1)}, true, false)
	w.dies(dying)
	w.eventually("the dead consumer's job is rescued", func() bool {
		_, err := w.store.Rescue(w.Context(), 100, 3)
		w.check("rescue", err)
		return w.get(crashed.Job.ID).State == jobstore.Ready
	})
	w.wantLocks("its holder died", []jobstore.Lock{lockOf(again, 1)}, true)
	_, err := w.store.Retain(w.Context(), jobstore.Retention{}, 100)
	w.check("retain", err)
	w.wantLocks("retention leaves what is held", []jobstore.Lock{lockOf(w.claimOne(by, crashed.Job.ID), 1)}, false)
}

func unlockWakes(w *world) {
	by := w.consumer()
	l := w.running(by, 4)
	ask := make([]jobstore.Lock, len(l))
	for i := range l {
		ask[i] = lockOf(l[i], 1)
		ask[i].Wait = i != 1 // which goes on without
	}
	w.wantLocks("one gets it", ask, true, false, false, false)
	for _, one := range l[1:] {
		o := outcome(one, jobstore.Waiting)
		o.Delay, o.Uncount = time.Hour, true
		w.recorded(by, o)
	}
	wantNext := func(h jobstore.Lock, want ...jobstore.ID) {
		w.Helper()
		refs, err := w.store.Unlock(w.Context(), []jobstore.Lock{h})
		w.check("unlock", err)
		w.same("released", refIDs(refs), want...)
		for _, ref := range refs {
			if ref.Queue != "default" || ref.Priority != 10 {
				w.Fatalf("released %+v", ref)
			}
		}
	}
	wantNext(ask[0], l[2].Job.ID)
	w.wantState(jobstore.Waiting, l[1].Job.ID, l[3].Job.ID)
	second := w.claimOne(by, l[2].Job.ID)
	if second.Job.Attempts != 1 {
		w.Fatalf("waiting has used up attempts: %d", second.Job.Attempts)
	}
	w.wantLocks("its turn", []jobstore.Lock{lockOf(second, 1)}, true)
	wantNext(lockOf(second, 1), l[3].Job.ID)
	third := w.claimOne(by, l[3].Job.ID)
	w.wantLocks("its turn", []jobstore.Lock{lockOf(third, 1)}, true)
	wantNext(lockOf(third, 1))
}

func lockRace(w *world) {
	by := w.consumer()
	l := w.running(by, 24)
	var mu sync.Mutex
	got := 0
	var wg sync.WaitGroup
	for _, one := range l {
		wg.Go(func() {
			ok, err := w.store.Lock(w.Context(), []jobstore.Lock{lockOf(one, 3)})
			if err != nil {
				w.Errorf("lock: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if ok[0] {
				got++
			}
		})
	}
	wg.Wait()
	if got != 3 {
		w.Fatalf("%d leases have one of 3 places", got)
	}
}

func reportOf(l jobstore.Lease, failed string) jobstore.Report {
	return jobstore.Report{
		Name: "api", ID: l.Job.ID, LeaseNo: l.Job.LeaseNo, Failed: failed,
		Threshold: 2, Period: time.Hour, Cooldown: time.Hour,
	}
}

func (w *world) report(r jobstore.Report) jobstore.Breaker {
	w.Helper()
	b, err := w.store.Report(w.Context(), r)
	w.check("report", err)
	return b
}

func (w *world) enter(l jobstore.Lease) jobstore.Passage {
	w.Helper()
	p, err := w.store.Enter(w.Context(), "api", l.Job.ID, l.Job.LeaseNo)
	w.check("enter", err)
	return p
}

func breakerRound(w *world) {
	l := w.running(w.consumer(), 3)
	if p := w.enter(l[0]); p != (jobstore.Passage{}) {
		w.Fatalf("nobody has reported anything: %+v", p)
	}
	if b := w.report(reportOf(l[0], "")); b != (jobstore.Breaker{}) {
		w.Fatalf("a success: %+v", b)
	}
	if b := w.report(reportOf(l[0], "no")); b != (jobstore.Breaker{}) {
		w.Fatalf("the first failure: %+v", b)
	}
	if p := w.enter(l[0]); p != (jobstore.Passage{}) {
		w.Fatalf("one failure is below the threshold: %+v", p)
	}
	if b := w.report(reportOf(l[1], "no")); !b.Opened || b.Wait != time.Hour {
		w.Fatalf("the second failure: %+v", b)
	}
	if p := w.enter(l[0]); p.Probe || p.Wait > time.Hour || p.Wait < 59*time.Minute {
		w.Fatalf("it is open: %+v", p)
	}
	if b := w.report(reportOf(l[2], "no")); b.Opened || b.Closed || b.Wait > time.Hour {
		w.Fatalf("one that began before: %+v", b)
	}
	if b := w.report(reportOf(l[2], "")); b.Opened || b.Closed {
		w.Fatalf("one that began before and went well: %+v", b)
	}
}

// opened is a breaker whose time has come.
func (w *world) opened(l jobstore.Lease) {
	w.Helper()
	r := reportOf(l, "no")
	r.Threshold, r.Cooldown = 1, time.Millisecond
	if b := w.report(r); !b.Opened {
		w.Fatalf("it does not open: %+v", b)
	}
	w.eventually("a try is allowed", func() bool { return w.enter(l).Probe })
}

func breakerProbeDies(w *world) {
	by := w.consumer()
	l := w.running(by, 3)
	w.opened(l[0])
	if p := w.enter(l[1]); p.Probe || p.Wait != time.Second {
		w.Fatalf("one tries at a time: %+v", p)
	}
	w.finish(by, l[0]) // without a report, as a process that dies
	if p := w.enter(l[1]); !p.Probe || p.Wait != 0 {
		w.Fatalf("the one that tried is gone: %+v", p)
	}
	if b := w.report(reportOf(l[0], "")); b.Closed {
		w.Fatalf("its report comes too late: %+v", b)
	}
	if b := w.report(reportOf(l[1], "still no")); !b.Opened || b.Wait != time.Hour {
		w.Fatalf("the try failed: %+v", b)
	}
	if p := w.enter(l[2]); p.Probe || p.Wait == 0 {
		w.Fatalf("it is open again: %+v", p)
	}
}

func breakerPeriod(w *world) {
	by := w.consumer()
	l := w.running(by, 2)
	r := reportOf(l[0], "no")
	r.Period = time.Microsecond
	for range 3 {
		if b := w.report(r); b.Opened {
			w.Fatalf("failures far apart: %+v", b)
		}
	}
	w.opened(l[0])
	if b := w.report(reportOf(l[0], "")); !b.Closed || b.Opened || b.Wait != 0 {
		w.Fatalf("the try went well: %+v", b)
	}
	if p := w.enter(l[1]); p != (jobstore.Passage{}) {
		w.Fatalf("it is closed: %+v", p)
	}
	if b := w.report(reportOf(l[1], "no")); b.Opened {
		w.Fatalf("failures count from the beginning: %+v", b)
	}
}
