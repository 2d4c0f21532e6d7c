package warrentest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/warrentest"
)

func ExampleAttempt_RequireFinished() {
	t := newT()
	defer t.end()

	warrentest.PerformFunc(t, ship, Order{City: "Bern"}, warrentest.PerformOpts{Attempt: 2}).RequireFinished(t)
	fmt.Println("shipped")
	// Output: shipped
}

func ExampleAttempt_RequireWait() {
	t := newT()
	defer t.end()

	warrentest.PerformFunc(t, func(context.Context, *warren.Job[Order]) error {
		return warren.Wait(30*time.Second, errNoCourier)
	}, Order{}).RequireWait(t, 30*time.Second)
	fmt.Println("no attempt is used up")
	// Output: no attempt is used up
}

func ExampleAttempt_RequireRetry() {
	t := newT()
	defer t.end()

	warrentest.PerformFunc(t, ship, Order{City: "Bern"}).RequireRetry(t, errNoCourier)
	fmt.Println("there is another attempt")
	// Output: there is another attempt
}

func ExampleAttempt_RequireRetryAfter() {
	t := newT()
	defer t.end()

	warrentest.PerformFunc(t, func(context.Context, *warren.Job[Order]) error {
		return warren.RetryAfter(time.Hour, errors.New("closed"))
	}, Order{}).RequireRetryAfter(t, time.Hour)
	fmt.Println("in an hour")
	// Output: in an hour
}

func ExampleAttempt_RequireFailed() {
	t := newT()
	defer t.end()

	warrentest.PerformFunc(t, ship, Order{}).RequireFailed(t, nil)
	fmt.Println("a person has to look at it")
	// Output: a person has to look at it
}

func ExampleRequireTimes() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	if _, err := env.Client().Publish(t.Context(), Order{City: "Bern"}, warren.PublishOpts{Queue: "fast"}); err != nil {
		t.Fatal(err)
	}
	warrentest.RequireTimes[Order](t, env, 1)
	warrentest.RequireTimes(t, env, 1, warrentest.OnQueue[Order]("fast"))
	warrentest.RequireTimes[Receipt](t, env, 0)
	fmt.Println("once")
	// Output: once
}

func ExampleRequireCount() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	if _, err := env.Client().PublishMany(t.Context(), []warren.Item{{Args: Order{}}, {Args: Receipt{}}}); err != nil {
		t.Fatal(err)
	}
	warrentest.RequireCount(t, env, 2)
	fmt.Println("two jobs")
	// Output: two jobs
}

func ExampleOnQueue() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	if _, err := env.Client().Publish(t.Context(), Receipt{Order: 3}, warren.PublishOpts{Queue: "slow"}); err != nil {
		t.Fatal(err)
	}
	fmt.Println(warrentest.RequirePublished(t, env, warrentest.OnQueue[Receipt]("slow")).Args.Order)
	// Output: 3
}

// Only receipts run; the order waits, as though nobody had a handler for it.
func ExampleEnv_DrainOnly() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	if _, err := env.Client().PublishMany(t.Context(), []warren.Item{{Args: Order{}}, {Args: Receipt{}}}); err != nil {
		t.Fatal(err)
	}
	for _, attempt := range env.DrainOnly("receipt") {
		fmt.Println(attempt)
	}
	// Output: job 2 of kind receipt, attempt 1: FINISHED
}

func ExampleEnv_DrainExcept() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop())
	if _, err := env.Client().PublishMany(t.Context(), []warren.Item{{Args: Order{}}, {Args: Receipt{}}}); err != nil {
		t.Fatal(err)
	}
	fmt.Println(len(env.DrainExcept("order")), "attempt, and then", len(env.Drain()))
	// Output: 1 attempt, and then 1
}

func ExampleEnv_Ran() {
	t := newT()
	defer t.end()

	env := warrentest.New(t, shop(), warrentest.Opts{Inline: true})
	if _, err := env.Client().Publish(t.Context(), Receipt{}); err != nil {
		t.Fatal(err)
	}
	for _, attempt := range env.Ran() {
		fmt.Println(attempt)
	}
	// Output: job 1 of kind receipt, attempt 1: FINISHED
}
