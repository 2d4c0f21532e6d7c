package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/warrenq/warren/jobstore"
)

// spare candidates are looked at beyond those asked for, because others may be locked by claims
// that run at the same moment.
const spare = 64

// ClaimNext implements jobstore.Claimer. Its cost grows with the bands and with the serial groups
// that have work, not with how much waits in either.
func (s *Store) ClaimNext(ctx context.Context, by jobstore.Claimant, n int) ([]jobstore.Lease, error) {
	if n <= 0 {
		return nil, nil
	}
	if len(by.Turns) > 0 {
		return s.claimTurns(ctx, by, n)
	}
	got, err := s.claimFrom(ctx, claimNextSQL, claimNextPlainSQL, by, n)
	if err != nil {
		return nil, wrap(fmt.Sprintf("claim the next %d jobs", n), err)
	}
	slices.SortFunc(got.Leases, func(a, b jobstore.Lease) int {
		return cmp.Or(cmp.Compare(a.Job.Priority, b.Job.Priority), cmp.Compare(a.Job.ID, b.Job.ID))
	})
	return got.Leases, nil
}

// claimNextSQL looks at the first $9 rows of each band behind $10, in an index that has only READY rows
// without a group, and at the head of each group, then locks the first $8 of all in order.
//
// The candidates are sorted again where they are locked: of a WITH the planner does not know the order, would lock them all
// and sort them after that, and what this claim does not take would be locked for nothing.
//
// A band is asked for as a range of one priority, in the order of jobs_live_ready; the pair makes the scan begin behind a
// number, without reading up to it. With an equality
// the order would be that of numbers alone, and where statistics say that one band holds every row,
// the planner takes jobs_live_id for as good: each look at an empty band then reads the whole table.
// Every statement that reads bands in order is written like this.
//
// groups is a loose index scan: one probe a group, however many members are blocked.
const claimNextSQL = `-- warren: claim next
WITH RECURSIVE me AS MATERIALIZED (` + claimMe + `),
groups(serial_group) AS (` + looseGroups + `),
candidates AS MATERIALIZED (
  SELECT c.id, c.priority FROM (
` + claimable + `
  ) c
  WHERE (SELECT count(*) FROM me) = 1
  ORDER BY c.priority, c.id LIMIT $9::int
),
locked AS MATERIALIZED (
  SELECT l.*, true AS known
  FROM (SELECT id, priority FROM candidates ORDER BY priority, id LIMIT $9::int) c CROSS JOIN LATERAL (
    SELECT j.id, j.serial_group FROM @schema@.jobs_live j
    WHERE j.id = c.id AND j.state || '' = 'READY' AND j.available_at <= now()
      AND j.queue = ANY ($5::text[]) AND j.priority = ANY ($6::int[]) AND j.kind = ANY ($7::text[])
    LIMIT 1 FOR NO KEY UPDATE OF j SKIP LOCKED
  ) l
  ORDER BY c.priority, c.id LIMIT $8::int
)` + claimGrant + `
UNION ALL SELECT 0, '', 0, '', NULL, NULL, NULL, NULL, '', NULL, 0, 0, 0, 0, now(), now(), now(), NULL, NULL, NULL, NULL, 3
  WHERE NOT EXISTS (SELECT FROM granted) AND EXISTS (SELECT FROM candidates)`

