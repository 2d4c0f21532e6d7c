package warren_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// Racing publishers of a unique job: exactly one runs, and again one after it has ended.
func TestUniqueUnderARace(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		var runs atomic.Int32
		release := make(chan struct{})
		r := handle(func(context.Context, *warren.Job[mail]) error { runs.Add(1); <-release; return nil })
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r})
		for round := range int32(2) {
			var wg sync.WaitGroup
			var won, lost atomic.Int64
			for range 8 {
				wg.Go(func() {
					p, err := c.Client().Publish(t.Context(), mail{}, warren.PublishOpts{Mode: jobstore.Unique, Identifier: "only"})
					switch {
					case err != nil:
						t.Error(err)
					case p.State == jobstore.Redundant:
						lost.Add(1)
					default:
						won.Store(int64(p.ID))
					}
				})
			}
			wg.Wait()
			if lost.Load() != 7 {
				t.Fatalf("round %d: %d of 8 are REDUNDANT, want 7", round, lost.Load())
			}
			release <- struct{}{}
			awaitState(t, store, jobstore.ID(won.Load()), jobstore.Finished)
			if got := runs.Load(); got != round+1 {
				t.Fatalf("round %d: %d runs in all, want %d", round, got, round+1)
			}
		}
	})
}

// A unique key is taken while its job may still run, for a period, or for ever; a job that failed for
// good frees it, and another kind has keys of its own.
func TestUniqueScopes(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		outcomes := map[string]error{
			"retries": errors.New("again"), "waits": warren.Wait(time.Hour, nil), "fails": warren.Permanent(errors.New("no")),
			"ends": nil, "a moment": nil, "an hour": nil, "for ever": nil,
		}
		var r warren.Registry
		warren.RegisterFunc(&r, func(_ context.Context, job *warren.Job[mail]) error { return outcomes[job.Args.To] })
		r.Raw("letter", func(context.Context, *jobstore.Job) error { return nil })
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: &r})
		send := func(to string, period time.Duration) warren.Published {
			t.Helper()
			p, err := c.Client().Publish(t.Context(), mail{To: to}, warren.PublishOpts{
				Mode: jobstore.Unique, Identifier: to, UniqueFor: period,
			})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		for _, scope := range []struct {
			to     string
			period time.Duration
			state  jobstore.State
			free   bool
		}{
			{"retries", 0, jobstore.TemporarilyFailed, false},
			{"waits", 0, jobstore.Waiting, false},
			{"fails", 0, jobstore.PermanentlyFailed, true},
			{"ends", 0, jobstore.Finished, true},
			{"an hour", time.Hour, jobstore.Finished, false},
			{"for ever", warren.Forever, jobstore.Finished, false},
		} {
			first := send(scope.to, scope.period)
			awaitState(t, store, first.ID, scope.state)
			second := send(scope.to, scope.period)
			if free := second.State != jobstore.Redundant; free != scope.free {
				t.Errorf("%s: the second is %s", scope.to, second.State)
			}
			if !scope.free && second.Existing != first.ID {
				t.Errorf("%s: the second names job %d as the first, want %d", scope.to, second.Existing, first.ID)
			}
		}
		first := send("a moment", time.Second)
		awaitState(t, store, first.ID, jobstore.Finished)
		await(t, "the period to pass", func() bool { return send("a moment", time.Second).State != jobstore.Redundant })
		other, err := c.Client().PublishRaw(t.Context(), "letter", nil, warren.PublishOpts{Mode: jobstore.Unique, Identifier: "for ever"})
		if err != nil || other.State != jobstore.Ready {
			t.Errorf("the same identifier of another kind: %+v (%v)", other, err)
		}
	})
}

