package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

const kindsSQL = `-- warren: kinds
SELECT k.kind, k.title, k.description, k.scope, k.version, k.args_schema, coalesce(k.queue, ''), coalesce(k.priority, 0), k.max_attempts,
  coalesce(k.timeout, 0), k.defaults, k.settings_schema, k.settings, k.hidden, k.position, k.first_seen, k.last_seen, p.paused_at, coalesce(p.reason, '')
FROM warren_kinds k LEFT JOIN job_pauses p ON p.of = 'disabled' AND p.name = k.kind
ORDER BY k.position, k.kind`

// Kinds implements jobstore.Kinds.
func (s *Store) Kinds(ctx context.Context) ([]jobstore.KindInfo, error) {
	got, err := snapshot(ctx, s, func(ctx context.Context, q session) ([]jobstore.KindInfo, error) {
		list, err := gather(ctx, q, kindsSQL, scanKind)
		if err != nil {
			return nil, err
		}
		consumers, err := s.consumersIn(ctx, q)
		for i := range list {
			addLiving(&list[i], consumers)
		}
		return list, err
	})
	if err != nil {
		return nil, s.wrap("list kinds", err)
	}
	return got, nil
}

// addLiving adds what living consumers say of a kind.
func addLiving(k *jobstore.KindInfo, consumers []jobstore.ConsumerInfo) {
	k.Hosts, k.Versions, k.Queues = []string{}, []string{}, []string{}
	for _, c := range consumers {
		if !c.Alive || !slices.Contains(c.Kinds, k.Kind) {
			continue
		}
		k.Consumers++
		k.Hosts = append(k.Hosts, c.Host)
		if c.Version != "" {
			k.Versions = append(k.Versions, c.Version)
		}
		k.Queues = append(k.Queues, c.Queues...)
		if c.HeartbeatAt.After(k.LastSeen) {
			k.LastSeen = c.HeartbeatAt
		}
	}
	k.Hosts, k.Versions, k.Queues = sortedSet(k.Hosts), sortedSet(k.Versions), sortedSet(k.Queues)
}

func scanKind(r row) (k jobstore.KindInfo, err error) {
	var timeout int64
	var first, last string
	var schema, defaults, settingsSchema, settings, disabled sql.NullString
	err = r.Scan(&k.Kind, &k.Title, &k.Description, &k.Scope, &k.Version, &schema, &k.Queue, &k.Priority, &k.MaxAttempts, &timeout,
		&defaults, &settingsSchema, &settings, &k.Hidden, &k.Position, &first, &last, &disabled, &k.DisabledFor)
	k.Schema, k.Defaults, k.SettingsSchema, k.Settings = raw(schema), raw(defaults), raw(settingsSchema), raw(settings)
	k.Timeout, k.FirstSeen, k.LastSeen, k.DisabledAt = time.Duration(timeout)*time.Millisecond, read(first), read(last), readOptional(disabled)
	return k, err
}

const editKindSQL = `-- warren: edit a kind
UPDATE warren_kinds SET hidden = coalesce(?2, hidden), position = coalesce(?3, position) WHERE kind = ?1`

// EditKind implements jobstore.Kinds.
func (s *Store) EditKind(ctx context.Context, kind string, e jobstore.KindEdit) error {
	n, err := s.exec(ctx, editKindSQL, kind, e.Hidden, e.Position)
	if err == nil && n == 0 {
		err = jobstore.ErrNotFound
	}
	if err != nil {
		return s.wrap("kind "+kind, err)
	}
	return nil
}

const idleKindsSQL = `-- warren: idle kinds
SELECT k.kind FROM warren_kinds k
WHERE k.last_seen <= ?1 AND k.kind NOT IN (SELECT value FROM json_each(?2))
  AND NOT EXISTS (SELECT 1 FROM job_pauses p WHERE p.of = 'disabled' AND p.name = k.kind)
  AND k.kind NOT IN (SELECT j.kind FROM jobs j WHERE j.state NOT IN ('FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED'))
ORDER BY k.kind`

const pruneKindsSQL = `-- warren: prune kinds
DELETE FROM warren_kinds WHERE kind IN (SELECT value FROM json_each(?1))`

