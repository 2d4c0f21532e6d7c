package postgres

import (
	"context"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

const headsOfSQL = `-- warren: heads of groups
SELECT h.id, h.queue, h.priority
FROM (SELECT DISTINCT serial_group FROM unnest($1::text[]) AS w(serial_group)) g CROSS JOIN LATERAL (` + headOfGroup + `) h
WHERE ` + headFree + `
ORDER BY h.priority, h.id`

// headFree says that head h of group g may be claimed now. OFFSET 0 keeps the planner from turning
// one look-up a group into a join over the whole of job_groups and its dead rows.
const headFree = `h.state = 'READY' AND h.available_at <= now() AND h.queue ` + notPaused + `
  AND NOT EXISTS (SELECT FROM @schema@.job_groups r WHERE r.serial_group = g.serial_group OFFSET 0)`

// headsOf returns who may go next in each of the groups. It runs after the commit that freed
// them: a statement inside would not see what others have inserted meanwhile.
func (s *Store) headsOf(ctx context.Context, groups []string) ([]jobstore.Ref, error) {
	return gather(ctx, s, headsOfSQL, scanRef, groups)
}

// headsSQL counts only heads that somebody may claim: there may be more of the others than it returns. Consumers that take the
// same are one row of takers; OFFSET 0 is as in headFree.
const headsSQL = `-- warren: heads
WITH RECURSIVE groups(serial_group) AS (` + looseGroups + `),
takers AS MATERIALIZED (
  SELECT DISTINCT kinds, queues, priorities FROM @schema@.consumers WHERE expires_at > clock_timestamp()
)
SELECT h.id, h.queue, h.priority
FROM groups g CROSS JOIN LATERAL (` + headOfGroup + `) h
WHERE g.serial_group IS NOT NULL AND ` + headFree + ` AND h.kind = ANY (ARRAY(` + livingKinds + `))
  AND EXISTS (SELECT FROM takers t
    WHERE h.kind = ANY (t.kinds) AND h.queue = ANY (t.queues) AND h.priority = ANY (t.priorities) OFFSET 0)
  AND g.serial_group <> ALL (ARRAY(SELECT p.name FROM @schema@.job_pauses p WHERE p.until > now() AND p.of = 'group'))
ORDER BY h.priority, h.id LIMIT $1`

// mendGroupsSQL removes group rows whose job is not running, as after a DELETE by hand. A claim
// inserts the row in the same transaction that makes the job PROCESSING, so that no snapshot
// sees the one without the other. OFFSET 0 makes it one look-up a group, whatever the planner thinks of either table.
const mendGroupsSQL = `-- warren: mend groups
DELETE FROM @schema@.job_groups g
WHERE NOT EXISTS (SELECT FROM @schema@.jobs_live j WHERE j.id = g.running_id AND j.state || '' = 'PROCESSING' OFFSET 0)`

// Heads implements jobstore.Sweeper.
func (s *Store) Heads(ctx context.Context, limit int) ([]jobstore.Ref, error) {
	if err := s.exec(ctx, mendGroupsSQL); err != nil {
		return nil, wrap("mend serial groups", err)
	}
	return s.refs(ctx, fmt.Sprintf("list %d heads of serial groups", limit), headsSQL, limit)
}
