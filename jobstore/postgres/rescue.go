package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// deadSQL locks expired registrations. FOR UPDATE waits for claims under way (they hold the row
// FOR KEY SHARE), so that what they took is seen by the statements after this one.
const deadSQL = `-- warren: dead consumers
SELECT id FROM @schema@.consumers WHERE expires_at <= clock_timestamp() ORDER BY expires_at LIMIT 20 FOR UPDATE SKIP LOCKED`

// rescueSQL gives back or quarantines what dead consumers held. outcome_lease stays as it is:
// nothing was recorded.
const rescueSQL = `-- warren: rescue
WITH held AS MATERIALIZED (
  SELECT j.id, j.serial_group, j.holder, j.attempts, j.host, $3::int > 0 AND j.crashes + 1 >= $3::int AS quarantine
  FROM @schema@.jobs_live j WHERE j.holder = ANY ($1::bigint[]) AND j.state || '' = 'PROCESSING' AND j.id <> ALL ($4::bigint[])
  ORDER BY j.holder, j.id LIMIT $2
  FOR NO KEY UPDATE SKIP LOCKED
),
ended AS (
  DELETE FROM @schema@.jobs_live j USING held h WHERE j.id BETWEEN h.id AND h.id AND h.quarantine RETURNING j.*
),
history AS (
  INSERT INTO @schema@.jobs_history (` + carriedColumns + `, state, finished_at, crashes, outcome_lease, attempts, error, errors, output,
         metadata, duration_ms, memory)
  SELECT ` + carriedColumns + `, 'QUARANTINED', now(), crashes + 1, outcome_lease, attempts,
         'quarantined: ' || (crashes + 1) || ' consumer processes died while they ran it', errors, output, metadata, duration_ms, memory
  FROM ended
),
back AS (
  UPDATE @schema@.jobs_live j
  SET state = 'READY', holder = NULL, claim_token = NULL, crashes = j.crashes + 1, available_at = now()
  FROM held h WHERE j.id BETWEEN h.id AND h.id AND NOT h.quarantine
  RETURNING j.id, j.queue, j.priority, j.serial_group
),
noted AS (
  INSERT INTO @schema@.job_events (job_id, event, attempt, host, build)
  SELECT h.id, CASE WHEN h.quarantine THEN 'quarantined' ELSE 'rescued' END, h.attempts, h.host,
    (SELECT version FROM @schema@.consumers c WHERE c.id = h.holder)
  FROM held h
),
freed AS (
  DELETE FROM @schema@.job_groups g USING held h WHERE g.serial_group = h.serial_group AND g.running_id = h.id
)
SELECT id, queue, priority, serial_group, false FROM back
UNION ALL SELECT id, queue, priority, serial_group, true FROM ended`

// firstHeldSQL finds the job that rescueSQL begins with.
const firstHeldSQL = `-- warren: first held by the dead
SELECT j.id FROM @schema@.jobs_live j
WHERE j.holder = ANY (ARRAY(SELECT id FROM @schema@.consumers WHERE expires_at <= clock_timestamp() ORDER BY expires_at LIMIT 20))
  AND j.state || '' = 'PROCESSING' AND j.id <> ALL ($1::bigint[])
ORDER BY j.holder, j.id LIMIT 1
FOR NO KEY UPDATE OF j SKIP LOCKED`

const buryDeadSQL = `-- warren: remove dead consumers
DELETE FROM @schema@.consumers c
WHERE c.id = ANY ($1::bigint[]) AND NOT EXISTS (SELECT FROM @schema@.jobs_live j WHERE j.holder = c.id)
RETURNING c.id`

// expirySQL is all that a rescue costs while nobody has died: how many have, and when the next
// registration could expire. The time stands still in it: a join with clock_timestamp() may ask for the time
// anew with each row, and then there are several answers.
const expirySQL = `-- warren: expiry
SELECT count(*) FILTER (WHERE expires_at <= statement_timestamp()),
       CASE WHEN max(expires_at) > statement_timestamp() THEN greatest(1, (extract(epoch FROM
         min(expires_at) FILTER (WHERE expires_at > statement_timestamp()) - statement_timestamp()) * 1e6)::bigint) ELSE 0 END
FROM @schema@.consumers`

// Rescue implements jobstore.Sweeper. maxCrashes 0 quarantines nothing. While Consumers or the
// lists are not empty there may be more to do.
func (s *Store) Rescue(ctx context.Context, limit, maxCrashes int) (jobstore.Rescued, error) {
	var done jobstore.Rescued
	var groups []string
	dead, next, err := s.expiry(ctx)
	if err != nil || dead == 0 {
		return jobstore.Rescued{Next: next}, err
	}
	err = s.writable(ctx, limit, firstHeldSQL, func(n int) (int, error) {
		some, freed, err := s.rescueSome(ctx, n, maxCrashes)
		if err != nil {
			return 0, err
		}
		done.Released, done.Quarantined = append(done.Released, some.Released...), append(done.Quarantined, some.Quarantined...)
		done.Crashed, done.Consumers = done.Crashed+some.Crashed, done.Consumers+some.Consumers
		groups = append(groups, freed...)
		return some.Crashed, nil
	})
	if len(groups) > 0 {
		heads, failed := s.headsOf(ctx, groups)
		done.Released = append(done.Released, heads...)
		err = errors.Join(err, failed)
	}
	if err != nil {
		return done, wrap(fmt.Sprintf("rescue %d jobs", limit), err)
	}
	_, done.Next, err = s.expiry(ctx)
	return done, err
}

