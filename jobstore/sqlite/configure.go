package sqlite

import (
	"context"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

// configureSQL writes only what is different.
const configureSQL = `-- warren: configure
UPDATE warren_settings SET priorities = ?1, default_queue = ?2, max_args = ?3
WHERE priorities <> ?1 OR default_queue <> ?2 OR max_args <> ?3`

const configureKindSQL = `-- warren: configure a kind
INSERT INTO warren_kinds AS k (kind, queue, priority, max_attempts, timeout, group_skip) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (kind) DO UPDATE SET queue = excluded.queue, priority = excluded.priority, max_attempts = excluded.max_attempts,
  timeout = excluded.timeout, group_skip = excluded.group_skip
WHERE k.queue IS NOT excluded.queue OR k.priority IS NOT excluded.priority OR k.max_attempts <> excluded.max_attempts
  OR k.timeout IS NOT excluded.timeout OR k.group_skip <> excluded.group_skip`

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
	_, err := writing(ctx, s, func(ctx context.Context, q session) (int64, error) {
		if _, err := q.exec(ctx, configureSQL, list(c.Priorities), c.DefaultQueue, c.MaxArgs); err != nil {
			return 0, err
		}
		for _, k := range c.Kinds {
			_, err := q.exec(ctx, configureKindSQL, k.Kind, optional(k.Queue), k.Priority, k.MaxAttempts, millis(k.Timeout), k.GroupSkip)
			if err != nil {
				return 0, err
			}
		}
		return 0, nil
	})
	if err != nil {
		return s.wrap(fmt.Sprintf("store the configuration of %d kinds", len(c.Kinds)), err)
	}
	return nil
}
