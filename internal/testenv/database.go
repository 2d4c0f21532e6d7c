package testenv

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Postgres returns the DSN (postgres://...) of a fresh empty database on the shared server, for a
// superuser. The database is dropped at the test's end.
func Postgres(tb testing.TB) string {
	tb.Helper()
	needServers(tb, "PostgreSQL")
	admin, err := shared.databaseURL(tb.Context())
	if err != nil {
		tb.Fatalf("a PostgreSQL server for tests: %v", err)
	}
	dsn, err := url.Parse(admin)
	if err != nil || !strings.HasPrefix(dsn.Scheme, "postgres") {
		tb.Fatalf("%s must be a URL, postgres://USER@HOST:PORT/DATABASE (%v)", EnvDatabaseURL, err)
	}
	name := uniqueName(tb)
	if err := createDatabase(tb.Context(), admin, name); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := dropDatabase(ctx, admin, name); err != nil {
			tb.Error(err)
		}
	})
	dsn.Path = "/" + name
	return dsn.String()
}

// uniqueName is a name for a database, vhost or user that says which test it belongs to.
func uniqueName(tb testing.TB) string {
	tb.Helper()
	const longest = 30 // PostgreSQL cuts names at 63 bytes
	var b strings.Builder
	for _, r := range strings.ToLower(tb.Name()) {
		if ('a' > r || r > 'z') && ('0' > r || r > '9') {
			r = '_'
		}
		if b.WriteRune(r); b.Len() == longest {
			break
		}
	}
	return "warren_" + b.String() + "_" + strings.ToLower(rand.Text()[:12])
}

func createDatabase(ctx context.Context, admin, name string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// template0, because a connection to template1 would be in the way of every copy.
	return execute(ctx, admin, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" TEMPLATE template0")
}

func dropDatabase(ctx context.Context, admin, name string) error {
	return execute(ctx, admin, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
}

// execute runs one statement on a connection of its own.
func execute(ctx context.Context, dsn, sql string) error {
	err := withConn(ctx, dsn, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// withConn opens a connection, uses it and closes it.
func withConn(ctx context.Context, dsn string, use func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	err = use(conn)
	return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}