// rescueSome hands back at most limit jobs, and returns the serial groups of those that have one.
func (s *Store) rescueSome(ctx context.Context, limit, maxCrashes int) (done jobstore.Rescued, groups []string, err error) {
	err = retried(ctx, func() error {
		done, groups = jobstore.Rescued{}, nil
		return s.inTx(ctx, false, func(ctx context.Context, tx pgx.Tx) (err error) {
			if groups, err = s.rescueIn(ctx, txSession{tx}, limit, maxCrashes, &done); err != nil {
				return err
			}
			released, err := s.settleFlows(ctx, txSession{tx}, done.Quarantined, nil, false)
			done.Released = append(done.Released, released...)
			return err
		})
	})
	return done, groups, err
}

// expiry is how many registrations have expired, and how long the next one has; 0 = there is none.
func (s *Store) expiry(ctx context.Context) (dead int, next time.Duration, err error) {
	var us int64
	err = s.do(ctx, expirySQL, nil, func() { dead, us = 0, 0 }, func(r pgx.Rows) error { return r.Scan(&dead, &us) })
	if err != nil {
		return 0, 0, wrap("look for dead consumers", err)
	}
	return dead, time.Duration(us) * time.Microsecond, nil
}

func (s *Store) rescueIn(ctx context.Context, q session, limit, maxCrashes int, done *jobstore.Rescued) (groups []string, err error) {
	dead, err := gatherIn(ctx, q, s.sql[deadSQL], scanInt)
	if err != nil || len(dead) == 0 {
		return nil, err
	}
	err = q.run(ctx, s.sql[rescueSQL], []any{dead, limit, maxCrashes, s.outcasts.list()}, func(r pgx.Rows) error {
		var ref jobstore.Ref
		var group *string
		var quarantined bool
		if err := r.Scan(&ref.ID, &ref.Queue, &ref.Priority, &group, &quarantined); err != nil {
			return err
		}
		done.Crashed++
		if quarantined {
			done.Quarantined = append(done.Quarantined, ref.ID)
		}
		switch {
		case group != nil:
			groups = append(groups, *group)
		case !quarantined:
			done.Released = append(done.Released, ref)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	buried, err := gatherIn(ctx, q, s.sql[buryDeadSQL], scanInt, dead)
	done.Consumers = len(buried)
	return groups, err
}

// releaseUnknownSQL hands back what some claims gave to a holder who does not know of it.
const releaseUnknownSQL = `-- warren: release unknown
WITH held AS MATERIALIZED (
  SELECT id, serial_group FROM @schema@.jobs_live
  WHERE holder = $1::bigint AND claim_token = ANY ($2::bigint[]) AND state || '' = 'PROCESSING' AND id <> ALL ($3::bigint[])
  ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
),
back AS (
  UPDATE @schema@.jobs_live j
  SET state = 'READY', holder = NULL, claim_token = NULL, attempts = greatest(j.attempts - 1, 0), available_at = now()
  FROM held h WHERE j.id BETWEEN h.id AND h.id
  RETURNING j.id, j.queue, j.priority, j.serial_group
),
freed AS (
  DELETE FROM @schema@.job_groups g USING held h WHERE g.serial_group = h.serial_group AND g.running_id = h.id
)
SELECT id, queue, priority, serial_group FROM back`

// ReleaseUnknown implements jobstore.Claimer.
func (s *Store) ReleaseUnknown(ctx context.Context, holder jobstore.HolderID, tokens []int64, known []jobstore.ID) ([]jobstore.Ref, error) {
	if known == nil {
		known = []jobstore.ID{} // NULL would hide every row from <> ALL
	}
	var refs []jobstore.Ref
	var groups []string
	err := s.do(ctx, releaseUnknownSQL, []any{holder, tokens, known}, func() { refs, groups = nil, nil }, func(r pgx.Rows) error {
		var ref jobstore.Ref
		var group *string
		if err := r.Scan(&ref.ID, &ref.Queue, &ref.Priority, &group); err != nil {
			return err
		}
		if group != nil {
			groups = append(groups, *group)
		} else {
			refs = append(refs, ref)
		}
		return nil
	})
	if err == nil && len(groups) > 0 {
		var heads []jobstore.Ref
		heads, err = s.headsOf(ctx, groups)
		refs = append(refs, heads...)
	}
	if err != nil {
		return nil, wrap(fmt.Sprintf("release what consumer %d does not know", holder), err)
	}
	return refs, nil
}
