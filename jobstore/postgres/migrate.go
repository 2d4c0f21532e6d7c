package postgres

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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

// prepareSQL makes the schema and the list of migrations, which are there before the first one.
const prepareSQL = `-- warren: prepare migrations
CREATE SCHEMA IF NOT EXISTS @schema@;
CREATE TABLE IF NOT EXISTS @schema@.schema_migrations (
    number          int         PRIMARY KEY,
    name            text        NOT NULL,
    compatible_from int         NOT NULL,
    applied_at      timestamptz NOT NULL DEFAULT now()
);`

// migrateLockSQL lets one process migrate at a time. The lock belongs to the transaction, because
// behind a transaction pooler a session's lock would stay with a connection that others use.
const migrateLockSQL = `-- warren: lock migrations
SELECT pg_advisory_xact_lock(hashtextextended('warren migrate ' || $1::text, 0))`

const appliedSQL = `-- warren: applied migrations
SELECT number, compatible_from FROM @schema@.schema_migrations ORDER BY number`

const schemaExistsSQL = `-- warren: schema exists
SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = 'schema_migrations'`

const noteMigrationSQL = `-- warren: note migration
INSERT INTO @schema@.schema_migrations (number, name, compatible_from) VALUES ($1, $2, $3)`

// Migrate implements jobstore.Admin: the first time all migrations in one transaction, because a program
// that starts meanwhile takes a part of a schema for an old one; later each in one of its own. A schema
// that is newer than this program and still fits it is left alone.
func (s *Store) Migrate(ctx context.Context) error {
	all, err := migrations()
	if err != nil {
		return err
	}
	for {
		var done bool
		err := retried(ctx, func() error {
			return s.inTx(ctx, true, func(ctx context.Context, tx pgx.Tx) (err error) {
				done, err = s.migrateSome(ctx, tx, all)
				return err
			})
		})
		if err != nil {
			return wrap("migrate schema "+s.schema, err)
		}
		if done {
			return s.Check(ctx)
		}
	}
}

// migrateSome applies the first migration that is missing, or all when all are.
func (s *Store) migrateSome(ctx context.Context, tx pgx.Tx, all []migration) (done bool, err error) {
	if _, err := tx.Exec(ctx, s.sql[migrateLockSQL], s.schema); err != nil {
		return false, err
	}
	found, err := gatherIn(ctx, txSession{tx}, s.sql[schemaExistsSQL], scanInt, s.schema)
	if err != nil {
		return false, err
	}
	if len(found) == 0 {
		if _, err := tx.Exec(ctx, s.sql[prepareSQL], pgx.QueryExecModeSimpleProtocol); err != nil {
			return false, err
		}
	}
	applied, err := gatherIn(ctx, txSession{tx}, s.sql[appliedSQL], scanApplied)
	if err != nil {
		return false, err
	}
	if len(applied) >= len(all) {
		return true, nil
	}
	next := all[len(applied):]
	if len(applied) > 0 {
		next = next[:1]
	}
	for _, m := range next {
		if _, err := tx.Exec(ctx, s.withSchema(m.text), pgx.QueryExecModeSimpleProtocol); err != nil {
			return false, fmt.Errorf("migration %04d_%s: %w%s", m.number, m.name, err, where(err, m.text))
		}
		if _, err := tx.Exec(ctx, s.sql[noteMigrationSQL], m.number, m.name, compatibleFrom); err != nil {
			return false, err
		}
		s.log.Info("database migrated", zap.String("schema", s.schema), zap.Int("number", m.number), zap.String("name", m.name))
	}
	return false, nil
}

// where names the line of a migration that an error points at.
func where(err error, text string) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Position <= 0 || int(pg.Position) > len(text) {
		return ""
	}
	return fmt.Sprintf(" (near line %d)", 1+strings.Count(text[:pg.Position], "\n"))
}

type applied struct{ number, compatibleFrom int }

func scanApplied(r pgx.Rows) (a applied, err error) {
	err = r.Scan(&a.number, &a.compatibleFrom)
	return a, err
}

// found returns what is applied; nothing when the schema is not there.
func (s *Store) found(ctx context.Context) ([]applied, error) {
	exists, err := gather(ctx, s, schemaExistsSQL, scanInt, s.schema)
	if err != nil || len(exists) == 0 {
		return nil, err
	}
	return gather(ctx, s, appliedSQL, scanApplied)
}

// Migrations implements jobstore.Admin.
func (s *Store) Migrations(ctx context.Context) ([]jobstore.Migration, error) {
	all, err := migrations()
	if err != nil {
		return nil, err
	}
	found, err := s.found(ctx)
	if err != nil {
		return nil, wrap("list migrations", err)
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
	found, err := s.found(ctx)
	if err != nil {
		return wrap("check the schema", err)
	}
	have, want := len(found), len(all)
	switch {
	case have == 0:
		return fmt.Errorf("%w: schema %s is empty, this program needs number %d: run 'warren migrate up'", jobstore.ErrSchema, s.schema, want)
	case have < want:
		return fmt.Errorf("%w: schema %s has number %d, this program needs %d: run 'warren migrate up'", jobstore.ErrSchema, s.schema, have, want)
	case have > want && found[have-1].compatibleFrom > want:
		return fmt.Errorf("%w: schema %s has number %d, which works with programs from number %d on, and this program is of number %d: upgrade this program",
			jobstore.ErrSchema, s.schema, have, found[have-1].compatibleFrom, want)
	}
	return nil
}

// MigrationSQL returns the text of every migration for a schema ("" = DefaultSchema), for people
// who run it with their own tools. It is what Migrate runs, and needs no database.
func MigrationSQL(schema string) (string, error) {
	s := &Store{schema: cmp.Or(schema, DefaultSchema)}
	if !schemaName.MatchString(s.schema) {
		return "", fmt.Errorf("schema %q: %w: the name must match %s", s.schema, jobstore.ErrInvalid, schemaName)
	}
	all, err := migrations()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("BEGIN;\n" + s.withSchema(prepareSQL) + "\nCOMMIT;\n")
	for _, m := range all {
		fmt.Fprintf(&b, "\n-- %04d_%s\nBEGIN;\n%s\n", m.number, m.name, s.withSchema(m.text))
		fmt.Fprintf(&b, "INSERT INTO %s.schema_migrations (number, name, compatible_from) VALUES (%d, '%s', %d);\nCOMMIT;\n",
			pgx.Identifier{s.schema}.Sanitize(), m.number, m.name, compatibleFrom)
	}
	return b.String(), nil
}
