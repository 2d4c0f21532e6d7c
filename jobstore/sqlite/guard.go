package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

const bucketSQL = `-- warren: bucket
SELECT planned, started FROM job_limits WHERE key = ?1`

const keepBucketSQL = `-- warren: keep bucket
INSERT INTO job_limits (key, planned, started) VALUES (?1, ?2, ?3)
ON CONFLICT (key) DO UPDATE SET planned = excluded.planned, started = excluded.started`

// Admit implements jobstore.Guard.
func (s *Store) Admit(ctx context.Context, asked []jobstore.Admission) ([]jobstore.Admitted, error) {
	if len(asked) == 0 {
		return nil, nil
	}
	out, err := writing(ctx, s, func(ctx context.Context, q session) ([]jobstore.Admitted, error) {
		return s.admitIn(ctx, q, asked)
	})
	if err != nil {
		return nil, s.wrap("ask a rate limit", err)
	}
	return out, nil
}

// admitIn takes those that were given a moment before those that come new.
func (s *Store) admitIn(ctx context.Context, q session, asked []jobstore.Admission) ([]jobstore.Admitted, error) {
	order := make([]int, len(asked))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(asked[a].Key, asked[b].Key), -compareBool(asked[a].Due, asked[b].Due))
	})
	out := make([]jobstore.Admitted, len(asked))
	now := s.now().UnixMicro()
	var b bucket
	for at, i := range order {
		if a := asked[i]; at == 0 || asked[order[at-1]].Key != a.Key {
			b = bucket{}
			err := q.query(ctx, bucketSQL, []any{a.Key}, func(r row) error { return r.Scan(&b.planned, &b.started) })
			if err != nil {
				return nil, err
			}
		}
		out[i] = b.admit(asked[i], now)
		if at == len(order)-1 || asked[order[at+1]].Key != asked[i].Key {
			if _, err := q.exec(ctx, keepBucketSQL, asked[i].Key, b.planned, b.started); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// bucket is when a rate limit's bucket is full again: by what has begun, and by what is planned as well.
type bucket struct{ planned, started int64 }

// admit is job_admit of the PostgreSQL store.
func (b *bucket) admit(a jobstore.Admission, now int64) jobstore.Admitted {
	step, burst := a.Step.Microseconds(), a.Burst.Microseconds()
	b.started = max(b.started, now)
	b.planned = max(b.planned, b.started)
	late := b.started + step - burst - now
	begins := a.Due && late <= jobstore.HoldOn.Microseconds()
	if begins {
		b.started += step
	} else {
		late = b.planned + step - burst - now
		begins = late <= 0
		if begins || !a.Drop {
			b.planned += step
		}
		if begins {
			b.started += step
		}
	}
	b.planned = max(b.planned, b.started)
	return jobstore.Admitted{Begin: begins, Wait: time.Duration(max(late, 0)) * time.Microsecond}
}

const freeDeadSQL = `-- warren: free dead locks
DELETE FROM job_locks WHERE key = ?1 AND held = 1 AND NOT EXISTS (
  SELECT 1 FROM jobs j WHERE j.id = job_id AND j.lease_no = job_locks.lease_no AND j.state = 'PROCESSING')`

const heldLocksSQL = `-- warren: held locks
SELECT count(*) FROM job_locks WHERE key = ?1 AND held = 1 AND job_id <> ?2`

const keepLockSQL = `-- warren: keep lock
INSERT INTO job_locks (key, job_id, lease_no, held) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (key, job_id) DO UPDATE SET lease_no = excluded.lease_no, held = excluded.held`

// Lock implements jobstore.Guard.
func (s *Store) Lock(ctx context.Context, asked []jobstore.Lock) ([]bool, error) {
	if len(asked) == 0 {
		return nil, nil
	}
	out, err := writing(ctx, s, func(ctx context.Context, q session) ([]bool, error) { return lockIn(ctx, q, asked) })
	if err != nil {
		return nil, s.wrap("ask for a lock", err)
	}
	return out, nil
}

func lockIn(ctx context.Context, q session, asked []jobstore.Lock) ([]bool, error) {
	out := make([]bool, len(asked))
	for i, a := range asked {
		if _, err := q.exec(ctx, freeDeadSQL, a.Key); err != nil {
			return nil, err
		}
		held, err := gather(ctx, q, heldLocksSQL, scanInt, a.Key, a.ID)
		if err != nil {
			return nil, err
		}
		if out[i] = held[0] < int64(a.Places); !out[i] && !a.Wait {
			continue
		}
		if _, err := q.exec(ctx, keepLockSQL, a.Key, a.ID, a.LeaseNo, out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

const unlockSQL = `-- warren: unlock
DELETE FROM job_locks WHERE key = ?1 AND job_id = ?2 AND lease_no = ?3 AND held = 1`

const firstWaitingSQL = `-- warren: first that waits for a lock
SELECT j.id, j.queue, j.priority FROM job_locks l CROSS JOIN jobs j ON j.id = l.job_id
WHERE l.key = ?1 AND l.held = 0 AND j.lease_no = l.lease_no AND j.state = 'WAITING' ORDER BY l.job_id LIMIT 1`

const goOnSQL = `-- warren: go on
UPDATE jobs SET state = 'READY', available_at = ?2 WHERE id = ?1`

// Unlock implements jobstore.Guard.
func (s *Store) Unlock(ctx context.Context, held []jobstore.Lock) ([]jobstore.Ref, error) {
	if len(held) == 0 {
		return nil, nil
	}
	refs, err := writing(ctx, s, func(ctx context.Context, q session) ([]jobstore.Ref, error) { return s.unlockIn(ctx, q, held) })
	if err != nil {
		return nil, s.wrap("give a lock back", err)
	}
	return refs, nil
}

func (s *Store) unlockIn(ctx context.Context, q session, held []jobstore.Lock) ([]jobstore.Ref, error) {
	var refs []jobstore.Ref
	for _, h := range held {
		n, err := q.exec(ctx, unlockSQL, h.Key, h.ID, h.LeaseNo)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		next, err := gather(ctx, q, firstWaitingSQL, scanRef, h.Key)
		if err != nil {
			return nil, err
		}
		for _, ref := range next { // one, or none
			if _, err := q.exec(ctx, goOnSQL, ref.ID, stamp(s.now())); err != nil {
				return nil, err
			}
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

const breakerSQL = `-- warren: breaker
SELECT failures, since, open_until, opened, probe_id, probe_lease, error FROM job_breakers WHERE name = ?1`

const keepBreakerSQL = `-- warren: keep breaker
INSERT INTO job_breakers (name, failures, since, open_until, opened, probe_id, probe_lease, error) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (name) DO UPDATE SET failures = excluded.failures, since = excluded.since, open_until = excluded.open_until,
  opened = excluded.opened, probe_id = excluded.probe_id, probe_lease = excluded.probe_lease, error = excluded.error`

const leaseAliveSQL = `-- warren: lease alive
SELECT count(*) FROM jobs WHERE id = ?1 AND lease_no = ?2 AND state = 'PROCESSING'`

// breaker is a row of job_breakers.
type breaker struct {
	failures, since, opened int64
	openUntil               sql.NullInt64
	probeID, probeLease     sql.NullInt64
	lastError               sql.NullString
}

func readBreaker(ctx context.Context, q session, name string) (b breaker, err error) {
	err = q.query(ctx, breakerSQL, []any{name}, func(r row) error {
		return r.Scan(&b.failures, &b.since, &b.openUntil, &b.opened, &b.probeID, &b.probeLease, &b.lastError)
	})
	return b, err
}

func (b *breaker) keep(ctx context.Context, q session, name string) error {
	_, err := q.exec(ctx, keepBreakerSQL, name, b.failures, b.since, b.openUntil, b.opened, b.probeID, b.probeLease, b.lastError)
	return err
}

// Enter implements jobstore.Guard. An open breaker whose time has come is looked at by one writer at a time.
func (s *Store) Enter(ctx context.Context, name string, id jobstore.ID, leaseNo int64) (jobstore.Passage, error) {
	p, err := reading(ctx, s, func(ctx context.Context, q session) (jobstore.Passage, error) {
		b, err := readBreaker(ctx, q, name)
		return jobstore.Passage{Wait: b.closedFor(s.now()), Probe: b.openUntil.Valid}, err
	})
	if err == nil && p.Wait == 0 && p.Probe {
		p, err = writing(ctx, s, func(ctx context.Context, q session) (jobstore.Passage, error) {
			return s.enterIn(ctx, q, name, id, leaseNo)
		})
	}
	if err != nil {
		return jobstore.Passage{}, s.wrap("ask breaker "+name, err)
	}
	p.Probe = p.Probe && p.Wait == 0
	return p, nil
}

// closedFor is how long nobody may pass.
func (b *breaker) closedFor(now time.Time) time.Duration {
	if !b.openUntil.Valid {
		return 0
	}
	return time.Duration(max(0, b.openUntil.Int64-now.UnixMicro())) * time.Microsecond
}

func (s *Store) enterIn(ctx context.Context, q session, name string, id jobstore.ID, leaseNo int64) (jobstore.Passage, error) {
	b, err := readBreaker(ctx, q, name)
	if err != nil || !b.openUntil.Valid {
		return jobstore.Passage{}, err
	}
	if wait := b.closedFor(s.now()); wait > 0 {
		return jobstore.Passage{Wait: wait}, nil
	}
	if b.probeID.Valid && b.probeID.Int64 != int64(id) {
		alive, err := gather(ctx, q, leaseAliveSQL, scanInt, b.probeID.Int64, b.probeLease.Int64)
		if err != nil || alive[0] > 0 {
			return jobstore.Passage{Wait: time.Second}, err
		}
	}
	b.probeID, b.probeLease = sql.NullInt64{Int64: int64(id), Valid: true}, sql.NullInt64{Int64: leaseNo, Valid: true}
	return jobstore.Passage{Probe: true}, b.keep(ctx, q, name)
}

// Report implements jobstore.Guard.
func (s *Store) Report(ctx context.Context, r jobstore.Report) (jobstore.Breaker, error) {
	out, err := writing(ctx, s, func(ctx context.Context, q session) (jobstore.Breaker, error) {
		b, err := readBreaker(ctx, q, r.Name)
		if err != nil {
			return jobstore.Breaker{}, err
		}
		now := s.now()
		out, changed := b.report(r, now)
		out.Wait = b.closedFor(now)
		if !changed {
			return out, nil
		}
		return out, b.keep(ctx, q, r.Name)
	})
	if err != nil {
		return jobstore.Breaker{}, s.wrap("report to breaker "+r.Name, err)
	}
	return out, nil
}

// report is job_breaker_report of the PostgreSQL store.
func (b *breaker) report(r jobstore.Report, now time.Time) (out jobstore.Breaker, changed bool) {
	t := now.UnixMicro()
	switch {
	case b.openUntil.Valid:
		if b.probeID.Int64 != int64(r.ID) || b.probeLease.Int64 != r.LeaseNo {
			return out, false
		}
		out.Opened, out.Closed = r.Failed != "", r.Failed == ""
	case r.Failed != "":
		if b.failures == 0 || b.since < t-r.Period.Microseconds() {
			b.failures, b.since = 0, t
		}
		b.failures++
		out.Opened = b.failures >= int64(r.Threshold)
	default:
		return out, false
	}
	switch {
	case out.Opened:
		b.openUntil = sql.NullInt64{Int64: t + r.Cooldown.Microseconds(), Valid: true}
		b.opened, b.failures = b.opened+1, 0
	case out.Closed:
		b.openUntil, b.opened, b.failures = sql.NullInt64{}, 0, 0
	}
	b.probeID, b.probeLease = sql.NullInt64{}, sql.NullInt64{}
	if r.Failed != "" {
		b.lastError = sql.NullString{String: r.Failed, Valid: true}
	}
	return out, true
}

// retainGuardSQL are what Retain forgets: full buckets, breakers that nobody has reported to for a day,
// places of leases that have ended and waits of jobs that are gone.
func retainGuardSQL() []string {
	return []string{retainLimitsSQL, retainBreakersSQL, retainLocksSQL}
}

const retainLimitsSQL = `-- warren: retain limits
DELETE FROM job_limits WHERE planned < ?1 - 60000000`

const retainBreakersSQL = `-- warren: retain breakers
DELETE FROM job_breakers WHERE open_until IS NULL AND since < ?1 - 86400000000`

const retainLocksSQL = `-- warren: retain locks
DELETE FROM job_locks WHERE ?1 > 0 AND NOT EXISTS (
  SELECT 1 FROM jobs j WHERE j.id = job_id AND CASE held WHEN 1 THEN j.lease_no = job_locks.lease_no AND j.state = 'PROCESSING'
    ELSE j.finished_at IS NULL END)`
