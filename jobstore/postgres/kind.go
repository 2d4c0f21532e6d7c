package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// kindsSQL has what living consumers say beside what was registered.
const kindsSQL = `-- warren: kinds
SELECT k.kind, k.title, k.description, k.scope, k.version, k.args_schema, coalesce(k.queue, ''), coalesce(k.priority, 0), k.max_attempts,
  coalesce((extract(epoch FROM k.timeout) * 1e6)::bigint, 0), k.defaults, k.settings_schema, k.settings, k.hidden, k.position, k.first_seen,
  greatest(k.last_seen, live.seen), live.consumers, live.hosts, live.versions, live.queues, p.paused_at, coalesce(p.reason, '')
FROM @schema@.kinds k
CROSS JOIN LATERAL (
  SELECT count(DISTINCT c.id) AS consumers, coalesce(array_agg(DISTINCT c.host), '{}') AS hosts, max(c.heartbeat_at) AS seen,
    coalesce(array_agg(DISTINCT c.version) FILTER (WHERE c.version <> ''), '{}') AS versions,
    coalesce(array_agg(DISTINCT q.queue) FILTER (WHERE q.queue IS NOT NULL), '{}') AS queues
  FROM @schema@.consumers c LEFT JOIN LATERAL unnest(c.queues) AS q(queue) ON true
  WHERE c.expires_at > clock_timestamp() AND k.kind = ANY (c.kinds)
) live
LEFT JOIN @schema@.job_pauses p ON p.of = 'disabled' AND p.name = k.kind
ORDER BY k.position, k.kind`

// Kinds implements jobstore.Kinds.
func (s *Store) Kinds(ctx context.Context) ([]jobstore.KindInfo, error) {
	got, err := gather(ctx, s, kindsSQL, scanKind)
	if err != nil {
		return nil, wrap("list kinds", err)
	}
	return got, nil
}

func scanKind(r pgx.Rows) (k jobstore.KindInfo, err error) {
	var timeout int64
	var schema, defaults, settingsSchema, settings []byte
	err = r.Scan(&k.Kind, &k.Title, &k.Description, &k.Scope, &k.Version, &schema, &k.Queue, &k.Priority, &k.MaxAttempts, &timeout,
		&defaults, &settingsSchema, &settings, &k.Hidden, &k.Position, &k.FirstSeen, &k.LastSeen,
		&k.Consumers, &k.Hosts, &k.Versions, &k.Queues, &k.DisabledAt, &k.DisabledFor)
	k.Schema, k.Defaults, k.SettingsSchema, k.Settings = schema, defaults, settingsSchema, settings
	k.Timeout = time.Duration(timeout) * time.Microsecond
	return k, err
}

const editKindSQL = `-- warren: edit a kind
UPDATE @schema@.kinds SET hidden = coalesce($2::bool, hidden), position = coalesce($3::int, position) WHERE kind = $1 RETURNING kind`

// EditKind implements jobstore.Kinds.
func (s *Store) EditKind(ctx context.Context, kind string, e jobstore.KindEdit) error {
	var position *int32
	if e.Position != nil {
		position = new(int32(min(max(*e.Position, math.MinInt32), math.MaxInt32)))
	}
	got, err := gather(ctx, s, editKindSQL, scanText, kind, e.Hidden, position)
	if err == nil && len(got) == 0 {
		err = jobstore.ErrNotFound
	}
	if err != nil {
		return wrap("kind "+kind, err)
	}
	return nil
}

// idleKindsSQL looks at all live rows once, however many kinds there are.
const idleKindsSQL = `-- warren: idle kinds
SELECT k.kind FROM @schema@.kinds k
WHERE k.last_seen <= now() - make_interval(secs => $1::bigint / 1e6)
  AND NOT EXISTS (SELECT FROM @schema@.consumers c WHERE c.expires_at > clock_timestamp() AND k.kind = ANY (c.kinds))
  AND NOT EXISTS (SELECT FROM @schema@.job_pauses p WHERE p.of = 'disabled' AND p.name = k.kind)
  AND k.kind NOT IN (SELECT j.kind FROM @schema@.jobs_live j)
ORDER BY k.kind FOR UPDATE OF k`

const pruneKindsSQL = `-- warren: prune kinds
DELETE FROM @schema@.kinds k USING unnest($1::text[]) AS w(kind) WHERE k.kind = w.kind`

