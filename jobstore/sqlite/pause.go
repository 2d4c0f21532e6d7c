package sqlite

import (
	"context"
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

const pausedSQL = `-- warren: paused
SELECT 'queue', queue, paused_at, until, '' FROM warren_paused_queues WHERE until > ?1
UNION ALL SELECT of, name, paused_at, until, reason FROM job_pauses WHERE until > ?1 ORDER BY 1, 2`

func pausesIn(ctx context.Context, q session, now time.Time) ([]jobstore.Pause, error) {
	return gather(ctx, q, pausedSQL, func(r row) (p jobstore.Pause, err error) {
		var at, until string
		err = r.Scan(&p.Of, &p.Name, &at, &until, &p.Reason)
		if p.At = read(at); until < forever {
			p.Until = new(read(until))
		}
		return p, err
	}, stamp(now))
}

// namesOf are the names in a list of pauses that are about one thing.
func namesOf(list []jobstore.Pause, of jobstore.PauseOf) (names []string) {
	for _, p := range list {
		if p.Of == of {
			names = append(names, p.Name)
		}
	}
	return names
}

// paused reports whether a list of pauses has one.
func paused(list []jobstore.Pause, of jobstore.PauseOf, name string) bool {
	return slices.ContainsFunc(list, func(p jobstore.Pause) bool { return p.Of == of && p.Name == name })
}

// keptBack reports whether a list of pauses has one of a kind, which may be disabled.
func keptBack(list []jobstore.Pause, kind string) bool {
	return paused(list, jobstore.PauseOfKind, kind) || paused(list, jobstore.PauseOfDisabled, kind)
}

// Pauses implements jobstore.Pauser.
func (s *Store) Pauses(ctx context.Context) ([]jobstore.Pause, error) {
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]jobstore.Pause, error) { return pausesIn(ctx, q, s.now()) })
	if err != nil {
		return nil, s.wrap("list pauses", err)
	}
	return got, nil
}

const pauseOfSQL = `-- warren: pause a kind, a group or everything
INSERT INTO job_pauses (of, name, until, paused_at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (of, name) DO UPDATE SET until = excluded.until, paused_at = excluded.paused_at`

// PauseOf implements jobstore.Pauser.
func (s *Store) PauseOf(ctx context.Context, of jobstore.PauseOf, name string, d time.Duration) error {
	now, until := s.now(), forever
	if d > 0 {
		until = later(now, d)
	}
	_, err := writing(ctx, s, func(ctx context.Context, q session) (int64, error) {
		if _, err := q.exec(ctx, pauseOfSQL, string(of), name, until, stamp(now)); err != nil {
			return 0, err
		}
		return 0, s.noteSubject(ctx, q, jobstore.EventPaused, jobstore.Subject(of, name), "", nil)
	})
	if err != nil {
		return s.wrap("pause "+string(of)+" "+name, err)
	}
	return nil
}

const resumeOfSQL = `-- warren: resume a kind, a group or everything
DELETE FROM job_pauses WHERE of = ?1 AND name = ?2`

// ResumeOf implements jobstore.Pauser.
func (s *Store) ResumeOf(ctx context.Context, of jobstore.PauseOf, name string) (bool, error) {
	_, event := jobstore.PausedEvents(of)
	n, err := s.resuming(ctx, event, jobstore.Subject(of, name), resumeOfSQL, string(of), name)
	if err != nil {
		return false, s.wrap("resume "+string(of)+" "+name, err)
	}
	return n > 0, nil
}

// resuming ends a pause with a statement, and notes that there was one.
func (s *Store) resuming(ctx context.Context, event, subject, text string, args ...any) (int64, error) {
	return writing(ctx, s, func(ctx context.Context, q session) (int64, error) {
		n, err := q.exec(ctx, text, args...)
		if err != nil || n == 0 {
			return n, err
		}
		return n, s.noteSubject(ctx, q, event, subject, "", nil)
	})
}

const pauseSQL = `-- warren: pause
INSERT INTO warren_paused_queues (queue, until, paused_at) VALUES (?1, ?2, ?3)
ON CONFLICT (queue) DO UPDATE SET until = excluded.until, paused_at = excluded.paused_at`

const knownQueueSQL = `-- warren: known queue
SELECT EXISTS (SELECT 1 FROM warren_consumers c WHERE ?1 IN (SELECT value FROM json_each(c.queues)))
  OR EXISTS (SELECT 1 FROM jobs j WHERE j.queue = ?1 AND j.state = 'READY' AND j.serial_group IS NULL)
  OR EXISTS (SELECT 1 FROM warren_kinds k WHERE k.queue = ?1)
  OR EXISTS (SELECT 1 FROM warren_settings s WHERE s.default_queue = ?1)`

