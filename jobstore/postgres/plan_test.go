package postgres_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore/postgres"
)

// Every statement can be prepared against the migrated schema, and says what it is first.
func TestStatementsPrepare(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	for i, text := range s.Statements() {
		first, _, _ := strings.Cut(text, "\n")
		if !strings.HasPrefix(first, "-- warren: ") {
			t.Errorf("statement %d begins with %q", i, first)
		}
		if strings.Contains(text, "CREATE SCHEMA") {
			continue // several commands, which only the simple protocol takes; Migrate has run it
		}
		if _, err := conn.Prepare(t.Context(), fmt.Sprintf("s%d", i), text); err != nil {
			t.Errorf("%s: %v", first, err)
		}
	}
}

// planRows is how much the hot statements are planned for, a tenth of it READY in groups.
const planRows = 100_000

// Hot statements must find rows by their numbers, whatever the statistics say and however general
// the plan is. The wrong statistics are those of an empty table, and those of a table where
// nothing is READY or PROCESSING.
func TestPlans(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		lie  func(conn *pgx.Conn)
	}{
		{"analyzed while empty", func(conn *pgx.Conn) {
			exec(t, conn, "VACUUM ANALYZE warren.jobs_live")
			fill(t, conn, "READY")
		}},
		{"analyzed while nothing was ready", func(conn *pgx.Conn) {
			fill(t, conn, "SCHEDULED")
			exec(t, conn, "VACUUM ANALYZE warren.jobs_live")
			exec(t, conn, "UPDATE warren.jobs_live SET state = 'READY', available_at = now()")
		}},
		{"analyzed while all were running", func(conn *pgx.Conn) {
			fill(t, conn, "PROCESSING")
			exec(t, conn, "VACUUM ANALYZE warren.jobs_live")
			exec(t, conn, "UPDATE warren.jobs_live SET state = 'READY', holder = NULL")
		}},
		{"analyzed rightly", func(conn *pgx.Conn) {
			fill(t, conn, "READY")
			exec(t, conn, "VACUUM ANALYZE warren.jobs_live")
		}},
		// A plan that is made now stays when the table grows. Wherever all of a few rows cost no more than one of them,
		// a statement must not be able to read all.
		{"planned while there were a few", func(conn *pgx.Conn) {
			fillSome(t, conn, "READY", 11)
			exec(t, conn, "VACUUM ANALYZE warren.jobs_live")
		}},
		{"planned while there were hundreds, most of them dead", func(conn *pgx.Conn) {
			fillSome(t, conn, "READY", 500)
			exec(t, conn, "DELETE FROM warren.jobs_live WHERE id % 50 <> 0")
			exec(t, conn, "ANALYZE warren.jobs_live")
		}},
		{"analyzed while one band held everything", func(conn *pgx.Conn) {
			fill(t, conn, "READY")
			exec(t, conn, "UPDATE warren.jobs_live SET serial_group = NULL, priority = 10")
			exec(t, conn, "VACUUM ANALYZE warren.jobs_live")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, dsn := fresh(t)
			conn := connect(t, dsn)
			exec(t, conn, "ALTER TABLE warren.jobs_live SET (autovacuum_enabled = off)")
			c.lie(conn)
			for _, mode := range []string{"force_generic_plan", "force_custom_plan"} {
				exec(t, conn, "SET plan_cache_mode = "+mode)
				exec(t, conn, "SET enable_seqscan = off") // as on the store's own connections
				checkPlans(t, s, conn)
				exec(t, conn, "DEALLOCATE ALL")
			}
		})
	}
}

func fill(tb testing.TB, conn *pgx.Conn, state string) {
	tb.Helper()
	fillSome(tb, conn, state, planRows)
}

func fillSome(tb testing.TB, conn *pgx.Conn, state string, rows int) {
	tb.Helper()
	exec(tb, conn, `INSERT INTO warren.jobs_live (state, queue, kind, priority, serial_group, holder, available_at)
		SELECT $1, 'default', 'k', 10 + 10 * (n % 3), CASE WHEN n % 10 = 0 THEN 'g' || n % 100 END,
		CASE WHEN $1 = 'PROCESSING' THEN 1 END, now() + CASE WHEN $1 = 'SCHEDULED' THEN interval '1 h' ELSE interval '0' END
		FROM generate_series(1, $2::int) n`, state, rows)
	exec(tb, conn, "INSERT INTO warren.consumers (host, pid, expires_at) VALUES ('h', 1, now() + interval '1 h')")
}

