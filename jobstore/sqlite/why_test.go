package sqlite_test

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/sqlite"
)

// Times for SQL.
const (
	inAnHour = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+1 hour')"
	justNow  = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 second')"
)

// scene is a database with jobs to explain, and what the broker looks like.
type scene struct {
	tb   testing.TB
	s    *sqlite.Store
	db   *sql.DB
	view jobstore.BrokerView
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s, path := fresh(t)
	return &scene{tb: t, s: s, db: connect(t, path)}
}

func (c *scene) sql(text string, args ...any) { c.tb.Helper(); run(c.tb, c.db, text, args...) }

func (c *scene) empty() {
	for _, table := range []string{"jobs", "job_keys", "warren_consumers", "warren_leaders", "warren_paused_queues"} {
		c.sql("DELETE FROM " + table)
	}
}

func (c *scene) insert(group string) jobstore.ID {
	c.tb.Helper()
	j := job()
	j.SerialGroup, j.Priority = group, 20
	got, err := c.s.Insert(c.tb.Context(), []jobstore.NewJob{j})
	if err != nil {
		c.tb.Fatal(err)
	}
	return got[0].ID
}

// says wants words in what a person reads about a job.
func (c *scene) says(id jobstore.ID, words ...string) {
	c.tb.Helper()
	f, err := c.s.Explain(c.tb.Context(), id)
	if err != nil {
		c.tb.Fatal(err)
	}
	var lines []string
	for _, g := range f.Gates(c.view) {
		lines = append(lines, g.Name+": "+g.Text)
	}
	text := strings.Join(lines, "\n")
	for _, w := range words {
		if !strings.Contains(text, w) {
			c.tb.Errorf("job %d: %q is not in\n%s", id, w, text)
		}
	}
}

