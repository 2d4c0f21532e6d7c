package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// delayed is the condition of the index jobs_due, word for word.
const delayed = `state IN ('SCHEDULED', 'WAITING', 'TEMPORARILY_FAILED', 'BROKER_FAILED', 'BACK_TO_BROKER')`

// lookSQL reads the first entry of three indexes.
const lookSQL = `-- warren: look
SELECT (SELECT available_at FROM jobs WHERE ` + delayed + ` ORDER BY available_at LIMIT 1),
       EXISTS (SELECT 1 FROM jobs WHERE announce_at <= ?1 AND state = 'READY'),
       EXISTS (SELECT 1 FROM job_schedules WHERE look_at <= ?1),
       EXISTS (SELECT 1 FROM job_step_ends) OR EXISTS (SELECT 1 FROM job_steps WHERE calling)`

// Look implements jobstore.Sweeper.
func (s *Store) Look(ctx context.Context) (jobstore.Look, error) {
	l, err := reading(ctx, s, func(ctx context.Context, q session) (l jobstore.Look, err error) {
		now := s.now()
		err = q.query(ctx, lookSQL, []any{stamp(now)}, func(r row) error {
			var due sql.NullString
			err := r.Scan(&due, &l.Outbox, &l.Schedules, &l.Flows)
			l.Due = due.Valid && due.String <= stamp(now)
			if due.Valid && !l.Due {
				l.Next = max(1, read(due.String).Sub(now))
			}
			return err
		})
		return l, err
	})
	if err != nil {
		return jobstore.Look{}, s.wrap("look what is due", err)
	}
	return l, nil
}

const dueSQL = `-- warren: due
UPDATE jobs SET state = 'READY'
WHERE id IN (SELECT id FROM jobs WHERE ` + delayed + ` AND available_at <= ?1 ORDER BY available_at LIMIT ?2)
RETURNING id, queue, priority, coalesce(serial_group, '')`

// Due implements jobstore.Sweeper. Of members of serial groups it reports those that may go: the
// others are announced when they become the head.
func (s *Store) Due(ctx context.Context, limit int) ([]jobstore.Ref, error) {
	refs, err := writing(ctx, s, func(ctx context.Context, q session) (refs []jobstore.Ref, err error) {
		var members []member
		err = q.query(ctx, dueSQL, []any{stamp(s.now()), limit}, func(r row) error {
			m, err := scanMember(r)
			if m.group == "" {
				refs = append(refs, m.Ref)
			} else {
				members = append(members, m)
			}
			return err
		})
		for _, m := range members {
			if err != nil {
				break
			}
			var by jobstore.ID
			if by, err = blocker(ctx, q, m.group, m.Priority, m.ID); by == 0 {
				refs = append(refs, m.Ref)
			}
		}
		return refs, err
	})
	if err != nil {
		return nil, s.wrap("make due jobs ready", err)
	}
	slices.SortFunc(refs, func(a, b jobstore.Ref) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.ID, b.ID))
	})
	return refs, nil
}

// member is a job with its serial group, "" for none.
type member struct {
	jobstore.Ref
	group string
}

func scanMember(r row) (m member, err error) {
	err = r.Scan(&m.ID, &m.Queue, &m.Priority, &m.group)
	return m, err
}

const outboxSQL = `-- warren: outbox
SELECT id, queue, priority FROM jobs WHERE announce_at <= ?1 AND state = 'READY' AND available_at <= ?1 ORDER BY announce_at LIMIT ?2`

// Outbox implements jobstore.Sweeper. Blocked members of serial groups are listed too: announcing
// them costs little, and is how they leave the outbox.
func (s *Store) Outbox(ctx context.Context, limit int) ([]jobstore.Ref, error) {
	return s.refs(ctx, "list the outbox", outboxSQL, stamp(s.now()), limit)
}

// announcedSQL leaves rows alone that were put into the outbox again for later, by a consumer
// that has no handler for them.
const announcedSQL = `-- warren: announced
UPDATE jobs SET announce_at = NULL WHERE id IN (SELECT value FROM json_each(?2)) AND announce_at <= ?1`

// Announced implements jobstore.Sweeper.
func (s *Store) Announced(ctx context.Context, ids []jobstore.ID) error {
	if _, err := s.exec(ctx, announcedSQL, stamp(s.now()), list(ids)); err != nil {
		return s.wrap(fmt.Sprintf("take %d jobs out of the outbox", len(ids)), err)
	}
	return nil
}

// Unannounced implements jobstore.Sweeper.
func (s *Store) Unannounced(ctx context.Context, ids []jobstore.ID) error {
	if _, err := s.exec(ctx, tellSQL, stamp(s.now()), list(ids)); err != nil {
		return s.wrap(fmt.Sprintf("put %d jobs into the outbox", len(ids)), err)
	}
	return nil
}

