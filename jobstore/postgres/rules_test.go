package postgres_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/warrenq/warren/jobstore"
)

// place puts a row into a state, whatever the rules say about how it may get there.
func place(tb testing.TB, conn *pgx.Conn, state jobstore.State) jobstore.ID {
	tb.Helper()
	var id jobstore.ID
	err := conn.QueryRow(tb.Context(), `INSERT INTO warren.jobs (state, queue, kind, priority, holder, lease_no, attempts, finished_at)
		VALUES ($1, 'default', 'k', 10, CASE WHEN $1 = 'PROCESSING' THEN 1 END, 1, 1, CASE WHEN $2 THEN now() END) RETURNING id`,
		string(state), state.Final()).Scan(&id)
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// Every pair of states: the database allows what jobstore.Legal allows, and nothing else.
func TestEveryMove(t *testing.T) {
	t.Parallel()
	_, dsn := fresh(t)
	conn := connect(t, dsn)
	for _, from := range jobstore.States() {
		for _, to := range jobstore.States() {
			id := place(t, conn, from)
			// With the signatures of Warren's own moves into and out of PROCESSING.
			_, err := conn.Exec(t.Context(), `UPDATE warren.jobs SET state = $2,
				holder = CASE WHEN $2 = 'PROCESSING' THEN 1 END,
				lease_no = lease_no + CASE WHEN $2 = 'PROCESSING' AND state <> $2 THEN 1 ELSE 0 END WHERE id = $1`, id, string(to))
			if legal := jobstore.Legal(from, to); legal != (err == nil) {
				t.Errorf("%s to %s: legal %t, the database says %v", from, to, legal, err)
			}
			var pg *pgconn.PgError
			if errors.As(err, &pg) && (pg.Hint == "" || !strings.Contains(pg.Message, "job ")) {
				t.Errorf("%s to %s: the message %q (hint %q) names no job or no remedy", from, to, pg.Message, pg.Hint)
			}
		}
	}
}

// By hand, without those signatures, nothing enters or leaves PROCESSING.
func TestMovesByHand(t *testing.T) {
	t.Parallel()
	_, dsn := fresh(t)
	conn := connect(t, dsn)
	for _, s := range jobstore.States() {
		if s == jobstore.Processing {
			continue
		}
		in, out := place(t, conn, s), place(t, conn, jobstore.Processing)
		if _, err := conn.Exec(t.Context(), "UPDATE warren.jobs SET state = 'PROCESSING' WHERE id = $1", in); err == nil {
			t.Errorf("%s to PROCESSING by hand was allowed", s)
		}
		if _, err := conn.Exec(t.Context(), "UPDATE warren.jobs SET state = $2 WHERE id = $1", out, string(s)); err == nil {
			t.Errorf("PROCESSING to %s by hand was allowed", s)
		}
	}
	id := place(t, conn, jobstore.Processing)
	for _, change := range []string{"lease_no = 9", "holder = 2", "available_at = now() + '1 h'", "serial_group = 'g'", "queue = 'q'"} {
		if _, err := conn.Exec(t.Context(), "UPDATE warren.jobs SET "+change+" WHERE id = $1", id); err == nil {
			t.Errorf("%s of a PROCESSING job was allowed", change)
		}
	}
}

func TestEditsByHand(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	edit := func(from jobstore.State, change string) jobstore.Job {
		id := place(t, conn, from)
		exec(t, conn, "UPDATE warren.jobs SET "+change+" WHERE id = $1", id)
		j, err := s.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	for _, from := range []jobstore.State{jobstore.Finished, jobstore.Quarantined, jobstore.TemporarilyFailed, jobstore.Ready} {
		if j := edit(from, "state = 'BACK_TO_BROKER', crashes = 3"); j.State != jobstore.BackToBroker || j.FinishedAt != nil ||
			j.Attempts != 0 || j.Crashes != 0 || j.LeaseNo != 1 {
			t.Errorf("%s sent back is %+v", from, j)
		}
	}
	refs, err := s.Due(t.Context(), 100)
	if err != nil || len(refs) != 4 {
		t.Errorf("the sweep made %v ready, %v", refs, err)
	}
	if j := edit(jobstore.Ready, "state = 'CANCELLED'"); j.FinishedAt == nil {
		t.Errorf("cancelled by hand: %+v", j)
	}
	if j := edit(jobstore.Ready, "available_at = now() + interval '1 h'"); j.State != jobstore.Scheduled {
		t.Errorf("a READY job that was moved to the future is %+v", j)
	}
	if j := edit(jobstore.Ready, "priority = 30"); j.AnnounceAt == nil || j.State != jobstore.Ready {
		t.Errorf("a READY job in another band is %+v", j)
	}
	if j := edit(jobstore.Waiting, "available_at = now() + interval '1 h'"); j.State != jobstore.Waiting {
		t.Errorf("a WAITING job that was moved is %+v", j)
	}
	id := place(t, conn, jobstore.Waiting)
	exec(t, conn, "UPDATE warren.jobs SET available_at = now() + interval '1 h' WHERE id = $1", id)
	exec(t, conn, "UPDATE warren.jobs SET state = 'READY' WHERE id = $1", id)
	if j, err := s.Get(t.Context(), id); err != nil || j.State != jobstore.Ready || j.AnnounceAt == nil || j.AvailableAt.After(*j.AnnounceAt) {
		t.Errorf("a WAITING job made READY by hand is %+v, %v", j, err)
	}
}

// What a person does to jobs with keys and groups leaves both as they must be.
func TestKeysAndGroupsByHand(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	enqueue := func(args string) (id jobstore.ID) {
		if err := conn.QueryRow(t.Context(), "SELECT warren.enqueue('k', "+args+")").Scan(&id); err != nil {
			t.Fatal(err)
		}
		return id
	}
	state := func(id jobstore.ID) jobstore.State {
		j, err := s.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return j.State
	}
	unique := "mode => 'unique', identifier => 'u'"
	first := enqueue(unique)
	if second := enqueue(unique); state(second) != jobstore.Redundant {
		t.Errorf("the second unique job is %s", state(second))
	}
	exec(t, conn, "UPDATE warren.jobs SET state = 'CANCELLED' WHERE id = $1", first)
	third := enqueue(unique)
	if state(third) != jobstore.Ready {
		t.Errorf("after the first was cancelled by hand, the third is %s", state(third))
	}
	_, err := conn.Exec(t.Context(), "UPDATE warren.jobs SET state = 'BACK_TO_BROKER' WHERE id = $1", first)
	if err == nil || !strings.Contains(err.Error(), "holds its key") {
		t.Errorf("sending a job back whose key is taken: %v", err)
	}
	exec(t, conn, "DELETE FROM warren.jobs WHERE id = $1", third)
	exec(t, conn, "UPDATE warren.jobs SET state = 'BACK_TO_BROKER' WHERE id = $1", first)
	if fourth := enqueue(unique); state(fourth) != jobstore.Redundant {
		t.Errorf("the key of a job that was sent back is free: %s", state(fourth))
	}

	series := enqueue("mode => 'recurring', identifier => 'r', every => '1 h'")
	for range 3 {
		exec(t, conn, "UPDATE warren.jobs SET state = 'PERMANENTLY_FAILED' WHERE id = $1", series)
		err := conn.QueryRow(t.Context(), `SELECT id FROM warren.jobs_live WHERE identifier = 'r' AND state = 'SCHEDULED'
			AND available_at = now() + interval '1 h' OR identifier = 'r' AND state = 'SCHEDULED' AND id > $1`, series).Scan(&series)
		if err != nil {
			t.Fatalf("a recurring job that was ended by hand has no successor: %v", err)
		}
	}
	exec(t, conn, "UPDATE warren.jobs SET state = 'CANCELLED' WHERE id = $1", series)
	var live int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM warren.jobs_live WHERE identifier = 'r'").Scan(&live); err != nil || live != 0 {
		t.Errorf("a series that was cancelled by hand has %d live jobs, %v", live, err)
	}

	running, blocked := enqueue("serial_group => 'g'"), enqueue("serial_group => 'g'")
	by := register(t, s)
	if got, err := s.Claim(t.Context(), by, []jobstore.ID{running}); err != nil || len(got.Leases) != 1 {
		t.Fatalf("claim: %+v, %v", got, err)
	}
	exec(t, conn, "DELETE FROM warren.jobs WHERE id = $1", running)
	heads, err := s.Heads(t.Context(), 10)
	if err != nil || len(heads) != 1 || heads[0].ID != blocked {
		t.Errorf("after the running member was deleted by hand the heads are %v, %v", heads, err)
	}
}

func register(tb testing.TB, s jobstore.Store) jobstore.Claimant {
	tb.Helper()
	c := jobstore.Consumer{Host: "h", PID: 1, Kinds: []string{"k"}, Queues: []string{"default"}, Priorities: []int{10, 20, 30, 40, 50}}
	id, err := s.Register(tb.Context(), c, 1<<40)
	if err != nil {
		tb.Fatal(err)
	}
	return jobstore.Claimant{Holder: id, Host: c.Host, PID: c.PID, Queues: c.Queues, Priorities: c.Priorities, Kinds: c.Kinds, Token: 1}
}

// A person's UPDATE over many rows passes over jobs that end while it waits for them: a row that
// was moved between partitions by UPDATE would fail it with 40001.
func TestMassUpdateMeetsEndingJobs(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	by := register(t, s)
	id := place(t, conn, jobstore.Ready)
	got, err := s.Claim(t.Context(), by, []jobstore.ID{id})
	if err != nil || len(got.Leases) != 1 {
		t.Fatalf("claim: %+v, %v", got, err)
	}
	updated := make(chan error, 1)
	watch := connect(t, dsn)
	err = s.InTx(t.Context(), func(ctx context.Context, tx jobstore.Tx) error {
		done := []jobstore.Outcome{{ID: id, LeaseNo: got.Leases[0].Job.LeaseNo, State: jobstore.Finished}}
		if _, err := s.RecordTx(ctx, tx, by.Holder, done); err != nil {
			return err
		}
		go func() {
			_, err := conn.Exec(ctx, "UPDATE warren.jobs SET metadata = '{}' WHERE kind = 'k'")
			updated <- err
		}()
		for {
			var waiting bool
			err := watch.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE warren%')").Scan(&waiting)
			if err != nil || waiting {
				return err
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-updated; err != nil {
		t.Errorf("a mass update failed: %v", err)
	}
}

// One row that cannot be read would stop the sweep or the claim that meets it.
func TestNobodyWritesTimesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	id := place(t, conn, jobstore.Scheduled)
	for _, set := range []string{
		"available_at = 'infinity'", "available_at = '-infinity'", "available_at = '10000-01-01 00:00+00'", "every = '293 years'",
		"timeout = '1000000 years'", "unique_for = '300000 years'",
	} {
		_, err := conn.Exec(t.Context(), "UPDATE warren.jobs SET "+set+" WHERE id = $1", id)
		if err == nil || !strings.Contains(err.Error(), "jobs_times") {
			t.Errorf("%s: %v, want it refused", set, err)
		}
	}
	exec(t, conn, "UPDATE warren.jobs SET available_at = '9999-12-31 23:59:59+00', timeout = '292 years' WHERE id = $1", id)
	look, err := s.Look(t.Context())
	if err != nil || look.Next <= 0 {
		t.Errorf("with a job of the year 9999: %+v, %v", look, err)
	}
	if got, err := s.Get(t.Context(), id); err != nil || got.AvailableAt.UTC().Year() != 9999 || got.Timeout <= 0 {
		t.Errorf("the job reads as %+v, %v", got, err)
	}
}

// What was written before that was a rule is mended; what runs meanwhile can end.
func TestTimesThatCannotBeReadAreMended(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	by := register(t, s)
	scheduled, running, ready := place(t, conn, jobstore.Scheduled), place(t, conn, jobstore.Ready), place(t, conn, jobstore.Ready)
	got, err := s.Claim(t.Context(), by, []jobstore.ID{running})
	if err != nil || len(got.Leases) != 1 {
		t.Fatal(got, err)
	}
	longest, err := s.Insert(t.Context(), []jobstore.NewJob{{Kind: "k", Queue: "default", Priority: 10, Timeout: math.MaxInt64}})
	if err != nil {
		t.Fatal(err)
	}
	exec(t, conn, `ALTER TABLE warren.jobs_live DROP CONSTRAINT "jobs_times: years 1970 to 9999, intervals up to 292 years"`)
	exec(t, conn, "UPDATE warren.jobs SET available_at = 'infinity', timeout = '1000000 years' WHERE id = $1", scheduled)
	exec(t, conn, "UPDATE warren.jobs SET timeout = '1000000 years' WHERE id = $1", running)
	exec(t, conn, "ALTER TABLE warren.jobs_live DISABLE TRIGGER guard_job")
	exec(t, conn, "UPDATE warren.jobs SET available_at = '-infinity' WHERE id = $1", running)
	exec(t, conn, "UPDATE warren.jobs SET available_at = 'infinity' WHERE id = $1", ready)
	exec(t, conn, "ALTER TABLE warren.jobs_live ENABLE TRIGGER guard_job")
	exec(t, conn, "DELETE FROM warren.schema_migrations WHERE number = 19")
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if j, err := s.Get(t.Context(), scheduled); err != nil || j.AvailableAt.UTC().Year() != 9999 {
		t.Errorf("a job that was due at infinity reads as %+v, %v", j, err)
	}
	if j, err := s.Get(t.Context(), ready); err != nil || j.State != jobstore.Scheduled || j.AvailableAt.UTC().Year() != 9999 {
		t.Errorf("a READY job that was due at infinity reads as %+v, %v", j, err)
	}
	if j, err := s.Get(t.Context(), longest[0].ID); err != nil || j.Timeout < math.MaxInt64-10_000 {
		t.Errorf("the longest timeout that Go knows reads as %+v, %v", j, err)
	}
	kept := jobstore.Outcome{ID: running, LeaseNo: got.Leases[0].Job.LeaseNo, State: jobstore.TemporarilyFailed, Error: "e", Delay: time.Hour}
	if rec, err := s.Record(t.Context(), by.Holder, []jobstore.Outcome{kept}); err != nil || len(rec.Fenced) > 0 {
		t.Errorf("the outcome of the one that ran: %+v, %v", rec, err)
	}
	if _, err := conn.Exec(t.Context(), "UPDATE warren.jobs SET mode = 'unique', identifier = 'i' WHERE id = $1", ready); err == nil {
		t.Error("the rules of jobs are off")
	}
}

func TestEnqueue(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	err := s.Configure(t.Context(), jobstore.Settings{
		Priorities: []int{10, 20, 30}, DefaultQueue: "default", MaxArgs: 200,
		Kinds: []jobstore.KindDefaults{{Kind: "resize", Queue: "media", Priority: 30, MaxAttempts: 8, GroupSkip: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	get := func(call string) jobstore.Job {
		t.Helper()
		var id jobstore.ID
		if err := conn.QueryRow(t.Context(), "SELECT warren.enqueue("+call+")").Scan(&id); err != nil {
			t.Fatalf("%s: %v", call, err)
		}
		j, err := s.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	if j := get("'mail', '{\"to\": 1}'"); j.Queue != "default" || j.Priority != 10 || j.MaxAttempts != 25 || j.AnnounceAt == nil ||
		j.State != jobstore.Ready || string(j.Args) != `{"to": 1}` || j.Mode != jobstore.Normal {
		t.Errorf("defaults: %+v", j)
	}
	if j := get("kind => 'resize', args => NULL"); j.Queue != "media" || j.Priority != 30 || j.MaxAttempts != 8 || string(j.Args) != "{}" {
		t.Errorf("defaults of a kind: %+v", j)
	}
	if j := get(`kind => 'mail', args => '[]', queue => 'q', priority => 20, serial_group => 'g', identifier => 'i', mode => 'recurring',
		every => '90 s', available_at => now() + interval '1 h', "coalesce" => 7, max_attempts => 0`); j.Queue != "q" || j.Priority != 20 ||
		j.SerialGroup != "g" || j.Identifier != "i" || j.Mode != jobstore.Recurring || j.Every.Seconds() != 90 ||
		j.State != jobstore.Scheduled || j.Coalesce == nil || *j.Coalesce != 7 || j.MaxAttempts != 0 || j.AnnounceAt != nil {
		t.Errorf("everything named: %+v", j)
	}
	for call, want := range map[string]string{
		"'mail', priority => 7":                          "priority 7 is not configured (10, 20, 30)",
		"'mail', mode => 'unique'":                       "mode unique needs an identifier",
		"'mail', mode => 'recurring', identifier => 'x'": "needs every",
		"'mail', mode => 'odd'":                          "mode 'odd' is unknown",
		"'mail', every => '1 s'":                         "every is for mode recurring",
		`'mail', "coalesce" => 1`:                        "coalesce needs a serial_group",
		"NULL":                                           "kind is missing",
		"''":                                             "kind '' is not a name",
		"'a b'":                                          "is not a name",
		"'mail', queue => 'a/b'":                         "queue 'a/b' is not a name",
		"'mail', identifier => ''":                       "identifier must be",
		"'mail', serial_group => E'a\\nb'":               "serial_group must be",
		"'mail', max_attempts => -1":                     "max_attempts -1 is negative",
		"'mail', max_attempts => 32768":                  "max_attempts 32768 is more than 32767",
		"'mail', available_at => 'infinity'":             "available_at infinity is outside of the years 1970 to 9999",
		"'mail', available_at => '-infinity'":            "available_at -infinity is outside of the years 1970 to 9999",
		"'mail', available_at => '10000-01-01 00:00+00'": "is outside of the years 1970 to 9999",
		"'mail', mode => 'recurring', identifier => 'x', every => '293 years'": "every 293 years is longer than 292 years",
		"'mail', to_jsonb(repeat('x', 200))":                                   "args have 202 bytes, more than the 200",
		"'mail', mode => 'recurring', identifier=>'x', every=>'0'":             "needs every",
	} {
		_, err := conn.Exec(t.Context(), "SELECT warren.enqueue("+call+")")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("enqueue(%s): %v, want %q", call, err, want)
		}
	}
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT warren.enqueue('mail', identifier => 'gone', mode => 'unique')"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if j := get("'mail', identifier => 'gone', mode => 'unique'"); j.State != jobstore.Ready {
		t.Errorf("a rolled-back publish left its key: %+v", j)
	}
}
