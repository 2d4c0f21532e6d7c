package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/warrenq/warren/jobstore"
)

const registerSQL = `-- warren: register
INSERT INTO warren_consumers (host, pid, version, kinds, queues, priorities, slots, started_at, heartbeat_at, expires_at, force, name)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?11)`

// Register implements jobstore.Registrar. The first call takes the lock of consumers, which the
// store keeps until Close; ErrRefused while another store has it.
func (s *Store) Register(ctx context.Context, c jobstore.Consumer, ttl time.Duration) (jobstore.HolderID, error) {
	doing := fmt.Sprintf("register consumer %s:%d", c.Host, c.PID)
	if err := s.consume(ctx); err != nil {
		return 0, s.wrap(doing, err)
	}
	id, err := writing(ctx, s, func(ctx context.Context, q session) (int64, error) {
		now := s.now()
		return q.insert(ctx, registerSQL, c.Host, c.PID, c.Version, list(c.Kinds), list(c.Queues), list(c.Priorities), c.Slots,
			stamp(now), later(now, ttl), c.Force, c.Name)
	})
	if err != nil {
		return 0, s.wrap(doing, err)
	}
	return jobstore.HolderID(id), nil
}

// renewSQL never brings an expired registration back: its rescue may be under way.
const renewSQL = `-- warren: renew
UPDATE warren_consumers SET heartbeat_at = ?2, expires_at = ?3 WHERE id = ?1 AND expires_at > ?2 RETURNING restart`

const sweepLedSQL = `-- warren: sweep is led
SELECT 1 FROM warren_leaders WHERE name = 'sweep' AND holder IS NOT NULL AND expires_at > ?1`

// Renew implements jobstore.Registrar.
func (s *Store) Renew(ctx context.Context, id jobstore.HolderID, ttl time.Duration) (jobstore.Orders, error) {
	o, err := writing(ctx, s, func(ctx context.Context, q session) (jobstore.Orders, error) {
		now := s.now()
		got, err := gather(ctx, q, renewSQL, scanInt, id, stamp(now), later(now, ttl))
		if err == nil && len(got) == 0 {
			err = jobstore.ErrHolderGone
		}
		if err != nil {
			return jobstore.Orders{}, err
		}
		cancel, err := cancelsOf(ctx, q, id)
		if err != nil {
			return jobstore.Orders{}, err
		}
		leaders, err := gather(ctx, q, sweepLedSQL, scanInt, stamp(now))
		if err != nil {
			return jobstore.Orders{}, err
		}
		edition, err := edition(ctx, q)
		return jobstore.Orders{Restart: got[0] != 0, Cancel: cancel, Leaderless: len(leaders) == 0, Edition: edition}, err
	})
	if err != nil {
		return jobstore.Orders{}, s.wrap(fmt.Sprintf("renew consumer %d", id), err)
	}
	return o, nil
}

// deregisterSQL expires the row; removeHolderSQL removes it when nothing is left under it.
// Otherwise the next rescue does the rest.
const deregisterSQL = `-- warren: deregister
UPDATE warren_consumers SET expires_at = '` + never + `' WHERE id = ?1`

const removeHolderSQL = `-- warren: remove holder
DELETE FROM warren_consumers WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.holder = ?1)`

// Deregister implements jobstore.Registrar. It succeeds for a row that is gone already.
func (s *Store) Deregister(ctx context.Context, id jobstore.HolderID) error {
	_, err := writing(ctx, s, func(ctx context.Context, q session) (int64, error) {
		if _, err := q.exec(ctx, deregisterSQL, id); err != nil {
			return 0, err
		}
		return q.exec(ctx, removeHolderSQL, id)
	})
	if err != nil {
		return s.wrap(fmt.Sprintf("deregister consumer %d", id), err)
	}
	return nil
}

const consumersSQL = `-- warren: consumers
SELECT c.id, c.host, c.pid, c.version, c.kinds, c.queues, c.priorities, c.slots, c.started_at, c.heartbeat_at, c.expires_at, c.restart, c.force, c.name,
       (SELECT count(*) FROM jobs j WHERE j.holder = c.id)
FROM warren_consumers c ORDER BY c.id`

// Consumers implements jobstore.Registrar: all that are registered, expired ones that have not
// been rescued yet included.
func (s *Store) Consumers(ctx context.Context) ([]jobstore.ConsumerInfo, error) {
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]jobstore.ConsumerInfo, error) {
		return s.consumersIn(ctx, q)
	})
	if err != nil {
		return nil, s.wrap("list consumers", err)
	}
	return got, nil
}

func (s *Store) consumersIn(ctx context.Context, q session) ([]jobstore.ConsumerInfo, error) {
	now := stamp(s.now())
	return gather(ctx, q, consumersSQL, func(r row) (c jobstore.ConsumerInfo, err error) {
		var kinds, queues, priorities, started, heartbeat, expires string
		err = r.Scan(&c.ID, &c.Host, &c.PID, &c.Version, &kinds, &queues, &priorities, &c.Slots, &started, &heartbeat, &expires,
			&c.Restarting, &c.Force, &c.Name, &c.Running)
		c.Kinds, c.Queues, c.Priorities = unlist[string](kinds), unlist[string](queues), unlist[int](priorities)
		c.StartedAt, c.HeartbeatAt, c.ExpiresAt, c.Alive = read(started), read(heartbeat), read(expires), expires > now
		return c, err
	})
}

// leadSQL takes a lease that nobody has, or that has expired, or renews one's own. Whoever lost it
// to nobody in between keeps the epoch.
const leadSQL = `-- warren: lead
INSERT INTO warren_leaders AS l (name, holder, epoch, expires_at) VALUES (?1, ?2, 1, ?4)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = l.epoch + (l.holder IS NOT excluded.holder), expires_at = excluded.expires_at
WHERE l.holder IS NULL OR l.holder = excluded.holder OR l.expires_at <= ?3
RETURNING epoch`

// Lead implements jobstore.Elector.
func (s *Store) Lead(ctx context.Context, name, who string, ttl time.Duration) (epoch int64, ok bool, err error) {
	got, err := writing(ctx, s, func(ctx context.Context, q session) ([]int64, error) {
		now := s.now()
		return gather(ctx, q, leadSQL, scanInt, name, who, stamp(now), later(now, ttl))
	})
	if err != nil {
		return 0, false, s.wrap("lead "+name, err)
	}
	if len(got) == 0 {
		return 0, false, nil
	}
	return got[0], true, nil
}

// resignSQL keeps the row, and with it the epoch.
const resignSQL = `-- warren: resign
UPDATE warren_leaders SET holder = NULL, expires_at = '` + never + `' WHERE name = ?1 AND holder = ?2`

// Resign implements jobstore.Elector.
func (s *Store) Resign(ctx context.Context, name, who string) error {
	if _, err := s.exec(ctx, resignSQL, name, who); err != nil {
		return s.wrap("resign "+name, err)
	}
	return nil
}

// exec runs one statement that writes.
func (s *Store) exec(ctx context.Context, text string, args ...any) (int64, error) {
	return writing(ctx, s, func(ctx context.Context, q session) (int64, error) { return q.exec(ctx, text, args...) })
}
