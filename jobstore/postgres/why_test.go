package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// scene is a database with one job to explain, and what the broker looks like.
type scene struct {
	tb   testing.TB
	s    *postgres.Store
	conn *pgx.Conn
	job  jobstore.ID
	view jobstore.BrokerView
}

func (c *scene) sql(text string, args ...any) { c.tb.Helper(); exec(c.tb, c.conn, text, args...) }

func (c *scene) insert(j jobstore.NewJob) jobstore.ID {
	c.tb.Helper()
	if j.Kind == "" {
		j.Kind = "k"
	}
	if j.Queue == "" {
		j.Queue = "default"
	}
	if j.Priority == 0 {
		j.Priority = 20
	}
	j.Mode, j.Args = jobstore.Normal, []byte("{}")
	got, err := c.s.Insert(c.tb.Context(), []jobstore.NewJob{j})
	if err != nil {
		c.tb.Fatal(err)
	}
	return got[0].ID
}

// set is one change to a scene in which nothing stands in the job's way.
type set struct {
	name  string
	gates []string // what it alone is named
	state bool     // it is about the job's state: two of these cannot be at once
	apply func(c *scene)
}

func (c *scene) state(state, available string) {
	c.sql(`DELETE FROM warren.jobs WHERE id = $1`, c.job)
	c.sql(`INSERT INTO warren.jobs (id, state, kind, queue, priority, serial_group, available_at, holder, finished_at, error)
		VALUES ($1, $2, 'k', 'default', 20, 'g', now() + $3::interval, CASE WHEN $2 = 'PROCESSING' THEN (SELECT max(id) FROM warren.consumers) END,
		now(), 'try later')`, c.job, state, available)
}

// sets are the gates, one after the other.
func sets() []set {
	up := func(sql string) func(c *scene) { return func(c *scene) { c.sql(sql, c.job) } }
	return []set{
		{"nothing", nil, false, func(*scene) {}},
		{"final", []string{"final"}, true, func(c *scene) { c.state("CANCELLED", "0") }},
		{"redundant", []string{"redundant"}, true, func(c *scene) { c.state("REDUNDANT", "0") }},
		{"quarantined", []string{"quarantined"}, true, func(c *scene) { c.state("QUARANTINED", "0") }},
		{"running", []string{"running"}, true, func(c *scene) { c.state("PROCESSING", "0") }},
		{"not due", []string{"not_due"}, true, func(c *scene) { c.state("TEMPORARILY_FAILED", "1 h") }},
		{"sweep", []string{"sweep"}, true, func(c *scene) { c.state("BACK_TO_BROKER", "0") }},
		{"outbox", []string{"outbox"}, true, up("UPDATE warren.jobs SET announce_at = now() WHERE id = $1")},
		{"outbox later", []string{"outbox"}, true, up("UPDATE warren.jobs SET announce_at = now() + interval '30 s' WHERE id = $1")},
		{"hint lost", []string{"hint_lost"}, true, func(c *scene) {
			c.view.Depth = 0
			c.sql("UPDATE warren.jobs SET created_at = now() - interval '1 m' WHERE id = $1", c.job)
			c.sql("ALTER TABLE warren.jobs DISABLE TRIGGER USER")
			c.sql("UPDATE warren.jobs SET available_at = now() - interval '1 m' WHERE id = $1", c.job)
			c.sql("ALTER TABLE warren.jobs ENABLE TRIGGER USER")
		}},
		{"leaderless", nil, false, func(c *scene) { c.sql("DELETE FROM warren.leaders") }},
		{"paused", []string{"paused"}, false, func(c *scene) { c.sql("INSERT INTO warren.paused_queues VALUES ('default')") }},
		{"group", []string{"serial_group"}, false, func(c *scene) {
			c.insert(jobstore.NewJob{SerialGroup: "g", Priority: 10, Delay: time.Hour})
		}},
		{"other bands", []string{"no_consumer"}, false, func(c *scene) { c.sql("UPDATE warren.consumers SET queues = '{media}'") }},
		{"other kinds", []string{"kind_unknown"}, false, func(c *scene) { c.sql("UPDATE warren.consumers SET kinds = '{l}'") }},
		{"apart", []string{"kind_unknown"}, false, func(c *scene) { // one has the band, another the kind
			c.sql("UPDATE warren.consumers SET kinds = '{l}'")
			c.sql(`INSERT INTO warren.consumers (host, pid, kinds, queues, priorities, slots, expires_at)
				VALUES ('h2', 8, '{k}', '{media}', '{20}', 2, now() + interval '1 h')`)
		}},
		{"busy", []string{"busy"}, false, func(c *scene) { c.sql("UPDATE warren.consumers SET slots = 0") }},
		{"behind others", []string{"position"}, false, func(c *scene) {
			c.sql(`INSERT INTO warren.jobs (id, kind, queue, priority) VALUES (1, 'k', 'default', 20)`)
		}},
		{"broker away", []string{"broker_away"}, false, func(c *scene) { c.view.Err = errors.New("no route") }},
		{"no broker", []string{"no_broker"}, false, func(c *scene) { c.view = jobstore.BrokerView{} }},
	}
}

