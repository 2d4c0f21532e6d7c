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

// In a serial group order is (priority, id) and one runs at a time, over any number of consumers.
func TestSerialGroupOrder(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		var mu sync.Mutex
		var order []string
		var running atomic.Int32
		var r warren.Registry
		warren.RegisterFunc(&r, func(_ context.Context, job *warren.Job[mail]) error {
			if running.Add(1) != 1 {
				t.Error("two members of one group run at a time")
			}
			defer running.Add(-1)
			mu.Lock()
			defer mu.Unlock()
			order = append(order, job.Args.To)
			return nil
		})
		client, err := warren.NewClient(warren.ClientConfig{Store: store, Priorities: []int{1, 2}})
		if err != nil {
			t.Fatal(err)
		}
		var items []warren.Item
		for _, m := range []string{"a1", "b1", "c2", "d1", "e1", "f2", "g1"} {
			items = append(items, warren.Item{Args: mail{To: m[:1]}, Opts: warren.PublishOpts{
				SerialGroup: "g", Priority: new(int(m[1] - '0')),
			}})
		}
		if _, err := client.PublishMany(t.Context(), items); err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			var own broker.Broker
			if i == 0 { // one Broker value belongs to one consumer
				own = b
			} else if b != nil {
				own = again(t, b)
			}
			consumerOf(t, warren.ConsumerConfig{Store: store, Broker: own, Registry: &r, Priorities: []int{1, 2}})
		}
		await(t, "the group to finish", func() bool {
			s, err := store.Stats(t.Context())
			return err == nil && s.Total[jobstore.Finished] == 7
		})
		if want := []string{"a", "b", "d", "e", "g", "c", "f"}; !slices.Equal(order, want) {
			t.Errorf("ran in the order %v, want %v", order, want)
		}
	})
}

// A predecessor that backs off or is not yet due blocks its group; one that failed for good does not.
func TestSerialGroupWaitsForItsPredecessor(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		var mu sync.Mutex
		var order []string
		r := handle(func(_ context.Context, job *warren.Job[mail]) error {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, job.Args.To)
			switch {
			case job.Args.To == "retries" && job.Attempts == 1:
				return warren.RetryAfter(200*time.Millisecond, errors.New("again"))
			case job.Args.To == "waits" && job.LeaseNo == 1:
				return warren.Wait(200*time.Millisecond, errors.New("again"))
			case job.Args.To == "fails":
				return warren.Permanent(errors.New("no"))
			}
			return nil
		})
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r})
		group := warren.PublishOpts{SerialGroup: "g"}
		later := group
		later.Delay = 200 * time.Millisecond
		publish(t, c.Client(), "later", later)
		publish(t, c.Client(), "retries", group)
		publish(t, c.Client(), "waits", group)
		publish(t, c.Client(), "fails", group)
		last := publish(t, c.Client(), "last", group)
		awaitState(t, store, last, jobstore.Finished)
		if want := []string{"later", "retries", "retries", "waits", "waits", "fails", "last"}; !slices.Equal(order, want) {
			t.Errorf("ran %v, want %v", order, want)
		}
	})
}

// With SkipOnRetry a member that backs off or waits lets the others pass, and takes its turn later.
func TestSerialGroupMaySkipARetry(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		r := handle(func(_ context.Context, job *warren.Job[mail]) error {
			switch {
			case job.LeaseNo > 1:
				return nil
			case job.Args.To == "retries":
				return warren.RetryAfter(time.Hour, errors.New("much later"))
			case job.Args.To == "waits":
				return warren.Wait(time.Hour, errors.New("much later"))
			}
			return nil
		}, warren.KindOpts{SkipOnRetry: true})
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r})
		group := warren.PublishOpts{SerialGroup: "g"}
		retries := publish(t, c.Client(), "retries", group)
		waits := publish(t, c.Client(), "waits", group)
		awaitState(t, store, publish(t, c.Client(), "passes", group), jobstore.Finished)
		awaitState(t, store, retries, jobstore.TemporarilyFailed)
		awaitState(t, store, waits, jobstore.Waiting)
		exec(t, store, "UPDATE warren.jobs SET available_at = now() WHERE id IN ($1, $2)", retries, waits)
		awaitState(t, store, retries, jobstore.Finished)
		awaitState(t, store, waits, jobstore.Finished)
	})
}

// A job that starts makes the not-yet-started ones of its group with a threshold at least as high
// redundant, and leaves the others.
func TestCoalesce(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		client, err := warren.NewClient(warren.ClientConfig{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		from := func(n int64) warren.PublishOpts {
			return warren.PublishOpts{SerialGroup: "recount", Coalesce: new(n)}
		}
		runs100 := publish(t, client, "from 100", from(100))
		gone150 := publish(t, client, "from 150", from(150))
		runs50 := publish(t, client, "from 50", from(50))
		gone100 := publish(t, client, "from 100 again", from(100))
		plain := publish(t, client, "no threshold", warren.PublishOpts{SerialGroup: "recount"})
		consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: handle(func(context.Context, *warren.Job[mail]) error { return nil })})
		for id, want := range map[jobstore.ID]jobstore.State{
			runs100: jobstore.Finished, gone150: jobstore.Redundant, runs50: jobstore.Finished,
			gone100: jobstore.Redundant, plain: jobstore.Finished,
		} {
			awaitState(t, store, id, want)
		}
	})
}

// Four consumers work off one serial group about as fast as one alone.
func TestFourConsumersOnOneGroupAreNotSlower(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		one := groupOf200(t, store, b, 1)
		if b != nil {
			b = newBroker(t)
		}
		four := groupOf200(t, newStore(t), b, 4)
		ratio := four.Seconds() / one.Seconds()
		t.Logf("one consumer %s, four %s: ratio %.2f", one, four, ratio)
		// The goal is 1.3 on a quiet machine; on one that runs other tests the figures jump.
		if ratio > 3 {
			t.Errorf("four consumers took %.2f times as long as one", ratio)
		}
	})
}

// groupOf200 returns how long so many consumers need for 200 jobs of one serial group.
func groupOf200(t *testing.T, store *postgres.Store, b broker.Broker, consumers int) time.Duration {
	t.Helper()
	var left atomic.Int32
	left.Store(200)
	done := make(chan struct{})
	r := handle(func(context.Context, *warren.Job[mail]) error {
		if left.Add(-1) == 0 {
			close(done)
		}
		return nil
	})
	var client *warren.Client
	for range consumers {
		var own broker.Broker
		if b != nil {
			own = again(t, b)
		}
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: own, Registry: r})
		await(t, "the consumer to be ready", func() bool { return c.Ready(t.Context()) == nil })
		client = c.Client()
	}
	items := make([]warren.Item, 200)
	for i := range items {
		items[i] = warren.Item{Args: mail{}, Opts: warren.PublishOpts{SerialGroup: "g"}}
	}
	began := time.Now()
	if _, err := client.PublishMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%d of 200 jobs are left", left.Load())
	}
	return time.Since(began)
}
