package warren_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
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
	store := newStore(t)
	r := handle(func(context.Context, *warren.Job[mail]) error { return nil })
	c := consumerOf(t, warren.ConsumerConfig{Store: store, Registry: r})
	late := publish(t, c.Client(), "", warren.PublishOpts{Delay: time.Hour})
	soon := publish(t, c.Client(), "", warren.PublishOpts{Delay: time.Hour})
	exec(t, store, "UPDATE warren.jobs SET state = 'BROKER_FAILED' WHERE id = $1", late)
	exec(t, store, "UPDATE warren.jobs SET state = 'BROKER_FAILED', available_at = now() WHERE id = $1", soon)
	awaitState(t, store, soon, jobstore.Finished)
	if job, err := store.Get(t.Context(), late); err != nil || job.LeaseNo != 0 {
		t.Errorf("a BROKER_FAILED job ran before it was due: lease %d (%v)", job.LeaseNo, err)
	}
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
	store := newStore(t)
	r := handle(func(_ context.Context, job *warren.Job[mail]) error {
		switch job.Args.To {
		case "bad text":
			return errors.New("caf\xe9 \x00 \xff")
		case "panic":
			panic("\xff\x00")
		}
		return nil
	})
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	badText := publish(t, client, "bad text")
	panics := publish(t, client, "panic")
	badArgs, err := client.PublishRaw(t.Context(), "mail", []int{1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.PublishRaw(t.Context(), "unheard.of", nil); err != nil {
		t.Fatal(err)
	}
	good := publish(t, client, "good")
	exampleRun(store, r)
	if job := awaitState(t, store, badText, jobstore.TemporarilyFailed); !strings.HasPrefix(job.Error, "caf") || strings.ContainsRune(job.Error, 0) {
		t.Errorf("error text %q", job.Error)
	}
	awaitState(t, store, panics, jobstore.TemporarilyFailed)
	awaitState(t, store, badArgs.ID, jobstore.PermanentlyFailed)
	awaitState(t, store, good, jobstore.Finished)
}

// The database's clock decides, whatever its time zone and whoever's.
func TestTimeZonesShiftNothing(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	exec(t, store, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''Pacific/Kiritimati''', current_database()); END $$`)
	var at time.Time
	r := handle(func(context.Context, *warren.Job[mail]) error { at = time.Now(); return nil })
	c := consumerOf(t, warren.ConsumerConfig{Store: store, Registry: r})
	tokyo := time.FixedZone("Tokyo", 9*3600)
	due := time.Now().Add(1500 * time.Millisecond).In(tokyo)
	id := publish(t, c.Client(), "", warren.PublishOpts{At: due})
	job := awaitState(t, store, id, jobstore.Finished)
	if early := due.Sub(at); early > 10*time.Millisecond {
		t.Errorf("started %s too early", early)
	}
	if !job.AvailableAt.Equal(due.Truncate(time.Microsecond)) {
		t.Errorf("available at %s, want %s", job.AvailableAt, due)
	}
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
		publish(t, c.Client(), "fails", group)
		last := publish(t, c.Client(), "last", group)
		awaitState(t, store, last, jobstore.Finished)
		if want := []string{"later", "retries", "retries", "fails", "last"}; !slices.Equal(order, want) {
			t.Errorf("ran %v, want %v", order, want)
		}
	})
}

// With SkipOnRetry a member that backs off lets the others pass.
func TestSerialGroupMaySkipARetry(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	r := handle(func(_ context.Context, job *warren.Job[mail]) error {
		if job.Args.To == "retries" {
			return warren.RetryAfter(time.Hour, errors.New("much later"))
		}
		return nil
	}, warren.KindOpts{SkipOnRetry: true})
	c := consumerOf(t, warren.ConsumerConfig{Store: store, Registry: r})
	group := warren.PublishOpts{SerialGroup: "g"}
	publish(t, c.Client(), "retries", group)
	awaitState(t, store, publish(t, c.Client(), "passes", group), jobstore.Finished)
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

// Unfinished tells which identifiers are not done; a permanent failure counts as not done.
func TestUnfinished(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	r := handle(func(_ context.Context, job *warren.Job[mail]) error {
		if job.Args.To == "fails" {
			return warren.Permanent(errors.New("no"))
		}
		return nil
	})
	client, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: r})
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"good", "fails", "later"} {
		o := warren.PublishOpts{Identifier: to}
		if to == "later" {
			o.Delay = time.Hour
		}
		publish(t, client, to, o)
	}
	exampleRun(store, r)
	got, err := client.Unfinished(t.Context(), "good", "fails", "later", "unheard of")
	slices.Sort(got)
	if want := []string{"fails", "later"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("unfinished %v (%v), want %v", got, err, want)
	}
}

// Four consumers work off one serial group about as fast as one alone.
func TestFourConsumersOnOneGroupAreNotSlower(t *testing.T) {
	t.Parallel()
	one, four := groupOf200(t, 1), groupOf200(t, 4)
	ratio := four.Seconds() / one.Seconds()
	t.Logf("one consumer %s, four %s: ratio %.2f", one, four, ratio)
	// The goal is 1.3 on a quiet machine; on one that runs other tests the figures jump.
	if ratio > 3 {
		t.Errorf("four consumers took %.2f times as long as one", ratio)
	}
}

// groupOf200 returns how long so many consumers need for 200 jobs of one serial group.
func groupOf200(t *testing.T, consumers int) time.Duration {
	t.Helper()
	store, b := newStore(t), newBroker(t)
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
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: again(t, b), Registry: r})
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