// A recurring job goes on after failures and an operator's hand, never two at a time, and ends when
// it is cancelled.
func TestRecurringNeverStops(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		var runs, running atomic.Int32
		var r warren.Registry
		warren.RegisterFunc(&r, func(context.Context, *warren.Job[mail]) error {
			if running.Add(1) != 1 {
				t.Error("two turns of a recurring job run at a time")
			}
			defer running.Add(-1)
			if n := runs.Add(1); n%2 == 0 {
				return warren.Permanent(errors.New("this turn fails"))
			}
			return nil
		})
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: &r})
		_, err := c.Client().Publish(t.Context(), mail{}, warren.PublishOpts{
			Mode: jobstore.Recurring, Identifier: "tick", Every: 200 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		await(t, "six turns", func() bool { return runs.Load() >= 6 })
		exec(t, store, "UPDATE warren.jobs SET state = 'PERMANENTLY_FAILED' WHERE identifier = 'tick' AND state IN ('SCHEDULED', 'READY')")
		before := runs.Load()
		await(t, "two more turns after an operator ended one", func() bool { return runs.Load() >= before+2 })
		exec(t, store, "UPDATE warren.jobs SET state = 'CANCELLED' WHERE identifier = 'tick' AND state IN ('SCHEDULED', 'READY')")
		await(t, "the series to end", func() bool {
			s, err := store.Stats(t.Context())
			live := s.Total[jobstore.Ready] + s.Total[jobstore.Scheduled] + s.Total[jobstore.Processing]
			if err == nil && live > 0 { // a turn that just ran has left a successor
				exec(t, store, "UPDATE warren.jobs SET state = 'CANCELLED' WHERE identifier = 'tick' AND state IN ('SCHEDULED', 'READY')")
			}
			return err == nil && live == 0
		})
	})
}

// By SQL too a recurring job is followed by the next, whatever final state it was given; CANCELLED
// ends the series, and a retry of the last one begins it again.
func TestRecurringByAnOperatorsHand(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	live := func(identifier string) []jobstore.Job {
		t.Helper()
		jobs, err := store.List(t.Context(), jobstore.Filter{Identifiers: []string{identifier}, States: []jobstore.State{
			jobstore.Ready, jobstore.Scheduled, jobstore.Processing, jobstore.Waiting, jobstore.TemporarilyFailed, jobstore.BackToBroker,
		}})
		if err != nil {
			t.Fatal(err)
		}
		return jobs
	}
	for _, state := range jobstore.States() {
		if !state.Final() {
			continue
		}
		first := publish(t, client, "", warren.PublishOpts{
			Mode: jobstore.Recurring, Identifier: string(state), Every: time.Hour, SerialGroup: "g", Tags: []string{"t"},
		})
		exec(t, store, "UPDATE warren.jobs SET state = $2 WHERE id = $1", first, string(state))
		ended := awaitState(t, store, first, state)
		next := live(string(state))
		if state == jobstore.Cancelled {
			if len(next) != 0 {
				t.Errorf("a cancelled series goes on with %+v", next)
			}
			exec(t, store, "UPDATE warren.jobs SET state = 'BACK_TO_BROKER' WHERE id = $1", first)
			next = live(string(state))
			if len(next) != 1 || next[0].ID != first {
				t.Errorf("a cancelled series that was sent back has %+v", next)
			}
			continue
		}
		if len(next) != 1 || next[0].ID == first || next[0].State != jobstore.Scheduled ||
			next[0].AvailableAt.Sub(*ended.FinishedAt) != time.Hour || next[0].SerialGroup != "g" || len(next[0].Tags) != 1 {
			t.Errorf("after %s by hand the series has %+v", state, next)
		}
	}
}

// Unfinished tells which identifiers are not done; a permanent failure counts as not done. Those that
// run now can be left out.
func TestUnfinished(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		free := make(chan struct{})
		r := handle(func(_ context.Context, job *warren.Job[mail]) error {
			switch job.Args.To {
			case "fails":
				return warren.Permanent(errors.New("no"))
			case "waits":
				return warren.Wait(time.Hour, nil)
			case "runs":
				<-free
			}
			return nil
		})
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r})
		defer close(free)
		for to, state := range map[string]jobstore.State{
			"good": jobstore.Finished, "fails": jobstore.PermanentlyFailed, "waits": jobstore.Waiting,
			"later": jobstore.Scheduled, "runs": jobstore.Processing,
		} {
			o := warren.PublishOpts{Identifier: to}
			if to == "later" {
				o.Delay = time.Hour
			}
			awaitState(t, store, publish(t, c.Client(), to, o), state)
		}
		ask := []string{"good", "fails", "waits", "later", "runs", "unheard of"}
		got, err := c.Client().Unfinished(t.Context(), ask...)
		slices.Sort(got)
		if want := []string{"fails", "later", "runs", "waits"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("unfinished %v (%v), want %v", got, err, want)
		}
		got, err = store.Unfinished(t.Context(), ask, true)
		slices.Sort(got)
		if want := []string{"fails", "later", "waits"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("unfinished and not running %v (%v), want %v", got, err, want)
		}
	})
}
