package warren_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// The lowest number runs first over all queues that a consumer takes, and a better job that comes later
// overtakes those that wait, in whichever queue.
func TestABetterJobOvertakes(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		free := make(chan struct{})
		started := make(chan string, 1000)
		r := handle(func(_ context.Context, job *warren.Job[mail]) error {
			if job.Args.To == "first" {
				<-free
			}
			started <- job.Args.To
			return nil
		})
		c := consumerOf(t, warren.ConsumerConfig{
			Store: store, Broker: b, Registry: r, Concurrency: 1, Queues: []string{"letters", "parcels"},
		})
		in := func(queue string, priority int) warren.PublishOpts {
			return warren.PublishOpts{Queue: queue, Priority: new(priority)}
		}
		first := publish(t, c.Client(), "first", in("letters", 50))
		awaitState(t, store, first, jobstore.Processing)
		const waiting = 200 // more than one look into the table takes in
		items := make([]warren.Item, waiting)
		for i := range items {
			items[i] = warren.Item{Args: mail{To: "worse"}, Opts: in([]string{"letters", "parcels"}[i%2], 30)}
		}
		if _, err := c.Client().PublishMany(t.Context(), items); err != nil {
			t.Fatal(err)
		}
		best := publish(t, c.Client(), "best", in("parcels", 10))
		better := publish(t, c.Client(), "better", in("letters", 20))
		if err := c.Client().Drain(t.Context()); err != nil { // they are announced
			t.Fatal(err)
		}
		close(free)
		awaitState(t, store, best, jobstore.Finished)
		awaitState(t, store, better, jobstore.Finished)
		await(t, "the others to finish", func() bool {
			s, err := store.Stats(t.Context())
			return err == nil && s.Total[jobstore.Finished] == waiting+3
		})
		var order []string
		for len(started) > 0 {
			order = append(order, <-started)
		}
		// With hints, what arrived before the better ones may have been claimed: the first few, not half of them.
		allowed := 1
		if b != nil {
			allowed = waiting / 2
		}
		before := map[string]int{}
		for i, to := range order {
			before[to] = i
		}
		if before["best"] > allowed || before["better"] > allowed+1 {
			t.Errorf("started in the order %v", order)
		}
	})
}

// A priority comes from publish, else from the kind, else it is the first configured one.
func TestWherePriorityComesFrom(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	var r warren.Registry
	warren.RegisterFunc(&r, func(context.Context, *warren.Job[mail]) error { return nil }, warren.KindOpts{Priority: 30})
	r.Raw("plain", func(context.Context, *jobstore.Job) error { return nil })
	r.Raw("zero", func(context.Context, *jobstore.Job) error { return nil }, warren.KindOpts{HasPriority: true})
	client, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: &r, Priorities: []int{30, 20, 10, 0}})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Configure(t.Context(), client.Settings()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind  string
		asked *int
		want  int
	}{{"mail", new(20), 20}, {"mail", nil, 30}, {"plain", nil, 0}, {"zero", nil, 0}, {"plain", new(10), 10}, {"unheard.of", nil, 0}} {
		p, err := client.PublishRaw(t.Context(), c.kind, nil, warren.PublishOpts{Priority: c.asked})
		if err != nil {
			t.Fatal(err)
		}
		exec(t, store, "SELECT warren.enqueue($1, priority => $2)", c.kind, c.asked)
		for _, id := range []jobstore.ID{p.ID, p.ID + 1} {
			if job, err := store.Get(t.Context(), id); err != nil || job.Priority != c.want || job.Kind != c.kind {
				t.Errorf("job %d of kind %s has priority %d, want %d (%v)", id, job.Kind, job.Priority, c.want, err)
			}
		}
	}
}

// Without queues of its own a consumer takes every queue that its kinds use.
func TestAConsumerTakesTheQueuesOfItsKinds(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		r := handle(func(context.Context, *warren.Job[mail]) error { return nil })
		r.Raw("resize", func(context.Context, *jobstore.Job) error { return nil }, warren.KindOpts{Queue: "media"})
		r.Raw("crop", func(context.Context, *jobstore.Job) error { return nil }, warren.KindOpts{Queue: "media"})
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r})
		if got := strings.Join(c.Queues(), " "); got != "default media" {
			t.Errorf("it takes %s", got)
		}
		p, err := c.Client().PublishRaw(t.Context(), "resize", nil)
		if err != nil {
			t.Fatal(err)
		}
		if job := awaitState(t, store, p.ID, jobstore.Finished); job.Queue != "media" {
			t.Errorf("the job was in queue %s", job.Queue)
		}
	})
}