// expected is what two sets together are named: both, except where one makes the other no matter.
func expected(a, b set) []string {
	is := func(name string) bool { return a.name == name || b.name == name }
	want := slices.Concat(a.gates, b.gates)
	drop := func(names ...string) {
		want = slices.DeleteFunc(want, func(n string) bool { return slices.Contains(names, n) })
	}
	for _, over := range []string{"final", "redundant", "quarantined", "running"} {
		if is(over) { // what has started or ended passes no more gates
			return []string{over}
		}
	}
	if is("apart") && is("other kinds") { // everybody has other kinds then, or "apart" comes last
		return []string{"kind_unknown"}
	}
	if is("apart") && is("other bands") {
		return []string{"no_consumer"} // one does not take the band now, and the other never did
	}
	if is("not due") || is("other bands") || is("other kinds") || is("apart") {
		drop("busy", "position") // slots of now are no matter then
	}
	if is("no broker") {
		drop("outbox", "hint_lost", "broker_away")
	}
	if is("paused") || is("group") || is("other bands") || is("other kinds") || is("apart") || is("busy") || is("broker away") {
		drop("hint_lost") // consumers may well hold it
	}
	if is("leaderless") && (is("sweep") || slices.Contains(want, "outbox") || slices.Contains(want, "hint_lost")) {
		want = append(want, "no_leader")
	}
	slices.Sort(want)
	return slices.Compact(want)
}

// Every gate alone and with each other is named, and nothing else.
func TestWhyNamesEveryGate(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	c := &scene{tb: t, s: s, conn: connect(t, dsn)}
	all := sets()
	for i, a := range all {
		for _, b := range all[i:] {
			if a.state && b.state && a.name != b.name {
				continue
			}
			c.reset()
			a.apply(c)
			if b.name != a.name {
				b.apply(c)
			}
			f, err := s.Explain(t.Context(), c.job)
			if err != nil {
				t.Fatal(err)
			}
			gates := f.Gates(c.view)
			var got []string
			for _, g := range gates {
				got = append(got, g.Name)
			}
			slices.Sort(got)
			if want := expected(a, b); !slices.Equal(got, want) {
				t.Errorf("%s + %s: gates %v, want %v (%+v)", a.name, b.name, got, want, gates)
			}
		}
	}
}

// reset makes a scene in which the job would start.
func (c *scene) reset() {
	c.sql(`TRUNCATE warren.jobs, warren.job_groups, warren.job_keys, warren.consumers, warren.leaders, warren.paused_queues`)
	c.sql("ALTER SEQUENCE warren.jobs_id_seq RESTART WITH 1000") // smaller numbers are for rows that come first
	if _, err := c.s.Register(c.tb.Context(), jobstore.Consumer{
		Host: "h1", PID: 7, Kinds: []string{"k"}, Queues: []string{"default"},
		Priorities: []int{10, 20}, Slots: 2,
	}, time.Hour); err != nil {
		c.tb.Fatal(err)
	}
	if _, ok, err := c.s.Lead(c.tb.Context(), "sweep", "h1:7", time.Hour); err != nil || !ok {
		c.tb.Fatal(ok, err)
	}
	c.job = c.insert(jobstore.NewJob{SerialGroup: "g"})
	c.view = jobstore.BrokerView{Configured: true, Depth: 1}
}

