package postgres_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// Retention forgets what says the same as nothing: full buckets, places of leases that have ended, waits of
// jobs that are gone, old closed breakers. What still counts stays.
func TestRetainGuards(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	exec(t, conn, "INSERT INTO warren.jobs_live (id, state, kind, queue, priority, holder, lease_no) VALUES (1, 'PROCESSING', 'k', 'q', 10, 7, 3), (2, 'WAITING', 'k', 'q', 10, NULL, 1)")
	exec(t, conn, `INSERT INTO warren.job_limits VALUES ('gone', now() - interval '2 minutes', now() - interval '2 minutes'), ('kept', now(), now() - interval '1 h')`)
	exec(t, conn, `INSERT INTO warren.job_locks VALUES ('kept', 1, 3, true), ('kept', 2, 1, false), ('gone', 1, 2, true), ('gone', 2, 1, true), ('gone', 9, 1, false)`)
	exec(t, conn, `INSERT INTO warren.job_breakers (name, since, open_until) VALUES ('gone', now() - interval '25 h', NULL), ('kept', now() - interval '25 h', now()), ('kept too', now(), NULL)`)
	for range 2 {
		if _, err := s.Retain(t.Context(), jobstore.Retention{}, 100); err != nil {
			t.Fatal(err)
		}
	}
	var limits, locks, breakers, gone int
	if err := conn.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM warren.job_limits), (SELECT count(*) FROM warren.job_locks), (SELECT count(*) FROM warren.job_breakers),
		(SELECT count(*) FROM (SELECT key FROM warren.job_limits UNION ALL SELECT key FROM warren.job_locks UNION ALL SELECT name FROM warren.job_breakers) a WHERE key = 'gone')`).
		Scan(&limits, &locks, &breakers, &gone); err != nil {
		t.Fatal(err)
	}
	if limits != 1 || locks != 2 || breakers != 2 || gone != 0 {
		t.Errorf("%d limits, %d locks, %d breakers are left, %d of them should be gone", limits, locks, breakers, gone)
	}
}

// Several processes ask for one lock and one limit at the same time. One process shares its statements, so
// that only several can meet in the database.
func TestGuardsOverManyStores(t *testing.T) {
	t.Parallel()
	first, dsn := fresh(t)
	conn := connect(t, dsn)
	const stores, rounds, places = 6, 15, 2
	exec(t, conn, "INSERT INTO warren.jobs_live (id, state, kind, queue, priority, holder, lease_no) SELECT n, 'PROCESSING', 'k', 'q', 10, 7, 1 FROM generate_series(1, $1::int) n", stores)
	all := []*postgres.Store{first}
	for range stores - 1 {
		all = append(all, open(t, dsn, postgres.Config{MaxConns: 2}))
	}
	for round := range rounds {
		key := fmt.Sprint("round ", round)
		admission := []jobstore.Admission{{Key: key, Step: time.Hour, Burst: (places + 1) * time.Hour}}
		if _, err := first.Admit(t.Context(), admission); err != nil { // so that there is a row to lock
			t.Fatal(err)
		}
		var mu sync.Mutex
		got, begun := 0, 0
		var wg sync.WaitGroup
		for i, s := range all {
			wg.Go(func() {
				locks, err := s.Lock(t.Context(), []jobstore.Lock{{Key: key, Places: places, ID: jobstore.ID(i + 1), LeaseNo: 1}})
				admitted, err2 := s.Admit(t.Context(), admission)
				if err := errors.Join(err, err2); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if locks[0] {
					got++
				}
				if admitted[0].Begin {
					begun++
				}
			})
		}
		wg.Wait()
		if got != places || begun != places {
			t.Errorf("%s: %d have one of %d places, %d of %d began", key, got, places, begun, places)
		}
	}
}

// An operator may look at a breaker, and close it, with SQL.
func TestBreakerByHand(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	_, err := s.Report(t.Context(), jobstore.Report{Name: "bank", ID: 1, LeaseNo: 1, Failed: "no route", Threshold: 1, Period: time.Hour, Cooldown: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var why string
	if err := conn.QueryRow(t.Context(), "SELECT error FROM warren.job_breakers WHERE name = 'bank' AND open_until > now()").Scan(&why); err != nil || why != "no route" {
		t.Fatalf("%q, %v", why, err)
	}
	exec(t, conn, "DELETE FROM warren.job_breakers WHERE name = 'bank'")
	if p, err := s.Enter(t.Context(), "bank", 2, 1); err != nil || p != (jobstore.Passage{}) {
		t.Errorf("%+v, %v", p, err)
	}
}
