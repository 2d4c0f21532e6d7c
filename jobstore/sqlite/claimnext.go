package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/warrenq/warren/jobstore"
)

// ClaimNext implements jobstore.Claimer. Its cost grows with the bands and with the serial groups
// that have work, not with how much waits in either. It never returns ErrBusy: nobody else writes
// meanwhile.
func (s *Store) ClaimNext(ctx context.Context, by jobstore.Claimant, n int) ([]jobstore.Lease, error) {
	if n <= 0 {
		return nil, nil
	}
	got, err := writing(ctx, s, func(ctx context.Context, q session) ([]jobstore.Lease, error) {
		c, err := s.claiming(ctx, q, by)
		if err != nil {
			return nil, err
		}
		if len(by.Turns) > 0 {
			return c.inTurn(ctx, n)
		}
		return c.next(ctx, n)
	})
	if err != nil {
		return nil, s.wrap(fmt.Sprintf("claim the next %d jobs", n), err)
	}
	return got, nil
}

const claimBandSQL = `-- warren: claim next
SELECT ` + leaseColumns + ` FROM jobs j
WHERE j.state = 'READY' AND j.serial_group IS NULL AND j.queue = ?1 AND j.priority = ?2 AND j.available_at <= ?3
  AND j.kind IN (SELECT value FROM json_each(?4))
ORDER BY j.id LIMIT ?5`

const claimHeadsSQL = `-- warren: claim next, heads
WITH RECURSIVE groups(name) AS (` + looseGroups + `)
SELECT ` + leaseColumns + ` FROM groups g CROSS JOIN jobs j ON j.id = ` + headOf + `
WHERE j.state = 'READY' AND j.available_at <= ?1 AND j.kind IN (SELECT value FROM json_each(?2))
  AND NOT EXISTS (SELECT 1 FROM jobs r WHERE r.serial_group = g.name AND r.state = 'PROCESSING')`

// next takes at most n, the best priority first, and looks at no band beyond the one that fills n.
func (c *claim) next(ctx context.Context, n int) ([]jobstore.Lease, error) {
	if c.maintenance() {
		return nil, nil
	}
	now, kinds := stamp(c.now), c.kinds()
	heads, err := gather(ctx, c.q, claimHeadsSQL, scanLease, now, kinds)
	if err != nil {
		return nil, err
	}
	var got []jobstore.Lease
	for _, priority := range sortedSet(c.by.Priorities) {
		var found []jobstore.Lease
		for _, h := range heads {
			if h.Job.Priority == priority && c.takes(h.Job.Queue, priority) && !c.held(&h.Job) {
				found = append(found, h)
			}
		}
		for _, queue := range sortedSet(c.by.Queues) {
			if paused(c.pauses, jobstore.PauseOfQueue, queue) {
				continue
			}
			band, err := gather(ctx, c.q, claimBandSQL, scanLease, queue, priority, now, kinds, n-len(got))
			if err != nil {
				return nil, err
			}
			found = append(found, band...)
		}
		slices.SortFunc(found, func(a, b jobstore.Lease) int { return cmp.Compare(a.Job.ID, b.Job.ID) })
		got = append(got, found[:min(len(found), n-len(got))]...)
		if len(got) == n {
			break
		}
	}
	return got, c.grant(ctx, got)
}

// kinds are those that no pause keeps, as a statement takes them.
func (c *claim) kinds() string {
	return list(slices.DeleteFunc(slices.Clone(c.by.Kinds), func(kind string) bool {
		return keptBack(c.pauses, kind)
	}))
}

// inTurn takes at most n in the order of the claimant's turns.
func (c *claim) inTurn(ctx context.Context, n int) ([]jobstore.Lease, error) {
	if c.maintenance() {
		return nil, nil
	}
	now, kinds := stamp(c.now), c.kinds()
	heads, err := gather(ctx, c.q, claimHeadsSQL, scanLease, now, kinds)
	if err != nil {
		return nil, err
	}
	var found []jobstore.Lease
	for _, t := range c.by.Turns {
		if !c.takes(t.Queue, t.Priority) {
			continue
		}
		for _, h := range heads {
			if h.Job.Queue == t.Queue && h.Job.Priority == t.Priority && !c.held(&h.Job) {
				found = append(found, h)
			}
		}
		band, err := gather(ctx, c.q, claimBandSQL, scanLease, t.Queue, t.Priority, now, kinds, n)
		if err != nil {
			return nil, err
		}
		found = append(found, band...)
	}
	jobstore.SortInTurn(c.by.Turns, found)
	got := found[:min(len(found), n)]
	return got, c.grant(ctx, got)
}

// sortedSet is a copy in order, without doubles.
func sortedSet[T cmp.Ordered](values []T) []T {
	values = slices.Clone(values)
	slices.Sort(values)
	return slices.Compact(values)
}