func checkPlans(t *testing.T, s *postgres.Store, conn *pgx.Conn) {
	t.Helper()
	ten := "'{1,2,3,4,5,6,7,8,9,10}'"
	who := "1, 1, 'h', 1, '{default}', '{10,20,30}', '{k}'"
	byNumber := []string{"jobs_live_id", "jobs_live_group"}
	for _, c := range []struct {
		name, sql, args string
		indexes         []string // that may be used on jobs_live
	}{
		{"claim", s.ClaimSQL(), who + ", " + ten, byNumber},
		{"record", s.RecordSQL(), "1, " + ten + ", " + ten + ", array_fill('FINISHED'::text, '{10}'), " + ten + ", array_fill(false, '{10}'), " +
			strings.Repeat("array_fill(NULL::text, '{10}'), ", 3) + ten + ", array_fill(NULL::text, '{10}'), array_fill(true, '{10}')", byNumber},
		{"record finished", s.RecordFinishedSQL(), "1, " + ten + ", " + ten + ", " + ten + ", array_fill(NULL::text, '{10}')", byNumber},
		{"note", s.NoteSQL(), ten + ", " + ten + ", " + ten + ", array_fill('{}'::text, '{10}')", byNumber},
		{"claim, plain", s.ClaimPlainSQL(), who + ", " + ten, []string{"jobs_live_id"}},
		{"claim next, plain", s.ClaimNextPlainSQL(), who + ", 10, 74, '{5,5,5}'", append(byNumber, "jobs_live_ready")},
		{"claim next", s.ClaimNextSQL(), who + ", 10, 74, '{5,5,5}'", append(byNumber, "jobs_live_ready")},
		{"claim next, in turn", s.ClaimTurnsSQL(), who + ", 10, 74, NULL, '{default,default}', '{10,20}', '{0,0}', '{1,0.5}'", append(byNumber, "jobs_live_ready")},
		{"announced", s.AnnouncedSQL(), ten, []string{"jobs_live_id"}},
		{"unannounced", s.UnannouncedSQL(), ten, []string{"jobs_live_id"}},
		{"announce later", s.AnnounceLaterSQL(), ten + ", 1000000", []string{"jobs_live_id"}},
		{"granted before", s.GrantedSQL(), "1, 1, " + ten, []string{"jobs_live_id"}},
		{"due", s.BatchSQL()["due"], "10, '{}'", []string{"jobs_live_id", "jobs_live_due"}},
		{"oldest", s.OldestSQL(), "'{default,default}', '{10,20}'", []string{"jobs_live_ready"}},
		{"ready from", s.ReadyFromSQL(), "'default', 10, 5, 10", []string{"jobs_live_ready"}},
		{"rescue", s.RescueSQL(), "'{1}', 100, 3, '{}'", append(byNumber, "jobs_live_holder")},
		{"gauges", s.GaugesSQL(), "1000, 10", []string{"jobs_live_ready", "jobs_live_group", "jobs_live_due", "jobs_live_holder", "jobs_live_announce"}},
	} {
		name := fmt.Sprintf("p%d", len(c.sql))
		exec(t, conn, "PREPARE "+name+" AS "+c.sql)
		plan := explain(t, conn, name+"("+c.args+")")
		plan.walk(func(n node) {
			if n.Relation == "jobs_live" && n.Type == "Seq Scan" {
				t.Errorf("%s scans the whole table:\n%s", c.name, plan)
			}
			index := n.Index
			if index == "" || !strings.HasPrefix(index, "jobs_live") {
				return
			}
			if index == "jobs_live_id" && n.Cond == "" {
				t.Errorf("%s reads the whole index of numbers:\n%s", c.name, plan)
			}
			if slices.Contains(c.indexes, index) {
				return
			}
			t.Errorf("%s reads index %s:\n%s", c.name, index, plan)
		})
	}
}

// A statement that takes a batch of many rows looks up those, and reads no index from end to end
// to join them, whatever the planner makes of a LIMIT that it does not know.
func TestBatchPlans(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	exec(t, conn, `INSERT INTO warren.jobs_live (state, queue, kind, priority, available_at)
		SELECT CASE WHEN n % 2 = 0 THEN 'READY' ELSE 'SCHEDULED' END, 'default', 'k', 10, now() - interval '1 h'
		FROM generate_series(1, $1::int) n`, planRows)
	exec(t, conn, `INSERT INTO warren.jobs_history (state, queue, kind, priority, finished_at)
		SELECT 'FINISHED', 'default', 'k', 10, now() - interval '1 d' + n * interval '1 ms' FROM generate_series(1, $1::int) n`, planRows)
	exec(t, conn, "VACUUM ANALYZE warren.jobs_live, warren.jobs_history")
	for _, set := range []string{"plan_cache_mode = force_generic_plan", "enable_seqscan = off", "jit = off"} {
		exec(t, conn, "SET "+set)
	}
	args := map[string]string{
		"due": "500, '{}'", "retain": "'{FINISHED}', '{1000}', 500", "clear": "'FINISHED', 1000, '-infinity', 500",
		"reannounce": "'default', 0, 0, 500",
	}
	for name, text := range s.BatchSQL() {
		exec(t, conn, "PREPARE "+name+" AS "+text)
		plan := explain(t, conn, name+"("+args[name]+")")
		plan.walk(func(n node) {
			if n.Type == "Seq Scan" || strings.HasPrefix(n.Index, "jobs_") && strings.HasSuffix(n.Index, "_id") && n.Cond == "" {
				t.Errorf("%s reads all of %s %s:\n%s", name, n.Relation, n.Index, plan)
			}
		})
	}
}

func explain(t *testing.T, conn *pgx.Conn, call string) node {
	t.Helper()
	var text string
	if err := conn.QueryRow(t.Context(), "EXPLAIN (FORMAT JSON) EXECUTE "+call, pgx.QueryExecModeSimpleProtocol).Scan(&text); err != nil {
		t.Fatalf("%s: %v", call, err)
	}
	var plans []struct{ Plan node }
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		t.Fatal(err)
	}
	return plans[0].Plan
}

type node struct {
	Type     string `json:"Node Type"`
	Cond     string `json:"Index Cond"`
	Relation string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Plans    []node `json:"Plans"`
}

// String is the plan as an indented list.
func (n node) String() string {
	lines := []string{strings.TrimSpace(n.Type + " " + n.Relation + " " + n.Index)}
	for _, p := range n.Plans {
		lines = append(lines, "  "+strings.ReplaceAll(p.String(), "\n", "\n  "))
	}
	return strings.Join(lines, "\n")
}

func (n node) walk(visit func(node)) {
	visit(n)
	for _, p := range n.Plans {
		p.walk(visit)
	}
}
