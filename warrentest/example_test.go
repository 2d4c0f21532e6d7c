package warrentest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/sqlite"
	"github.com/warrenq/warren/warrentest"
)

// Order is the input of jobs that ship something.
type Order struct {
	ID   int    `json:"id"`
	City string `json:"city"`
}

// Kind names the handler.
func (Order) Kind() string { return "order" }

// Receipt is the input of jobs that an order has published.
type Receipt struct {
	Order int `json:"order"`
}

// Kind names the handler.
func (Receipt) Kind() string { return "receipt" }

var errNoCourier = errors.New("no courier is free")

// ship is a handler whose first attempt fails.
func ship(_ context.Context, job *warren.Job[Order]) error {
	switch {
	case job.Args.City == "":
		return warren.Permanent(errors.New("where to?"))
	case job.Attempts == 1:
		return errNoCourier
	}
	return nil
}

// shop is the registry of the program under test.
func shop() *warren.Registry {
	var registry warren.Registry
	warren.RegisterFunc(&registry, ship, warren.KindOpts{Backoff: warren.BackoffSteps(time.Minute)})
	warren.RegisterFunc(&registry, func(context.Context, *warren.Job[Receipt]) error { return nil })
	return &registry
}

// newT stands for the *testing.T that a test has and an example has not.
func newT() *exampleT { return &exampleT{} }

type exampleT struct {
	testing.TB

	cleanups []func()
}

func (t *exampleT) Helper()                           {}
func (t *exampleT) Context() context.Context          { return context.Background() }
func (t *exampleT) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }
func (t *exampleT) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (t *exampleT) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// end is what the testing package does by itself.
func (t *exampleT) end() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

// A job fails, its next attempt becomes due, and it is done: without a server, and without waiting.
func Example() {
	t := newT() // a test has its own
	defer t.end()

	env := warrentest.New(t, shop())
	if _, err := env.Client().Publish(t.Context(), Order{ID: 1, City: "Bern"}); err != nil {
		t.Fatal(err)
	}
	for _, attempt := range env.Drain() {
		fmt.Println(attempt)
		env.Advance(attempt.Delay)
	}
	for _, attempt := range env.Drain() {
		fmt.Println(attempt)
	}
	// Output:
	// job 1 of kind order, attempt 1: TEMPORARILY_FAILED (no courier is free)
	// job 1 of kind order, attempt 2: FINISHED
}

func ExampleNew() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	fmt.Println(len(env.Drain()), "attempts, because nothing was published")
	// Output: 0 attempts, because nothing was published
}

// Hooks and priorities are those of the program; the clock may begin anywhere.
func ExampleOpts() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop(), warrentest.Opts{
		Priorities: []int{1, 2, 3},
		Start:      time.Date(2032, time.February, 29, 12, 0, 0, 0, time.UTC),
		Hooks: warren.Hooks{Before: func(_ context.Context, job *jobstore.Job) error {
			fmt.Println("before", job.Kind, "at", job.AttemptedAt.Format(time.DateOnly))
			return nil
		}},
	})
	if _, err := env.Client().Publish(t.Context(), Receipt{}, warren.PublishOpts{Priority: new(3)}); err != nil {
		t.Fatal(err)
	}
	env.Drain()
	// Output: before receipt at 2032-02-29
}

// With Inline a job has run when its Publish returns.
func ExampleOpts_inline() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop(), warrentest.Opts{Inline: true})
	p, err := env.Client().Publish(t.Context(), Receipt{Order: 1})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(env.Job(p.ID).State)
	// Output: FINISHED
}

// The client is a real one: what a transaction publishes is gone with its rollback.
func ExampleEnv_Client() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	err := env.Client().InTx(t.Context(), func(ctx context.Context, tx *warren.Tx) error {
		if _, err := tx.Publish(ctx, Receipt{Order: 1}); err != nil {
			return err
		}
		return errors.New("sold out")
	})
	fmt.Println(err)
	warrentest.RequireNothingPublished(t, env)
	// Output: sold out
}

// Drain runs what is due, and what that publishes.
func ExampleEnv_Drain() {
	t := newT()
	defer t.end()

	var registry warren.Registry
	var env *warrentest.Env
	warren.RegisterFunc(&registry, func(ctx context.Context, job *warren.Job[Order]) error {
		_, err := env.Client().Publish(ctx, Receipt{Order: job.Args.ID})
		return err
	})
	warren.RegisterFunc(&registry, func(context.Context, *warren.Job[Receipt]) error { return nil })
	env = warrentest.New(t, &registry)
	if _, err := env.Client().Publish(t.Context(), Order{ID: 7}); err != nil {
		t.Fatal(err)
	}
	for _, attempt := range env.Drain() {
		fmt.Println(attempt.Job.Kind, attempt.State)
	}
	// Output:
	// order FINISHED
	// receipt FINISHED
}

// A delayed job becomes due by the clock of the test.
func ExampleEnv_Advance() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	if _, err := env.Client().Publish(t.Context(), Receipt{}, warren.PublishOpts{Delay: 24 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	fmt.Println("today:", len(env.Drain()))
	env.Advance(24 * time.Hour)
	fmt.Println("tomorrow:", len(env.Drain()))
	// Output:
	// today: 0
	// tomorrow: 1
}

func ExampleEnv_Now() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	began := env.Now()
	env.Advance(time.Hour)
	fmt.Println(env.Now().Sub(began))
	// Output: 1h0m0s
}

