package sqlite

import (
	"context"
	"maps"
	"slices"

	"github.com/warrenq/warren/jobstore"
)

// retainSQL removes the oldest jobs of a state.
const retainSQL = `-- warren: retain
DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state = ?1 AND finished_at <= ?2 ORDER BY finished_at LIMIT ?3)`

// retainKeysSQL forgets unique keys whose period is over.
const retainKeysSQL = `-- warren: retain keys
DELETE FROM job_keys WHERE (kind, identifier) IN (SELECT kind, identifier FROM job_keys WHERE until <= ?1 ORDER BY until LIMIT ?2)`

// Retain implements jobstore.Sweeper. Keys whose period is over, guards that say nothing any more, the progress of
// what has ended and events past HistoryKept go too, uncounted.
func (s *Store) Retain(ctx context.Context, keep jobstore.Retention, limit int) (int, error) {
	gone, err := writing(ctx, s, func(ctx context.Context, q session) (gone int, err error) {
		now := s.now()
		for _, state := range slices.Sorted(maps.Keys(keep)) {
			n, err := q.exec(ctx, retainSQL, string(state), stamp(now.Add(-keep[state])), limit-gone)
			if err != nil {
				return 0, err
			}
			gone += int(n)
		}
		if _, err = q.exec(ctx, retainKeysSQL, stamp(now), limit); err != nil {
			return 0, err
		}
		if _, err = q.exec(ctx, forgetEventsSQL, stamp(now.Add(-jobstore.HistoryKept)), limit); err != nil {
			return 0, err
		}
		for _, text := range retainGuardSQL() {
			if _, err := q.exec(ctx, text, now.UnixMicro()); err != nil {
				return 0, err
			}
		}
		_, err = q.exec(ctx, retainProgressSQL)
		return gone, err
	})
	if err != nil {
		return 0, s.wrap("remove jobs past retention", err)
	}
	return gone, nil
}
