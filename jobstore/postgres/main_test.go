package postgres_test

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
	"github.com/warrenq/warren/jobstore/storetest"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// fresh returns a migrated store in a database of its own, and the database's address.
func fresh(tb testing.TB) (*postgres.Store, string) {
	tb.Helper()
	dsn := testenv.Postgres(tb)
	s := open(tb, dsn, postgres.Config{})
	migrate(tb, s)
	return s, dsn
}

func open(tb testing.TB, dsn string, c postgres.Config) *postgres.Store {
	tb.Helper()
	c.Log = zaptest.NewLogger(tb, zaptest.Level(zapcore.ErrorLevel))
	s, err := postgres.Open(tb.Context(), dsn, c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

func migrate(tb testing.TB, s *postgres.Store) {
	tb.Helper()
	if err := s.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

// clones returns a maker of stores whose databases are copies of one that was migrated once.
func clones(t *testing.T) func(tb testing.TB) (*postgres.Store, string) {
	t.Helper()
	template := testenv.Postgres(t)
	s, err := postgres.Open(t.Context(), template, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	migrate(t, s)
	s.Close()
	u, err := url.Parse(template)
	if err != nil {
		t.Fatal(err)
	}
	from := strings.TrimPrefix(u.Path, "/")
	u.Path = "/postgres"
	admin := u.String()
	return func(tb testing.TB) (*postgres.Store, string) {
		tb.Helper()
		empty, err := url.Parse(testenv.Postgres(tb)) // its name is free, and it is dropped at the end
		if err != nil {
			tb.Fatal(err)
		}
		name := pgx.Identifier{strings.TrimPrefix(empty.Path, "/")}.Sanitize()
		conn := connect(tb, admin)
		exec(tb, conn, "DROP DATABASE "+name)
		exec(tb, conn, "CREATE DATABASE "+name+" TEMPLATE "+pgx.Identifier{from}.Sanitize())
		if err := conn.Close(tb.Context()); err != nil {
			tb.Fatal(err)
		}
		return open(tb, empty.String(), postgres.Config{}), empty.String()
	}
}

func connect(tb testing.TB, dsn string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), dsn)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(tb testing.TB, conn *pgx.Conn, sql string, args ...any) {
	tb.Helper()
	if _, err := conn.Exec(tb.Context(), sql, args...); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	clone := clones(t)
	storetest.Run(t, func(t *testing.T) jobstore.Store {
		t.Helper()
		s, _ := clone(t)
		return s
	})
}

// The contract holds in another schema, through a pooler that hands each transaction to another
// server connection. LISTEN goes past it.
func TestContractBehindPooler(t *testing.T) {
	t.Parallel()
	clone := clones(t)
	storetest.Run(t, func(t *testing.T) jobstore.Store {
		t.Helper()
		_, dsn := clone(t)
		s := open(t, testenv.NewPgBouncer(t, dsn), postgres.Config{DirectURL: dsn})
		if !s.Local() {
			t.Fatal("the pooler was not noticed")
		}
		return s
	})
}