// claimNextPlainSQL is claimNextSQL where no job has a group, which costs half as much to begin with. Where one has, it
// grants nothing and says so.
const claimNextPlainSQL = `-- warren: claim next, plain
WITH me AS MATERIALIZED (` + claimMe + `),
candidates AS MATERIALIZED (
  SELECT c.id, c.priority FROM (
` + claimableBands + `
  ) c
  WHERE (SELECT count(*) FROM me) = 1 AND NOT EXISTS (SELECT FROM @schema@.jobs_live WHERE serial_group IS NOT NULL)
  ORDER BY c.priority, c.id LIMIT $9::int
),
locked AS MATERIALIZED (
  SELECT l.id FROM (SELECT id, priority FROM candidates ORDER BY priority, id LIMIT $9::int) c CROSS JOIN LATERAL (
    SELECT j.id FROM @schema@.jobs_live j
    WHERE j.id = c.id AND j.state || '' = 'READY' AND j.serial_group IS NULL AND j.available_at <= now()
      AND j.queue = ANY ($5::text[]) AND j.priority = ANY ($6::int[]) AND j.kind = ANY ($7::text[])
    LIMIT 1 FOR NO KEY UPDATE OF j SKIP LOCKED
  ) l
  ORDER BY c.priority, c.id LIMIT $8::int
),
granted AS (` + claimGrantPlain + `
)
SELECT j.*, 0 FROM granted j
UNION ALL SELECT 0, '', 0, '', NULL, NULL, NULL, NULL, '', NULL, 0, 0, 0, 0, now(), now(), now(), NULL, NULL, NULL, NULL, says.what
FROM (SELECT CASE WHEN NOT EXISTS (SELECT FROM me) THEN 2 WHEN EXISTS (SELECT FROM candidates) THEN 3
             WHEN EXISTS (SELECT FROM @schema@.jobs_live WHERE serial_group IS NOT NULL) THEN 4 END AS what) says
WHERE NOT EXISTS (SELECT FROM granted) AND says.what IS NOT NULL`

// claimable is the beginning of each band and the heads of groups.
const claimable = claimableBands + claimableHeads

// claimableBands is the beginning of each band, $9 rows long, behind its number in $10 if that is not NULL.
const claimableBands = `    SELECT c.id, c.priority, q.queue
    FROM unnest($5::text[]) WITH ORDINALITY AS q(queue, nth) CROSS JOIN unnest($6::int[]) WITH ORDINALITY AS p(priority, nth) CROSS JOIN LATERAL (
      SELECT j.id, j.priority FROM @schema@.jobs_live j
      WHERE j.state = 'READY' AND j.serial_group IS NULL AND j.queue = q.queue AND j.priority <= p.priority
        AND (j.priority, j.id) > (p.priority, coalesce(($10::bigint[])[(q.nth - 1) * cardinality($6::int[]) + p.nth], 0))
        AND j.kind = ANY ($7::text[]) AND j.available_at <= now() AND ` + jobNotPaused + `
      ORDER BY j.priority, j.id LIMIT $9::int
    ) c
    WHERE q.queue ` + notPaused

const claimableHeads = `
    UNION ALL
    SELECT h.id, h.priority, h.queue
    FROM groups g CROSS JOIN LATERAL (` + headOfGroup + `) h
    WHERE g.serial_group IS NOT NULL AND h.state = 'READY' AND h.available_at <= now() AND h.kind = ANY ($7::text[])
      AND h.queue = ANY ($5::text[]) AND h.priority = ANY ($6::int[]) AND h.queue ` + notPaused + ` AND ` + headNotPaused + `
      AND NOT EXISTS (SELECT FROM @schema@.job_groups r WHERE r.serial_group = g.serial_group OFFSET 0)`

// looseGroups lists the groups that have live members.
const looseGroups = `
  (SELECT serial_group FROM @schema@.jobs_live WHERE serial_group IS NOT NULL ORDER BY serial_group LIMIT 1)
  UNION ALL
  SELECT (SELECT j.serial_group FROM @schema@.jobs_live j WHERE j.serial_group > g.serial_group ORDER BY j.serial_group LIMIT 1)
  FROM groups g WHERE g.serial_group IS NOT NULL`

// headOfGroup is the member of group g that must run next: the claim of any other is refused.
const headOfGroup = `
      SELECT m.id, m.queue, m.priority, m.kind, m.state, m.available_at FROM @schema@.jobs_live m
      WHERE m.serial_group = g.serial_group AND NOT (m.group_skip AND m.state IN ('SCHEDULED', 'TEMPORARILY_FAILED', 'WAITING'))
      ORDER BY m.priority, m.id LIMIT 1`
