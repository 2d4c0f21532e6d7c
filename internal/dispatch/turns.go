package dispatch

import (
	"cmp"
	"slices"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// Turns is the order of a feed that is not strict: every band has a weight, and of two bands that both have
// jobs waiting, the jobs that are begun stand in the proportion of their weights.
//
// A band stands at a point of a time of its own, which goes on by 1/weight with each job of it that is
// granted; the band that stands lowest is served next. A band that has fallen behind catches up, because rows
// are passed over while somebody has them locked, and hints of a band may come late; but by no more than credit
// jobs, so that one that had nothing waiting for an hour does not take the next hour.
//
// It belongs to one feed, and is used by the goroutine that claims.
type Turns struct {
	bands map[jobstore.Band]*stand
	now   float64 // where the band stood that was served last
}

// credit is how many jobs a band may make up for.
const credit = 50

// mostInTurn bounds a claim by order in turn, which reads as many rows of every band.
const mostInTurn = 100

// stand is where a band stands.
type stand struct{ at, step float64 }

// NewTurns takes the weight of each band, at least 1.
func NewTurns(weights map[jobstore.Band]int) *Turns {
	t := &Turns{bands: make(map[jobstore.Band]*stand, len(weights))}
	for band, weight := range weights {
		t.bands[band] = &stand{step: 1 / float64(weight)}
	}
	return t
}

// next is where every band stands now. The slice is the caller's: a claim that was given up may still read it.
func (t *Turns) next() []jobstore.Turn {
	list := make([]jobstore.Turn, 0, len(t.bands))
	for band, s := range t.bands {
		s.at = max(s.at, t.now-credit*s.step)
		list = append(list, jobstore.Turn{Band: band, At: s.at, Step: s.step})
	}
	return list
}

// granted puts leases into the order of turns, and moves their bands on.
func (t *Turns) granted(leases []jobstore.Lease) {
	jobstore.SortInTurn(t.next(), leases)
	for i := range leases {
		if s := t.bands[jobstore.Band{Queue: leases[i].Job.Queue, Priority: leases[i].Job.Priority}]; s != nil {
			t.now = max(t.now, s.at)
			s.at += s.step
		}
	}
}

// back undoes granted for leases that nobody has run.
func (t *Turns) back(works []worker.Work) {
	for _, w := range works {
		if s := t.bands[jobstore.Band{Queue: w.Lease.Job.Queue, Priority: w.Lease.Job.Priority}]; s != nil {
			s.at -= s.step
			t.now = min(t.now, s.at)
		}
	}
}

// take returns up to n numbers of what is held, in turn, and the hints they are from. Bands move on only by
// what is granted.
func (t *Turns) take(h *holdings, n int) (ids []jobstore.ID, parts []part) {
	lanes := map[jobstore.Band][]*holding{}
	for _, item := range h.items {
		band := jobstore.Band(item.delivery.Band)
		lanes[band] = append(lanes[band], item)
	}
	for _, lane := range lanes {
		slices.SortFunc(lane, func(a, b *holding) int { return cmp.Compare(a.seq, b.seq) })
	}
	turns := t.next()
	begun := map[*holding]bool{}
	for ; n > 0; n-- {
		turn := lowest(turns, lanes)
		if turn == nil {
			break
		}
		first := lanes[turn.Band][0]
		if !begun[first] {
			begun[first] = true
			parts = append(parts, part{of: first, from: first.next})
		}
		ids = append(ids, jobstore.ID(first.delivery.Numbers[first.next]))
		turn.At += turn.Step
		if first.next++; first.usedUp() {
			lanes[turn.Band] = lanes[turn.Band][1:]
		}
	}
	h.dropUsedUp()
	return ids, parts
}

// lowest is the turn of the band that is served next among those that have something, nil when none has.
func lowest(turns []jobstore.Turn, lanes map[jobstore.Band][]*holding) (best *jobstore.Turn) {
	for i := range turns {
		t := &turns[i]
		if len(lanes[t.Band]) > 0 && (best == nil || t.At < best.At || t.At == best.At && t.Priority < best.Priority) {
			best = t
		}
	}
	return best
}
