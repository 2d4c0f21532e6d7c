package sqlite_test

import (
	"database/sql"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/warrenq/warren/jobstore/sqlite"
)

// planRows is how much the hot statements are planned for, half of it history.
const planRows = 100_000

func fill(tb testing.TB, db *sql.DB) {
	tb.Helper()
	run(tb, db, `WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
		INSERT INTO jobs (state, kind, queue, priority, serial_group, holder, finished_at, available_at)
		SELECT CASE n % 10 WHEN 0 THEN 'PROCESSING' WHEN 1 THEN 'SCHEDULED' ELSE CASE WHEN n % 2 THEN 'READY' ELSE 'FINISHED' END END,
		  'k', 'default', 10 + 10 * (n % 3), CASE WHEN n % 7 = 0 THEN 'g' || n END, CASE WHEN n % 10 = 0 THEN n % 50 END,
		  CASE WHEN n % 10 > 1 AND n % 2 = 0 THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 day') END, strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 hour')
		FROM n`, planRows)
}

// Hot statements find rows through indexes, whatever somebody has had analyzed before the store
// was opened.
func TestPlans(t *testing.T) {
	t.Parallel()
	_, path := fresh(t)
	db := connect(t, path)
	run(t, db, "INSERT INTO jobs (kind) VALUES ('k')")
	run(t, db, "CREATE TABLE jobsite (name)")
	run(t, db, "INSERT INTO jobsite VALUES ('a table of somebody else')")
	run(t, db, "ANALYZE")
	fill(t, db)
	if plan := explain(t, connect(t, path), sqlite.HotSQL()["claim"]); !slices.ContainsFunc(plan, func(line string) bool { return bad("claim", line) }) {
		t.Errorf("what was analyzed with one job makes no bad plan any more:\n%s", strings.Join(plan, "\n"))
	}
	open(t, path)
	db = connect(t, path)
	checkPlans(t, db)
	if n := number(t, db, "SELECT count(*) FROM sqlite_stat1"); n != 1 {
		t.Errorf("there are statistics of %d tables, want those of jobsite", n)
	}
}

// scanned finds a table of rows that is read from end to end, though its words may be an alias.
var scanned = regexp.MustCompile(`SCAN (\w+)( USING (COVERING )?INDEX (\w+))?`)

func checkPlans(t *testing.T, db *sql.DB) {
	t.Helper()
	hot := sqlite.HotSQL()
	for _, name := range slices.Sorted(maps.Keys(hot)) {
		plan := explain(t, db, hot[name])
		for _, line := range plan {
			if bad(name, line) {
				t.Errorf("%s:\n%s", name, strings.Join(plan, "\n"))
				break
			}
		}
	}
}

// sorts are statements that may sort: what they sort is bounded by the number of groups, or by
// what they were asked for.
func sorts() []string {
	return []string{"heads", "heads of", "claim", "reannounce groups", "others", "blocker", "subjects", "unfinished", "held", "load steps", "load edges", "children", "flow", "steps of a flow", "jobs of steps"}
}

// small are tables, aliases and parts of queries that never hold much.
func small() []string {
	return []string{
		"w", "o", "g", "groups", "json_each", "warren_consumers", "warren_kinds", "warren_settings", "warren_paused_queues", "job_pauses", "c", "k", "q", "s", "p", "bands", "b", "t", "held", "h",
		"CONSTANT",
	}
}

// bad reports whether a line of a plan reads a whole table or index, or sorts a backlog.
func bad(name, line string) bool {
	if strings.HasPrefix(line, "USE TEMP B-TREE") {
		return !slices.Contains(sorts(), name)
	}
	m := scanned.FindStringSubmatch(line)
	if m == nil || slices.Contains(small(), m[1]) || strings.HasPrefix(m[1], "subquery") || strings.Contains(line, "(subquery") {
		return false
	}
	// These read an index in its order and stop at a LIMIT.
	ordered := map[string]string{
		"look": "jobs_due job_steps_calling job_step_ends_job", "others": "jobs_group jobs_due jobs_holder", "bands": "jobs_ready", "heads": "jobs_group",
		"claim heads": "jobs_group", "ahead heads": "jobs_group", "called jobs": "job_steps_calling",
	}
	return m[4] == "" || !strings.Contains(ordered[name], m[4])
}

func explain(t *testing.T, db *sql.DB, text string) (plan []string) {
	t.Helper()
	args := make([]any, strings.Count(text, "?"))
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan
}

// A statement that begins without its name is hard to find in a log.
func TestStatementsAreNamed(t *testing.T) {
	t.Parallel()
	for name, text := range sqlite.HotSQL() {
		if !strings.HasPrefix(text, "-- warren: ") {
			t.Errorf("%s begins with %.20q", name, text)
		}
	}
}
