package postgres_test

import (
	"testing"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
	"github.com/warrenq/warren/jobstore/storetest"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// open returns a migrated store in a database of its own.
func open(t testing.TB) *postgres.Store {
	t.Helper()
	return openAt(t, testenv.Postgres(t), postgres.Config{})
}

func openAt(t testing.TB, dsn string, c postgres.Config) *postgres.Store {
	t.Helper()
	c.Log = zaptest.NewLogger(t, zaptest.Level(zapcore.ErrorLevel))
	s, err := postgres.Open(t.Context(), dsn, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) jobstore.Store { return open(t) })
}