// One that is not configured is refused with the same words by every way in.
func TestAPriorityThatIsNotConfigured(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	client, err := warren.NewClient(warren.ClientConfig{Store: store, Priorities: []int{10, 20, 30}})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Configure(t.Context(), client.Settings()); err != nil {
		t.Fatal(err)
	}
	seven := warren.PublishOpts{Priority: new(7)}
	_, published := client.Publish(t.Context(), mail{}, seven)
	_, bulk := client.PublishMany(t.Context(), []warren.Item{{Args: mail{}}, {Args: mail{}, Opts: seven}})
	inTx := client.InTx(t.Context(), func(ctx context.Context, tx *warren.Tx) error {
		_, err := tx.Publish(ctx, mail{}, seven)
		return err
	})
	inSQL := store.InTx(t.Context(), func(ctx context.Context, own jobstore.Tx) error {
		tx, err := postgres.From(own)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "SELECT warren.enqueue('mail', priority => 7)")
		return err
	})
	nothing := func(context.Context, *warren.Job[mail]) error { return nil }
	config := warren.ConsumerConfig{Store: store, Priorities: []int{10, 20, 30}, Registry: handle(nothing, warren.KindOpts{Priority: 7})}
	_, ofKind := warren.NewConsumer(config)
	config.Registry, config.Take = handle(nothing), []int{7}
	_, taken := warren.NewConsumer(config)
	for way, err := range map[string]error{
		"Publish": published, "PublishMany": bulk, "InTx": inTx, "warren.enqueue": inSQL, "a kind": ofKind, "a consumer's range": taken,
	} {
		if err == nil || !strings.Contains(err.Error(), "priority 7 is not configured (10, 20, 30)") {
			t.Errorf("%s: %v", way, err)
		}
	}
	if s, err := store.Stats(t.Context()); err != nil || s.Total[jobstore.Ready] != 0 {
		t.Errorf("%d jobs were written all the same (%v)", s.Total[jobstore.Ready], err)
	}
}

// Every final state can be given a time to be kept, which counts from finished_at; without one it is
// kept for ever.
func TestRetentionOfEveryFinalState(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		client, err := warren.NewClient(warren.ClientConfig{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		keep := warren.DefaultRetention()
		old, young := map[jobstore.State]jobstore.ID{}, map[jobstore.State]jobstore.ID{}
		for state := range keep {
			for ids, age := range map[*map[jobstore.State]jobstore.ID]string{&old: "3 h", &young: "1 h"} {
				id := publish(t, client, "", warren.PublishOpts{Delay: time.Hour})
				exec(t, store, "UPDATE warren.jobs SET state = $2 WHERE id = $1", id, string(state))
				// It was published long ago: only its end counts.
				exec(t, store, fmt.Sprintf("UPDATE warren.jobs SET created_at = now() - interval '9 d', finished_at = now() - interval '%s' WHERE id = $1", age), id)
				(*ids)[state] = id
			}
			keep[state] = 2 * time.Hour
		}
		if len(old) != 5 {
			t.Fatalf("%d final states have a retention by default, want 5", len(old))
		}
		delete(keep, jobstore.Quarantined)
		sweep := quick()
		sweep.Retain = 100 * time.Millisecond
		c, err := warren.NewConsumer(warren.ConsumerConfig{
			Store: store, Broker: b, Registry: handle(func(context.Context, *warren.Job[mail]) error { return nil }),
			Sweep: sweep, Retention: keep, Log: testLog(t),
		})
		if err != nil {
			t.Fatal(err)
		}
		run(t, c)
		await(t, "four jobs past their retention to go", func() bool {
			s, err := store.Stats(t.Context())
			var n int64
			for _, state := range jobstore.States() {
				n += s.Total[state]
			}
			return err == nil && n == 6
		})
		for state := range young {
			if _, err := store.Get(t.Context(), young[state]); err != nil {
				t.Errorf("%s for 1 h, kept for 2 h: %v", state, err)
			}
		}
		if _, err := store.Get(t.Context(), old[jobstore.Quarantined]); err != nil {
			t.Errorf("a state without retention: %v", err)
		}
	})
}
