package sqlite

import (
	"context"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

// live is the condition of the index jobs_group, word for word: SQLite uses a partial index only
// for a query that repeats its condition.
const live = `state IN ('READY', 'SCHEDULED', 'PROCESSING', 'WAITING', 'TEMPORARILY_FAILED', 'BROKER_FAILED', 'BACK_TO_BROKER')`

// blockerSQL finds who keeps member ?2, ?3 of group ?1 from starting: the running member, or the
// first that must run before it.
const blockerSQL = `-- warren: blocker
SELECT id FROM (
  SELECT id, 0 AS rank FROM jobs WHERE serial_group = ?1 AND state = 'PROCESSING' AND id <> ?3
  UNION ALL
  SELECT * FROM (SELECT id, 1 FROM jobs WHERE serial_group = ?1 AND ` + live + ` AND (priority, id) < (?2, ?3)
    AND NOT (group_skip AND state IN ('SCHEDULED', 'TEMPORARILY_FAILED', 'WAITING')) ORDER BY priority, id LIMIT 1)
) ORDER BY rank LIMIT 1`

// blocker returns who keeps a member of a serial group from starting, 0 for nobody.
func blocker(ctx context.Context, q session, group string, priority int, id jobstore.ID) (jobstore.ID, error) {
	found, err := gather(ctx, q, blockerSQL, scanInt, group, priority, id)
	if err != nil || len(found) == 0 {
		return 0, err
	}
	return jobstore.ID(found[0]), nil
}

// free reports whether a job's serial group lets it start.
func (c *claim) free(ctx context.Context, j *jobstore.Job) (bool, error) {
	if j.SerialGroup == "" {
		return true, nil
	}
	by, err := blocker(ctx, c.q, j.SerialGroup, j.Priority, j.ID)
	return by == 0, err
}

// headOf is the number of the member of group g that must run next: the claim of any other is refused.
const headOf = `(SELECT m.id FROM jobs m WHERE m.serial_group = g.name AND m.` + live + `
    AND NOT (m.group_skip AND m.state IN ('SCHEDULED', 'TEMPORARILY_FAILED', 'WAITING')) ORDER BY m.priority, m.id LIMIT 1)`

// looseGroups lists the groups that have live members: one probe a group, however many members it has.
const looseGroups = `
  SELECT * FROM (SELECT serial_group FROM jobs WHERE serial_group > '' AND ` + live + ` ORDER BY serial_group LIMIT 1)
  UNION ALL
  SELECT (SELECT j.serial_group FROM jobs j WHERE j.serial_group > g.name AND j.` + live + ` ORDER BY j.serial_group LIMIT 1)
  FROM groups g WHERE g.name IS NOT NULL`

// headFree says that head h of group g may be claimed now (?1).
const headFree = `h.state = 'READY' AND h.available_at <= ?1 AND NOT EXISTS (
    SELECT 1 FROM jobs r WHERE r.serial_group = g.name AND r.state = 'PROCESSING')
  AND h.queue NOT IN (SELECT p.queue FROM warren_paused_queues p WHERE p.until > ?1)`

const headsOfSQL = `-- warren: heads of groups
SELECT h.id, h.queue, h.priority FROM (SELECT DISTINCT value AS name FROM json_each(?2)) g CROSS JOIN jobs h ON h.id = ` + headOf + `
WHERE ` + headFree + ` ORDER BY h.priority, h.id`

// headsOf returns who may go next in each of the groups.
func (s *Store) headsOf(ctx context.Context, q session, groups []string) ([]jobstore.Ref, error) {
	if len(groups) == 0 {
		return nil, nil
	}
	return gather(ctx, q, headsOfSQL, scanRef, stamp(s.now()), list(groups))
}

// headsSQL counts only heads that somebody may claim: there may be more of the others than it returns.
const headsSQL = `-- warren: heads
WITH RECURSIVE groups(name) AS (` + looseGroups + `)
SELECT h.id, h.queue, h.priority FROM groups g CROSS JOIN jobs h ON h.id = ` + headOf + `
WHERE ` + headFree + ` AND h.kind IN (` + livingKinds + `)
  AND EXISTS (SELECT 1 FROM warren_consumers c WHERE c.expires_at > ?3
    AND EXISTS (SELECT 1 FROM json_each(c.kinds) k WHERE k.value = h.kind)
    AND EXISTS (SELECT 1 FROM json_each(c.queues) q WHERE q.value = h.queue)
    AND EXISTS (SELECT 1 FROM json_each(c.priorities) p WHERE p.value = h.priority))
  AND g.name NOT IN (SELECT p.name FROM job_pauses p WHERE p.until > ?3 AND p.of = 'group')
ORDER BY h.priority, h.id LIMIT ?2`

// Heads implements jobstore.Sweeper. There are no group rows to mend: an index of the running
// members is what excludes a second one.
func (s *Store) Heads(ctx context.Context, limit int) ([]jobstore.Ref, error) {
	now := stamp(s.now())
	return s.refs(ctx, fmt.Sprintf("list %d heads of serial groups", limit), headsSQL, now, limit, now)
}