const announceLaterSQL = `-- warren: announce later
UPDATE jobs SET announce_at = ?3 WHERE id IN (SELECT value FROM json_each(?2)) AND state = 'READY' AND announce_at <= ?1`

// AnnounceLater implements jobstore.Sweeper.
func (s *Store) AnnounceLater(ctx context.Context, ids []jobstore.ID, after time.Duration) error {
	now := s.now()
	if _, err := s.exec(ctx, announceLaterSQL, stamp(now), list(ids), stamp(now.Add(after))); err != nil {
		return s.wrap(fmt.Sprintf("put %d jobs off that wait in the outbox", len(ids)), err)
	}
	return nil
}

// Oldest implements jobstore.Sweeper.
func (s *Store) Oldest(ctx context.Context, bands []jobstore.Band) ([]jobstore.Ref, error) {
	var out []jobstore.Ref
	for _, b := range bands {
		refs, err := s.refs(ctx, "find the oldest jobs", oldestSQL, b.Queue, b.Priority, stamp(s.now()))
		if err != nil {
			return nil, err
		}
		out = append(out, refs...)
	}
	return out, nil
}

const oldestSQL = `-- warren: oldest
SELECT id, queue, priority FROM jobs
WHERE state = 'READY' AND serial_group IS NULL AND queue = ?1 AND priority = ?2 AND available_at <= ?3
  AND NOT EXISTS (SELECT 1 FROM warren_paused_queues p WHERE p.queue = ?1 AND p.until > ?3)
ORDER BY id LIMIT 1`

const readyFromSQL = `-- warren: ready from
SELECT id, kind IN (` + livingKinds + `
    AND EXISTS (SELECT 1 FROM json_each(c.queues) q WHERE q.value = ?1) AND EXISTS (SELECT 1 FROM json_each(c.priorities) p WHERE p.value = ?2))
FROM jobs
WHERE state = 'READY' AND serial_group IS NULL AND queue = ?1 AND priority = ?2 AND id >= ?4 AND available_at <= ?3
  AND NOT EXISTS (SELECT 1 FROM warren_paused_queues p WHERE p.queue = ?1 AND p.until > ?3)
ORDER BY id LIMIT ?5`

// livingKinds are those that living consumers have and nobody has paused.
const livingKinds = `
  SELECT k.value FROM warren_consumers c, json_each(c.kinds) k
  WHERE c.expires_at > ?3 AND NOT EXISTS (SELECT 1 FROM job_pauses p WHERE p.until > ?3 AND p.of IN ('kind', 'disabled') AND p.name = k.value)`

// ReadyFrom implements jobstore.Sweeper.
func (s *Store) ReadyFrom(ctx context.Context, band jobstore.Band, from jobstore.ID, limit int) (refs []jobstore.Ref, next jobstore.ID, err error) {
	type look struct {
		id   jobstore.ID
		free bool
	}
	looked, err := reading(ctx, s, func(ctx context.Context, q session) ([]look, error) {
		return gather(ctx, q, readyFromSQL, func(r row) (l look, err error) {
			err = r.Scan(&l.id, &l.free)
			return l, err
		}, band.Queue, band.Priority, stamp(s.now()), from, limit)
	})
	if err != nil {
		return nil, 0, s.wrap("list ready jobs", err)
	}
	for _, l := range looked {
		if l.free {
			refs = append(refs, jobstore.Ref{ID: l.id, Band: band})
		}
	}
	if len(looked) == limit {
		next = looked[limit-1].id + 1
	}
	return refs, next, nil
}

const liveBandsSQL = `-- warren: live bands
SELECT DISTINCT q.value, p.value FROM warren_consumers c, json_each(c.queues) q, json_each(c.priorities) p
WHERE c.expires_at > ?1 ORDER BY 1, 2`

// LiveBands implements jobstore.Sweeper.
func (s *Store) LiveBands(ctx context.Context) ([]jobstore.Band, error) {
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]jobstore.Band, error) {
		return gather(ctx, q, liveBandsSQL, func(r row) (b jobstore.Band, err error) {
			err = r.Scan(&b.Queue, &b.Priority)
			return b, err
		}, stamp(s.now()))
	})
	if err != nil {
		return nil, s.wrap("list the bands of living consumers", err)
	}
	return got, nil
}

// refs runs a statement that reads id, queue, priority.
func (s *Store) refs(ctx context.Context, doing, text string, args ...any) ([]jobstore.Ref, error) {
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]jobstore.Ref, error) {
		return gather(ctx, q, text, scanRef, args...)
	})
	if err != nil {
		return nil, s.wrap(doing, err)
	}
	return got, nil
}

func scanRef(r row) (ref jobstore.Ref, err error) {
	err = r.Scan(&ref.ID, &ref.Queue, &ref.Priority)
	return ref, err
}
