package sqlite

import (
	"context"
	"time"

	"github.com/warrenq/warren/jobstore"
)

const endedByKindSQL = `-- warren: ended by kind
SELECT kind, state, count(*), coalesce(avg(duration_ms), 0.0), coalesce(max(duration_ms), 0), max(finished_at) FROM jobs
WHERE finished_at IS NOT NULL AND state IN ('FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED') AND finished_at >= ?1
GROUP BY kind, state ORDER BY kind`

// EndedByKind implements jobstore.Reader.
func (s *Store) EndedByKind(ctx context.Context, within time.Duration) ([]jobstore.KindEnded, error) {
	got, err := snapshot(ctx, s, func(ctx context.Context, q session) (list []jobstore.KindEnded, err error) {
		err = q.query(ctx, endedByKindSQL, []any{stamp(s.now().Add(-within))}, func(r row) error {
			var kind, last string
			var state jobstore.State
			var n, most int64
			var mean float64
			if err := r.Scan(&kind, &state, &n, &mean, &most, &last); err != nil {
				return err
			}
			if len(list) == 0 || list[len(list)-1].Kind != kind {
				list = append(list, jobstore.KindEnded{Kind: kind})
			}
			list[len(list)-1].Add(state, n, mean, most, read(last))
			return nil
		})
		return list, err
	})
	if err != nil {
		return nil, s.wrap("count what has ended", err)
	}
	return got, nil
}
