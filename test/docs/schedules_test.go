package docs

import (
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/internal/testenv"
)

// What docs/schedules.md has people type does what it says, in this order.
func TestSchedulesPage(t *testing.T) {
	t.Parallel()
	all := blocks(t, "../../docs/schedules.md")
	lines := append([]string{`make build && export PATH="$PWD/bin:$PATH"`}, typed(t, one(t, all, "Try it", "console"))...)
	out := run(t, checkout(t), nil, "bash", "-euo", "pipefail", "-c", strings.Join(lines, "\n"))
	for _, want := range []string{
		`(?m)^nightly +cron 30 2 \* \* \* +Europe/Berlin +probe +\d{4}-\S+ \S+ +\d+ +- +declared$`,
		`(?m)^import +every 15m0s from 05:00 to 23:00 +Europe/Berlin `,
		`(?m)^launch +once 2099-01-01T07:00:00Z +UTC `,
		`(?m)^\d+ +default +10 +probe +SCHEDULED `,
		`2027-03-27T02:30:00\+01:00\n2027-03-28T03:00:00\+02:00\n2027-03-29T02:30:00\+02:00\n`,
		`(?m)^added schedule second \(every 1s\): next `,
		`(?m)^run +\S+ +job \d+ +FINISHED$`,
		`(?m)^schedule second is paused$`,
		`(?m)^changed schedule nightly \(cron 0 4 \* \* \*\): next `,
		`(?m)^nightly +cron 0 4 \* \* \* +Europe/Berlin +probe +\S+ \S+ +\d+ +- +declared, edited$`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("nothing printed %s:\n%s", want, out)
		}
	}
}

// The page's SQL works.
func TestSchedulesPageSQL(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	run(t, checkout(t), []string{"AMQP_URL=none", "DATABASE_URL=" + dsn}, "go", "run", "./cmd/warren", "migrate", "up")
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), one(t, blocks(t, "../../docs/schedules.md"), "In the database", "sql")); err != nil {
		t.Error(err)
	}
}
