package postgres

import (
	"context"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

// outcasts are jobs whose rows may not be written: a trigger or a rule that somebody has added says no to it. The
// sweep leaves them out for a while, or each of its batches would fail with them.
type outcasts struct {
	mu    sync.Mutex
	until map[jobstore.ID]time.Time
}

const (
	outcastFor   = time.Minute // then it is tried again
	mostOutcasts = 1000        // with more of them it is not rows that are wrong
	outcastsOnce = 20          // found by one call, each of which takes some ten statements
)

// list is never nil: the parameter of a statement must not be NULL.
func (o *outcasts) list() []jobstore.ID {
	ids := []jobstore.ID{}
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	for id, until := range o.until {
		if now.Before(until) {
			ids = append(ids, id)
		}
	}
	return ids
}

// add reports whether a job is there for the first time, and whether there was room for it.
func (o *outcasts) add(id jobstore.ID) (first, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	_, known := o.until[id]
	if !known && len(o.until) >= mostOutcasts {
		maps.DeleteFunc(o.until, func(_ jobstore.ID, until time.Time) bool { return now.After(until) })
	}
	if !known && len(o.until) >= mostOutcasts {
		return true, false
	}
	if o.until == nil {
		o.until = map[jobstore.ID]time.Time{}
	}
	o.until[id] = now.Add(outcastFor)
	return !known, true
}

// writable has write write at most limit rows, in as many calls as it takes to leave those out that may not be
// written: it halves the batch until it is one row, the one that first finds. write returns how many rows it has written,
// and none when it fails.
func (s *Store) writable(ctx context.Context, limit int, first string, write func(n int) (int, error)) error {
	for n, left, found := limit, limit, 0; left > 0; {
		n = min(n, left)
		wrote, err := write(n)
		left -= wrote
		switch {
		case err == nil && wrote < n:
			return nil // there is no more
		case err == nil:
			n *= 2
		case !refusesRow(err):
			return err
		case n > 1:
			n /= 2
		default:
			if found++; found > outcastsOnce || !s.castOut(ctx, first, err) {
				return err
			}
			n = limit
		}
	}
	return nil
}

// castOut leaves the row out that a statement begins with, which was refused.
func (s *Store) castOut(ctx context.Context, first string, why error) (ok bool) {
	ids, err := gather(ctx, s, first, scanID, s.outcasts.list())
	if err != nil || len(ids) == 0 {
		return false
	}
	news, ok := s.outcasts.add(ids[0])
	if news && ok {
		s.log.Error("the sweep leaves a job alone: its row may not be written", zap.Int64("job_id", int64(ids[0])), zap.Error(why))
	}
	return ok
}
