package jobstore

import (
	"cmp"
	"slices"
)

// Turn is the place of a band in an order that is not strict: the job that waits longest in it stands at
// At, the next at At + Step, and so on. The smallest runs first, of equals the one of (priority, id).
type Turn struct {
	Band

	At, Step float64
}

// SortInTurn puts leases into the order of turns.
func SortInTurn(turns []Turn, leases []Lease) {
	byNumber := func(a, b Lease) int {
		return cmp.Or(cmp.Compare(a.Job.Priority, b.Job.Priority), cmp.Compare(a.Job.ID, b.Job.ID))
	}
	slices.SortFunc(leases, byNumber)
	of := make(map[Band]Turn, len(turns))
	for _, t := range turns {
		of[t.Band] = t
	}
	at := make(map[ID]float64, len(leases))
	for _, l := range leases {
		band := Band{Queue: l.Job.Queue, Priority: l.Job.Priority}
		t := of[band]
		at[l.Job.ID] = t.At
		t.At += t.Step
		of[band] = t
	}
	slices.SortStableFunc(leases, func(a, b Lease) int { return cmp.Compare(at[a.Job.ID], at[b.Job.ID]) })
}
