package sqlite

import (
	"context"
	"time"

	"github.com/warrenq/warren/jobstore"
)

const clearSQL = `-- warren: clear
DELETE FROM jobs WHERE id IN (
  SELECT id FROM jobs WHERE state = ?1 AND finished_at <= ?2 AND finished_at >= ?3 ORDER BY finished_at LIMIT ?4)
RETURNING finished_at`

// Clear implements jobstore.Housekeeper.
func (s *Store) Clear(ctx context.Context, state jobstore.State, age time.Duration, from time.Time, limit int) (gone int, next time.Time, err error) {
	ends, err := writing(ctx, s, func(ctx context.Context, q session) ([]string, error) {
		return gather(ctx, q, clearSQL, scanText, string(state), stamp(s.now().Add(-age)), stamp(from), limit)
	})
	if err != nil {
		return 0, from, s.wrap("clear "+string(state)+" jobs", err)
	}
	next = from
	for _, end := range ends {
		if at := read(end); at.After(next) {
			next = at
		}
	}
	return len(ends), next, nil
}

const endedSQL = `-- warren: ended
SELECT count(*) FROM jobs WHERE state = ?1 AND finished_at <= ?2`

// Ended implements jobstore.Housekeeper.
func (s *Store) Ended(ctx context.Context, state jobstore.State, age time.Duration) (int, error) {
	n, err := reading(ctx, s, func(ctx context.Context, q session) ([]int64, error) {
		return gather(ctx, q, endedSQL, scanInt, string(state), stamp(s.now().Add(-age)))
	})
	if err != nil {
		return 0, s.wrap("count "+string(state)+" jobs", err)
	}
	return int(n[0]), nil
}

// compactPages is how many pages one step gives back: about a hundredth of a second.
const compactPages = 500

// Compact implements jobstore.Housekeeper, in steps that let other writers in between. It reports
// false for a file that had tables before Warren's came, and was not made for giving pages back:
// VACUUM does that, and holds everybody up while it copies the file.
func (s *Store) Compact(ctx context.Context) (bool, error) {
	for {
		left, err := writing(ctx, s, func(ctx context.Context, q session) (left int64, err error) {
			mode, err := gather(ctx, q, "PRAGMA auto_vacuum", scanInt)
			if err != nil || mode[0] != 2 {
				return -1, err
			}
			before, err := gather(ctx, q, "PRAGMA freelist_count", scanInt)
			if err != nil || before[0] == 0 {
				return 0, err
			}
			if _, err := q.exec(ctx, "PRAGMA incremental_vacuum(500)"); err != nil {
				return 0, err
			}
			return max(0, before[0]-compactPages), nil
		})
		if err != nil {
			return false, s.wrap("give pages back", err)
		}
		if left <= 0 {
			return left == 0, nil
		}
	}
}
