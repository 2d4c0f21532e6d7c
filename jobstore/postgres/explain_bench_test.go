package postgres_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// explainRows is how many rows a statement of BenchmarkExplain is about.
const explainRows = 400

// BenchmarkExplain says where PostgreSQL's time goes in the statements of a job, in microseconds a row: the parts
// are those of EXPLAIN ANALYZE, whose own clock costs some of it. The least of the turns is what counts.
//
//	go test ./jobstore/postgres -run '^$' -bench Explain -benchtime 20x
func BenchmarkExplain(b *testing.B) {
	const rows = explainRows
	s, dsn := fresh(b)
	conn := connect(b, dsn)
	by := register(b, s)
	for _, set := range []string{"plan_cache_mode = force_generic_plan", "enable_seqscan = off", "jit = off"} {
		exec(b, conn, "SET "+set)
	}
	ready := func() []jobstore.ID { return preload(b, s, rows, false) }
	claimed := func() []jobstore.ID {
		ids := ready()
		if got, err := s.Claim(b.Context(), by, ids); err != nil || len(got.Leases) != rows {
			b.Fatal(len(got.Leases), err)
		}
		return ids
	}
	who := func() []any { return []any{by.Holder, 1, by.Host, by.PID, by.Queues, by.Priorities, by.Kinds} }
	many := func(text string) []string { return strings.Split(strings.Repeat(text+" ", rows-1)+text, " ") }
	for _, c := range []struct {
		name, sql string
		args      func() []any
	}{
		{"insert", s.InsertPlainSQL(), func() []any {
			jobs := benchJobs(rows)
			args := make([]string, rows)
			for i := range jobs {
				args[i] = string(jobs[i].Args)
			}
			return []any{many(jobs[0].Kind), args, many(jobs[0].Queue), numbers(10), numbers(25), make([]bool, rows)}
		}},
		{"claim", s.ClaimSQL(), func() []any { return append(who(), ready()) }},
		{"claim, plain", s.ClaimPlainSQL(), func() []any { return append(who(), ready()) }},
		{"claim next, plain", s.ClaimNextPlainSQL(), func() []any { ready(); return append(who(), rows, rows+64, nil) }},
		{"claim next", s.ClaimNextSQL(), func() []any { ready(); return append(who(), rows, rows+64, nil) }},
		{"record", s.RecordFinishedSQL(), func() []any {
			return []any{by.Holder, claimed(), numbers(1), numbers(1), many(`{"before":1048576,"after":1048577}`)}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			least := map[string]float64{}
			for b.Loop() {
				parts := explained(b, conn, c.sql, c.args()...)
				if total := parts["total"]; least["total"] == 0 || total < least["total"] {
					least = parts
				}
			}
			b.ReportMetric(0, "ns/op")
			for part, ms := range least {
				b.ReportMetric(1000*ms/rows, "µs-"+part+"/row")
			}
		})
	}
}

func numbers(v int64) []int64 {
	out := make([]int64, explainRows)
	for i := range out {
		out[i] = v
	}
	return out
}

// step is a node of a plan with its times.
type step struct {
	Type     string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Part     string  `json:"Subplan Name"`
	CTE      string  `json:"CTE Name"`
	Time     float64 `json:"Actual Total Time"`
	Loops    float64 `json:"Actual Loops"`
	Plans    []step  `json:"Plans"`
}

func explained(b *testing.B, conn *pgx.Conn, sql string, args ...any) map[string]float64 {
	b.Helper()
	var text string
	if err := conn.QueryRow(b.Context(), "EXPLAIN (ANALYZE, FORMAT JSON) "+sql, args...).Scan(&text); err != nil {
		b.Fatal(err)
	}
	var plans []struct {
		Plan  step
		Total float64 `json:"Execution Time"`
	}
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		b.Fatal(err)
	}
	parts, read := map[string]float64{}, map[string]bool{}
	plans[0].Plan.find(read)
	plans[0].Plan.own(read, parts)
	sum := 0.0
	for _, ms := range parts {
		sum += ms
	}
	parts["rest"] += plans[0].Total - sum // starting and ending the statement
	parts["total"] = plans[0].Total
	return parts
}

// find notes the parts with names that are read by a step.
func (s *step) find(read map[string]bool) {
	read[s.CTE] = true
	for i := range s.Plans {
		s.Plans[i].find(read)
	}
}

// own adds what each step takes by itself.
func (s *step) own(read map[string]bool, parts map[string]float64) {
	took := s.Time * s.Loops
	for i := range s.Plans {
		p := &s.Plans[i]
		p.own(read, parts)
		if name, ok := strings.CutPrefix(p.Part, "CTE "); !ok {
			took -= p.Time * p.Loops
		} else if read[name] {
			parts["rest"] -= p.Time * p.Loops // it is in the time of its reader, too
		}
	}
	what := "rest"
	switch {
	case s.Type == "ModifyTable":
		what = "write-" + s.Relation
	case s.Type == "LockRows":
		what = "lock"
	case strings.HasPrefix(s.Type, "Index"):
		what = "look-up"
	}
	parts[what] += took
}