// PruneKinds implements jobstore.Kinds.
func (s *Store) PruneKinds(ctx context.Context, unseen time.Duration, dryRun bool) ([]string, error) {
	got, err := writing(ctx, s, func(ctx context.Context, q session) ([]string, error) {
		consumers, err := s.consumersIn(ctx, q)
		if err != nil {
			return nil, err
		}
		var living []string
		for _, c := range consumers {
			if c.Alive {
				living = append(living, c.Kinds...)
			}
		}
		gone, err := gather(ctx, q, idleKindsSQL, scanText, stamp(s.now().Add(-unseen)), list(living))
		if err == nil && !dryRun {
			_, err = q.exec(ctx, pruneKindsSQL, list(gone))
		}
		return gone, err
	})
	if err != nil {
		return nil, s.wrap("prune kinds", err)
	}
	return got, nil
}

const disableKindSQL = `-- warren: disable a kind
INSERT INTO job_pauses (of, name, reason, paused_at) VALUES ('disabled', ?1, ?2, ?3)
ON CONFLICT (of, name) DO UPDATE SET reason = excluded.reason`

// DisableKind implements jobstore.Kinds.
func (s *Store) DisableKind(ctx context.Context, kind, reason string) error {
	_, err := writing(ctx, s, func(ctx context.Context, q session) (int64, error) {
		if _, err := q.exec(ctx, disableKindSQL, kind, reason, stamp(s.now())); err != nil {
			return 0, err
		}
		return 0, s.noteSubject(ctx, q, jobstore.EventDisabled, jobstore.Subject(jobstore.PauseOfDisabled, kind), reason, nil)
	})
	if err != nil {
		return s.wrap("disable kind "+kind, err)
	}
	return nil
}

const kindSettingsSQL = `-- warren: settings of kinds
SELECT o.kinds_edition, coalesce(k.kind, ''), k.settings FROM warren_settings o
LEFT JOIN warren_kinds k ON k.kind IN (SELECT value FROM json_each(?1)) AND k.settings IS NOT NULL`

// KindSettings implements jobstore.Kinds.
func (s *Store) KindSettings(ctx context.Context, kinds []string) (jobstore.KindSettings, error) {
	got, err := reading(ctx, s, func(ctx context.Context, q session) (jobstore.KindSettings, error) {
		set := jobstore.KindSettings{Kinds: map[string]json.RawMessage{}}
		return set, q.query(ctx, kindSettingsSQL, []any{list(kinds)}, func(r row) error {
			var kind string
			var settings sql.NullString
			err := r.Scan(&set.Edition, &kind, &settings)
			if settings.Valid {
				set.Kinds[kind] = raw(settings)
			}
			return err
		})
	})
	if err != nil {
		return jobstore.KindSettings{}, s.wrap("read settings of kinds", err)
	}
	return got, nil
}

const (
	kindEditionSQL = `-- warren: next edition of settings
UPDATE warren_settings SET kinds_edition = kinds_edition + 1`
	settingsOfSQL = `-- warren: settings of a kind
SELECT coalesce(settings, '') FROM warren_kinds WHERE kind = ?1`
	setKindSettingsSQL = `-- warren: set settings of a kind
UPDATE warren_kinds SET settings = ?2 WHERE kind = ?1`
)

// SetKindSettings implements jobstore.Kinds.
func (s *Store) SetKindSettings(ctx context.Context, kind string, was, now json.RawMessage) error {
	_, err := writing(ctx, s, func(ctx context.Context, q session) (int64, error) {
		got, err := gather(ctx, q, settingsOfSQL, scanText, kind)
		switch {
		case err != nil:
			return 0, err
		case len(got) == 0:
			return 0, jobstore.ErrNotFound
		case got[0] != string(was):
			return 0, fmt.Errorf("%w: somebody else has edited its settings meanwhile; try again", jobstore.ErrRefused)
		}
		if _, err := q.exec(ctx, setKindSettingsSQL, kind, optional(string(now))); err != nil {
			return 0, err
		}
		was := cmp.Or(got[0], "{}")
		if err := s.noteSubject(ctx, q, jobstore.EventSettings, jobstore.Subject(jobstore.PauseOfKind, kind), "", &was); err != nil {
			return 0, err
		}
		return q.exec(ctx, kindEditionSQL)
	})
	if err != nil {
		return s.wrap("kind "+kind, err)
	}
	return nil
}

const readEditionSQL = `-- warren: edition of settings
SELECT kinds_edition FROM warren_settings`

// edition is that of settings of kinds.
func edition(ctx context.Context, q session) (n int64, err error) {
	err = q.query(ctx, readEditionSQL, nil, func(r row) error { return r.Scan(&n) })
	return n, err
}