// Pause implements jobstore.Queues.
func (s *Store) Pause(ctx context.Context, queue string, d time.Duration) (known bool, err error) {
	known, err = writing(ctx, s, func(ctx context.Context, q session) (bool, error) {
		now, until := s.now(), forever
		if d > 0 {
			until = later(now, d)
		}
		if _, err := q.exec(ctx, pauseSQL, queue, until, stamp(now)); err != nil {
			return false, err
		}
		if err := s.noteSubject(ctx, q, jobstore.EventPaused, jobstore.Subject(jobstore.PauseOfQueue, queue), "", nil); err != nil {
			return false, err
		}
		got, err := gather(ctx, q, knownQueueSQL, scanInt, queue)
		return err == nil && got[0] != 0, err
	})
	if err != nil {
		return false, s.wrap("pause queue "+queue, err)
	}
	return known, nil
}

// resumeSQL also finds a pause that has ended by itself: what waited for it may still be unannounced.
const resumeSQL = `-- warren: resume
DELETE FROM warren_paused_queues WHERE queue = ?1`

// Resume implements jobstore.Queues.
func (s *Store) Resume(ctx context.Context, queue string) (bool, error) {
	n, err := s.resuming(ctx, jobstore.EventResumed, jobstore.Subject(jobstore.PauseOfQueue, queue), resumeSQL, queue)
	if err != nil {
		return false, s.wrap("resume queue "+queue, err)
	}
	return n > 0, nil
}

// reannounceSQL goes through the rows of an index that are READY and in no group.
const reannounceSQL = `-- warren: reannounce
SELECT j.id, j.queue, j.priority FROM jobs j
WHERE j.state = 'READY' AND j.serial_group IS NULL AND j.queue = ?1 AND (j.priority, j.id) > (?2, ?3)
ORDER BY j.priority, j.id LIMIT ?4`

// reannounceGroupsSQL looks at the heads of so many groups, from one on.
const reannounceGroupsSQL = `-- warren: reannounce groups
WITH RECURSIVE groups(name, n) AS (
  SELECT * FROM (SELECT serial_group, 1 FROM jobs WHERE serial_group > ?2 AND ` + live + ` ORDER BY serial_group LIMIT 1)
  UNION ALL
  SELECT (SELECT j.serial_group FROM jobs j WHERE j.serial_group > g.name AND j.` + live + ` ORDER BY j.serial_group LIMIT 1), g.n + 1
  FROM groups g WHERE g.name IS NOT NULL AND g.n < ?3
)
SELECT g.name, coalesce(h.id, 0) FROM groups g
LEFT JOIN jobs h ON h.id = ` + headOf + ` AND h.queue = ?4 AND ` + headFree + `
WHERE g.name IS NOT NULL ORDER BY g.name`

const tellSQL = `-- warren: announce
UPDATE jobs SET announce_at = ?1 WHERE id IN (SELECT value FROM json_each(?2)) AND announce_at IS NULL AND state = 'READY'`

// Reannounce implements jobstore.Queues.
func (s *Store) Reannounce(ctx context.Context, queue string, from jobstore.Position, limit int) (n int, next jobstore.Position, more bool, err error) {
	type step struct {
		n    int
		next jobstore.Position
		more bool
	}
	did, err := writing(ctx, s, func(ctx context.Context, q session) (did step, err error) {
		did.next = from
		now := stamp(s.now())
		var ids []jobstore.ID
		if from.InGroups {
			looked := 0
			err = q.query(ctx, reannounceGroupsSQL, []any{now, from.Group, limit, queue}, func(r row) error {
				var id jobstore.ID
				looked++
				ids = append(ids, id)
				return r.Scan(&did.next.Group, &ids[len(ids)-1])
			})
			did.more = looked == limit
		} else {
			refs, failed := gather(ctx, q, reannounceSQL, scanRef, queue, from.Priority, from.ID, limit)
			for _, r := range refs {
				ids = append(ids, r.ID)
				did.next.Priority, did.next.ID = r.Priority, r.ID
			}
			did.next.InGroups, did.more, err = len(refs) < limit, true, failed
		}
		if err != nil {
			return did, err
		}
		told, err := q.exec(ctx, tellSQL, now, list(ids))
		did.n = int(told)
		return did, err
	})
	if err != nil {
		return 0, from, false, s.wrap("announce the jobs of queue "+queue, err)
	}
	return did.n, did.next, did.more, nil
}
