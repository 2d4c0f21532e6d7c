package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// faultsSQL sees one snapshot: a claim makes the group's row and the PROCESSING job together, and a
// job and its key come and go together, so that whatever is alone here is alone.
const faultsSQL = `-- warren: faults
SELECT '` + jobstore.FaultOrphan + `', j.id, j.queue, j.priority FROM @schema@.jobs_live j
WHERE j.state = 'PROCESSING' AND NOT EXISTS (
  SELECT FROM @schema@.consumers c WHERE c.id = j.holder AND c.expires_at > clock_timestamp())
UNION ALL
SELECT '` + jobstore.FaultGroupRow + `', g.running_id, '', 0 FROM @schema@.job_groups g
WHERE NOT EXISTS (` + groupMember + `)
UNION ALL
SELECT '` + jobstore.FaultMember + `', j.id, j.queue, j.priority FROM @schema@.jobs_live j
WHERE j.state = 'PROCESSING' AND j.serial_group IS NOT NULL AND NOT EXISTS (
  SELECT FROM @schema@.job_groups g WHERE g.serial_group = j.serial_group AND g.running_id = j.id)
UNION ALL
SELECT '` + jobstore.FaultKey + `', k.job_id, '', 0 FROM @schema@.job_keys k
WHERE k.until IS NULL AND NOT EXISTS (` + keyJob + `)
UNION ALL
SELECT '` + jobstore.FaultOutbox + `', j.id, j.queue, j.priority FROM @schema@.jobs_live j
WHERE j.announce_at <= now() - make_interval(secs => $1::bigint / 1e6) AND j.state = 'READY' AND j.available_at <= now()
UNION ALL
SELECT '` + jobstore.FaultDue + `', j.id, j.queue, j.priority FROM @schema@.jobs_live j
WHERE j.state IN ('SCHEDULED', 'WAITING', 'TEMPORARILY_FAILED', 'BROKER_FAILED', 'BACK_TO_BROKER')
  AND j.available_at <= now() - make_interval(secs => $1::bigint / 1e6)
ORDER BY 1, 2`

// groupMember is the running job of group row g, and keyJob the live job of key k.
const (
	groupMember = `SELECT FROM @schema@.jobs_live j
  WHERE j.id = g.running_id AND j.serial_group = g.serial_group AND j.state || '' = 'PROCESSING'`
	keyJob = `SELECT FROM @schema@.jobs_live j
  WHERE j.id = k.job_id AND j.kind = k.kind AND j.identifier = k.identifier AND j.mode <> 'normal'`
)

// Faults implements jobstore.Auditor. It takes about a second for a few million rows.
func (s *Store) Faults(ctx context.Context) ([]jobstore.Fault, error) {
	got, err := bulk(ctx, s, faultsSQL, func(r pgx.Rows) (f jobstore.Fault, err error) {
		err = r.Scan(&f.Fault, &f.ID, &f.Queue, &f.Priority)
		return f, err
	}, jobstore.Overdue.Microseconds())
	if err != nil {
		return nil, wrap("look for faults", err)
	}
	return got, nil
}

// mendHoldersSQL registers consumers that are missing under their number, dead. Their rescue is
// then like any other. A living consumer cannot renew a registration that has expired, so that one
// whose row was deleted by hand stays out.
const mendHoldersSQL = `-- warren: mend holders
INSERT INTO @schema@.consumers (id, host, pid, version, expires_at) OVERRIDING SYSTEM VALUE
SELECT DISTINCT j.holder, 'unknown', 0, 'missing', '-infinity'::timestamptz
FROM unnest($1::bigint[]) AS w(id) JOIN @schema@.jobs_live j ON j.id = w.id
WHERE j.state || '' = 'PROCESSING'
ON CONFLICT DO NOTHING`

const mendGroupRowsSQL = `-- warren: mend group rows
DELETE FROM @schema@.job_groups g WHERE g.running_id = ANY ($1::bigint[]) AND NOT EXISTS (` + groupMember + `)`

const mendMembersSQL = `-- warren: mend members
WITH running AS MATERIALIZED (
  SELECT j.id, j.serial_group FROM unnest($1::bigint[]) AS w(id) JOIN @schema@.jobs_live j ON j.id = w.id
  WHERE j.state || '' = 'PROCESSING' AND j.serial_group IS NOT NULL ORDER BY j.serial_group FOR NO KEY UPDATE OF j SKIP LOCKED
)
INSERT INTO @schema@.job_groups (serial_group, running_id) SELECT serial_group, id FROM running ON CONFLICT DO NOTHING`

const mendKeysSQL = `-- warren: mend keys
DELETE FROM @schema@.job_keys k WHERE k.job_id = ANY ($1::bigint[]) AND k.until IS NULL AND NOT EXISTS (` + keyJob + `)`

