package warren_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// patience is how long a test waits for what must happen; it is not a measure of speed.
const patience = 90 * time.Second

// mail is a kind of the tests.
type mail struct {
	To string `json:"to"`
}

func (mail) Kind() string { return "mail" }

// newStore returns a migrated store on a database of its own.
func newStore(t *testing.T) *postgres.Store {
	t.Helper()
	store, err := postgres.Open(t.Context(), testenv.Postgres(t), postgres.Config{Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

// testBroker is a broker that knows how to reach itself again: one Broker value serves one consumer.
type testBroker struct {
	broker.Broker
	url string
}

func newBroker(t *testing.T) broker.Broker {
	t.Helper()
	return openBroker(t, testenv.RabbitMQ(t))
}

func openBroker(t *testing.T, url string) broker.Broker {
	t.Helper()
	b, err := rabbitmq.Open(rabbitmq.Config{URL: url, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	return &testBroker{Broker: b, url: url}
}

// again opens the same broker for another consumer.
func again(t *testing.T, b broker.Broker) broker.Broker {
	t.Helper()
	own, ok := b.(*testBroker)
	if !ok {
		t.Fatalf("%T is not of newBroker", b)
	}
	return openBroker(t, own.url)
}

func testLog(t *testing.T) *zap.Logger {
	t.Helper()
	return zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))
}

// quick are periods for tests that wait for the sweep.
func quick() warren.Sweep {
	return warren.Sweep{
		Tick: 100 * time.Millisecond, LostHints: 300 * time.Millisecond, Heads: 300 * time.Millisecond,
		Rescue: 200 * time.Millisecond, LeaderTTL: 2 * time.Second,
	}
}

// run runs a consumer until the test ends, and fails the test when Run returns an error.
func run(t *testing.T, c *warren.Consumer) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run did not return")
		}
	})
}

// await polls until ok holds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %s for: %s", patience, what)
		}
	}
}

func awaitState(t *testing.T, store *postgres.Store, id jobstore.ID, want jobstore.State) jobstore.Job {
	t.Helper()
	var job jobstore.Job
	await(t, fmt.Sprintf("job %d to be %s", id, want), func() bool {
		var err error
		job, err = store.Get(t.Context(), id)
		return err == nil && job.State == want
	})
	return job
}

// modes runs a test with a broker and without: the same handlers and states work.
func modes(t *testing.T, test func(t *testing.T, store *postgres.Store, b broker.Broker)) {
	t.Helper()
	t.Run("postgres and rabbitmq", func(t *testing.T) {
		t.Parallel()
		test(t, newStore(t), newBroker(t))
	})
	t.Run("postgres only", func(t *testing.T) {
		t.Parallel()
		test(t, newStore(t), nil)
	})
}

func TestEveryOutcome(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		outcomes := map[string]struct {
			err      error
			state    jobstore.State
			attempts int
		}{
			"nil":        {nil, jobstore.Finished, 1},
			"plain":      {errors.New("boom"), jobstore.TemporarilyFailed, 1},
			"permanent":  {warren.Permanent(errors.New("boom")), jobstore.PermanentlyFailed, 1},
			"wait":       {warren.Wait(time.Hour, errors.New("later")), jobstore.Waiting, 0},
			"skip":       {warren.Skip("nothing to do"), jobstore.Finished, 1},
			"retryafter": {warren.RetryAfter(time.Hour, errors.New("busy")), jobstore.TemporarilyFailed, 1},
		}
		var r warren.Registry
		warren.RegisterFunc(&r, func(_ context.Context, job *warren.Job[mail]) error {
			if job.Args.To == "panic" {
				panic("ouch")
			}
			return outcomes[job.Args.To].err
		})
		c, err := warren.NewConsumer(warren.ConsumerConfig{Store: store, Broker: b, Registry: &r, Sweep: quick(), Log: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		run(t, c)
		for name, want := range outcomes {
			p, err := c.Client().Publish(t.Context(), mail{To: name})
			if err != nil {
				t.Fatal(err)
			}
			job := awaitState(t, store, p.ID, want.state)
			if job.Attempts != want.attempts {
				t.Errorf("%s: attempts %d, want %d", name, job.Attempts, want.attempts)
			}
		}
		p, err := c.Client().Publish(t.Context(), mail{To: "panic"})
		if err != nil {
			t.Fatal(err)
		}
		awaitState(t, store, p.ID, jobstore.TemporarilyFailed)
	})
}

func TestAThousandJobs(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		var r warren.Registry
		warren.RegisterFunc(&r, func(context.Context, *warren.Job[mail]) error { return nil })
		c, err := warren.NewConsumer(warren.ConsumerConfig{Store: store, Broker: b, Registry: &r, Sweep: quick(), Log: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		run(t, c)
		items := make([]warren.Item, 1000)
		for i := range items {
			items[i] = warren.Item{Args: mail{To: strconv.Itoa(i)}}
		}
		began := time.Now()
		if _, err := c.Client().PublishMany(t.Context(), items); err != nil {
			t.Fatal(err)
		}
		await(t, "all to finish", func() bool {
			s, err := store.Stats(t.Context())
			return err == nil && s.Total[jobstore.Finished] == 1000
		})
		t.Logf("1000 jobs in %s", time.Since(began))
	})
}
