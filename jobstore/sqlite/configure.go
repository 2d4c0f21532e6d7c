package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// configureSQL writes only what is different.
const configureSQL = `-- warren: configure
UPDATE warren_settings SET priorities = ?1, default_queue = ?2, max_args = ?3
WHERE priorities <> ?1 OR default_queue <> ?2 OR max_args <> ?3`

const configureKindSQL = `-- warren: configure a kind
INSERT INTO warren_kinds AS k (kind, queue, priority, max_attempts, timeout, group_skip,
  title, description, scope, args_schema, defaults, settings_schema, version, versions, first_seen, last_seen)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?15)
ON CONFLICT (kind) DO UPDATE SET queue = excluded.queue, priority = excluded.priority, max_attempts = excluded.max_attempts,
  timeout = excluded.timeout, group_skip = excluded.group_skip, title = excluded.title, description = excluded.description, scope = excluded.scope,
  args_schema = excluded.args_schema, defaults = excluded.defaults, settings_schema = excluded.settings_schema,
  version = excluded.version, versions = excluded.versions, last_seen = excluded.last_seen
WHERE k.last_seen < ?16 OR k.queue IS NOT excluded.queue OR k.priority IS NOT excluded.priority OR k.max_attempts <> excluded.max_attempts
  OR k.timeout IS NOT excluded.timeout OR k.group_skip <> excluded.group_skip OR k.title <> excluded.title
  OR k.description <> excluded.description OR k.scope <> excluded.scope OR k.args_schema IS NOT excluded.args_schema
  OR k.defaults IS NOT excluded.defaults OR k.settings_schema IS NOT excluded.settings_schema OR k.version <> excluded.version
  OR k.versions <> excluded.versions`

const wordOfKindSQL = `-- warren: word of a kind
SELECT title, description, scope, args_schema, defaults, settings_schema, version, versions FROM warren_kinds WHERE kind = ?1`

// word is what a version says of a kind.
type word struct {
	title, description, scope string
	schema, defaults, options sql.NullString
	version                   string
	versions                  []string // that had a word
}

func scanWord(r row) (w word, err error) {
	var versions string
	err = r.Scan(&w.title, &w.description, &w.scope, &w.schema, &w.defaults, &w.options, &w.version, &versions)
	w.versions = unlist[string](versions)
	return w, err
}

// wordOf decides whose word about a kind counts: that of a version which has never had it, of the one that has it,
// or of whoever comes when no consumer of that one lives. So an old version that starts again during a deploy
// changes nothing.
func (s *Store) wordOf(ctx context.Context, q session, k *jobstore.KindDefaults, version string) (word, error) {
	text := func(raw []byte) sql.NullString { return sql.NullString{String: string(raw), Valid: len(raw) > 0} }
	ours := word{k.Title, k.Description, k.Scope, text(k.Schema), text(k.Defaults), text(k.SettingsSchema), version, []string{version}}
	found, err := gather(ctx, q, wordOfKindSQL, scanWord, k.Kind)
	if err != nil || len(found) == 0 {
		return ours, err
	}
	old := found[0]
	if old.version != version && slices.Contains(old.versions, version) {
		consumers, err := s.consumersIn(ctx, q)
		if err != nil {
			return old, err
		}
		if slices.ContainsFunc(consumers, func(c jobstore.ConsumerInfo) bool {
			return c.Alive && c.Version == old.version && slices.Contains(c.Kinds, k.Kind)
		}) {
			return old, nil
		}
	}
	if ours.versions = old.versions; !slices.Contains(old.versions, version) {
		ours.versions = append(slices.Clone(old.versions[max(0, len(old.versions)-19):]), version)
	}
	return ours, nil
}

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
			w, err := s.wordOf(ctx, q, &k, c.Version)
			if err != nil {
				return 0, err
			}
			_, err = q.exec(ctx, configureKindSQL, k.Kind, optional(k.Queue), k.Priority, k.MaxAttempts, millis(k.Timeout), k.GroupSkip,
				w.title, w.description, w.scope, w.schema, w.defaults, w.options, w.version, list(w.versions),
				stamp(s.now()), stamp(s.now().Add(-time.Minute)))
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