// PruneKinds implements jobstore.Kinds.
func (s *Store) PruneKinds(ctx context.Context, unseen time.Duration, dryRun bool) (gone []string, err error) {
	err = retried(ctx, func() error {
		return s.inTx(ctx, true, func(ctx context.Context, tx pgx.Tx) (err error) {
			q := txSession{tx}
			gone, err = gatherIn(ctx, q, s.sql[idleKindsSQL], scanText, unseen.Microseconds())
			if err != nil || dryRun || len(gone) == 0 {
				return err
			}
			return q.run(ctx, s.sql[pruneKindsSQL], []any{gone}, nil)
		})
	})
	if err != nil {
		return nil, wrap("prune kinds", err)
	}
	return gone, nil
}

const disableKindSQL = `-- warren: disable a kind
WITH noted AS (
  INSERT INTO @schema@.job_events (job_id, event, subject, by_whom, note) VALUES (0, 'disabled', 'kind ' || $1::text, $3, $2)
)
INSERT INTO @schema@.job_pauses (of, name, reason) VALUES ('disabled', $1, $2)
ON CONFLICT (of, name) DO UPDATE SET reason = excluded.reason`

// DisableKind implements jobstore.Kinds.
func (s *Store) DisableKind(ctx context.Context, kind, reason string) error {
	if err := s.exec(ctx, disableKindSQL, kind, reason, jobstore.Actor(ctx)); err != nil {
		return wrap("disable kind "+kind, err)
	}
	return nil
}

// kindSettingsSQL is one snapshot: what it returns is at least as new as the edition says.
const kindSettingsSQL = `-- warren: settings of kinds
SELECT o.kinds_edition, k.kind, k.settings FROM @schema@.settings o
LEFT JOIN @schema@.kinds k ON k.kind = ANY ($1::text[]) AND k.settings IS NOT NULL`

// KindSettings implements jobstore.Kinds.
func (s *Store) KindSettings(ctx context.Context, kinds []string) (set jobstore.KindSettings, err error) {
	start := func() { set = jobstore.KindSettings{Kinds: map[string]json.RawMessage{}} }
	err = s.do(ctx, kindSettingsSQL, []any{filled(kinds)}, start, func(r pgx.Rows) error {
		var kind *string
		var settings []byte
		err := r.Scan(&set.Edition, &kind, &settings)
		if kind != nil {
			set.Kinds[*kind] = settings
		}
		return err
	})
	if err != nil {
		return jobstore.KindSettings{}, wrap("read settings of kinds", err)
	}
	return set, nil
}

// The row of the edition is locked first, so that editions come in the order of their commits.
const (
	kindEditionSQL = `-- warren: next edition of settings
UPDATE @schema@.settings SET kinds_edition = kinds_edition + 1`
	setKindSettingsSQL = `-- warren: set settings of a kind
WITH done AS (
  UPDATE @schema@.kinds SET settings = $3::text::jsonb WHERE kind = $1 AND settings IS NOT DISTINCT FROM $2::text::jsonb RETURNING kind
),
noted AS (
  INSERT INTO @schema@.job_events (job_id, event, subject, by_whom, was)
  SELECT 0, 'settings changed', 'kind ' || kind, $4, coalesce($2::text::jsonb, '{}') FROM done
)
SELECT kind FROM done`
	knownKindSQL = `-- warren: known kind
SELECT kind FROM @schema@.kinds WHERE kind = $1`
)

// SetKindSettings implements jobstore.Kinds.
func (s *Store) SetKindSettings(ctx context.Context, kind string, was, now json.RawMessage) error {
	err := retried(ctx, func() error {
		return s.inTx(ctx, false, func(ctx context.Context, tx pgx.Tx) error {
			q := txSession{tx}
			if err := q.run(ctx, s.sql[kindEditionSQL], nil, nil); err != nil {
				return err
			}
			set, err := gatherIn(ctx, q, s.sql[setKindSettingsSQL], scanText, kind, optional(string(was)), optional(string(now)), jobstore.Actor(ctx))
			if err != nil || len(set) > 0 {
				return err
			}
			known, err := gatherIn(ctx, q, s.sql[knownKindSQL], scanText, kind)
			if err == nil && len(known) == 0 {
				err = jobstore.ErrNotFound
			} else if err == nil {
				err = fmt.Errorf("%w: somebody else has edited its settings meanwhile; try again", jobstore.ErrRefused)
			}
			return err
		})
	})
	if err != nil {
		return wrap("kind "+kind, err)
	}
	return nil
}
