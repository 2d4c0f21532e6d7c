package postgres

import (
	"context"
	"errors"
	"iter"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

// A claim of the next jobs reads each band from its beginning. The index entries of what was claimed before are in its way
// until VACUUM removes them, and while a transaction with an old snapshot is open nothing may: then each claim passes every
// job of that time again. A front notices that claims have become slow and has the next ones begin where earlier ones have
// ended. Jobs that were released, retried or committed late have small numbers and are behind it: a scout looks for those,
// beside the claims, and says when the way is free again.
const (
	slowLook   = 50 * time.Millisecond // a look from the beginning that takes longer, twice in a row, is slow
	scoutShare = 20                    // a scout is followed by so many times its duration without another
	scoutRest  = 10 * time.Second      // but by no more than this
	scoutBatch = 100                   // how many jobs of a band a scout brings at most
	// frontLag is how long after a job was claimed the jobs before it are looked at still: transactions that have
	// taken their numbers earlier commit meanwhile.
	frontLag = time.Second
	// frontIdle is after how long without a claim a holder's front is forgotten.
	frontIdle = time.Minute
)

// fronts has one of each holder.
type fronts struct {
	scouts sync.WaitGroup
	ctx    context.Context //nolint:containedctx // of scouts, which outlive the claims that send them
	stop   context.CancelFunc

	mu   sync.Mutex
	held map[jobstore.HolderID]*front
}

func (f *fronts) start() { f.ctx, f.stop = context.WithCancel(context.Background()) }

// life is a scout's. The database ends its statement; the rest is for a network that swallows what it is given.
func (f *fronts) life() (context.Context, context.CancelFunc) {
	return context.WithTimeout(f.ctx, bulkTimeout+protocolTimeout)
}

// end returns when no scout is under way.
func (f *fronts) end() {
	f.stop()
	f.scouts.Wait()
}

// front is where one holder's claims begin.
type front struct {
	mu   sync.Mutex
	used time.Time     // guarded by fronts.mu
	slow int           // looks from the beginning that took long, in a row
	away bool          // claims begin behind after
	took time.Duration // by the last of those
	// after is the number behind which a band begins. It becomes soon, and soon becomes next, every frontLag.
	after, soon, next map[jobstore.Band]jobstore.ID
	turned            time.Time
	// What the scout has found behind the front, best priority first, and when the next one goes.
	found    []jobstore.Ref
	scouting bool
	due      time.Time
	worst    int // priority that the last claim came down to
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
// each; nil means all from the beginning. left are jobs behind it, n at most, that come before what the last claim came down to.
func (f *front) begin(by jobstore.Claimant, n int, now time.Time) (after []int64, left []jobstore.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.away || by.Whole {
		return nil, nil
	}
	if now.Sub(f.turned) >= frontLag {
		f.after, f.soon, f.turned = f.soon, maps.Clone(f.next), now
	}
	for len(f.found) > 0 && len(left) < n && f.found[0].Priority <= f.worst {
		left, f.found = append(left, f.found[0].ID), f.found[1:]
	}
	return f.numbers(by), left
}

func (f *front) numbers(by jobstore.Claimant) []int64 {
	after := make([]int64, 0, len(by.Queues)*len(by.Priorities))
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
		f.reset()
		return
	case after == nil:
		if f.slow++; f.away {
			return // it was to look at everything; where the front is, others know
		}
		if f.slow > 1 {
			f.away, f.due = true, now.Add(min(scoutShare*took, scoutRest))
		}
	case !f.away:
		return // the scout has found the way free meanwhile
	default:
		f.took = took
	}
	f.learn(by, n, leases)
}

func (f *front) reset() {
	f.slow, f.away, f.after, f.soon, f.next, f.found = 0, false, nil, nil, nil, nil
}

// scout reports whether one is to go now, and up to which number of each band.
func (f *front) scout(by jobstore.Claimant, now time.Time) (upTo []int64, goes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.away || f.scouting || now.Before(f.due) {
		return nil, false
	}
	f.scouting = true
	return f.numbers(by), true
}

// scouted takes in what a scout has found in the time that it took. Where a band has more than a scout brings, its claims
// begin there again.
func (f *front) scouted(found []jobstore.Ref, took time.Duration, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scouting, f.due = false, now.Add(min(scoutShare*took, scoutRest))
	if !f.away {
		return
	}
	if took+f.took < slowLook { // what a look from the beginning would take
		f.reset()
		return
	}
	first, many := map[jobstore.Band]jobstore.ID{}, map[jobstore.Band]int{}
	for _, ref := range found {
		if many[ref.Band]++; many[ref.Band] == 1 {
			first[ref.Band] = ref.ID
		}
	}
	f.found = slices.DeleteFunc(found, func(ref jobstore.Ref) bool { return many[ref.Band] >= scoutBatch })
	for b, n := range many {
		if n >= scoutBatch {
			f.after[b], f.soon[b], f.next[b] = first[b]-1, first[b]-1, first[b]-1
		}
	}
}

// learn moves the front behind what was granted. A claim that was granted less than it asked for has seen the jobs of
// every band, but for those that others have locked.
func (f *front) learn(by jobstore.Claimant, n int, leases []jobstore.Lease) {
	if f.next == nil {
		f.after, f.soon, f.next = map[jobstore.Band]jobstore.ID{}, map[jobstore.Band]jobstore.ID{}, map[jobstore.Band]jobstore.ID{}
	}
	var top jobstore.ID
	f.worst = math.MinInt
	for _, l := range leases {
		f.worst = max(f.worst, l.Job.Priority)
		if l.Job.SerialGroup != "" {
			continue // found by its group
		}
		b := jobstore.Band{Queue: l.Job.Queue, Priority: l.Job.Priority}
		f.next[b], top = max(f.next[b], l.Job.ID), max(top, l.Job.ID)
	}
	if len(leases) < n {
		f.worst = math.MaxInt
		for b := range bandsOf(by) {
			f.next[b] = max(f.next[b], top)
		}
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

// claimFrom runs a statement that claims by order, from where the claimant's front is. It tries plain first, if there is
// such a statement, which does the same where no job has a group.
func (s *Store) claimFrom(ctx context.Context, text, plain string, by jobstore.Claimant, n int, rest ...any) (jobstore.Claimed, error) {
	began := time.Now()
	f := s.fronts.of(by, began)
	after, left := f.begin(by, n, began)
	var behind jobstore.Claimed
	if len(left) > 0 {
		var err error
		if behind, err = s.claim(ctx, claimSQL, by, len(left), left); err != nil {
			return behind, err
		}
		if n -= len(behind.Leases); n == 0 {
			return behind, nil
		}
		began = time.Now()
	}
	var got jobstore.Claimed
	rest = append([]any{n, n + spare, after}, rest...)
	err := errGroups
	if plain != "" && s.plain.tries() {
		got, err = s.claim(ctx, plain, by, n, rest...)
		s.plain.learn(!errors.Is(err, errGroups))
	}
	if errors.Is(err, errGroups) {
		got, err = s.claim(ctx, text, by, n, rest...)
	}
	if err == nil {
		now := time.Now()
		f.end(by, n, got.Leases, after, now.Sub(began), now)
		s.sendScout(f, by, now) //nolint:contextcheck // a scout outlives the claim that sends it
	}
	// Any other error is told, although some are granted: whatever this statement granted is looked for together with them.
	if len(behind.Leases) > 0 && (err == nil || errors.Is(err, jobstore.ErrBusy)) {
		got.Leases, err = append(behind.Leases, got.Leases...), nil
	}
	return got, err
}

func (s *Store) sendScout(f *front, by jobstore.Claimant, now time.Time) {
	upTo, goes := f.scout(by, now)
	if !goes {
		return
	}
	s.fronts.scouts.Go(func() {
		ctx, cancel := s.fronts.life()
		defer cancel()
		found, err := bulk(ctx, s, leftBehindSQL, scanRef, by.Queues, small(by.Priorities), by.Kinds, upTo, scoutBatch, by.Holder)
		took := time.Since(now)
		if err != nil {
			s.log.Debug("could not look for jobs behind the front; another look follows", zap.Error(err))
			found, took = nil, scoutRest
		}
		f.scouted(found, took, time.Now())
	})
}

// leftBehindSQL lists jobs that consumer $6 may claim and that have no higher numbers than those in $4, $5 of each band at most.
const leftBehindSQL = `-- warren: left behind
WITH me AS MATERIALIZED (SELECT id, force FROM @schema@.consumers WHERE id = $6::bigint)
SELECT c.id, q.queue, c.priority
FROM unnest($1::text[]) WITH ORDINALITY AS q(queue, nth) CROSS JOIN unnest($2::int[]) WITH ORDINALITY AS p(priority, nth) CROSS JOIN LATERAL (
  SELECT j.id, j.priority FROM @schema@.jobs_live j
  WHERE j.state = 'READY' AND j.serial_group IS NULL AND j.queue = q.queue AND j.priority >= p.priority
    AND (j.priority, j.id) <= (p.priority, ($4::bigint[])[(q.nth - 1) * cardinality($2::int[]) + p.nth])
    AND j.kind = ANY ($3::text[]) AND j.available_at <= now() AND ` + jobNotPaused + `
  ORDER BY j.priority, j.id LIMIT $5::int
) c
WHERE q.queue ` + notPaused + `
ORDER BY c.priority, c.id`
