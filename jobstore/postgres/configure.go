package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// configureSQL writes only what is different, so that a hundred consumers that start cost nothing.
const configureSQL = `-- warren: configure
UPDATE @schema@.settings SET priorities = $1, default_queue = $2, max_args = $3
WHERE (priorities, default_queue, max_args) IS DISTINCT FROM ($1::int[], $2::text, $3::int)`

const configureKindsSQL = `-- warren: configure kinds
INSERT INTO @schema@.kinds AS k (kind, queue, priority, max_attempts, timeout, group_skip)
SELECT i.kind, nullif(i.queue, ''), i.priority, i.max_attempts, make_interval(secs => i.timeout / 1e6), i.group_skip
FROM unnest($1::text[], $2::text[], $3::int[], $4::int[], $5::bigint[], $6::bool[])
     AS i(kind, queue, priority, max_attempts, timeout, group_skip)
ORDER BY i.kind
ON CONFLICT (kind) DO UPDATE SET queue = excluded.queue, priority = excluded.priority, max_attempts = excluded.max_attempts,
  timeout = excluded.timeout, group_skip = excluded.group_skip
WHERE (k.queue, k.priority, k.max_attempts, k.timeout, k.group_skip)
  IS DISTINCT FROM (excluded.queue, excluded.priority, excluded.max_attempts, excluded.timeout, excluded.group_skip)`

// Configure implements jobstore.Admin. Zero values of s leave defaults: priorities 10 to 50,
// queue "default", 256 KiB of args. Kinds that s does not name stay: other programs have them.
func (s *Store) Configure(ctx context.Context, c jobstore.Settings) error {
	if len(c.Priorities) == 0 {
		c.Priorities = []int{10, 20, 30, 40, 50}
	}
	if c.DefaultQueue == "" {
		c.DefaultQueue = "default"
	}
	if c.MaxArgs <= 0 {
		c.MaxArgs = 256 << 10
	}
	n := len(c.Kinds)
	kinds, queues, priorities := make([]string, n), make([]string, n), make([]*int32, n)
	attempts, timeouts, skip := make([]int32, n), make([]*int64, n), make([]bool, n)
	for i, k := range c.Kinds {
		kinds[i], queues[i], attempts[i] = k.Kind, k.Queue, clamp(k.MaxAttempts)
		timeouts[i], skip[i] = micros(k.Timeout), k.GroupSkip
		p := clamp(k.Priority)
		priorities[i] = &p
	}
	err := retried(ctx, func() error {
		return s.inTx(ctx, false, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, s.sql[configureSQL], small(c.Priorities), c.DefaultQueue, clamp(c.MaxArgs)); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, s.sql[configureKindsSQL], kinds, queues, priorities, attempts, timeouts, skip)
			return err
		})
	})
	if err != nil {
		return wrap(fmt.Sprintf("store the configuration of %d kinds", n), err)
	}
	return nil
}
