package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// Claim implements jobstore.Claimer. Again returns what an earlier claim with the same token has
// granted together with what can be claimed now.
func (s *Store) Claim(ctx context.Context, by jobstore.Claimant, ids []jobstore.ID) (jobstore.Claimed, error) {
	if len(ids) == 0 {
		return jobstore.Claimed{}, nil
	}
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids) // a number twice would be a lease twice when the claim is repeated
	got, err := writing(ctx, s, func(ctx context.Context, q session) (jobstore.Claimed, error) {
		return s.claimIn(ctx, q, by, ids)
	})
	if err != nil {
		return jobstore.Claimed{}, s.wrap(fmt.Sprintf("claim %d jobs", len(ids)), err)
	}
	return got, nil
}

func (s *Store) claimIn(ctx context.Context, q session, by jobstore.Claimant, ids []jobstore.ID) (jobstore.Claimed, error) {
	c, err := s.claiming(ctx, q, by)
	if err != nil {
		return jobstore.Claimed{}, err
	}
	var got jobstore.Claimed
	numbers := list(ids)
	if by.Again {
		if got.Leases, err = gather(ctx, q, grantedSQL, scanLease, by.Holder, by.Token, numbers); err != nil {
			return got, err
		}
		for i := range got.Leases {
			c.hold(&got.Leases[i])
		}
	}
	found, err := gather(ctx, q, claimSQL, scanLease, numbers, stamp(c.now))
	if err != nil {
		return got, err
	}
	var mine []jobstore.Lease
	for i := range found {
		l := &found[i]
		if !c.takes(l.Job.Queue, l.Job.Priority) || c.held(&l.Job) {
			continue
		}
		free, err := c.free(ctx, &l.Job)
		switch {
		case err != nil:
			return got, err
		case !free:
		case !slices.Contains(by.Kinds, l.Job.Kind):
			if err := c.strange(ctx, &l.Job); err != nil {
				return got, err
			}
			got.UnknownKind = append(got.UnknownKind, l.Job.ID)
		default:
			mine = append(mine, *l)
		}
	}
	got.Leases = append(got.Leases, mine...)
	return got, c.grant(ctx, got.Leases[len(got.Leases)-len(mine):])
}

// claimSQL looks up what may be claimable among numbers; the rest of the conditions is in Go.
const claimSQL = `-- warren: claim
SELECT ` + leaseColumns + ` FROM json_each(?1) w CROSS JOIN jobs j ON j.id = w.value
WHERE j.state = 'READY' AND j.available_at <= ?2 ORDER BY j.priority, j.id`

const grantedSQL = `-- warren: granted before
SELECT ` + leaseColumns + ` FROM json_each(?3) w CROSS JOIN jobs j ON j.id = w.value
WHERE j.holder = ?1 AND j.claim_token = ?2 AND j.state = 'PROCESSING'`

const leaseColumns = `j.id, j.queue, j.priority, j.kind, j.args, j.serial_group, j."coalesce", j.identifier, j.mode, j.every,
  j.attempts, j.max_attempts, j.lease_no, j.crashes, j.created_at, j.available_at, j.attempted_at, j.timeout, j.metadata, j.tags, coalesce(j.step, 0)`

// claim is one claim under way. It sees and makes every change in the writer's transaction.
type claim struct {
	q      session
	by     jobstore.Claimant
	now    time.Time
	pauses []jobstore.Pause
	force  bool // it does not mind that everything is paused
}

const aliveSQL = `-- warren: alive
SELECT force FROM warren_consumers WHERE id = ?1 AND expires_at > ?2`

// claiming begins a claim. ErrHolderGone unless the claimant is registered.
func (s *Store) claiming(ctx context.Context, q session, by jobstore.Claimant) (*claim, error) {
	c := &claim{q: q, by: by, now: s.now()}
	alive, err := gather(ctx, q, aliveSQL, scanInt, by.Holder, stamp(c.now))
	if err == nil && len(alive) == 0 {
		err = fmt.Errorf("consumer %d: %w", by.Holder, jobstore.ErrHolderGone)
	}
	if err == nil {
		c.force = alive[0] != 0
		c.pauses, err = pausesIn(ctx, q, c.now)
	}
	return c, err
}

func (c *claim) takes(queue string, priority int) bool {
	return slices.Contains(c.by.Queues, queue) && slices.Contains(c.by.Priorities, priority) && !paused(c.pauses, jobstore.PauseOfQueue, queue)
}

