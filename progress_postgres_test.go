package warren_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// tellings is how many statements have told of progress and logs, and how many rows there are.
func tellings(t *testing.T, store *postgres.Store) (calls, rows int) {
	t.Helper()
	ints(t, store, `SELECT (SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements s
		WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND s.query LIKE '%warren: tell%'),
		(SELECT count(*)::int FROM warren.job_progress)`, &calls, &rows)
	return calls, rows
}

// Handlers that call Progress a million times, and log, cost four statements a second for all of them together;
// others see how far they are meanwhile; and what they said last comes with the outcome.
func TestProgressOfAMillionCalls(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	exec(t, store, "CREATE EXTENSION pg_stat_statements")
	const jobs, calls = 4, 250_000
	goOn := make(chan struct{})
	var began, called atomic.Int64
	var r warren.Registry
	warren.RegisterFunc(&r, func(ctx context.Context, _ *warren.Job[mail]) error {
		began.Add(1)
		for n := range int64(calls) {
			warren.Progress(ctx, n+1, 2*calls, "going")
			if n%10_000 == 0 {
				warren.Logger(ctx).Info("ten thousand more")
			}
		}
		called.Add(calls)
		<-goOn
		warren.Progress(ctx, 2*calls, 2*calls, "gone")
		return nil
	})
	publishMany(t, store, jobs)
	start := time.Now()
	consumerOf(t, warren.ConsumerConfig{Store: store, Registry: &r, Concurrency: jobs})
	seen := func(want func(p *jobstore.Progress) bool) func() bool {
		return func() bool {
			list, err := store.List(t.Context(), jobstore.Filter{})
			return err == nil && len(list) == jobs && !slices.ContainsFunc(list, func(j jobstore.Job) bool { return j.Progress == nil || !want(j.Progress) })
		}
	}
	await(t, "how far the running jobs are", seen(func(p *jobstore.Progress) bool { return p.Done == calls && p.Message == "going" && p.Percent != nil }))
	n, rows := tellings(t, store)
	took := time.Since(start)
	t.Logf("%d calls of %d handlers in %s: %d statements", called.Load(), began.Load(), took, n)
	if most := int(took/(250*time.Millisecond)) + 1; n > most || n == 0 {
		t.Errorf("%d statements in %s; at most %d are allowed", n, took, most)
	}
	if rows != jobs || called.Load() != jobs*calls {
		t.Errorf("%d rows of progress after %d calls", rows, called.Load())
	}
	close(goOn)
	await(t, "the end", seen(func(p *jobstore.Progress) bool { return p.Done == 2*calls && p.Message == "gone" && *p.Percent == 100 }))
	if lines, err := store.Lines(t.Context(), jobstore.LineFilter{Job: 1}); err != nil || len(lines) != calls/10_000 {
		t.Errorf("%d lines, %v", len(lines), err)
	}
}

// Jobs that say nothing cost no statement of the journal.
func TestJobsThatSayNothing(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	exec(t, store, "CREATE EXTENSION pg_stat_statements")
	var r warren.Registry
	warren.RegisterFunc(&r, func(context.Context, *warren.Job[mail]) error { return nil })
	publishMany(t, store, 20)
	consumer, err := warren.NewConsumer(warren.ConsumerConfig{Store: store, Registry: &r, UntilEmpty: true})
	if err == nil {
		err = consumer.Run(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if calls, rows := tellings(t, store); calls != 0 || rows != 0 {
		t.Errorf("%d statements and %d rows tell of nothing", calls, rows)
	}
}

// A process that dies leaves what it has told behind: another goes on from there.
func TestEachAfterAProcessThatDied(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	holder, err := store.Register(t.Context(), jobstore.Consumer{Kinds: []string{"mail"}, Queues: []string{"default"}, Priorities: []int{10}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	publishMany(t, store, 1)
	leases, err := store.ClaimNext(t.Context(), jobstore.Claimant{Holder: holder, Queues: []string{"default"}, Priorities: []int{10}, Kinds: []string{"mail"}, Token: 1}, 1)
	if err != nil || len(leases) != 1 {
		t.Fatalf("%v, %v", leases, err)
	}
	job := &leases[0].Job
	_, err = store.Tell(t.Context(), jobstore.Telling{Progress: []jobstore.Told{{By: holder, Progress: jobstore.Progress{
		Job: job.ID, LeaseNo: job.LeaseNo, Done: 2, Cursors: map[string]int64{"#1": 2},
	}}}})
	if err == nil {
		_, err = store.Renew(t.Context(), holder, time.Millisecond) // its lease ends without an outcome
	}
	if err != nil {
		t.Fatal(err)
	}
	var did []string
	var r warren.Registry
	warren.RegisterFunc(&r, func(ctx context.Context, _ *warren.Job[mail]) error {
		return warren.Each(ctx, slices.Values([]int{1, 2, 3, 4}), 4, func(_ context.Context, n int) error {
			did = append(did, strconv.Itoa(n))
			return nil
		})
	})
	consumerOf(t, warren.ConsumerConfig{Store: store, Registry: &r, Sweep: quick(), Heartbeat: warren.Heartbeat{TTL: 2 * time.Second}})
	awaitState(t, store, job.ID, jobstore.Finished)
	if got := strings.Join(did, " "); got != "3 4" {
		t.Errorf("the next process did %q, want what was left", got)
	}
}
