package app

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// clearBatch is how many rows one transaction removes: tens of milliseconds.
const clearBatch = 2000

// compactFrom is how many removed rows make a vacuum at once worth while. Fewer are left to the
// database's own.
const compactFrom = 10_000

// Cleared is how many jobs of a state went.
type Cleared struct {
	State jobstore.State `json:"state"`
	Jobs  int            `json:"jobs"`
}

// Clear removes every job that ended in one of the states longer ago than its retention says,
// and then returns their space. Each step is a short transaction of its own, so that one that is
// broken off has done a part. compacted is false when the space is left for the database's own
// vacuum, which gives it to the jobs that end next. Old mass changes are forgotten too.
func (a *App) Clear(ctx context.Context, keep jobstore.Retention) (cleared []Cleared, compacted bool, err error) {
	if err := a.forgetChanges(ctx, 0); err != nil {
		return nil, false, err
	}
	total := 0
	for _, state := range slices.Sorted(maps.Keys(keep)) {
		n, err := a.clear(ctx, state, keep[state])
		cleared = append(cleared, Cleared{state, n})
		total += n
		if err != nil {
			return cleared, false, err
		}
	}
	if total < compactFrom {
		return cleared, true, nil
	}
	compacted, err = a.Store.Compact(ctx)
	return cleared, compacted, err
}

func (a *App) clear(ctx context.Context, state jobstore.State, age time.Duration) (total int, err error) {
	var from time.Time
	for {
		n, next, err := a.Store.Clear(ctx, state, age, from, clearBatch)
		total += n
		if err != nil || n < clearBatch {
			return total, err
		}
		from = next
	}
}

// Clearable counts what Clear would remove.
func (a *App) Clearable(ctx context.Context, keep jobstore.Retention) ([]Cleared, error) {
	var list []Cleared
	for _, state := range slices.Sorted(maps.Keys(keep)) {
		n, err := a.Store.Ended(ctx, state, keep[state])
		if err != nil {
			return nil, err
		}
		list = append(list, Cleared{state, n})
	}
	return list, nil
}
