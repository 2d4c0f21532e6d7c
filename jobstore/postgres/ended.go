package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// endedByKindSQL reads the history by the index of its states and ends: what ended within the period, and no more.
const endedByKindSQL = `-- warren: ended by kind
SELECT h.kind, h.state, count(*), coalesce(avg(h.duration_ms), 0)::float8, coalesce(max(h.duration_ms), 0), max(h.finished_at)
FROM @schema@.jobs_history h
WHERE h.state = ANY ($2::text[]) AND h.finished_at >= now() - make_interval(secs => $1::bigint / 1e6)
GROUP BY h.kind, h.state ORDER BY h.kind`

// EndedByKind implements jobstore.Reader.
func (s *Store) EndedByKind(ctx context.Context, within time.Duration) (list []jobstore.KindEnded, err error) {
	err = s.inTx(ctx, true, func(ctx context.Context, tx pgx.Tx) error {
		return txSession{tx}.run(ctx, s.sql[endedByKindSQL], []any{within.Microseconds(), finalStates()}, func(r pgx.Rows) error {
			var kind string
			var state jobstore.State
			var n, most int64
			var mean float64
			var last time.Time
			if err := r.Scan(&kind, &state, &n, &mean, &most, &last); err != nil {
				return err
			}
			if len(list) == 0 || list[len(list)-1].Kind != kind {
				list = append(list, jobstore.KindEnded{Kind: kind})
			}
			list[len(list)-1].Add(state, n, mean, most, last)
			return nil
		})
	})
	if err != nil {
		return nil, wrap("count what has ended", err)
	}
	return list, nil
}

func finalStates() (list []string) {
	for _, s := range jobstore.States() {
		if s.Final() {
			list = append(list, string(s))
		}
	}
	return list
}
