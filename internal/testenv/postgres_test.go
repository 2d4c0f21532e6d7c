package testenv_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/internal/testenv"
)

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(wait(t), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func run(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(wait(t), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func ask[T any](t *testing.T, conn *pgx.Conn, sql string) T {
	t.Helper()
	var answer T
	if err := conn.QueryRow(wait(t), sql).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return answer
}

func TestPostgresGivesEachTestItsOwnDatabase(t *testing.T) {
	t.Parallel()
	first, second := testenv.Postgres(t), testenv.Postgres(t)
	if first == second {
		t.Fatalf("the same database twice: %s", first)
	}
	a, b := connect(t, first), connect(t, second)
	run(t, a, "CREATE TABLE mine (n int)")
	if n := ask[int](t, b, "SELECT count(*) FROM pg_tables WHERE tablename = 'mine'"); n != 0 {
		t.Error("one test's table shows in another's database")
	}
	if !ask[bool](t, a, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") {
		t.Error("the role is no superuser")
	}
	run(t, a, "CREATE EXTENSION pg_stat_statements")
	if n := ask[int](t, a, "SELECT count(*) FROM pg_stat_statements"); n == 0 {
		t.Error("pg_stat_statements counts nothing")
	}
}

func TestPostgresDropsTheDatabaseEvenInUse(t *testing.T) {
	t.Parallel()
	var dsn string
	t.Run("inner", func(t *testing.T) {
		dsn = testenv.Postgres(t)
		conn, err := pgx.Connect(wait(t), dsn)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Ping(t.Context())
	})
	if t.Skipped() || dsn == "" {
		t.Skip("no server")
	}
	if conn, err := pgx.Connect(wait(t), dsn); err == nil {
		_ = conn.Close(t.Context())
		t.Error("the database is still there after its test")
	}
}

func TestPostgresServerFaults(t *testing.T) {
	t.Parallel()
	server := testenv.NewPostgres(t)
	dsn := server.CreateDatabase(t)
	conn := connect(t, dsn)
	run(t, conn, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
	if got := ask[string](t, conn, "SHOW fsync"); got != "on" {
		t.Errorf("fsync is %q on a server that may be killed", got)
	}

	// Killed in the middle of a statement: what was committed is there afterwards.
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.WithoutCancel(t.Context()), "SELECT pg_sleep(600)")
		failed <- err
	}()
	server.Kill()
	select {
	case err := <-failed:
		if err == nil {
			t.Error("a statement of ten minutes succeeded across a kill")
		}
	case <-wait(t).Done():
		t.Fatal("a statement survived the kill of its server")
	}
	server.Start()
	conn = connect(t, dsn)
	if n := ask[int](t, conn, "SELECT count(*) FROM kept"); n != 1 {
		t.Errorf("after the crash %d rows, want 1", n)
	}

	// Settings: one that a reload brings, one that needs a restart.
	server.Conf("log_statement", "all")
	if got := ask[string](t, connect(t, dsn), "SHOW log_statement"); got != "all" {
		t.Errorf("log_statement = %q after Conf", got)
	}
	server.Conf("max_connections", "50")
	server.Restart()
	conn = connect(t, dsn)
	if got := ask[string](t, conn, "SHOW max_connections"); got != "50" {
		t.Errorf("max_connections = %q after Conf and Restart", got)
	}
	if log, err := os.ReadFile(server.LogFile()); err != nil || !strings.Contains(string(log), "SHOW max_connections") {
		t.Errorf("the log does not have the statement (%v)", err)
	}

	server.Stop()
	if _, err := pgx.Connect(wait(t), dsn); err == nil {
		t.Error("a stopped server takes connections")
	}
	server.Start()
	connect(t, dsn)
}

func TestPostgresServerFreezes(t *testing.T) {
	t.Parallel()
	server := testenv.NewPostgres(t)
	conn := connect(t, server.URL("postgres"))
	run(t, conn, "SELECT 1")
	server.Freeze()
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.WithoutCancel(t.Context()), "SELECT 1")
		answered <- err
	}()
	// A frozen server takes no connection either: this one runs into its deadline.
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := pgx.Connect(short, server.URL("postgres")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("connecting to a frozen server: %v, want the deadline", err)
	}
	select {
	case err := <-answered:
		t.Fatalf("a frozen server answered (%v)", err)
	default:
	}
	server.Thaw()
	select {
	case err := <-answered:
		if err != nil {
			t.Errorf("after the thaw: %v", err)
		}
	case <-wait(t).Done():
		t.Error("no answer after the thaw")
	}
	server.Freeze() // the cleanup must cope with a frozen server
}

func TestPgBouncerPoolsTransactions(t *testing.T) {
	t.Parallel()
	dsn := testenv.NewPgBouncer(t, testenv.Postgres(t))
	conn, err := pgx.Connect(wait(t), dsn+"&default_query_exec_mode=exec")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	if got := ask[int](t, conn, "SELECT 1"); got != 1 {
		t.Errorf("got %d through the pooler", got)
	}
	// Many more clients than server connections work, which proves that they are shared.
	pids := map[uint32]bool{}
	for range 12 {
		c, err := pgx.Connect(wait(t), dsn+"&default_query_exec_mode=exec")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(context.Background()) })
		pids[ask[uint32](t, c, "SELECT pg_backend_pid()")] = true
	}
	if len(pids) > 4 {
		t.Errorf("12 clients in turn used %d server connections, want at most 4", len(pids))
	}
	// As in the field, startup options are refused.
	if c, err := pgx.Connect(wait(t), dsn+"&statement_timeout=1000"); err == nil {
		_ = c.Close(t.Context())
		t.Error("the pooler took a startup option")
	}
}