// held reports whether a pause of its kind, of its group or of everything keeps a job.
func (c *claim) held(j *jobstore.Job) bool {
	return len(c.pauses) > 0 && (keptBack(c.pauses, j.Kind) || c.maintenance() ||
		j.SerialGroup != "" && paused(c.pauses, jobstore.PauseOfGroup, j.SerialGroup))
}

func (c *claim) maintenance() bool { return !c.force && paused(c.pauses, jobstore.PauseOfAll, "") }

// grant makes jobs PROCESSING. The caller has made sure that they may be: of a serial group there
// is one at most, because the first of two that are READY blocks the second.
func (c *claim) grant(ctx context.Context, leases []jobstore.Lease) error {
	if len(leases) == 0 {
		return nil
	}
	at := stamp(c.now)
	ids := make([]jobstore.ID, len(leases))
	for i := range leases {
		j := &leases[i].Job
		ids[i] = j.ID
		j.LeaseNo++
		j.Attempts++
		j.AttemptedAt = new(read(at))
		c.hold(&leases[i])
	}
	if _, err := c.q.exec(ctx, grantSQL, list(ids), c.by.Holder, c.by.Token, at, optional(c.by.Host), c.by.PID); err != nil {
		return err
	}
	for i := range leases {
		j := &leases[i].Job
		if j.Coalesce == nil {
			continue
		}
		if _, err := c.q.exec(ctx, absorbSQL, j.SerialGroup, *j.Coalesce, at); err != nil {
			return err
		}
	}
	return nil
}

// hold completes a lease by what is in no column that a claim reads.
func (c *claim) hold(l *jobstore.Lease) {
	l.Job.State, l.Job.Holder, l.Job.Host, l.Job.PID = jobstore.Processing, c.by.Holder, c.by.Host, c.by.PID
}

// grantSQL takes all of a claim's jobs at once: an UPDATE of a table with triggers opens a temporary
// table each time, which costs as much as ten rows.
const grantSQL = `-- warren: grant
UPDATE jobs SET state = 'PROCESSING', holder = ?2, claim_token = ?3, lease_no = lease_no + 1, attempts = attempts + 1,
  attempted_at = ?4, announce_at = NULL, host = ?5, pid = ?6
WHERE id IN (SELECT value FROM json_each(?1))`

// absorbSQL takes the members out that a starting job makes redundant.
const absorbSQL = `-- warren: absorb
UPDATE jobs SET state = 'REDUNDANT', finished_at = ?3, announce_at = NULL, error = 'absorbed: a job of its group with coalesce started'
WHERE serial_group = ?1 AND ` + live + ` AND state <> 'PROCESSING' AND "coalesce" >= ?2 AND lease_no = 0`

const strangeSQL = `-- warren: unknown kind
UPDATE jobs SET announce_at = ?2 WHERE id = ?1`

// strange puts a job of an unknown kind into the outbox for later: 1 s, growing to 30 s.
func (c *claim) strange(ctx context.Context, j *jobstore.Job) error {
	since := j.AvailableAt
	if j.CreatedAt.After(since) {
		since = j.CreatedAt
	}
	pause := min(max(c.now.Sub(since), time.Second), 30*time.Second)
	_, err := c.q.exec(ctx, strangeSQL, j.ID, later(c.now, pause))
	return err
}

func scanLease(r row) (l jobstore.Lease, err error) {
	j := &l.Job
	var args, created, available string
	var group, identifier, attempted, metadata, tags sql.NullString
	var every, timeout sql.NullInt64
	err = r.Scan(&j.ID, &j.Queue, &j.Priority, &j.Kind, &args, &group, &j.Coalesce, &identifier, &j.Mode, &every,
		&j.Attempts, &j.MaxAttempts, &j.LeaseNo, &j.Crashes, &created, &available, &attempted, &timeout, &metadata, &tags, &j.Step)
	j.Args, j.Metadata, j.Tags = []byte(args), raw(metadata), readTags(tags)
	j.SerialGroup, j.Identifier = group.String, identifier.String
	j.Every, j.Timeout = duration(every), duration(timeout)
	j.CreatedAt, j.AvailableAt, j.AttemptedAt = read(created), read(available), readOptional(attempted)
	return l, err
}

func raw(text sql.NullString) []byte {
	if !text.Valid {
		return nil
	}
	return []byte(text.String)
}

func readTags(text sql.NullString) []string {
	if !text.Valid {
		return nil
	}
	return unlist[string](text.String)
}
