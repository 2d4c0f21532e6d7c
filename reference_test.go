package warren_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// The tests of this file are named after what earlier job systems got wrong, one each.

// handle registers f for the kind mail.
func handle(f func(ctx context.Context, job *warren.Job[mail]) error, opts ...warren.KindOpts) *warren.Registry {
	var r warren.Registry
	warren.RegisterFunc(&r, f, opts...)
	return &r
}

// Both identifiers have a job that is not done, and the first is at it.
func TestUnfinishedWithoutWhatRuns(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	begun, free := make(chan struct{}), make(chan struct{})
	c := consumerOf(t, warren.ConsumerConfig{Store: store, Registry: handle(func(context.Context, *warren.Job[mail]) error {
		close(begun)
		<-free
		return nil
	})})
	defer close(free)
	publish(t, c.Client(), "", warren.PublishOpts{Identifier: "runs"})
	publish(t, c.Client(), "", warren.PublishOpts{Identifier: "waits", Delay: time.Hour})
	<-begun
	all, err := c.Client().Unfinished(t.Context(), "runs", "waits", "nobody")
	rest, err2 := c.Client().UnfinishedNow(t.Context(), "runs", "waits", "nobody")
	if err := errors.Join(err, err2); err != nil || !slices.Equal(all, []string{"runs", "waits"}) || !slices.Equal(rest, []string{"waits"}) {
		t.Errorf("unfinished are %v, without what runs %v (%v)", all, rest, err)
	}
}

func publish(t *testing.T, c *warren.Client, to string, opts ...warren.PublishOpts) jobstore.ID {
	t.Helper()
	p, err := c.Publish(t.Context(), mail{To: to}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return p.ID
}

// A queue's name is compared whole: project app never touches app2.
func TestProjectAppNeverTouchesApp2(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		r := handle(func(context.Context, *warren.Job[mail]) error { return nil })
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r, Queues: []string{"app"}})
		other := publish(t, c.Client(), "", warren.PublishOpts{Queue: "app2"})
		ours := publish(t, c.Client(), "", warren.PublishOpts{Queue: "app"})
		awaitState(t, store, ours, jobstore.Finished)
		await(t, "a few more rounds of the sweep", func() bool {
			id := publish(t, c.Client(), "", warren.PublishOpts{Queue: "app"})
			awaitState(t, store, id, jobstore.Finished)
			return id > ours+3
		})
		if job, err := store.Get(t.Context(), other); err != nil || job.State != jobstore.Ready || job.LeaseNo != 0 {
			t.Errorf("the job of app2 is %s with lease %d (%v)", job.State, job.LeaseNo, err)
		}
	})
}

// Two installations with a schema and a prefix each share one database and one broker, and their jobs
// have the same numbers.
func TestTwoInstallationsShareTheServers(t *testing.T) {
	t.Parallel()
	dsn, url := testenv.Postgres(t), testenv.RabbitMQ(t)
	for _, name := range []string{"red", "blue"} {
		store, err := postgres.Open(t.Context(), dsn, postgres.Config{Schema: name, Log: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		if err := store.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		b, err := rabbitmq.Open(rabbitmq.Config{URL: url, Prefix: name, Log: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		r := handle(func(_ context.Context, job *warren.Job[mail]) error {
			if job.Args.To != name {
				t.Errorf("%s ran job %d of %s", name, job.ID, job.Args.To)
			}
			return nil
		})
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r})
		if id := publish(t, c.Client(), name); id != 1 {
			t.Errorf("the first job of %s is %d", name, id)
		}
		awaitState(t, store, 1, jobstore.Finished)
	}
	vhost := url[strings.LastIndex(url, "/")+1:]
	names := strings.Fields(testenv.RabbitCtl(t, "list_queues", "-q", "-p", vhost, "name"))
	for _, want := range []string{"red.default.p010", "blue.default.p010"} {
		if !slices.Contains(names, want) {
			t.Errorf("there is no queue %s among %v", want, names)
		}
	}
}

// A job that waits, with an identifier and unique at that, keeps its row and comes back.
func TestWaitingWithAnIdentifierKeepsTheJob(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		var runs atomic.Int32
		r := handle(func(context.Context, *warren.Job[mail]) error {
			if runs.Add(1) == 1 {
				return warren.Wait(100*time.Millisecond, errors.New("not yet"))
			}
			return nil
		})
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r})
		id := publish(t, c.Client(), "", warren.PublishOpts{Mode: jobstore.Unique, Identifier: "invoice"})
		if job := awaitState(t, store, id, jobstore.Finished); job.Attempts != 1 || job.LeaseNo != 2 {
			t.Errorf("attempts %d, lease %d; want 1 and 2: waiting uses no attempt", job.Attempts, job.LeaseNo)
		}
	})
}

