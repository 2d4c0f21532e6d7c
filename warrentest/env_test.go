package warrentest_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/sqlite"
	"github.com/warrenq/warren/warrentest"
)

// Mail is a kind of jobs.
type Mail struct {
	To string `json:"to"`
}

// Kind names the handler.
func (Mail) Kind() string { return "mail" }

// mailer is a registry whose one handler does what f says.
func mailer(f func(ctx context.Context, job *warren.Job[Mail]) error, opts ...warren.KindOpts) *warren.Registry {
	var registry warren.Registry
	warren.RegisterFunc(&registry, f, opts...)
	return &registry
}

func delivered(context.Context, *warren.Job[Mail]) error { return nil }

func publish(t *testing.T, env *warrentest.Env, args warren.Args, opts ...warren.PublishOpts) jobstore.ID {
	t.Helper()
	p, err := env.Client().Publish(t.Context(), args, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return p.ID
}

// Jobs run in the order of their priority, and one that is published meanwhile overtakes those that
// come after it.
func TestDrainKeepsTheOrderOfPriorities(t *testing.T) {
	t.Parallel()
	var env *warrentest.Env
	var order []string
	env = warrentest.New(t, mailer(func(ctx context.Context, job *warren.Job[Mail]) error {
		order = append(order, job.Args.To)
		if job.Args.To != "first" {
			return nil
		}
		_, err := env.Client().Publish(ctx, Mail{To: "urgent"}, warren.PublishOpts{Priority: new(10)})
		return err
	}, warren.KindOpts{Priority: 20}))
	for _, to := range []string{"first", "second", "third"} {
		publish(t, env, Mail{To: to})
	}
	publish(t, env, Mail{To: "last"}, warren.PublishOpts{Priority: new(50)})
	if n := len(env.Drain()); n != 5 {
		t.Errorf("%d attempts, want 5", n)
	}
	if want := []string{"first", "urgent", "second", "third", "last"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	if again := env.Drain(); len(again) != 0 {
		t.Errorf("a second drain ran %v", again)
	}
}

// Every outcome is decided as in production, and a delayed job waits for the clock of the test.
func TestDrainTellsWhatCameOfEachAttempt(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, c := range []struct {
		name  string
		err   error
		state jobstore.State
		delay time.Duration
	}{
		{"done", nil, jobstore.Finished, 0},
		{"temporary", broken, jobstore.TemporarilyFailed, time.Minute},
		{"permanent", warren.Permanent(broken), jobstore.PermanentlyFailed, 0},
		{"wait", warren.Wait(time.Hour, broken), jobstore.Waiting, time.Hour},
		{"retry after", warren.RetryAfter(3*time.Second, broken), jobstore.TemporarilyFailed, 3 * time.Second},
		{"stop", warren.StopConsumer(broken), jobstore.TemporarilyFailed, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := warrentest.New(t, mailer(func(context.Context, *warren.Job[Mail]) error { return c.err },
				warren.KindOpts{Backoff: warren.BackoffSteps(time.Minute)}))
			id := publish(t, env, Mail{})
			got := env.Drain()
			if len(got) != 1 || got[0].State != c.state || got[0].Delay != c.delay || !errors.Is(got[0].Err, c.err) ||
				got[0].Job.ID != id || got[0].Job.State != c.state {
				t.Fatalf("attempts %v, want one of job %d that is %s, again in %s", got, id, c.state, c.delay)
			}
			if c.delay == 0 {
				return
			}
			env.Advance(c.delay - time.Millisecond)
			if early := env.Drain(); len(early) != 0 {
				t.Errorf("a millisecond early it ran already: %v", early)
			}
			env.Advance(time.Millisecond)
			if due := env.Drain(); len(due) != 1 {
				t.Errorf("attempts %v when it was due, want one", due)
			}
		})
	}
}

// A job that is tried again at once has all its attempts in one drain.
func TestDrainRunsWhatIsDueAgainAtOnce(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, mailer(func(context.Context, *warren.Job[Mail]) error { return errors.New("no") },
		warren.KindOpts{Backoff: warren.BackoffSteps(), MaxAttempts: 3}))
	id := publish(t, env, Mail{})
	if n := len(env.Drain()); n != 3 {
		t.Errorf("%d attempts, want 3", n)
	}
	if job := env.Job(id); job.State != jobstore.PermanentlyFailed {
		t.Errorf("the job is %s, want PERMANENTLY_FAILED", job.State)
	}
}

// A recurring job has its next turn when its time has come, years away, and old rows stay.
func TestAdvanceFarAhead(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, mailer(delivered))
	first := publish(t, env, Mail{}, warren.PublishOpts{Mode: jobstore.Recurring, Identifier: "yearly", Every: 365 * 24 * time.Hour})
	for range 3 {
		if got := env.Drain(); len(got) != 1 {
			t.Fatalf("attempts %v, want one turn", got)
		}
		env.Advance(365 * 24 * time.Hour)
	}
	if job := env.Job(first); job.State != jobstore.Finished {
		t.Errorf("the first turn is %s", job.State)
	}
}

