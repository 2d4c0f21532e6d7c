package postgres_test

import (
	"strings"
	"testing"
)

// With ten thousand schedules and their runs, what is asked all the time finds its rows by an index: the
// glance of the sweep, due schedules, ticks that have a row, ticks to forget.
func TestSchedulePlans(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	exec(t, conn, `INSERT INTO warren.job_schedules (name, definition, look_at, tick, job_id)
		SELECT 's' || n, '{}', now() + n * interval '1 s', now() + n * interval '1 s', n FROM generate_series(1, 10000) n`)
	exec(t, conn, `INSERT INTO warren.job_ticks (schedule, tick, job_id)
		SELECT 's' || n % 10000, now() - n * interval '1 s', n FROM generate_series(1, 100000) n`)
	exec(t, conn, "VACUUM ANALYZE warren.job_schedules, warren.job_ticks")
	for _, set := range []string{"plan_cache_mode = force_generic_plan", "enable_seqscan = off", "jit = off"} {
		exec(t, conn, "SET "+set)
	}
	for name, args := range map[string]string{
		"look": "('{}')", "due schedules": "(100)", "taken ticks": "('{s1,s2}', '{2026-01-01,2026-01-01}')", "forget ticks": "('{s1,s2}', 100)",
		"schedule runs": "('s1', 10)",
	} {
		prepared := strings.ReplaceAll(name, " ", "_")
		for _, text := range s.Statements() {
			if strings.HasPrefix(text, "-- warren: "+name+"\n") {
				exec(t, conn, "PREPARE "+prepared+" AS "+text)
			}
		}
		plan := explain(t, conn, prepared+args)
		found := 0
		plan.walk(func(n node) {
			// An index is known by its table and what of it is looked for; a bitmap has no table's name.
			if n.Relation != "job_schedules" && n.Relation != "job_ticks" && !strings.HasPrefix(n.Index, "job_schedules") && !strings.HasPrefix(n.Index, "job_ticks") {
				return
			}
			found++
			if n.Type == "Seq Scan" || n.Index != "" && n.Cond == "" {
				t.Errorf("%s reads all of %s %s:\n%s", name, n.Relation, n.Index, plan)
			}
		})
		if found == 0 {
			t.Errorf("%s reads no schedules:\n%s", name, plan)
		}
	}
}
