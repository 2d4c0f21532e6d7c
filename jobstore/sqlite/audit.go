package sqlite

import (
	"context"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

// faultsSQL has no faults of serial groups: an index of the running members, which is no row that
// could be lost, is what excludes a second one. ?1 is now, and ?2 so long ago that a sweep is late.
const faultsSQL = `-- warren: faults
SELECT '` + jobstore.FaultOrphan + `' AS fault, j.id AS id, j.queue, j.priority FROM jobs j
WHERE j.holder IS NOT NULL AND NOT EXISTS (SELECT 1 FROM warren_consumers c WHERE c.id = j.holder AND c.expires_at > ?1)
UNION ALL
SELECT '` + jobstore.FaultKey + `', k.job_id, '', 0 FROM job_keys k WHERE k.until IS NULL AND NOT EXISTS (` + keyJob + `)
UNION ALL
SELECT '` + jobstore.FaultOutbox + `', id, queue, priority FROM jobs WHERE announce_at <= ?2 AND state = 'READY' AND available_at <= ?1
UNION ALL
SELECT '` + jobstore.FaultDue + `', id, queue, priority FROM jobs WHERE ` + delayed + ` AND available_at <= ?2
ORDER BY fault, id`

// keyJob is the live job of key k.
const keyJob = `SELECT 1 FROM jobs j
  WHERE j.id = k.job_id AND j.kind = k.kind AND j.identifier = k.identifier AND j.mode <> 'normal' AND j.` + live

// Faults implements jobstore.Auditor.
func (s *Store) Faults(ctx context.Context) ([]jobstore.Fault, error) {
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]jobstore.Fault, error) {
		now, overdue := s.sweptUntil()
		return gather(ctx, q, faultsSQL, func(r row) (f jobstore.Fault, err error) {
			err = r.Scan(&f.Fault, &f.ID, &f.Queue, &f.Priority)
			return f, err
		}, now, overdue)
	})
	if err != nil {
		return nil, s.wrap("look for faults", err)
	}
	return got, nil
}

// mendHoldersSQL registers consumers that are missing under their number, dead. Their rescue is
// then like any other.
const mendHoldersSQL = `-- warren: mend holders
INSERT INTO warren_consumers (id, host, pid, version, started_at, heartbeat_at, expires_at)
SELECT DISTINCT j.holder, 'unknown', 0, 'missing', ?2, ?2, '` + never + `' FROM jobs j
WHERE j.id IN (SELECT value FROM json_each(?1)) AND j.holder IS NOT NULL
ON CONFLICT DO NOTHING`

const mendKeysSQL = `-- warren: mend keys
DELETE FROM job_keys AS k WHERE k.job_id IN (SELECT value FROM json_each(?1)) AND k.until IS NULL AND NOT EXISTS (` + keyJob + `)`

// Mend implements jobstore.Auditor.
func (s *Store) Mend(ctx context.Context, faults []jobstore.Fault) error {
	var orphans, keys []jobstore.ID
	for _, f := range faults {
		switch f.Fault {
		case jobstore.FaultOrphan:
			orphans = append(orphans, f.ID)
		case jobstore.FaultKey:
			keys = append(keys, f.ID)
		}
	}
	_, err := writing(ctx, s, func(ctx context.Context, q session) (int64, error) {
		if _, err := q.exec(ctx, mendHoldersSQL, list(orphans), stamp(s.now())); err != nil {
			return 0, err
		}
		return q.exec(ctx, mendKeysSQL, list(keys))
	})
	if err != nil {
		return s.wrap(fmt.Sprintf("mend %d faults", len(faults)), err)
	}
	return nil
}

// unannounced says that nobody is going to announce job j: it is not in the outbox, or has been there
// since ?2.
const unannounced = `(j.announce_at IS NULL OR j.announce_at <= ?2)
  AND j.queue NOT IN (SELECT p.queue FROM warren_paused_queues p WHERE p.until > ?1)`

