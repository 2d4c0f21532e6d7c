package postgres_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// dumpSQL describes the schema as its people know it: columns, constraints, indexes, triggers,
// functions by signature, and who may do what.
const dumpSQL = `
SELECT line FROM (
  SELECT 1 AS part, c.relname || '.' || lpad(a.attnum::text, 2, '0') AS key, format('%s.%s %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
    CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END, ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid)) AS line
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
  WHERE c.relnamespace = 'warren'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT 2, c.relname || '.' || k.conname, format('%s %s', c.relname, pg_get_constraintdef(k.oid))
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE k.connamespace = 'warren'::regnamespace AND NOT c.relispartition
  UNION ALL
  SELECT 3, c.relname, format('%s %s', c.relname, pg_get_expr(c.relpartbound, c.oid)) FROM pg_class c
  WHERE c.relnamespace = 'warren'::regnamespace AND c.relispartition AND c.relkind = 'r'
  UNION ALL
  SELECT 4, indexname, indexdef FROM pg_indexes WHERE schemaname = 'warren'
  UNION ALL
  SELECT 5, c.relname || t.tgname, pg_get_triggerdef(t.oid, true) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
  WHERE c.relnamespace = 'warren'::regnamespace AND NOT t.tgisinternal AND t.tgparentid = 0
  UNION ALL
  SELECT 6, p.proname, format('%s(%s) %s', p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid))
  FROM pg_proc p WHERE p.pronamespace = 'warren'::regnamespace
  UNION ALL
  SELECT 7, g.grantee || g.table_name, format('%s may %s on %s', g.grantee, string_agg(g.privilege_type, ', ' ORDER BY g.privilege_type), g.table_name)
  FROM information_schema.role_table_grants g WHERE g.table_schema = 'warren' AND g.grantee LIKE 'warren_%' AND g.grantee <> 'warren_owner'
  GROUP BY g.grantee, g.table_name
) d ORDER BY part, key COLLATE "C"`

// The schema that the migrations make, as a file that people read in reviews.
func TestSchemaGolden(t *testing.T) {
	t.Parallel()
	_, dsn := fresh(t)
	rows, err := connect(t, dsn).Query(t.Context(), dumpSQL)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(lines, "\n") + "\n"
	const file = "testdata/schema.golden"
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" || os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the schema is not %s; look at the difference, then run with UPDATE_GOLDEN=1. It is:\n%s", file, got)
	}
}

