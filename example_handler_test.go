package warren_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// Charge is a kind with a handler that says in many ways how an attempt ended.
type Charge struct {
	Card string `json:"card"`
}

// Kind names the handler.
func (Charge) Kind() string { return "charge" }

// What a handler returns decides what becomes of its job.
func ExampleRegister_outcomes() {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()

	var registry warren.Registry
	warren.RegisterFunc(&registry, func(_ context.Context, job *warren.Job[Charge]) error {
		switch job.Args.Card {
		case "stolen":
			return warren.Permanent(errors.New("the card was reported stolen"))
		case "busy":
			return warren.RetryAfter(time.Minute, errors.New("the bank asks for patience"))
		case "closed":
			return warren.Wait(time.Hour, errors.New("the bank opens in the morning")) // no attempt used
		case "free":
			return warren.Skip("nothing to charge")
		case "flaky":
			return errors.New("connection reset") // again in a minute, then two, four, …
		}
		return nil
	}, warren.KindOpts{MaxAttempts: 5, Timeout: 30 * time.Second})

	client, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: &registry})
	if err != nil {
		panic(err)
	}
	cards := []string{"good", "stolen", "busy", "closed", "free", "flaky"}
	ids := map[string]jobstore.ID{}
	for _, card := range cards {
		p, err := client.Publish(ctx, Charge{Card: card})
		if err != nil {
			panic(err)
		}
		ids[card] = p.ID
	}
	exampleRun(store, &registry)
	for _, card := range cards {
		job, err := store.Get(ctx, ids[card])
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s: %s, attempts %d; %s\n", card, job.State, job.Attempts, cmp.Or(job.Error, "no error"))
	}
	// Output:
	// good: FINISHED, attempts 1; no error
	// stolen: PERMANENTLY_FAILED, attempts 1; the card was reported stolen
	// busy: TEMPORARILY_FAILED, attempts 1; the bank asks for patience
	// closed: WAITING, attempts 0; the bank opens in the morning
	// free: FINISHED, attempts 1; nothing to charge
	// flaky: TEMPORARILY_FAILED, attempts 1; connection reset
}

// Middleware does something around every attempt.
func ExampleMiddleware() {
	store := exampleStore()
	defer store.Close()

	var registry warren.Registry
	registry.Use(func(next warren.RawHandler) warren.RawHandler {
		return func(ctx context.Context, job *jobstore.Job) error {
			fmt.Println("begin", job.Kind)
			err := next(ctx, job)
			fmt.Println("end", job.Kind, err)
			return err
		}
	})
	warren.RegisterFunc(&registry, func(context.Context, *warren.Job[Welcome]) error { return nil })

	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		panic(err)
	}
	if _, err := client.Publish(context.Background(), Welcome{}); err != nil {
		panic(err)
	}
	exampleRun(store, &registry)
	// Output:
	// begin welcome
	// end welcome <nil>
}

// A handler leaves output behind, kept with the row.
func ExampleSetOutput() {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()

	var registry warren.Registry
	warren.RegisterFunc(&registry, func(ctx context.Context, job *warren.Job[Welcome]) error {
		return warren.SetOutput(ctx, map[string]int{"letters": len(job.Args.Name)})
	})
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		panic(err)
	}
	p, err := client.Publish(ctx, Welcome{Name: "Ada"})
	if err != nil {
		panic(err)
	}
	exampleRun(store, &registry)
	job, err := store.Get(ctx, p.ID)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(job.Output))
	// Output: {"letters": 3}
}

// Drain takes nothing more, and lets what runs come to its end.
func ExampleConsumer_Drain() {
	store := exampleStore()
	defer store.Close()

	var registry warren.Registry
	var consumer *warren.Consumer
	warren.RegisterFunc(&registry, func(context.Context, *warren.Job[Welcome]) error {
		consumer.Drain() // usually a signal does this, by the end of Run's context
		fmt.Println("still at work")
		return nil
	})
	consumer, err := warren.NewConsumer(warren.ConsumerConfig{Store: store, Registry: &registry})
	if err != nil {
		panic(err)
	}
	if _, err := consumer.Client().Publish(context.Background(), Welcome{}); err != nil {
		panic(err)
	}
	if err := consumer.Run(context.Background()); err != nil {
		panic(err)
	}
	fmt.Println("drained")
	// Output:
	// still at work
	// drained
}

// Hooks see every attempt, whatever its kind; OnError may give an error another class.
func ExampleHooks() {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()
	errNoSuchUser := errors.New("no such user")

	var registry warren.Registry
	warren.RegisterFunc(&registry, func(context.Context, *warren.Job[Welcome]) error { return errNoSuchUser })
	consumer, err := warren.NewConsumer(warren.ConsumerConfig{
		Store: store, Registry: &registry, UntilEmpty: true,
		Hooks: warren.Hooks{
			OnError: func(_ context.Context, _ *jobstore.Job, err error) error {
				if errors.Is(err, errNoSuchUser) {
					return warren.Permanent(err) // trying again would not help
				}
				return err
			},
		},
	})
	if err != nil {
		panic(err)
	}
	p, err := consumer.Client().Publish(ctx, Welcome{Name: "nobody"})
	if err != nil {
		panic(err)
	}
	if err := consumer.Run(ctx); err != nil {
		panic(err)
	}
	job, err := store.Get(ctx, p.ID)
	if err != nil {
		panic(err)
	}
	fmt.Println(job.State)
	// Output: PERMANENTLY_FAILED
}

// A Before hook says something about a job that is in its row from the start of the handler on.
func ExampleSetMetadata() {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()

	var registry warren.Registry
	warren.RegisterFunc(&registry, func(ctx context.Context, job *warren.Job[Welcome]) error {
		row, err := store.Get(ctx, job.ID) // as anybody else would see it
		fmt.Println(row.State, string(row.Metadata))
		return err
	})
	consumer, err := warren.NewConsumer(warren.ConsumerConfig{
		Store: store, Registry: &registry, UntilEmpty: true,
		Hooks: warren.Hooks{
			Before: func(ctx context.Context, _ *jobstore.Job) error {
				return warren.SetMetadata(ctx, map[string]string{"release": "v1.4"})
			},
		},
	})
	if err != nil {
		panic(err)
	}
	if _, err := consumer.Client().Publish(ctx, Welcome{Name: "Ada"}); err != nil {
		panic(err)
	}
	if err := consumer.Run(ctx); err != nil {
		panic(err)
	}
	// Output: PROCESSING {"release": "v1.4"}
}

// What an error means for a job can be said once for all handlers.
func ExamplePermanentOn() {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()

	var registry warren.Registry
	errRefused := errors.New("the card was refused")
	registry.Use(warren.PermanentOn(errRefused))
	warren.RegisterFunc(&registry, func(context.Context, *warren.Job[Charge]) error {
		return fmt.Errorf("charge: %w", errRefused)
	}, warren.KindOpts{Middleware: []warren.Middleware{
		warren.SkipIf("a test card", func(_ context.Context, job *jobstore.Job) bool { return job.Identifier == "test" }),
	}})
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"test", "real"} {
		if _, err := client.Publish(ctx, Charge{}, warren.PublishOpts{Identifier: name}); err != nil {
			panic(err)
		}
	}
	exampleRun(store, &registry)
	jobs, err := store.List(ctx, jobstore.Filter{})
	if err != nil {
		panic(err)
	}
	for _, job := range jobs {
		fmt.Printf("%s: %s, %s\n", job.Identifier, job.State, job.Error)
	}
	// Unordered output:
	// test: FINISHED, a test card
	// real: PERMANENTLY_FAILED, charge: the card was refused
}
