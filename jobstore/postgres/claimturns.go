package postgres

import (
	"context"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

// claimTurns is ClaimNext in the order of by.Turns, in one statement as well.
func (s *Store) claimTurns(ctx context.Context, by jobstore.Claimant, n int) ([]jobstore.Lease, error) {
	queues, priorities := make([]string, len(by.Turns)), make([]int, len(by.Turns))
	at, step := make([]float64, len(by.Turns)), make([]float64, len(by.Turns))
	for i, t := range by.Turns {
		queues[i], priorities[i], at[i], step[i] = t.Queue, t.Priority, t.At, t.Step
	}
	got, err := s.claimFrom(ctx, claimTurnsSQL, "", by, n, queues, small(priorities), at, step)
	if err != nil {
		return nil, wrap(fmt.Sprintf("claim the next %d jobs in turn", n), err)
	}
	jobstore.SortInTurn(by.Turns, got.Leases)
	return got.Leases, nil
}

// claimTurnsSQL is claimNextSQL with another order: the place of a row in its band, times the step of the
// band, from where the band stands. The beginnings of all bands are read either way.
const claimTurnsSQL = `-- warren: claim next, in turn
WITH RECURSIVE me AS MATERIALIZED (` + claimMe + `),
groups(serial_group) AS (` + looseGroups + `),
candidates AS MATERIALIZED (
  SELECT c.id, c.priority, t.at + t.step * c.nth AS turn
  FROM (
    SELECT c.id, c.priority, c.queue, row_number() OVER (PARTITION BY c.queue, c.priority ORDER BY c.id) - 1 AS nth FROM (
` + claimable + `
    ) c
  ) c
  JOIN unnest($11::text[], $12::int[], $13::float8[], $14::float8[]) AS t(queue, priority, at, step)
    ON t.queue = c.queue AND t.priority = c.priority
  WHERE (SELECT count(*) FROM me) = 1
  ORDER BY turn, c.priority, c.id LIMIT $9::int
),
locked AS MATERIALIZED (
  SELECT l.*, true AS known
  FROM (SELECT id, priority, turn FROM candidates ORDER BY turn, priority, id LIMIT $9::int) c CROSS JOIN LATERAL (
    SELECT j.id, j.serial_group FROM @schema@.jobs_live j
    WHERE j.id = c.id AND j.state || '' = 'READY' AND j.available_at <= now()
      AND j.queue = ANY ($5::text[]) AND j.priority = ANY ($6::int[]) AND j.kind = ANY ($7::text[])
    LIMIT 1 FOR NO KEY UPDATE OF j SKIP LOCKED
  ) l
  ORDER BY c.turn, c.priority, c.id LIMIT $8::int
)` + claimGrant + `
UNION ALL SELECT 0, '', 0, '', NULL, NULL, NULL, NULL, '', NULL, 0, 0, 0, 0, now(), now(), now(), NULL, NULL, NULL, NULL, 3
  WHERE NOT EXISTS (SELECT FROM granted) AND EXISTS (SELECT FROM candidates)`