// What a person reads names the job, the host and the time that matter.
func TestWhySaysWhoAndUntilWhen(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	c := &scene{tb: t, s: s, conn: connect(t, dsn)}
	says := func(id jobstore.ID, words ...string) {
		t.Helper()
		f, err := s.Explain(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, g := range f.Gates(c.view) {
			lines = append(lines, g.Name+": "+g.Text)
		}
		text := strings.Join(lines, "\n")
		for _, w := range words {
			if !strings.Contains(text, w) {
				t.Errorf("job %d: %q is not in\n%s", id, w, text)
			}
		}
	}
	c.reset()
	by := jobstore.Claimant{Host: "h1", PID: 7, Queues: []string{"default"}, Priorities: []int{10, 20}, Kinds: []string{"k"}}
	if err := c.conn.QueryRow(t.Context(), "SELECT id FROM warren.consumers").Scan(&by.Holder); err != nil {
		t.Fatal(err)
	}
	second := c.insert(jobstore.NewJob{SerialGroup: "g"})
	says(second, fmt.Sprintf("serial group g is blocked by job %d, which is READY and goes first; 'warren why %d'", c.job, c.job))
	if _, err := s.Claim(t.Context(), by, []jobstore.ID{c.job}); err != nil {
		t.Fatal(err)
	}
	says(c.job, fmt.Sprintf("running: consumer %d (h1, pid 7) runs it since ", by.Holder), "lease 1, which is good until ")
	says(second, fmt.Sprintf("serial group g is blocked by job %d, running on h1 (pid 7) since ", c.job))
	c.sql("UPDATE warren.consumers SET expires_at = now() - interval '1 s'")
	says(c.job, "that consumer's lease has expired")
	says(second, "whose lease has expired", "no_consumer: no consumer is alive; start one")
	c.sql("UPDATE warren.consumers SET expires_at = now() + interval '1 h', queues = '{media}'")
	says(second, "no living consumer takes queue default at priority 20; taken are media/10,20")
	c.sql("UPDATE warren.consumers SET restart = true, queues = '{default}'")
	says(second, "no living consumer takes queue default at priority 20: the 1 that live were told to exit")
	c.sql("DELETE FROM warren.jobs WHERE id = $1", c.job)
	says(second, fmt.Sprintf("blocked by job %d, which is not there any more; the sweep mends that", c.job))

	c.reset()
	c.sql("UPDATE warren.consumers SET slots = 3")
	c.sql(`INSERT INTO warren.jobs (id, kind, queue, priority) SELECT n, 'k', 'default', 20 FROM generate_series(1, 3) n`)
	says(c.job, "busy: the 1 consumers that may take it have 3 free slots, and at least 3 jobs go first", "position: 3 READY jobs of its band")
	c.sql(`SELECT warren.enqueue('k', identifier => 'i', mode => 'unique')`)
	var redundant, owner jobstore.ID
	if err := c.conn.QueryRow(t.Context(), "SELECT job_id, warren.enqueue('k', identifier => 'i', mode => 'unique') FROM warren.job_keys").Scan(&owner, &redundant); err != nil {
		t.Fatal(err)
	}
	says(redundant, "redundant: it ended as REDUNDANT at ", fmt.Sprintf("; job %d has the key (kind k, identifier i)", owner))

	if _, err := s.Explain(t.Context(), 1<<40); !errors.Is(err, jobstore.ErrNotFound) {
		t.Errorf("an unknown job: %v", err)
	}
}

// I16: "runnable" if and only if the job starts within one tick. Worlds are made at random, every
// job of one is explained, then one tick is played with the real statements of sweep and claim.
func TestWhyIsRight(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	c := &scene{tb: t, s: s, conn: connect(t, dsn)}
	runnable, blocked := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		w := randomWorld(r, c)
		said := map[jobstore.ID][]jobstore.Gate{}
		for _, id := range w.waiting() {
			f, err := s.Explain(t.Context(), id)
			if err != nil {
				r.Fatal(err)
			}
			said[id] = f.Gates(c.view)
		}
		w.tick()
		for id, gates := range said {
			j, err := s.Get(t.Context(), id)
			if err != nil {
				r.Fatal(err)
			}
			says := jobstore.Verdict(gates) == "runnable"
			if starts := j.State == jobstore.Processing; says != starts {
				r.Errorf("job %d (now %s): runnable %t, started %t; gates %+v", id, j.State, says, starts, gates)
			}
			if says {
				runnable++
			} else {
				blocked++
			}
		}
	})
	if runnable < 5 || blocked < 5 {
		t.Errorf("only %d runnable and %d blocked jobs: the worlds prove nothing", runnable, blocked)
	}
}

// world is a random one.
type world struct {
	r      *rapid.T
	c      *scene
	leader bool
	by     []jobstore.Claimant
	slots  int
}

