package cli_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/internal/cli"
	"github.com/warrenq/warren/internal/testenv"
)

type finding struct{ Check, Status, Value, Remedy string }

// examine runs the doctor and returns its findings by check, and its exit code.
func (p person) examine() (found map[string]finding, code int) {
	p.t.Helper()
	out, problems, code := p.run(p.t.Context(), cli.Warren, "doctor", "-o", "json")
	var list []finding
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		p.t.Fatalf("%v: %s%s", err, out, problems)
	}
	if strings.Contains(out+problems, canary) {
		p.t.Errorf("a secret is shown: %s%s", out, problems)
	}
	found = map[string]finding{}
	for _, f := range list {
		found[f.Check] = f
		if f.Status != "ok" && f.Remedy == "" {
			p.t.Errorf("no remedy: %+v", f)
		}
	}
	return found, code
}

func (p person) sql(dsn string, statements ...string) {
	p.t.Helper()
	conn, err := pgx.Connect(p.t.Context(), dsn)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := conn.Exec(p.t.Context(), s); err != nil {
			p.t.Fatalf("%s: %v", s, err)
		}
	}
	if err := conn.Close(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

// wants compares the findings of some checks: status and a part of the value.
func wants(t *testing.T, found map[string]finding, want map[string][2]string) {
	t.Helper()
	for check, w := range want {
		if f := found[check]; f.Status != w[0] || !strings.Contains(f.Value, w[1]) {
			t.Errorf("%s: %+v, want %s with %q", check, f, w[0], w[1])
		}
	}
}

func TestDoctorOfADatabase(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	p := person{t: t, config: newPerson(t).config}.with("DATABASE_URL=" + withPassword(dsn))
	found, code := p.examine()
	wants(t, found, map[string][2]string{"schema": {"fail", "schema warren is empty"}, "PostgreSQL": {"ok", ""}})
	if code != 1 {
		t.Errorf("exit code %d with an empty database", code)
	}
	p.must(cli.Warren, "migrate", "up")
	found, code = p.examine()
	wants(t, found, map[string][2]string{
		"schema": {"ok", "warren, migration"}, "timeouts": {"ok", "statement_timeout 3s"}, "pooler": {"ok", "none noticed"},
		"clock": {"ok", "differs by"}, "database rights": {"ok", "postgres may"}, "plans": {"ok", "no hot statement"},
		"leader": {"warn", "no consumer is alive"}, "outbox": {"ok", "empty"}, "oldest READY job": {"ok", "none waits"},
		"consumers": {"warn", "default/10, default/20, media/10, media/20"}, "broker": {"ok", "none is configured"},
	})
	if code != 0 {
		t.Errorf("exit code %d when there are only warnings: %+v", code, found)
	}

	p.sql(dsn,
		"INSERT INTO warren.leaders VALUES ('sweep', 'h:1', 1, now() + interval '1 h')",
		"INSERT INTO warren.consumers (host, pid, queues, priorities, expires_at) VALUES ('h', 1, '{default,media}', '{10,20}', now() + interval '1 h')",
		"INSERT INTO warren.jobs (kind, queue, priority, available_at, announce_at) VALUES ('k', 'default', 10, now() - interval '1 h', now() - interval '2 min')",
		"DROP INDEX warren.jobs_live_due", "DROP INDEX warren.jobs_live_id",
	)
	found, code = p.examine()
	wants(t, found, map[string][2]string{
		"leader": {"ok", "h:1 sweeps"}, "consumers": {"ok", "every one of the 4"}, "outbox": {"fail", "1 jobs wait to be announced, the oldest for 2m"},
		"oldest READY job": {"warn", "the oldest for 1h0m"}, "plans": {"fail", "claim, plain claim, plain claim next, claim next, look, due"},
	})
	if code != 1 {
		t.Errorf("exit code %d when something fails", code)
	}
}

func TestDoctorOfRightsAndPoolers(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	p := person{t: t, config: newPerson(t).config}
	p.with("DATABASE_URL="+dsn).must(cli.Warren, "migrate", "up")
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	login := "warren_doctor_" + strings.TrimPrefix(u.Path, "/")[:20] + "_login"
	p.sql(dsn, "CREATE ROLE "+login+" LOGIN")
	defer p.sql(dsn, "DROP OWNED BY "+login, "DROP ROLE "+login)
	u.User = url.User(login)
	p.sql(dsn, "GRANT warren_read TO "+login)
	found, code := p.with("DATABASE_URL=" + u.String()).examine()
	wants(t, found, map[string][2]string{"database rights": {"fail", login + " lacks DELETE on consumers"}})
	if remedy := found["database rights"].Remedy; code != 1 || !strings.Contains(remedy, `GRANT "warren_app" TO "`+login+`"`) {
		t.Errorf("exit code %d, remedy %s", code, remedy)
	}
	p.sql(dsn, "GRANT warren_app TO "+login)
	found, code = p.with("DATABASE_URL=" + u.String()).examine()
	wants(t, found, map[string][2]string{"database rights": {"ok", login + " may"}, "plans": {"ok", ""}})
	if code != 0 {
		t.Errorf("exit code %d: %+v", code, found)
	}
	found, code = p.with("DATABASE_URL=" + testenv.NewPgBouncer(t, dsn)).examine()
	wants(t, found, map[string][2]string{"pooler": {"ok", "a transaction pooler"}, "timeouts": {"ok", "3s"}, "plans": {"ok", ""}})
	if code != 0 {
		t.Errorf("behind a pooler: exit code %d: %+v", code, found)
	}
	found, code = p.with("DATABASE_URL=postgres://postgres:" + canary + "@127.0.0.1:1/app").examine()
	wants(t, found, map[string][2]string{"database": {"fail", "127.0.0.1"}})
	if code != 1 {
		t.Errorf("without a database: exit code %d", code)
	}
	if _, _, code := p.run(t.Context(), cli.Warren, "doctor"); code != 2 {
		t.Errorf("without DATABASE_URL: exit code %d", code)
	}
}

func TestDoctorOfABroker(t *testing.T) {
	t.Parallel()
	rabbit := testenv.NewRabbitMQ(t)
	p := newPerson(t)
	p.must(cli.Warren, "migrate", "up")
	user := func(name, configure, write, read string) person {
		rabbit.Ctl("add_user", name, canary)
		rabbit.Ctl("set_permissions", "-p", "/", name, configure, write, read)
		return p.with("AMQP_URL=amqp://" + name + ":" + canary + "@" + rabbit.Addr() + "/")
	}
	maker, reader := user("maker", `^warren\.`, `^warren\.`, `^warren\.`), user("reader", `^$`, `^$`, `^$`)

	found, code := maker.examine()
	wants(t, found, map[string][2]string{
		"RabbitMQ": {"ok", "."}, "topology": {"warn", "exchange warren.jobs is missing"}, "broker rights": {"ok", "may configure, write not tried"},
	})
	if code != 0 {
		t.Errorf("with nothing in the broker yet: exit code %d: %+v", code, found)
	}
	found, code = reader.examine()
	wants(t, found, map[string][2]string{"topology": {"fail", "queue warren.default.p010 is missing"}, "broker rights": {"ok", "may not configure"}})
	if code != 1 {
		t.Errorf("with nothing in the broker that this user could make: exit code %d", code)
	}
	maker.must(cli.Warren, "topology", "apply")
	found, code = maker.examine()
	wants(t, found, map[string][2]string{
		"topology": {"ok", "every exchange"}, "broker rights": {"ok", "may configure, may write, may read"}, "poison": {"ok", "empty"},
	})
	if code != 0 {
		t.Errorf("exit code %d: %+v", code, found)
	}
	if left := rabbit.Ctl("list_queues", "name", "--quiet"); strings.Contains(left, "doctor") {
		t.Errorf("the doctor has left something: %s", left)
	}
	found, code = reader.examine()
	wants(t, found, map[string][2]string{"broker rights": {"fail", "may not configure, may not write, may not read"}, "topology": {"ok", ""}})
	if code != 1 {
		t.Errorf("without the right to write: exit code %d", code)
	}
	rabbit.Ctl("delete_queue", "warren.poison")
	found, _ = maker.examine()
	wants(t, found, map[string][2]string{"topology": {"ok", "every exchange"}}) // it is made when it is needed
	maker.must(cli.Warren, "topology", "apply")
	poison(t, rabbit.URL())
	found, _ = maker.examine()
	wants(t, found, map[string][2]string{"poison": {"warn", "1 messages in warren.poison"}})
	found, code = p.with("AMQP_URL=amqp://guest:" + canary + "@127.0.0.1:1/").examine()
	wants(t, found, map[string][2]string{"broker": {"fail", "127.0.0.1:1"}})
	if code != 1 {
		t.Errorf("without a broker: exit code %d", code)
	}
}

// poison puts a message where the broker package puts what is no hint.
func poison(t *testing.T, address string) {
	t.Helper()
	conn, err := amqp.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := ch.PublishWithDeferredConfirm("", "warren.poison", true, false, amqp.Publishing{Body: []byte("x")})
	if err != nil || !c.Wait() {
		t.Fatal(err)
	}
}
