package postgres

import (
	"iter"
	"maps"
	"sync"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// A claim of the next jobs reads each band from its beginning. The index entries of what was claimed before are in its way
// until VACUUM removes them, and while a transaction with an old snapshot is open nothing may: then each claim passes every
// job of that time again. A front notices that claims have become slow and has most of them begin where earlier ones have
// ended. Looks from the beginning go on, at lookShare of the consumer's time and every lookRest at least, because jobs that
// were released, retried or committed late have small numbers: those wait so long at most.
const (
	slowLook  = 50 * time.Millisecond // a look from the beginning that takes longer, twice in a row, is slow
	lookShare = 50                    // a slow look is followed by so many times its duration without another
	lookRest  = 10 * time.Second      // but by no more than this
	// frontLag is how long after a job was claimed the jobs before it are looked at still: transactions that have
	// taken their numbers earlier commit meanwhile.
	frontLag = time.Second
	// frontIdle is after how long without a claim a holder's front is forgotten.
	frontIdle = time.Minute
)

// fronts has one of each holder.
type fronts struct {
	mu   sync.Mutex
	held map[jobstore.HolderID]*front
}

// front is where one holder's claims begin.
type front struct {
	mu    sync.Mutex
	used  time.Time     // guarded by fronts.mu
	slow  int           // looks from the beginning that took long, in a row
	whole time.Duration // what the last of them took
	until time.Time     // claims begin behind after until then
	// after is the number behind which a band begins. It becomes soon, and soon becomes next, every frontLag.
	after, soon, next map[jobstore.Band]jobstore.ID
	turned            time.Time
}

// of returns the front of a claimant.
func (f *fronts) of(by jobstore.Claimant, now time.Time) *front {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.held[by.Holder]
	if known == nil {
		for other, old := range f.held {
			if now.Sub(old.used) > frontIdle {
				delete(f.held, other)
			}
		}
		if f.held == nil {
			f.held = map[jobstore.HolderID]*front{}
		}
		known = &front{}
		f.held[by.Holder] = known
	}
	known.used = now
	return known
}

// begin returns behind which number each band is to be read, in the order of by's queues and of its priorities within
// each. nil means all from the beginning.
func (f *front) begin(by jobstore.Claimant, now time.Time) (after []int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !now.Before(f.until) {
		return nil
	}
	if now.Sub(f.turned) >= frontLag {
		f.after, f.soon, f.turned = f.soon, maps.Clone(f.next), now
	}
	after = make([]int64, 0, len(by.Queues)*len(by.Priorities))
	for b := range bandsOf(by) {
		after = append(after, int64(f.after[b]))
	}
	return after
}

// end learns from a claim of n jobs that began behind after and has taken so long until now.
func (f *front) end(by jobstore.Claimant, n int, leases []jobstore.Lease, after []int64, took time.Duration, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case after == nil && took < slowLook:
		f.slow, f.until, f.after, f.soon, f.next = 0, time.Time{}, nil, nil, nil
		return
	case after == nil:
		f.slow, f.whole = f.slow+1, took
		if f.slow > 1 {
			f.until = now.Add(min(lookShare*took, lookRest))
		}
	case took > f.whole/2:
		f.until = time.Time{} // to begin later is of no use, or not yet
	}
	f.learn(by, n, leases, after == nil)
}

// learn moves the front behind what was granted. A claim that was granted less than it asked for has seen the jobs of
// every band, but for those that others have locked. One from the beginning that was granted everything tells where
// each band's next jobs are, be it far before the front.
func (f *front) learn(by jobstore.Claimant, n int, leases []jobstore.Lease, whole bool) {
	first, last := map[jobstore.Band]jobstore.ID{}, map[jobstore.Band]jobstore.ID{}
	var top jobstore.ID
	for _, l := range leases {
		if l.Job.SerialGroup != "" {
			continue // found by its group
		}
		b := jobstore.Band{Queue: l.Job.Queue, Priority: l.Job.Priority}
		if at, ok := first[b]; !ok || l.Job.ID < at {
			first[b] = l.Job.ID
		}
		last[b], top = max(last[b], l.Job.ID), max(top, l.Job.ID)
	}
	if f.next == nil {
		f.after, f.soon, f.next = map[jobstore.Band]jobstore.ID{}, map[jobstore.Band]jobstore.ID{}, map[jobstore.Band]jobstore.ID{}
	}
	if len(leases) < n {
		for b := range bandsOf(by) {
			f.next[b] = max(f.next[b], top)
		}
		return
	}
	for b, id := range last {
		if whole {
			f.after[b], f.soon[b], f.next[b] = min(f.after[b], first[b]-1), min(f.soon[b], first[b]-1), id
		}
		f.next[b] = max(f.next[b], id)
	}
}

// bandsOf yields the bands of a claimant in the order of its queues, and of its priorities within each.
func bandsOf(by jobstore.Claimant) iter.Seq[jobstore.Band] {
	return func(yield func(jobstore.Band) bool) {
		for _, queue := range by.Queues {
			for _, priority := range by.Priorities {
				if !yield(jobstore.Band{Queue: queue, Priority: priority}) {
					return
				}
			}
		}
	}
}