func ExampleEnv_Job() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	p, err := env.Client().Publish(t.Context(), Order{ID: 1})
	if err != nil {
		t.Fatal(err)
	}
	env.Drain()
	job := env.Job(p.ID)
	fmt.Println(job.State, job.Error)
	// Output: PERMANENTLY_FAILED where to?
}

// The store does what operators do, and keeps the tables of the program under test.
func ExampleEnv_Store() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	err := env.Store().InTx(t.Context(), func(ctx context.Context, tx jobstore.Tx) error {
		own, err := sqlite.From(tx)
		if err != nil {
			return err
		}
		_, err = own.ExecContext(ctx, "CREATE TABLE orders (id integer PRIMARY KEY, city text)")
		return err
	})
	fmt.Println(err)
	// Output: <nil>
}

func ExampleEnv_List() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	if _, err := env.Client().Publish(t.Context(), Receipt{Order: 1}, warren.PublishOpts{Tags: []string{"vip"}}); err != nil {
		t.Fatal(err)
	}
	jobs, err := env.List(t.Context(), jobstore.Filter{Tags: []string{"vip"}})
	fmt.Println(len(jobs), err)
	// Output: 1 <nil>
}

// An attempt tells what the handler said, what became of the job, and when it runs again.
func ExampleAttempt() {
	t := newT()
	defer t.end()

	attempt := warrentest.PerformFunc(t, ship, Order{ID: 1, City: "Bern"})
	fmt.Println(attempt.State, errors.Is(attempt.Err, errNoCourier), attempt.Job.Attempts)
	// Output: TEMPORARILY_FAILED true 1
}

func ExampleAttempt_String() {
	t := newT()
	defer t.end()

	fmt.Println(warrentest.PerformFunc(t, ship, Order{ID: 1}))
	// Output: job 1 of kind order, attempt 1: PERMANENTLY_FAILED (permanent: where to?)
}

// courier is a handler with a type of its own.
type courier struct{ free bool }

// Handle implements warren.Handler.
func (c courier) Handle(ctx context.Context, job *warren.Job[Order]) error {
	if !c.free {
		return warren.Wait(10*time.Minute, errNoCourier)
	}
	return warren.SetOutput(ctx, map[string]int{"shipped": job.Args.ID})
}

func ExamplePerform() {
	t := newT()
	defer t.end()

	busy := warrentest.Perform(t, courier{}, Order{ID: 5, City: "Bern"})
	fmt.Println(busy.State, busy.Delay)
	free := warrentest.Perform(t, courier{free: true}, Order{ID: 5, City: "Bern"})
	fmt.Println(free.State, string(free.Output))
	// Output:
	// WAITING 10m0s
	// FINISHED {"shipped":5}
}

func ExamplePerformFunc() {
	t := newT()
	defer t.end()

	attempt := warrentest.PerformFunc(t, ship, Order{City: "Bern"}, warrentest.PerformOpts{Attempt: 2})
	fmt.Println(attempt.State)
	// Output: FINISHED
}

// The last attempt of a job that may have three, with the options that the program registers.
func ExamplePerformOpts() {
	t := newT()
	defer t.end()

	attempt := warrentest.PerformFunc(t, func(context.Context, *warren.Job[Order]) error {
		return errNoCourier
	}, Order{}, warrentest.PerformOpts{
		Attempt: 3,
		Kind:    warren.KindOpts{MaxAttempts: 3, Timeout: time.Second},
		Job:     warren.PublishOpts{Metadata: map[string]string{"trace": "4711"}},
	})
	fmt.Println(attempt.State)
	// Output: PERMANENTLY_FAILED
}

func ExamplePublished() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	for _, city := range []string{"Bern", "Oslo", "Bern"} {
		if _, err := env.Client().Publish(t.Context(), Order{City: city}); err != nil {
			t.Fatal(err)
		}
	}
	toBern := warrentest.Published(t, env, func(job *warren.Job[Order]) bool { return job.Args.City == "Bern" })
	fmt.Println(len(toBern), "of", len(warrentest.Published[Order](t, env)))
	// Output: 2 of 3
}

// A match sees the args and everything else that was asked for.
func ExampleRequirePublished() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	if _, err := env.Client().Publish(t.Context(), Order{ID: 3, City: "Bern"}, warren.PublishOpts{Priority: new(30)}); err != nil {
		t.Fatal(err)
	}
	job := warrentest.RequirePublished(t, env, func(job *warren.Job[Order]) bool {
		return job.Args.City == "Bern" && job.Priority == 30
	})
	fmt.Println("order", job.Args.ID)
	// Output: order 3
}

func ExampleRequireNotPublished() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	if _, err := env.Client().Publish(t.Context(), Order{City: "Bern"}); err != nil {
		t.Fatal(err)
	}
	warrentest.RequireNotPublished[Receipt](t, env)
	warrentest.RequireNotPublished(t, env, func(job *warren.Job[Order]) bool { return job.Args.City == "Oslo" })
	// Output:
}

func ExampleRequireNothingPublished() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	warrentest.RequireNothingPublished(t, env)
	// Output:
}

// A test with a database of its own asks that one: every store is Jobs.
func ExampleJobs() {
	t := newT()
	defer t.end()

	store, err := sqlite.Open(t.Context(), sqlite.Memory, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	var jobs warrentest.Jobs = store
	warrentest.RequireNothingPublished(t, jobs)
	// Output:
}
