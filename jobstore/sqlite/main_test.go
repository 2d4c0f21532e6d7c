package sqlite_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/sqlite"
	"github.com/warrenq/warren/jobstore/storetest"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		if err := play(role, os.Getenv(fileVar)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// fresh returns a migrated store in a file of its own, and the file.
func fresh(tb testing.TB) (*sqlite.Store, string) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "warren.db")
	s := open(tb, path)
	migrate(tb, s)
	return s, path
}

func open(tb testing.TB, path string) *sqlite.Store {
	tb.Helper()
	s, err := sqlite.Open(tb.Context(), path, sqlite.Config{Log: zaptest.NewLogger(tb, zaptest.Level(zapcore.ErrorLevel))})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

func migrate(tb testing.TB, s *sqlite.Store) {
	tb.Helper()
	if err := s.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) jobstore.Store {
		t.Helper()
		s, _ := fresh(t)
		return s
	})
}

func TestContractInMemory(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) jobstore.Store {
		t.Helper()
		s := open(t, sqlite.Memory)
		migrate(t, s)
		return s
	})
}
