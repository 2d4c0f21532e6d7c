package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

const registerSQL = `-- warren: register
INSERT INTO @schema@.consumers (host, pid, version, kinds, queues, priorities, slots, force, name, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $9, $10, clock_timestamp() + make_interval(secs => $8::bigint / 1e6))
RETURNING id`

// Register implements jobstore.Registrar.
func (s *Store) Register(ctx context.Context, c jobstore.Consumer, ttl time.Duration) (jobstore.HolderID, error) {
	got, err := gather(ctx, s, registerSQL, func(r pgx.Rows) (id jobstore.HolderID, err error) {
		err = r.Scan(&id)
		return id, err
	}, c.Host, clamp(c.PID), c.Version, filled(c.Kinds), filled(c.Queues), small(c.Priorities), clamp(c.Slots), ttl.Microseconds(), c.Force, c.Name)
	if err != nil {
		return 0, wrap(fmt.Sprintf("register consumer %s:%d", c.Host, c.PID), err)
	}
	return got[0], nil
}

// renewSQL never brings an expired registration back: its rescue may be under way.
const renewSQL = `-- warren: renew
UPDATE @schema@.consumers
SET heartbeat_at = clock_timestamp(), expires_at = clock_timestamp() + make_interval(secs => $2::bigint / 1e6)
WHERE id = $1 AND expires_at > clock_timestamp()
RETURNING restart, (SELECT kinds_edition FROM @schema@.settings),
  ARRAY(SELECT k.job_id FROM ` + cancelsOfMe + ` ORDER BY k.job_id), ARRAY(SELECT k.lease_no FROM ` + cancelsOfMe + ` ORDER BY k.job_id),
  NOT EXISTS (SELECT FROM @schema@.leaders l WHERE l.name = 'sweep' AND l.holder IS NOT NULL AND l.expires_at > clock_timestamp())`

// cancelsOfMe are the attempts of consumer $1 that somebody wants ended: mostly there is not a single row.
const cancelsOfMe = `@schema@.job_cancels k JOIN @schema@.jobs_live j ON j.id = k.job_id AND j.lease_no = k.lease_no AND j.holder = $1`

// Renew implements jobstore.Registrar.
func (s *Store) Renew(ctx context.Context, id jobstore.HolderID, ttl time.Duration) (jobstore.Orders, error) {
	got, err := gather(ctx, s, renewSQL, func(r pgx.Rows) (o jobstore.Orders, err error) {
		var ids []jobstore.ID
		var leases []int64
		err = r.Scan(&o.Restart, &o.Edition, &ids, &leases, &o.Leaderless)
		for i, id := range ids {
			if o.Cancel == nil {
				o.Cancel = map[jobstore.ID]int64{}
			}
			o.Cancel[id] = leases[i]
		}
		return o, err
	}, id, ttl.Microseconds())
	if err == nil && len(got) == 0 {
		err = jobstore.ErrHolderGone
	}
	if err != nil {
		return jobstore.Orders{}, wrap(fmt.Sprintf("renew consumer %d", id), err)
	}
	return got[0], nil
}

// deregisterSQL removes the row only when nothing is left under it. Otherwise it expires it, and
// the next rescue does the rest. FOR UPDATE waits for claims that are under way.
const deregisterSQL = `-- warren: deregister
WITH mine AS MATERIALIZED (SELECT id FROM @schema@.consumers WHERE id = $1 FOR UPDATE)
UPDATE @schema@.consumers c SET expires_at = '-infinity' FROM mine WHERE c.id = mine.id`

const removeHolderSQL = `-- warren: remove holder
DELETE FROM @schema@.consumers c
WHERE c.id = $1 AND c.expires_at <= clock_timestamp()
  AND NOT EXISTS (SELECT FROM @schema@.jobs_live j WHERE j.holder = $1)`

// Deregister implements jobstore.Registrar. It succeeds for a row that is gone already.
func (s *Store) Deregister(ctx context.Context, id jobstore.HolderID) error {
	err := s.exec(ctx, deregisterSQL, id)
	if err == nil {
		// A statement of its own: no claim can begin under the expired row, and this snapshot
		// sees those that ended before.
		err = s.exec(ctx, removeHolderSQL, id)
	}
	if err != nil {
		return wrap(fmt.Sprintf("deregister consumer %d", id), err)
	}
	return nil
}

const consumersSQL = `-- warren: consumers
SELECT c.id, c.host, c.pid, c.version, c.kinds, c.queues, c.priorities, c.slots, c.started_at, c.heartbeat_at, c.expires_at,
       (SELECT count(*) FROM @schema@.jobs_live j WHERE j.holder = c.id), c.expires_at > clock_timestamp(), c.restart, c.force, c.name
FROM @schema@.consumers c ORDER BY c.id`

// Consumers implements jobstore.Registrar: all that are registered, expired ones that have not
// been rescued yet included.
func (s *Store) Consumers(ctx context.Context) ([]jobstore.ConsumerInfo, error) {
	got, err := gather(ctx, s, consumersSQL, func(r pgx.Rows) (c jobstore.ConsumerInfo, err error) {
		err = r.Scan(&c.ID, &c.Host, &c.PID, &c.Version, &c.Kinds, &c.Queues, &c.Priorities, &c.Slots,
			&c.StartedAt, &c.HeartbeatAt, &c.ExpiresAt, &c.Running, &c.Alive, &c.Restarting, &c.Force, &c.Name)
		return c, err
	})
	if err != nil {
		return nil, wrap("list consumers", err)
	}
	return got, nil
}

// leadSQL takes a lease that nobody has, or that has expired, or renews one's own. Whoever lost it
// to nobody in between keeps the epoch.
const leadSQL = `-- warren: lead
INSERT INTO @schema@.leaders AS l (name, holder, epoch, expires_at)
VALUES ($1, $2, 1, clock_timestamp() + make_interval(secs => $3::bigint / 1e6))
ON CONFLICT (name) DO UPDATE SET
  holder = excluded.holder,
  epoch = l.epoch + (l.holder IS DISTINCT FROM excluded.holder)::int,
  expires_at = clock_timestamp() + make_interval(secs => $3::bigint / 1e6)
WHERE l.holder IS NULL OR l.holder = excluded.holder OR l.expires_at <= clock_timestamp()
RETURNING epoch`

// Lead implements jobstore.Elector.
func (s *Store) Lead(ctx context.Context, name, who string, ttl time.Duration) (epoch int64, ok bool, err error) {
	got, err := gather(ctx, s, leadSQL, scanInt, name, who, ttl.Microseconds())
	if err != nil {
		return 0, false, wrap("lead "+name, err)
	}
	if len(got) == 0 {
		return 0, false, nil
	}
	return got[0], true, nil
}

// resignSQL keeps the row, and with it the epoch.
const resignSQL = `-- warren: resign
UPDATE @schema@.leaders SET holder = NULL, expires_at = clock_timestamp() WHERE name = $1 AND holder = $2`

// Resign implements jobstore.Elector.
func (s *Store) Resign(ctx context.Context, name, who string) error {
	if err := s.exec(ctx, resignSQL, name, who); err != nil {
		return wrap("resign "+name, err)
	}
	return nil
}

func scanInt(r pgx.Rows) (n int64, err error) {
	err = r.Scan(&n)
	return n, err
}

// filled turns nil into an empty list, which is no NULL.
func filled(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