func randomWorld(r *rapid.T, c *scene) *world {
	c.sql(`TRUNCATE warren.jobs, warren.job_groups, warren.job_keys, warren.consumers, warren.leaders, warren.paused_queues`)
	odds := func(what string, percent int) bool { return rapid.IntRange(1, 100).Draw(r, what) <= percent }
	w := &world{r: r, c: c, leader: odds("leader", 85), slots: rapid.SampledFrom([]int{0, 1, 2, 3, 5, 8}).Draw(r, "slots")}
	c.view = jobstore.BrokerView{Configured: odds("broker", 50), Depth: 1}
	if w.leader {
		c.sql("INSERT INTO warren.leaders VALUES ('sweep', 'x', 1, now() + interval '1 h')")
	}
	if odds("paused", 15) {
		c.sql("INSERT INTO warren.paused_queues VALUES ('a')")
	}
	// Consumers of one world take the same: which of several different ones is quicker, nobody can tell.
	self := jobstore.Claimant{
		Host: "h", PID: 1, Queues: rapid.SampledFrom([][]string{{"a"}, {"a", "b"}, {"a", "b"}}).Draw(r, "queues"),
		Priorities: rapid.SampledFrom([][]int{{10}, {10, 20}, {10, 20}}).Draw(r, "priorities"),
		Kinds:      rapid.SampledFrom([][]string{{"k"}, {"k", "l"}}).Draw(r, "kinds"),
	}
	for i := range rapid.SampledFrom([]int{0, 1, 1, 2, 2}).Draw(r, "consumers") {
		id, err := c.s.Register(c.tb.Context(), jobstore.Consumer{
			Host: "h", PID: i + 1, Queues: self.Queues, Priorities: self.Priorities, Kinds: self.Kinds, Slots: w.slots,
		}, time.Hour)
		if err != nil {
			r.Fatal(err)
		}
		by := self
		by.Holder, by.Token = id, int64(i+1)
		w.by = append(w.by, by)
	}
	for range rapid.IntRange(1, 8).Draw(r, "jobs") {
		w.addJob()
	}
	w.claim(rapid.IntRange(0, 2).Draw(r, "already running"))
	for range rapid.IntRange(0, 5).Draw(r, "more jobs") {
		w.addJob()
	}
	// What became of some consumers since.
	if len(w.by) > 0 && odds("dead", 15) {
		c.sql("UPDATE warren.consumers SET expires_at = now() WHERE id = $1", w.by[0].Holder)
		w.by = w.by[1:]
	}
	if len(w.by) > 0 && odds("restarting", 15) {
		c.sql("UPDATE warren.consumers SET restart = true WHERE id = $1", w.by[0].Holder)
		w.by = w.by[1:]
	}
	return w
}

func (w *world) addJob() {
	state := rapid.SampledFrom([]string{"READY", "READY", "READY", "SCHEDULED", "WAITING", "TEMPORARILY_FAILED", "BACK_TO_BROKER", "BROKER_FAILED"}).Draw(w.r, "state")
	late := state != "READY" && state != "BACK_TO_BROKER" && rapid.Bool().Draw(w.r, "late")
	// A member that may be passed and is due is either passed or not, as it happens.
	skip := late && rapid.Bool().Draw(w.r, "skip")
	outbox := state == "READY" && rapid.Bool().Draw(w.r, "outbox")
	w.c.sql(`INSERT INTO warren.jobs (state, kind, queue, priority, serial_group, group_skip, available_at, announce_at)
		VALUES ($1, $2, $3, $4, $5, $6, now() + CASE WHEN $7 THEN interval '1 h' ELSE interval '0' END, CASE WHEN $8 THEN now() END)`,
		state, rapid.SampledFrom([]string{"k", "k", "l"}).Draw(w.r, "kind"), rapid.SampledFrom([]string{"a", "a", "b"}).Draw(w.r, "queue"),
		rapid.SampledFrom([]int{10, 20}).Draw(w.r, "priority"), rapid.SampledFrom([]*string{nil, nil, new("g"), new("h")}).Draw(w.r, "group"), skip, late, outbox)
}

func (w *world) ids(where string) []jobstore.ID {
	rows, err := w.c.conn.Query(w.c.tb.Context(), "SELECT id FROM warren.jobs WHERE "+where+" ORDER BY priority, id")
	if err != nil {
		w.r.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[jobstore.ID])
	if err != nil {
		w.r.Fatal(err)
	}
	return ids
}

func (w *world) waiting() []jobstore.ID { return w.ids("state <> 'PROCESSING'") }

// tick is what happens within one: the sweep makes due rows READY and announces them, and every
// consumer takes what its free slots allow, by number where there is a broker.
func (w *world) tick() {
	ctx := w.c.tb.Context()
	if w.leader {
		if _, err := w.c.s.Due(ctx, 1000); err != nil {
			w.r.Fatal(err)
		}
	}
	w.claim(w.slots)
}

// claim lets every consumer use up to n slots in all.
func (w *world) claim(n int) {
	ctx := w.c.tb.Context()
	for _, by := range w.by {
		free := n - len(w.ids(fmt.Sprintf("holder = %d", by.Holder)))
		if free <= 0 {
			continue
		}
		if !w.c.view.Configured {
			if _, err := w.c.s.ClaimNext(ctx, by, free); err != nil {
				w.r.Fatal(err)
			}
			continue
		}
		offered := w.ids("state = 'READY' AND announce_at IS NULL")
		if w.leader {
			offered = w.ids("state = 'READY'")
		}
		for ; len(offered) > 0 && free > 0; offered = offered[min(free, len(offered)):] {
			got, err := w.c.s.Claim(ctx, by, offered[:min(free, len(offered))])
			if err != nil {
				w.r.Fatal(err)
			}
			if free -= len(got.Leases); len(got.Leases) > 0 && free <= 0 {
				break
			}
		}
	}
}
