package argcheck_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/internal/argcheck"
	"github.com/warrenq/warren/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// tryAll casts a value to jsonb and returns 'taken', or the error's code.
const tryAll = `
CREATE FUNCTION pg_temp.try(v text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM v::jsonb;
	RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$`

// TestPostgreSQLAgrees: what Check lets through a jsonb column takes, and what it refuses the
// column refuses too, except numbers that are only too long for us.
func TestPostgreSQLAgrees(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), tryAll); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := generator{rand.New(rand.NewPCG(seed, 0))}
	values := make([]string, 5_000)
	for i := range values {
		values[i] = g.document()
	}
	rows, err := conn.Query(t.Context(), "SELECT pg_temp.try(v) FROM unnest($1::text[]) WITH ORDINALITY AS u(v, n) ORDER BY n", values)
	if err != nil {
		t.Fatal(err)
	}
	answers, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(answers) != len(values) {
		t.Fatalf("%d answers: %v", len(answers), err)
	}
	compare(t, values, answers)
}

func compare(t *testing.T, values, answers []string) {
	t.Helper()
	accepted, refused, ours := 0, 0, 0
	for i, v := range values {
		err := argcheck.Check([]byte(v), 0)
		taken := answers[i] == "taken"
		switch {
		case err == nil && taken:
			accepted++
		case err == nil:
			t.Errorf("Check takes %.200q, PostgreSQL says %s", v, answers[i])
		case !taken:
			refused++
		case strings.Contains(err.Error(), "digits when written out"):
			ours++
		default:
			t.Errorf("PostgreSQL takes %.200q, Check says %v", v, err)
		}
	}
	t.Logf("%d accepted, %d refused by both, %d numbers refused by us", accepted, refused, ours)
	if accepted < 500 || refused < 500 || ours < 100 {
		t.Error("the values do not try enough of each")
	}
}

// generator makes JSON of what is hard about it, some of it broken.
type generator struct{ *rand.Rand }

func (g generator) pick(of ...string) string { return of[g.IntN(len(of))] }

func (g generator) document() string {
	v := g.value(0)
	if g.IntN(20) == 0 {
		at := g.IntN(len(v) + 1)
		broken := v[:at] + g.pick("x", ",", "]", "e", `\`, `"`, "\n", "\t") + v[at:]
		if utf8.ValidString(broken) { // pgx would not send it
			return broken
		}
	}
	return v
}

func (g generator) value(depth int) string {
	switch kind := g.IntN(8); {
	case kind < 2 || depth > 4:
		return g.text()
	case kind < 5:
		return g.number()
	case kind == 5:
		return g.pick("null", "true", "false", "[]", "{}")
	default:
		parts := make([]string, g.IntN(4))
		for i := range parts {
			if parts[i] = g.value(depth + 1); kind == 7 {
				parts[i] = g.text() + ": " + parts[i]
			}
		}
		if kind == 7 {
			return "{" + strings.Join(parts, ", ") + "}"
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
}

func (g generator) text() string {
	var b strings.Builder
	for range g.IntN(5) {
		b.WriteString(g.pick("a", "é", "😀", `\n`, `\\`, `\"`, `\u0041`, `\u0000`, `\ud83d`, `\ude00`, `\ud83d\ude00`, `\uDBFF\uDFFF`,
			`\\u0000`, `\ufffe`, `\uFFFD`, `\/`, "\x7f", `\u001f`, `\u2028`))
	}
	return `"` + b.String() + `"`
}

func (g generator) number() string {
	long := func(digit string) string { return strings.Repeat(digit, g.IntN(1200)+1) }
	return g.pick("", "-") + g.pick("0", "1", "12", "999", long("8")) + g.pick("", "", ".5", ".00012", "."+long("3")) +
		g.pick("", "", "e0", "E+5", "e-7", "e400", "e-400", "e998", "e999", "e1000", "e-998", "e-999", "e-1000", "e131071", "e200000", "e-16384", "e99999999999")
}
