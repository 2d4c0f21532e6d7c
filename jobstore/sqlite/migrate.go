package sqlite

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// compatibleFrom is the oldest schema number whose programs still work on this program's schema.
// Migrations add only, so that it stays where it is until a release says otherwise.
const compatibleFrom = 1

type migration struct {
	number int
	name   string
	text   string
}

// migrations reads the embedded files, NNNN_name.sql, in their order.
func migrations() ([]migration, error) {
	entries, err := fs.ReadDir(migrationFiles, "migrations")
	if err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	out := make([]migration, len(entries))
	for i, e := range entries {
		body, err := fs.ReadFile(migrationFiles, "migrations/"+e.Name())
		if err != nil {
			return nil, fmt.Errorf("read the embedded migrations: %w", err)
		}
		number, name, _ := strings.Cut(strings.TrimSuffix(e.Name(), ".sql"), "_")
		n, err := strconv.Atoi(number)
		if err != nil || n != i+1 {
			return nil, fmt.Errorf("migration %s: its number must be %d", e.Name(), i+1)
		}
		out[i] = migration{number: n, name: name, text: string(body)}
	}
	return out, nil
}

// prepareSQL makes the list of migrations, which is there before the first one.
const prepareSQL = `CREATE TABLE IF NOT EXISTS warren_migrations (
    number          INTEGER PRIMARY KEY,
    name            TEXT    NOT NULL,
    compatible_from INTEGER NOT NULL,
    applied_at      TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;`

const noteMigrationSQL = `INSERT INTO warren_migrations (number, name, compatible_from) VALUES (?1, ?2, ?3)`

const appliedSQL = `-- warren: applied migrations
SELECT number, compatible_from FROM warren_migrations ORDER BY number`

// ownSQL finds out whose file this is: what it has of warren_migrations and jobs.
const ownSQL = `-- warren: whose file
SELECT coalesce(sum(name = 'warren_migrations'), 0), coalesce(sum(name = 'jobs'), 0) FROM sqlite_schema WHERE type IN ('table', 'view')`

type applied struct{ number, compatibleFrom int }

// Migrate implements jobstore.Admin: the first time all migrations in one transaction, because a program
// that starts meanwhile takes a part of a schema for an old one; later each in one of its own, which
// excludes every other writer. A schema that is newer than this program and still fits it is left alone.
func (s *Store) Migrate(ctx context.Context) error {
	all, err := migrations()
	if err != nil {
		return err
	}
	for done := false; !done; {
		done, err = writing(ctx, s, func(ctx context.Context, q session) (bool, error) { return s.migrateSome(ctx, q, all) })
		if err != nil {
			return s.wrap("migrate "+s.path, err)
		}
	}
	return s.Check(ctx)
}

// migrateSome applies the first migration that is missing, or all when all are. Migrations are many
// statements in one text, so that they run without being prepared.
func (s *Store) migrateSome(ctx context.Context, q session, all []migration) (done bool, err error) {
	found, err := s.found(ctx, q)
	if err != nil || len(found) >= len(all) {
		return err == nil, err
	}
	if _, err := q.exec(ctx, prepareSQL); err != nil {
		return false, err
	}
	next := all[len(found):]
	if len(found) > 0 {
		next = next[:1]
	}
	for _, m := range next {
		if _, err := s.write.conn.ExecContext(ctx, m.text); err != nil {
			return false, fmt.Errorf("migration %04d_%s: %w", m.number, m.name, err)
		}
		if _, err := q.exec(ctx, noteMigrationSQL, m.number, m.name, compatibleFrom); err != nil {
			return false, err
		}
		s.log.Info("database migrated", zap.String("file", s.path), zap.Int("number", m.number), zap.String("name", m.name))
	}
	return false, nil
}

// found returns what is applied; nothing when no table of ours is there.
func (s *Store) found(ctx context.Context, q session) ([]applied, error) {
	var ours, jobs int
	if err := q.query(ctx, ownSQL, nil, func(r row) error { return r.Scan(&ours, &jobs) }); err != nil {
		return nil, err
	}
	switch {
	case ours > 0:
		return gather(ctx, q, appliedSQL, func(r row) (a applied, err error) {
			err = r.Scan(&a.number, &a.compatibleFrom)
			return a, err
		})
	case jobs > 0:
		return nil, fmt.Errorf("%w: %s has a table jobs that Warren did not make; name another file in DATABASE_URL", jobstore.ErrSchema, s.path)
	}
	return nil, nil
}

// Migrations implements jobstore.Admin.
func (s *Store) Migrations(ctx context.Context) ([]jobstore.Migration, error) {
	all, err := migrations()
	if err != nil {
		return nil, err
	}
	found, err := reading(ctx, s, s.found)
	if err != nil {
		return nil, s.wrap("list migrations", err)
	}
	out := make([]jobstore.Migration, 0, max(len(all), len(found)))
	for i, m := range all {
		out = append(out, jobstore.Migration{Number: m.number, Name: m.name, Applied: i < len(found)})
	}
	for _, f := range found[min(len(all), len(found)):] {
		out = append(out, jobstore.Migration{Number: f.number, Name: "(of a newer program)", Applied: true})
	}
	return out, nil
}

// Check implements jobstore.Admin.
func (s *Store) Check(ctx context.Context) error {
	all, err := migrations()
	if err != nil {
		return err
	}
	found, err := reading(ctx, s, s.found)
	if err != nil {
		return s.wrap("check the schema", err)
	}
	have, want := len(found), len(all)
	switch {
	case have == 0:
		return fmt.Errorf("%w: %s has no tables yet, this program needs number %d: run 'warren migrate up'", jobstore.ErrSchema, s.path, want)
	case have < want:
		return fmt.Errorf("%w: the schema of %s has number %d, this program needs %d: run 'warren migrate up'", jobstore.ErrSchema, s.path, have, want)
	case have > want && found[have-1].compatibleFrom > want:
		return fmt.Errorf("%w: the schema of %s has number %d, which works with programs from number %d on, and this program is of number %d: upgrade this program",
			jobstore.ErrSchema, s.path, have, found[have-1].compatibleFrom, want)
	}
	return nil
}

// MigrationSQL returns the text of every migration, for people who run it with their own tools. It
// is what Migrate runs, and needs no database.
func MigrationSQL() (string, error) {
	all, err := migrations()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("BEGIN IMMEDIATE;\n" + prepareSQL + "\nCOMMIT;\n")
	for _, m := range all {
		fmt.Fprintf(&b, "\n-- %04d_%s\nBEGIN IMMEDIATE;\n%s\n", m.number, m.name, m.text)
		fmt.Fprintf(&b, "INSERT INTO warren_migrations (number, name, compatible_from) VALUES (%d, '%s', %d);\nCOMMIT;\n", m.number, m.name, compatibleFrom)
	}
	return b.String(), nil
}