const claimableSQL = `-- warren: claimable
SELECT j.id FROM jobs j
WHERE j.state = 'READY' AND j.serial_group IS NULL AND j.queue = ?3 AND j.priority = ?4 AND j.id > ?5 AND j.available_at <= ?1
  AND ` + unannounced + `
ORDER BY j.id LIMIT ?6`

// Claimable implements jobstore.Auditor.
func (s *Store) Claimable(ctx context.Context, band jobstore.Band, after jobstore.ID, limit int) ([]jobstore.ID, error) {
	now, overdue := s.sweptUntil()
	return s.audited(ctx, "list what can be claimed", claimableSQL, now, overdue, band.Queue, band.Priority, after, limit)
}

// audited runs a statement that reads numbers.
func (s *Store) audited(ctx context.Context, doing, text string, args ...any) ([]jobstore.ID, error) {
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]int64, error) { return gather(ctx, q, text, scanInt, args...) })
	if err != nil {
		return nil, s.wrap(doing, err)
	}
	ids := make([]jobstore.ID, len(got))
	for i, n := range got {
		ids[i] = jobstore.ID(n)
	}
	return ids, nil
}

// sweptUntil are now, and the time before which the sweep should be done with everything.
func (s *Store) sweptUntil() (now, overdue string) {
	at := s.now()
	return stamp(at), stamp(at.Add(-jobstore.Overdue))
}

const claimableHeadsSQL = `-- warren: claimable heads
WITH RECURSIVE groups(name) AS (` + looseGroups + `)
SELECT h.id, h.queue, h.priority FROM groups g CROSS JOIN jobs h ON h.id = ` + headOf + ` JOIN jobs j ON j.id = h.id
WHERE ` + headFree + ` AND ` + unannounced + `
ORDER BY h.id`

// ClaimableHeads implements jobstore.Auditor. Its cost grows with the groups that have work.
func (s *Store) ClaimableHeads(ctx context.Context) ([]jobstore.Ref, error) {
	now, overdue := s.sweptUntil()
	return s.refs(ctx, "list the heads of serial groups", claimableHeadsSQL, now, overdue)
}

const claimableOfSQL = `-- warren: claimable of
SELECT j.id FROM jobs j
WHERE j.id IN (SELECT value FROM json_each(?5)) AND j.state = 'READY' AND j.queue = ?3 AND j.priority = ?4 AND j.available_at <= ?1
  AND ` + unannounced + `
  AND (j.serial_group IS NULL OR NOT EXISTS (SELECT 1 FROM jobs r WHERE r.serial_group = j.serial_group AND r.state = 'PROCESSING')
    AND NOT EXISTS (SELECT 1 FROM jobs m WHERE m.serial_group = j.serial_group AND m.` + live + ` AND (m.priority, m.id) < (j.priority, j.id)
      AND NOT (m.group_skip AND m.state IN ('SCHEDULED', 'TEMPORARILY_FAILED', 'WAITING'))))
ORDER BY j.id`

// ClaimableOf implements jobstore.Auditor.
func (s *Store) ClaimableOf(ctx context.Context, band jobstore.Band, ids []jobstore.ID) ([]jobstore.ID, error) {
	now, overdue := s.sweptUntil()
	return s.audited(ctx, fmt.Sprintf("look whether %d jobs can be claimed", len(ids)), claimableOfSQL, now, overdue, band.Queue, band.Priority, list(ids))
}

const readyOfSQL = `-- warren: ready of
SELECT j.id FROM jobs j
WHERE j.id IN (SELECT value FROM json_each(?3)) AND j.state = 'READY' AND j.queue = ?1 AND j.priority = ?2
ORDER BY j.id`

// ReadyOf implements jobstore.Auditor.
func (s *Store) ReadyOf(ctx context.Context, band jobstore.Band, ids []jobstore.ID) ([]jobstore.ID, error) {
	return s.audited(ctx, fmt.Sprintf("look whether %d jobs are READY", len(ids)), readyOfSQL, band.Queue, band.Priority, list(ids))
}
