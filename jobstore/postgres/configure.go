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

// configureKindsSQL does the same. What a kind is called and what its args are, is the word of one version at a
// time: of one that has never had it, of the one that has it, or of whoever comes when no consumer of that one lives.
// So a consumer of an old version that starts again during a deploy changes nothing. That a kind was seen is
// written once a minute at most.
const configureKindsSQL = `-- warren: configure kinds
INSERT INTO @schema@.kinds AS k (kind, queue, priority, max_attempts, timeout, group_skip,
  title, description, scope, args_schema, defaults, settings_schema, version, versions)
SELECT i.kind, nullif(i.queue, ''), i.priority, i.max_attempts, make_interval(secs => i.timeout / 1e6), i.group_skip, w.*
FROM unnest($1::text[], $2::text[], $3::int[], $4::int[], $5::bigint[], $6::bool[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
            $12::text[]) AS i(kind, queue, priority, max_attempts, timeout, group_skip, title, description, scope, args_schema, defaults, settings_schema)
LEFT JOIN @schema@.kinds o ON o.kind = i.kind
CROSS JOIN LATERAL (SELECT o.kind IS NULL OR o.version = $13::text OR $13::text <> ALL (o.versions) OR NOT EXISTS (
    SELECT FROM @schema@.consumers c WHERE c.expires_at > clock_timestamp() AND c.version = o.version AND o.kind = ANY (c.kinds)) AS ours) t
CROSS JOIN LATERAL (
  SELECT i.title, i.description, i.scope, i.args_schema::jsonb, i.defaults::jsonb, i.settings_schema::jsonb, $13::text,
    CASE WHEN $13::text = ANY (o.versions) THEN o.versions ELSE (coalesce(o.versions, '{}') || $13::text)[greatest(cardinality(o.versions) - 18, 1):] END
  WHERE t.ours
  UNION ALL
  SELECT o.title, o.description, o.scope, o.args_schema, o.defaults, o.settings_schema, o.version, o.versions WHERE NOT t.ours
) w
ORDER BY i.kind
ON CONFLICT (kind) DO UPDATE SET queue = excluded.queue, priority = excluded.priority, max_attempts = excluded.max_attempts,
  timeout = excluded.timeout, group_skip = excluded.group_skip, title = excluded.title, description = excluded.description, scope = excluded.scope,
  args_schema = excluded.args_schema, defaults = excluded.defaults, settings_schema = excluded.settings_schema,
  version = excluded.version, versions = excluded.versions, last_seen = now()
WHERE k.last_seen < now() - interval '1 minute' OR (k.queue, k.priority, k.max_attempts, k.timeout, k.group_skip, k.title, k.description, k.scope,
    k.args_schema, k.defaults, k.settings_schema, k.version, k.versions)
  IS DISTINCT FROM (excluded.queue, excluded.priority, excluded.max_attempts, excluded.timeout, excluded.group_skip, excluded.title,
    excluded.description, excluded.scope, excluded.args_schema, excluded.defaults, excluded.settings_schema, excluded.version, excluded.versions)`

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
	titles, descriptions, scopes := make([]string, n), make([]string, n), make([]string, n)
	schemas, defaults, settings := make([]*string, n), make([]*string, n), make([]*string, n)
	for i, k := range c.Kinds {
		kinds[i], queues[i], attempts[i] = k.Kind, k.Queue, clamp(k.MaxAttempts)
		timeouts[i], skip[i] = micros(k.Timeout), k.GroupSkip
		p := clamp(k.Priority)
		priorities[i] = &p
		titles[i], descriptions[i], scopes[i] = k.Title, k.Description, k.Scope
		schemas[i], defaults[i], settings[i] = optional(string(k.Schema)), optional(string(k.Defaults)), optional(string(k.SettingsSchema))
	}
	err := retried(ctx, func() error {
		return s.inTx(ctx, false, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, s.sql[configureSQL], small(c.Priorities), c.DefaultQueue, clamp(c.MaxArgs)); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, s.sql[configureKindsSQL], kinds, queues, priorities, attempts, timeouts, skip,
				titles, descriptions, scopes, schemas, defaults, settings, c.Version)
			return err
		})
	})
	if err != nil {
		return wrap(fmt.Sprintf("store the configuration of %d kinds", n), err)
	}
	return nil
}
