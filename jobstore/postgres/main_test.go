package postgres_test

import (
	"context"
	"fmt"
	"sync/atomic"
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

// schemas returns a maker of migrated stores, each in a schema of its own of one database. That costs a
// third of a database each.
func schemas(tb testing.TB, dsn string, c postgres.Config) func(tb testing.TB) *postgres.Store {
	tb.Helper()
	var n atomic.Int32
	return func(tb testing.TB) *postgres.Store {
		tb.Helper()
		own := c
		own.Schema = fmt.Sprint("contract_", n.Add(1))
		s := open(tb, dsn, own)
		migrate(tb, s)
		return s
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
	store := schemas(t, testenv.Postgres(t), postgres.Config{})
	storetest.Run(t, func(t *testing.T) jobstore.Store {
		t.Helper()
		return store(t)
	})
}

// The contract holds through a pooler that hands each transaction to another server connection.
// LISTEN goes past it.
func TestContractBehindPooler(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	store := schemas(t, testenv.NewPgBouncer(t, dsn), postgres.Config{DirectURL: dsn})
	storetest.Run(t, func(t *testing.T) jobstore.Store {
		t.Helper()
		s := store(t)
		if !s.Local() {
			t.Fatal("the pooler was not noticed")
		}
		return s
	})
}
