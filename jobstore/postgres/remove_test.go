package postgres_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/jobstore/postgres"
)

// Remove leaves nothing of its own schema, and everything of another that has the same name but for its end.
func TestRemove(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := testenv.Postgres(t)
	open := func(schema string) *postgres.Store {
		s, err := postgres.Open(ctx, dsn, postgres.Config{Schema: schema})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		if err := s.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
		return s
	}
	kept, gone := open("keep_me"), open("keep_me_not")
	exists := func(s *postgres.Store, want bool) {
		t.Helper()
		if there, err := s.Exists(ctx); err != nil || there != want {
			t.Errorf("schema %s exists: %v, %v; want %v", s.Schema(), there, err, want)
		}
	}
	exists(gone, true)
	for range 2 { // the second time there is nothing to remove
		if err := gone.Remove(ctx); err != nil {
			t.Fatal(err)
		}
	}
	exists(gone, false)
	exists(kept, true)
	if err := kept.Check(ctx); err != nil {
		t.Errorf("the other schema: %v", err)
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	var schemas, roles int
	if err := conn.QueryRow(ctx, `SELECT (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'keep\_me%'),
		(SELECT count(*) FROM pg_roles WHERE rolname LIKE 'keep\_me\_not%')`).Scan(&schemas, &roles); err != nil {
		t.Fatal(err)
	}
	if schemas != 1 || roles != 0 {
		t.Errorf("%d schemas and %d roles are left, want 1 and 0", schemas, roles)
	}
}