func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	var wg sync.WaitGroup
	for range 10 {
		s := open(t, dsn, postgres.Config{MaxConns: 1})
		wg.Go(func() {
			if err := s.Migrate(t.Context()); err != nil {
				t.Errorf("migrate: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestSchemaNumbers(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	s := open(t, dsn, postgres.Config{})
	want := func(when string, parts ...string) {
		t.Helper()
		err := s.Check(t.Context())
		if (len(parts) == 0) != (err == nil) || err != nil && !errors.Is(err, jobstore.ErrSchema) {
			t.Fatalf("%s: %v", when, err)
		}
		for _, p := range parts {
			if !strings.Contains(err.Error(), p) {
				t.Errorf("%s: %q does not say %q", when, err, p)
			}
		}
	}
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	ours, newer := len(files), len(files)+1
	want("no schema", "schema warren is empty", fmt.Sprint("needs number ", ours), "warren migrate up")
	_, err = s.Insert(t.Context(), []jobstore.NewJob{{Kind: "k", Queue: "q"}})
	if !errors.Is(err, jobstore.ErrSchema) {
		t.Errorf("insert without a schema: %v", err)
	}
	migrate(t, s)
	want("migrated")
	conn := connect(t, dsn)
	exec(t, conn, "INSERT INTO warren.schema_migrations (number, name, compatible_from) VALUES ($1, 'new', $2)", newer, ours)
	want("newer and compatible")
	migrate(t, s)
	exec(t, conn, "UPDATE warren.schema_migrations SET compatible_from = $1 WHERE number = $1", newer)
	want("newer and incompatible", fmt.Sprint("number ", newer), "upgrade this program")
	exec(t, conn, "DELETE FROM warren.schema_migrations WHERE number > 3")
	want("older", "has number 3", fmt.Sprint("needs ", ours), "warren migrate up")
}

func TestOtherSchema(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	for _, name := range []string{"user", "w_2"} { // a reserved word, and a neighbour
		s := open(t, dsn, postgres.Config{Schema: name})
		migrate(t, s)
		got, err := s.Insert(t.Context(), []jobstore.NewJob{{Kind: "k", Queue: "default", Priority: 10, MaxAttempts: 1}})
		if err != nil || got[0].ID != 1 {
			t.Errorf("schema %s: %+v, %v", name, got, err)
		}
		text, err := postgres.MigrationSQL(name)
		if err != nil || strings.Contains(text, "@schema") || !strings.Contains(text, pgx.Identifier{name}.Sanitize()+".jobs") {
			t.Errorf("schema %s: the SQL of its migrations: %v", name, err)
		}
	}
	for _, name := range []string{"A", "a-b", `a"b`, "1a", strings.Repeat("a", 64), "a; DROP"} {
		if _, err := postgres.Open(t.Context(), dsn, postgres.Config{Schema: name}); !errors.Is(err, jobstore.ErrInvalid) {
			t.Errorf("schema %q: %v", name, err)
		}
	}
}

// What MigrationSQL prints is what Migrate runs.
func TestMigrationSQL(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	s := open(t, dsn, postgres.Config{})
	text, err := postgres.MigrationSQL("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, dsn).PgConn().Exec(t.Context(), text).ReadAll(); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// The roles may do what they are for, and nothing else.
func TestRoles(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	_, err := s.Insert(t.Context(), []jobstore.NewJob{{Kind: "k", Queue: "default", Priority: 10, MaxAttempts: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		role, sql string
		ok        bool
	}{
		{"warren_app", "SELECT warren.enqueue('k')", true},
		{"warren_app", "UPDATE warren.jobs SET state = 'BACK_TO_BROKER'", true},
		{"warren_app", "INSERT INTO warren.consumers (host, pid, expires_at) VALUES ('h', 1, now())", true},
		{"warren_app", "DROP TABLE warren.jobs", false},
		{"warren_app", "ALTER TABLE warren.jobs ADD COLUMN x int", false},
		{"warren_app", "TRUNCATE warren.jobs", false},
		{"warren_app", "ALTER TABLE warren.jobs DISABLE TRIGGER ALL", false},
		{"warren_app", "CREATE TABLE warren.x ()", false},
		{"warren_app", "DELETE FROM warren.schema_migrations", false},
		{"warren_read", "SELECT count(*) FROM warren.jobs", true},
		{"warren_read", "UPDATE warren.jobs SET priority = 20", false},
		{"warren_read", "INSERT INTO warren.jobs (queue, kind, priority) VALUES ('q', 'k', 10)", false},
		{"warren_read", "DELETE FROM warren.jobs", false},
		{"warren_read", "SELECT warren.enqueue('k')", false},
		{"warren_owner", "ALTER TABLE warren.jobs ADD COLUMN x int", true},
	} {
		conn := connect(t, dsn)
		exec(t, conn, "SET ROLE "+c.role)
		_, err := conn.Exec(t.Context(), c.sql)
		var pg *pgconn.PgError
		switch {
		case c.ok && err != nil:
			t.Errorf("%s: %s: %v", c.role, c.sql, err)
		case !c.ok && (!errors.As(err, &pg) || pg.Code != "42501"):
			t.Errorf("%s: %s: %v, want 42501", c.role, c.sql, err)
		}
	}
}

// A plain owner of a database, who may not create roles, migrates and works.
func TestMigrateWithoutCreateRole(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	admin := connect(t, dsn)
	conf := admin.Config()
	// A schema of its own, because another test may have made the roles of the default one.
	exec(t, admin, "CREATE ROLE plain_"+conf.Database[len(conf.Database)-12:]+" LOGIN PASSWORD 'x'")
	user := "plain_" + conf.Database[len(conf.Database)-12:]
	exec(t, admin, "ALTER DATABASE "+pgx.Identifier{conf.Database}.Sanitize()+" OWNER TO "+user)
	conn := strings.Replace(dsn, "//"+conf.User, "//"+user, 1)
	if !strings.Contains(conn, user) {
		t.Fatalf("no user in %s", dsn)
	}
	for _, schema := range []string{"plain", "warren"} {
		s := open(t, conn, postgres.Config{Schema: schema})
		migrate(t, s)
		if _, err := s.Insert(t.Context(), []jobstore.NewJob{{Kind: "k", Queue: "default", Priority: 10, MaxAttempts: 1}}); err != nil {
			t.Errorf("schema %s: %v", schema, err)
		}
		register(t, s)
	}
}

// A program that starts while another makes the schema sees all of it or nothing: with a part of it it
// would refuse to work.
func TestTheFirstMigrationIsSeenWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	maker, other := open(t, dsn, postgres.Config{}), open(t, dsn, postgres.Config{})
	made := make(chan error, 1)
	go func() { made <- maker.Migrate(t.Context()) }()
	for ended := false; !ended; {
		select {
		case err := <-made:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		default:
		}
		list, err := other.Migrations(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		applied := 0
		for _, m := range list {
			if m.Applied {
				applied++
			}
		}
		if applied != len(list) && (applied != 0 || ended) {
			t.Fatalf("%d of %d migrations are there; ended %t", applied, len(list), ended)
		}
	}
}