// Mend implements jobstore.Auditor. The order matters: a group's row that names nobody is in the way
// of the row of the member that runs.
func (s *Store) Mend(ctx context.Context, faults []jobstore.Fault) error {
	for _, step := range []struct{ fault, sql string }{
		{jobstore.FaultOrphan, mendHoldersSQL},
		{jobstore.FaultGroupRow, mendGroupRowsSQL},
		{jobstore.FaultMember, mendMembersSQL},
		{jobstore.FaultKey, mendKeysSQL},
	} {
		var ids []jobstore.ID
		for _, f := range faults {
			if f.Fault == step.fault {
				ids = append(ids, f.ID)
			}
		}
		if len(ids) == 0 {
			continue
		}
		if _, err := bulk(ctx, s, step.sql, scanID, ids); err != nil {
			return wrap(fmt.Sprintf("mend %d of %s", len(ids), step.fault), err)
		}
	}
	return nil
}

// unannounced says that nobody is going to announce job j: it is not in the outbox, or has been there
// for longer than Overdue.
const unannounced = `(j.announce_at IS NULL OR j.announce_at <= now() - make_interval(secs => $1::bigint / 1e6))`

const claimableSQL = `-- warren: claimable
SELECT j.id FROM @schema@.jobs_live j
WHERE j.state = 'READY' AND j.serial_group IS NULL AND j.queue = $2 AND j.priority = $3 AND j.id > $4 AND j.available_at <= now()
  AND ` + unannounced + ` AND j.queue ` + notPaused + `
ORDER BY j.id LIMIT $5`

// Claimable implements jobstore.Auditor.
func (s *Store) Claimable(ctx context.Context, band jobstore.Band, after jobstore.ID, limit int) ([]jobstore.ID, error) {
	got, err := gather(ctx, s, claimableSQL, scanID, jobstore.Overdue.Microseconds(), band.Queue, clamp(band.Priority), after, limit)
	if err != nil {
		return nil, wrap("list what can be claimed", err)
	}
	return got, nil
}

const claimableHeadsSQL = `-- warren: claimable heads
WITH RECURSIVE groups(serial_group) AS (` + looseGroups + `)
SELECT h.id, h.queue, h.priority
FROM groups g CROSS JOIN LATERAL (` + headOfGroup + `) h JOIN @schema@.jobs_live j ON j.id = h.id
WHERE g.serial_group IS NOT NULL AND ` + headFree + ` AND ` + unannounced + `
ORDER BY h.id`

// ClaimableHeads implements jobstore.Auditor. Its cost grows with the groups that have work.
func (s *Store) ClaimableHeads(ctx context.Context) ([]jobstore.Ref, error) {
	got, err := bulk(ctx, s, claimableHeadsSQL, scanRef, jobstore.Overdue.Microseconds())
	if err != nil {
		return nil, wrap("list the heads of serial groups", err)
	}
	return got, nil
}

const claimableOfSQL = `-- warren: claimable of
SELECT j.id FROM unnest($4::bigint[]) AS w(id) JOIN @schema@.jobs_live j ON j.id = w.id
WHERE j.state || '' = 'READY' AND j.queue = $2 AND j.priority = $3 AND j.available_at <= now() AND ` + unannounced + `
  AND j.queue ` + notPaused + `
  AND (j.serial_group IS NULL OR NOT EXISTS (` + claimBefore + `) AND NOT EXISTS (
    SELECT FROM @schema@.job_groups r WHERE r.serial_group = j.serial_group OFFSET 0))
ORDER BY j.id`

// ClaimableOf implements jobstore.Auditor.
func (s *Store) ClaimableOf(ctx context.Context, band jobstore.Band, ids []jobstore.ID) ([]jobstore.ID, error) {
	got, err := gather(ctx, s, claimableOfSQL, scanID, jobstore.Overdue.Microseconds(), band.Queue, clamp(band.Priority), ids)
	if err != nil {
		return nil, wrap(fmt.Sprintf("look whether %d jobs can be claimed", len(ids)), err)
	}
	return got, nil
}

const readyOfSQL = `-- warren: ready of
SELECT j.id FROM unnest($3::bigint[]) AS w(id) JOIN @schema@.jobs_live j ON j.id = w.id
WHERE j.state || '' = 'READY' AND j.queue = $1 AND j.priority = $2
ORDER BY j.id`

// ReadyOf implements jobstore.Auditor.
func (s *Store) ReadyOf(ctx context.Context, band jobstore.Band, ids []jobstore.ID) ([]jobstore.ID, error) {
	got, err := gather(ctx, s, readyOfSQL, scanID, band.Queue, clamp(band.Priority), ids)
	if err != nil {
		return nil, wrap(fmt.Sprintf("look whether %d jobs are READY", len(ids)), err)
	}
	return got, nil
}
