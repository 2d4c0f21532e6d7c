package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore/postgres"
	"github.com/warrenq/warren/test/chaos/wire"
)

// world is one installation: a database, a prefix in the broker, consumers, each behind proxies of its
// own, and a ledger that depends on none of them.
type world struct {
	s      *servers
	tb     *fixtures
	name   string
	dir    string
	direct string   // the database, past every proxy
	dsn    string   // the database as programs reach it, but for their proxies
	amqp   []string // the broker's nodes, likewise
	prefix string
	ledger string
	stalls string
	bare   bool // programs reach their servers without proxies, which take connections for a server that is down

	mu      sync.Mutex
	members []*member
	lives   []*process // every consumer that was ever started
}

// member is one consumer of a world: a place that processes come and go in.
type member struct {
	w     *world
	index int
	path  string // the program
	args  []string
	env   map[string]string
	pg    *wire.Proxy
	amqp  []*wire.Proxy
	proc  *process
	lives int
}

// newWorld makes an installation on the given servers, with an audit of its own in the database.
func newWorld(ctx context.Context, s *servers, run *run, name string) *world {
	w := &world{s: s, tb: newFixtures(ctx, "chaos_"+short(name)), name: name, prefix: "chaos." + short(name), dir: filepath.Join(run.dir, short(name))}
	ensure(os.MkdirAll(w.dir, 0o700))
	w.ledger, w.stalls = filepath.Join(w.dir, "ledger"), filepath.Join(w.dir, "stalls")
	w.direct = s.pg.CreateDatabase(w.tb)
	w.dsn, w.amqp = w.direct, []string{s.rabbit.URL()}
	store := must(postgres.Open(ctx, w.direct, postgres.Config{}))
	defer store.Close()
	ensure(store.Migrate(ctx))
	conn := must(pgx.Connect(ctx, w.direct))
	defer conn.Close(ctx) //nolint:errcheck // nothing is lost with it
	_, err := conn.Exec(ctx, auditSQL)
	ensure(err)
	return w
}

// auditSQL watches every move of every row. It is not of Warren's making, so that it can be believed.
const auditSQL = `
CREATE SCHEMA chaos;
CREATE TABLE chaos.audit (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
  began timestamptz NOT NULL DEFAULT now(), id bigint NOT NULL, old text, new text, lease bigint NOT NULL, crashes int NOT NULL
);
CREATE FUNCTION chaos.watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO chaos.audit (id, new, lease, crashes) VALUES (NEW.id, NEW.state, NEW.lease_no, NEW.crashes);
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO chaos.audit (id, old, lease, crashes) VALUES (OLD.id, OLD.state, OLD.lease_no, OLD.crashes);
  ELSIF (OLD.state, OLD.lease_no, OLD.id) IS DISTINCT FROM (NEW.state, NEW.lease_no, NEW.id) THEN
    INSERT INTO chaos.audit (id, old, new, lease, crashes) VALUES (NEW.id, OLD.state, NEW.state, NEW.lease_no, NEW.crashes);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER chaos_watch AFTER INSERT OR UPDATE OR DELETE ON warren.jobs FOR EACH ROW EXECUTE FUNCTION chaos.watch();`

// close ends the consumers and removes the world, but for what it wrote down.
func (w *world) close() {
	for _, p := range w.processes() {
		if p.alive() {
			p.kill()
		}
	}
	for _, m := range w.members {
		m.closeProxies()
	}
	w.tb.close()
}

// add makes a place for a consumer. hook, if any, sees the member's statements and frames.
func (w *world) add(path string, env map[string]string, hook wire.Hook, args ...string) *member {
	m := &member{w: w, index: len(w.members), path: path, args: args, env: env}
	var pgTap, amqpTap func() wire.Tap
	if hook != nil {
		pgTap, amqpTap = wire.Postgres(hook), wire.AMQP(hook)
	}
	m.pg = must(wire.New(hostOf(w.dsn), pgTap))
	for _, node := range w.amqp {
		m.amqp = append(m.amqp, must(wire.New(hostOf(node), amqpTap)))
	}
	w.members = append(w.members, m)
	return m
}

// consumers adds n consumers over the public API, and starts them.
func (w *world) consumers(run *run, n int, env map[string]string) {
	for range n {
		w.add(run.consumer, env, nil).start()
	}
}

func (m *member) closeProxies() {
	m.pg.Close()
	for _, p := range m.amqp {
		p.Close()
	}
}

// start begins another life of the member.
func (m *member) start() {
	m.lives++
	var nodes []string
	for i, p := range m.amqp {
		nodes = append(nodes, through(m.w.amqp[i], p.Addr()))
	}
	dsn, broker := through(m.w.dsn, m.pg.Addr()), strings.Join(nodes, ",")
	if m.w.bare {
		dsn, broker = m.w.dsn, strings.Join(m.w.amqp, ",")
	}
	env := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": m.w.dir, "GOMAXPROCS": "2", "GORACE": "halt_on_error=1",
		"DATABASE_URL": dsn, "AMQP_URL": broker,
		"CHAOS_PREFIX": m.w.prefix, "WARREN_QUEUE_PREFIX": m.w.prefix, "WARREN_LOG_FORMAT": "json", "CHAOS_STALLS": m.w.stalls,
	}
	maps.Copy(env, m.env)
	var list []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	m.proc = must(startProcess(m.w.dir, fmt.Sprintf("consumer-%d-%d", m.index, m.lives), m.path, list, m.args...))
	m.w.mu.Lock()
	m.w.lives = append(m.w.lives, m.proc)
	m.w.mu.Unlock()
}

func (w *world) processes() []*process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.lives)
}

// query runs a statement past the proxies and returns its only value, of the last attempt within
// patience.
func query[T any](ctx context.Context, w *world, patience time.Duration, sql string, args ...any) (v T, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ok := until(ctx, patience, func() bool {
		var conn *pgx.Conn
		if conn, err = pgx.Connect(ctx, w.direct); err != nil {
			return false
		}
		defer conn.Close(ctx) //nolint:errcheck // nothing is lost with it
		err = conn.QueryRow(ctx, sql, args...).Scan(&v)
		return err == nil
	})
	if !ok && err == nil {
		err = ctx.Err()
	}
	return v, err
}

// registered waits until n consumers are registered.
func (w *world) registered(ctx context.Context, n int) {
	if !until(ctx, time.Minute, func() bool {
		got, err := query[int](ctx, w, time.Second, "SELECT count(*) FROM warren.consumers WHERE expires_at > now()")
		return err == nil && got >= n
	}) {
		panic(failure{fmt.Sprintf("%s: %d consumers did not register within a minute; their logs are in %s", w.name, n, w.dir)})
	}
}