// What a person reads names the job, the host and the time that matter.
func TestWhySaysWhoAndUntilWhen(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	holder, err := c.s.Register(t.Context(), jobstore.Consumer{
		Host: "h1", PID: 7, Kinds: []string{"k"}, Queues: []string{"default"}, Priorities: []int{10, 20}, Slots: 2,
	}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c.sql("INSERT INTO warren_leaders VALUES ('sweep', 'x', 1, " + inAnHour + ")")
	by := jobstore.Claimant{Holder: holder, Host: "h1", PID: 7, Queues: []string{"default"}, Priorities: []int{10, 20}, Kinds: []string{"k"}}
	first, second := c.insert("g"), c.insert("g")
	c.says(second, fmt.Sprintf("serial group g is blocked by job %d, which is READY and goes first; 'warren why %d'", first, first))
	if _, err := c.s.Claim(t.Context(), by, []jobstore.ID{first}); err != nil {
		t.Fatal(err)
	}
	c.says(first, fmt.Sprintf("running: consumer %d (h1, pid 7) runs it since ", holder), "lease 1, which is good until ")
	c.says(second, fmt.Sprintf("serial group g is blocked by job %d, running on h1 (pid 7) since ", first))
	c.sql("UPDATE warren_consumers SET expires_at = " + justNow)
	c.says(first, "that consumer's lease has expired")
	c.says(second, "whose lease has expired", "no_consumer: no consumer is alive; start one")
	c.sql("UPDATE warren_consumers SET expires_at = " + inAnHour + ", queues = '[\"media\"]'")
	c.says(second, "no living consumer takes queue default at priority 20; taken are media/10,20")
	c.sql("UPDATE warren_consumers SET restart = 1, queues = '[\"default\"]'")
	c.says(second, "no living consumer takes queue default at priority 20: the 1 that live were told to exit")
	c.sql("DELETE FROM jobs")
	c.sql("UPDATE warren_consumers SET restart = 0, slots = 3")
	for range 3 {
		c.insert("")
	}
	last := c.insert("g")
	c.says(last, "busy: the 1 consumers that may take it have 3 free slots, and at least 3 jobs go first", "position: 3 READY jobs of its band")
	c.sql("INSERT INTO warren_paused_queues (queue) VALUES ('default')")
	c.says(last, "paused: queue default was paused at ")
	unique := "INSERT INTO jobs (kind, identifier, mode) VALUES ('k', 'i', 'unique') RETURNING id"
	owner, redundant := number(t, c.db, unique), number(t, c.db, unique)
	c.says(jobstore.ID(redundant), "redundant: it ended as REDUNDANT at ", fmt.Sprintf("; job %d has the key (kind k, identifier i)", owner))
	if _, err := c.s.Explain(t.Context(), 1<<40); !errors.Is(err, jobstore.ErrNotFound) {
		t.Errorf("an unknown job: %v", err)
	}
}

// "Runnable" if and only if the job starts within one tick. Worlds are made at random, every
// job of one is explained, then one tick is played with the real statements of sweep and claim.
func TestWhyIsRight(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	runnable, blocked := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		w := randomWorld(r, c)
		said := map[jobstore.ID][]jobstore.Gate{}
		for _, id := range w.ids("state <> 'PROCESSING'") {
			f, err := c.s.Explain(t.Context(), id)
			if err != nil {
				r.Fatal(err)
			}
			said[id] = f.Gates(c.view)
		}
		w.tick()
		for id, gates := range said {
			j, err := c.s.Get(t.Context(), id)
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

// world is a random one. Its store has no broker: consumers take by order.
type world struct {
	r      *rapid.T
	c      *scene
	leader bool
	by     []jobstore.Claimant
	slots  int
}

func randomWorld(r *rapid.T, c *scene) *world {
	c.empty()
	odds := func(what string, percent int) bool { return rapid.IntRange(1, 100).Draw(r, what) <= percent }
	w := &world{r: r, c: c, leader: odds("leader", 85), slots: rapid.SampledFrom([]int{0, 1, 2, 3, 5, 8}).Draw(r, "slots")}
	if w.leader {
		c.sql("INSERT INTO warren_leaders VALUES ('sweep', 'x', 1, " + inAnHour + ")")
	}
	if odds("paused", 15) {
		c.sql("INSERT INTO warren_paused_queues (queue) VALUES ('a')")
	}
	w.register(rapid.SampledFrom([]int{0, 1, 1, 2, 2}).Draw(r, "consumers"))
	for range rapid.IntRange(1, 8).Draw(r, "jobs") {
		w.addJob()
	}
	w.claim(rapid.IntRange(0, 2).Draw(r, "already running"))
	for range rapid.IntRange(0, 5).Draw(r, "more jobs") {
		w.addJob()
	}
	// What became of some consumers since.
	if len(w.by) > 0 && odds("dead", 15) {
		c.sql("UPDATE warren_consumers SET expires_at = "+justNow+" WHERE id = ?", w.by[0].Holder)
		w.by = w.by[1:]
	}
	if len(w.by) > 0 && odds("restarting", 15) {
		c.sql("UPDATE warren_consumers SET restart = 1 WHERE id = ?", w.by[0].Holder)
		w.by = w.by[1:]
	}
	return w
}

// register adds consumers that take the same: which of several different ones is quicker, nobody
// can tell.
func (w *world) register(n int) {
	self := jobstore.Claimant{
		Host: "h", PID: 1, Queues: rapid.SampledFrom([][]string{{"a"}, {"a", "b"}, {"a", "b"}}).Draw(w.r, "queues"),
		Priorities: rapid.SampledFrom([][]int{{10}, {10, 20}, {10, 20}}).Draw(w.r, "priorities"),
		Kinds:      rapid.SampledFrom([][]string{{"k"}, {"k", "l"}}).Draw(w.r, "kinds"),
	}
	for i := range n {
		id, err := w.c.s.Register(w.c.tb.Context(), jobstore.Consumer{
			Host: "h", PID: i + 1, Queues: self.Queues, Priorities: self.Priorities, Kinds: self.Kinds, Slots: w.slots,
		}, time.Hour)
		if err != nil {
			w.r.Fatal(err)
		}
		by := self
		by.Holder, by.Token = id, int64(i+1)
		w.by = append(w.by, by)
	}
}

func (w *world) addJob() {
	state := rapid.SampledFrom([]string{"READY", "READY", "READY", "SCHEDULED", "WAITING", "TEMPORARILY_FAILED", "BACK_TO_BROKER", "BROKER_FAILED"}).Draw(w.r, "state")
	due := justNow
	late := state != "READY" && state != "BACK_TO_BROKER" && rapid.Bool().Draw(w.r, "late")
	if late {
		due = inAnHour
	}
	// A member that may be passed and is due is either passed or not, as it happens.
	skip := late && rapid.Bool().Draw(w.r, "skip")
	w.c.sql("INSERT INTO jobs (state, kind, queue, priority, serial_group, group_skip, available_at) VALUES (?, ?, ?, ?, ?, ?, "+due+")",
		state, rapid.SampledFrom([]string{"k", "k", "l"}).Draw(w.r, "kind"), rapid.SampledFrom([]string{"a", "a", "b"}).Draw(w.r, "queue"),
		rapid.SampledFrom([]int{10, 20}).Draw(w.r, "priority"), rapid.SampledFrom([]*string{nil, nil, new("g"), new("h")}).Draw(w.r, "group"), skip)
}

func (w *world) ids(where string) (ids []jobstore.ID) {
	rows, err := w.c.db.QueryContext(w.c.tb.Context(), "SELECT id FROM jobs WHERE "+where)
	if err != nil {
		w.r.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id jobstore.ID
		if err := rows.Scan(&id); err != nil {
			w.r.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		w.r.Fatal(err)
	}
	return ids
}

// tick is what happens within one: the sweep makes due rows READY, and every consumer takes what
// its free slots allow.
func (w *world) tick() {
	if w.leader {
		if _, err := w.c.s.Due(w.c.tb.Context(), 1000); err != nil {
			w.r.Fatal(err)
		}
	}
	w.claim(w.slots)
}

// claim lets every consumer use up to n slots in all.
func (w *world) claim(n int) {
	for _, by := range w.by {
		if free := n - len(w.ids(fmt.Sprintf("holder = %d", by.Holder))); free > 0 {
			if _, err := w.c.s.ClaimNext(w.c.tb.Context(), by, free); err != nil {
				w.r.Fatal(err)
			}
		}
	}
}
