package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

const deadSQL = `-- warren: dead consumers
SELECT id FROM warren_consumers WHERE expires_at <= ?1 ORDER BY expires_at LIMIT 20`

// heldSQL lists what dead consumers have.
const heldSQL = `-- warren: held
SELECT id, queue, priority, coalesce(serial_group, ''), crashes, attempts, holder FROM jobs
WHERE holder IN (SELECT value FROM json_each(?1)) ORDER BY id LIMIT ?2`

// unknownSQL lists what some claims gave to a consumer that does not know of it.
const unknownSQL = `-- warren: release unknown
SELECT id, queue, priority, coalesce(serial_group, ''), crashes, attempts, holder FROM jobs
WHERE holder = ?1 AND claim_token IN (SELECT value FROM json_each(?2)) AND id NOT IN (SELECT value FROM json_each(?3)) ORDER BY id`

// backSQL hands a job back. outcome_lease stays as it is: nothing was recorded.
const backSQL = `-- warren: hand back
UPDATE jobs SET state = 'READY', holder = NULL, claim_token = NULL, available_at = ?2, crashes = crashes + ?3, attempts = max(0, attempts - ?4)
WHERE id = ?1`

const quarantineSQL = `-- warren: quarantine
UPDATE jobs SET state = 'QUARANTINED', finished_at = ?2, holder = NULL, claim_token = NULL, announce_at = NULL, crashes = crashes + 1,
  error = 'quarantined: ' || (crashes + 1) || ' consumer processes died while they ran it'
WHERE id = ?1`

const buryDeadSQL = `-- warren: remove dead consumers
DELETE FROM warren_consumers WHERE id IN (SELECT value FROM json_each(?1)) AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.holder = warren_consumers.id)`

// expirySQL is all that a rescue costs while nobody has died: how many have, and when the next
// registration could expire.
const expirySQL = `-- warren: expiry
SELECT coalesce(sum(expires_at <= ?1), 0), min(CASE WHEN expires_at > ?1 THEN expires_at END) FROM warren_consumers`

// Rescue implements jobstore.Sweeper. maxCrashes 0 quarantines nothing. While Consumers or the
// lists are not empty there may be more to do.
func (s *Store) Rescue(ctx context.Context, limit, maxCrashes int) (jobstore.Rescued, error) {
	dead, next, err := s.expiry(ctx)
	if err != nil || dead == 0 {
		return jobstore.Rescued{Next: next}, err
	}
	done, err := writing(ctx, s, func(ctx context.Context, q session) (jobstore.Rescued, error) {
		return s.rescueIn(ctx, q, limit, maxCrashes)
	})
	if err != nil {
		return jobstore.Rescued{}, s.wrap(fmt.Sprintf("rescue %d jobs", limit), err)
	}
	_, done.Next, err = s.expiry(ctx)
	return done, err
}

// expiry is how many registrations have expired, and how long the next one has; 0 = there is none.
func (s *Store) expiry(ctx context.Context) (dead int, next time.Duration, err error) {
	now := s.now()
	var earliest sql.NullString
	_, err = reading(ctx, s, func(ctx context.Context, q session) (struct{}, error) {
		return struct{}{}, q.query(ctx, expirySQL, []any{stamp(now)}, func(r row) error { return r.Scan(&dead, &earliest) })
	})
	if err != nil {
		return 0, 0, s.wrap("look for dead consumers", err)
	}
	if earliest.Valid {
		next = max(1, read(earliest.String).Sub(now))
	}
	return dead, next, nil
}

// holding is a job that a consumer has.
type holding struct {
	member
	crashes  int
	attempts int
	holder   jobstore.HolderID
}

func scanHolding(r row) (h holding, err error) {
	err = r.Scan(&h.ID, &h.Queue, &h.Priority, &h.group, &h.crashes, &h.attempts, &h.holder)
	return h, err
}

func (s *Store) rescueIn(ctx context.Context, q session, limit, maxCrashes int) (done jobstore.Rescued, err error) {
	now := stamp(s.now())
	dead, err := gather(ctx, q, deadSQL, scanInt, now)
	if err != nil || len(dead) == 0 {
		return done, err
	}
	held, err := gather(ctx, q, heldSQL, scanHolding, list(dead), limit)
	if err != nil {
		return done, err
	}
	var groups []string
	var events [][]any
	for _, h := range held {
		quarantined := maxCrashes > 0 && h.crashes+1 >= maxCrashes
		if quarantined {
			_, err = q.exec(ctx, quarantineSQL, h.ID, now)
			done.Quarantined = append(done.Quarantined, h.ID)
			events = append(events, []any{h.ID, now, jobstore.EventQuarantined, h.attempts, nil, "", h.holder})
		} else {
			_, err = q.exec(ctx, backSQL, h.ID, now, 1, 0)
			events = append(events, []any{h.ID, now, jobstore.EventRescued, h.attempts, nil, "", h.holder})
		}
		if err != nil {
			return done, err
		}
		done.Crashed++
		switch {
		case h.group != "":
			groups = append(groups, h.group)
		case !quarantined:
			done.Released = append(done.Released, h.Ref)
		}
	}
	if _, err := q.exec(ctx, noteAttemptsSQL, list(events)); err != nil {
		return done, err
	}
	buried, err := q.exec(ctx, buryDeadSQL, list(dead))
	if err != nil {
		return done, err
	}
	done.Consumers = int(buried)
	released, err := s.settleFlows(ctx, q, done.Quarantined, nil, false)
	if err != nil {
		return done, err
	}
	done.Released = append(done.Released, released...)
	heads, err := s.headsOf(ctx, q, groups)
	done.Released = append(done.Released, heads...)
	return done, err
}

// ReleaseUnknown implements jobstore.Claimer.
func (s *Store) ReleaseUnknown(ctx context.Context, holder jobstore.HolderID, tokens []int64, known []jobstore.ID) ([]jobstore.Ref, error) {
	refs, err := writing(ctx, s, func(ctx context.Context, q session) (refs []jobstore.Ref, err error) {
		held, err := gather(ctx, q, unknownSQL, scanHolding, holder, list(tokens), list(known))
		var groups []string
		for _, h := range held {
			if err != nil {
				break
			}
			if _, err = q.exec(ctx, backSQL, h.ID, stamp(s.now()), 0, 1); h.group != "" {
				groups = append(groups, h.group)
			} else {
				refs = append(refs, h.Ref)
			}
		}
		if err != nil {
			return nil, err
		}
		heads, err := s.headsOf(ctx, q, groups)
		return slices.Concat(refs, heads), err
	})
	if err != nil {
		return nil, s.wrap(fmt.Sprintf("release what consumer %d does not know", holder), err)
	}
	return refs, nil
}