// BROKER_FAILED, written by hand, is due at its available_at and not before.
func TestBrokerFailedKeepsTheDelay(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		r := handle(func(context.Context, *warren.Job[mail]) error { return nil })
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r})
		late := publish(t, c.Client(), "", warren.PublishOpts{Delay: time.Hour})
		soon := publish(t, c.Client(), "", warren.PublishOpts{Delay: time.Hour})
		exec(t, store, "UPDATE warren.jobs SET state = 'BROKER_FAILED' WHERE id = $1", late)
		exec(t, store, "UPDATE warren.jobs SET state = 'BROKER_FAILED', available_at = now() WHERE id = $1", soon)
		awaitState(t, store, soon, jobstore.Finished)
		if job, err := store.Get(t.Context(), late); err != nil || job.LeaseNo != 0 || job.State != jobstore.BrokerFailed {
			t.Errorf("a BROKER_FAILED job that is not due is %s with lease %d (%v)", job.State, job.LeaseNo, err)
		}
	})
}

// A thousand postponed rows, better in priority and older, delay a due one by nothing.
func TestAThousandPostponedRowsStarveNobody(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		r := handle(func(context.Context, *warren.Job[mail]) error { return nil })
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r, Concurrency: 1})
		items := make([]warren.Item, 1000)
		for i := range items {
			items[i] = warren.Item{Args: mail{}, Opts: warren.PublishOpts{Delay: time.Hour, Priority: new(10)}}
		}
		if _, err := c.Client().PublishMany(t.Context(), items); err != nil {
			t.Fatal(err)
		}
		id := publish(t, c.Client(), "", warren.PublishOpts{Priority: new(50)})
		job := awaitState(t, store, id, jobstore.Finished)
		if wait := job.AttemptedAt.Sub(job.CreatedAt); wait > 5*time.Second {
			t.Errorf("started %s after it was published", wait)
		}
	})
}

// Delays live in rows: fifty different ones make no queue in the broker.
func TestDelaysMakeNoQueues(t *testing.T) {
	t.Parallel()
	url := testenv.RabbitMQ(t)
	store, b := newStore(t), openBroker(t, url)
	r := handle(func(context.Context, *warren.Job[mail]) error { return nil })
	c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r})
	first := publish(t, c.Client(), "")
	awaitState(t, store, first, jobstore.Finished)
	queues := func() int {
		vhost := url[strings.LastIndex(url, "/")+1:]
		return strings.Count(testenv.RabbitCtl(t, "list_queues", "-q", "-p", vhost, "name"), "warren.")
	}
	before := queues()
	if before == 0 {
		t.Fatal("no queues are listed")
	}
	var last jobstore.ID
	for i := range 50 {
		last = publish(t, c.Client(), "", warren.PublishOpts{Delay: time.Duration(i+1) * 7 * time.Millisecond})
	}
	awaitState(t, store, last, jobstore.Finished)
	if after := queues(); after != before {
		t.Errorf("%d queues before, %d after fifty delays", before, after)
	}
}

// One bad row, kind or text does not stop the others.
func TestNothingBadAbortsThePass(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		r := handle(func(_ context.Context, job *warren.Job[mail]) error {
			switch job.Args.To {
			case "bad text":
				return errors.New("caf\xe9 \x00 \xff")
			case "panic":
				panic("\xff\x00")
			}
			return nil
		})
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r, Concurrency: 1})
		badText := publish(t, c.Client(), "bad text")
		panics := publish(t, c.Client(), "panic")
		badArgs, err := c.Client().PublishRaw(t.Context(), "mail", []int{1})
		if err != nil {
			t.Fatal(err)
		}
		unheard, err := c.Client().PublishRaw(t.Context(), "unheard.of", nil)
		if err != nil {
			t.Fatal(err)
		}
		good := publish(t, c.Client(), "good")
		awaitState(t, store, good, jobstore.Finished)
		if job := awaitState(t, store, badText, jobstore.TemporarilyFailed); !strings.HasPrefix(job.Error, "caf") || strings.ContainsRune(job.Error, 0) {
			t.Errorf("error text %q", job.Error)
		}
		awaitState(t, store, panics, jobstore.TemporarilyFailed)
		awaitState(t, store, badArgs.ID, jobstore.PermanentlyFailed)
		if job := awaitState(t, store, unheard.ID, jobstore.Ready); job.Attempts != 0 {
			t.Errorf("a job of an unknown kind has %d attempts", job.Attempts)
		}
	})
}

// The database's clock decides, whatever its time zone and whoever's.
func TestTimeZonesShiftNothing(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		exec(t, store, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Pacific/Kiritimati''', current_database()); END $$`)
		began := make(chan time.Time, 1)
		r := handle(func(context.Context, *warren.Job[mail]) error { began <- time.Now(); return nil })
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r})
		tokyo := time.FixedZone("Tokyo", 9*3600)
		due := time.Now().Add(1500 * time.Millisecond).In(tokyo)
		id := publish(t, c.Client(), "", warren.PublishOpts{At: due})
		job := awaitState(t, store, id, jobstore.Finished)
		if early := due.Sub(<-began); early > 10*time.Millisecond {
			t.Errorf("started %s too early", early)
		}
		if !job.AvailableAt.Equal(due.Truncate(time.Microsecond)) {
			t.Errorf("available at %s, want %s", job.AvailableAt, due)
		}
	})
}