// A handler may move the clock, and drain, without losing its own lease.
func TestAdvanceInsideAHandler(t *testing.T) {
	t.Parallel()
	var env *warrentest.Env
	env = warrentest.New(t, mailer(func(_ context.Context, job *warren.Job[Mail]) error {
		if job.Args.To != "outer" {
			return nil
		}
		env.Advance(365 * 24 * time.Hour)
		if inner := env.Drain(); len(inner) != 1 || inner[0].Job.ID == job.ID { //nolint:contextcheck // it has the patience of the Env
			return warren.Permanent(fmt.Errorf("inside it ran %v", inner))
		}
		return nil
	}))
	publish(t, env, Mail{To: "outer"})
	publish(t, env, Mail{To: "delayed"}, warren.PublishOpts{Delay: time.Hour})
	if got := env.Drain(); len(got) != 1 || got[0].State != jobstore.Finished || got[0].Job.Crashes != 0 {
		t.Errorf("attempts %v, want one that is FINISHED", got)
	}
}

// What was rolled back was not published; what was committed is, together with the test's own rows.
func TestTransactions(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, mailer(delivered))
	no := errors.New("no")
	order := func(end error) error {
		return env.Client().InTx(t.Context(), func(ctx context.Context, own *warren.Tx) error {
			tx, err := sqlite.From(own.Tx)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "CREATE TABLE orders (id integer)"); err != nil {
				return err
			}
			if _, err := own.Publish(ctx, Mail{To: "in"}); err != nil {
				return err
			}
			if _, err := env.Client().PublishTx(ctx, sqlite.Tx(tx), Mail{To: "beside"}); err != nil {
				return err
			}
			return end
		})
	}
	if err := order(no); !errors.Is(err, no) {
		t.Fatal(err)
	}
	warrentest.RequireNothingPublished(t, env)
	if err := order(nil); err != nil {
		t.Fatal(err)
	}
	if n := len(warrentest.Published[Mail](t, env)); n != 2 {
		t.Errorf("%d jobs, want 2", n)
	}
	if n := len(env.Drain()); n != 2 {
		t.Errorf("%d attempts, want 2", n)
	}
}

// Jobs without end are told from one that hangs: there were many attempts. The end may fall into one.
func TestDrainNamesJobsWithoutEnd(t *testing.T) {
	t.Parallel()
	failed := record(t, func(tb testing.TB) {
		tb.Helper()
		var env *warrentest.Env
		env = warrentest.New(tb, mailer(func(ctx context.Context, job *warren.Job[Mail]) error {
			_, err := env.Client().Publish(ctx, job.Args)
			return err
		}), warrentest.Opts{Patience: 5 * time.Second})
		publish(t, env, Mail{})
		env.Drain()
	})
	if want := regexp.MustCompile(`drain, after \d+ attempts: (there is no end within|job \d+ .* still runs after) 5s`); !want.MatchString(failed) {
		t.Errorf("failure %q, want %s", failed, want)
	}
}

// A drain inside of a transaction of the test cannot work, and says so instead of waiting for ever.
func TestDrainInsideATransaction(t *testing.T) {
	t.Parallel()
	failed := record(t, func(tb testing.TB) {
		tb.Helper()
		env := warrentest.New(tb, mailer(delivered), warrentest.Opts{Patience: 50 * time.Millisecond})
		err := env.Client().InTx(t.Context(), func(context.Context, *warren.Tx) error {
			env.Drain() //nolint:contextcheck // it has the patience of the Env
			return nil
		})
		tb.Fatalf("the transaction ended with %v", err)
	})
	if want := "the database gave no job within 50ms; is a transaction still open?"; !strings.Contains(failed, want) {
		t.Errorf("failure %q, want %q", failed, want)
	}
}

// What New cannot work with it says at once.
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, registry := range map[string]*warren.Registry{
		"priority 7 is not configured":  mailer(delivered, warren.KindOpts{Priority: 7}),
		"no kind is registered":         {},
		"the clock goes forward only":   nil,
		"job 4711: not found":           nil,
		"queue \"a b\" is not a name: ": nil,
	} {
		failed := record(t, func(tb testing.TB) {
			tb.Helper()
			switch {
			case registry != nil:
				warrentest.New(tb, registry)
			case strings.HasPrefix(name, "queue"):
				warrentest.New(tb, mailer(delivered), warrentest.Opts{DefaultQueue: "a b"})
			case strings.HasPrefix(name, "job"):
				warrentest.New(tb, mailer(delivered)).Job(4711)
			default:
				warrentest.New(tb, mailer(delivered)).Advance(-1)
			}
		})
		if !strings.Contains(failed, name) {
			t.Errorf("failure %q, want %q", failed, name)
		}
	}
}
