package warren_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// Welcome is the typed input of a kind of jobs.
type Welcome struct {
	Name string `json:"name"`
}

// Kind names the handler.
func (Welcome) Kind() string { return "welcome" }

// A whole program: register a handler, publish, consume.
func Example() {
	ctx := context.Background()
	store := exampleStore() // postgres.Open, then store.Migrate
	defer store.Close()

	var registry warren.Registry
	warren.RegisterFunc(&registry, func(_ context.Context, job *warren.Job[Welcome]) error {
		fmt.Println("welcome,", job.Args.Name)
		return nil
	})

	client, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: &registry})
	if err != nil {
		panic(err)
	}
	if _, err := client.Publish(ctx, Welcome{Name: "Ada"}); err != nil {
		panic(err)
	}

	consumer, err := warren.NewConsumer(warren.ConsumerConfig{
		Store: store, Registry: &registry,
		UntilEmpty: true, // a service leaves this out and runs until its context ends
	})
	if err != nil {
		panic(err)
	}
	if err := consumer.Run(ctx); err != nil {
		panic(err)
	}
	// Output: welcome, Ada
}

// What a job says about itself goes into PublishOpts.
func ExampleClient_Publish() {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		panic(err)
	}
	p, err := client.Publish(ctx, Welcome{Name: "Grace"}, warren.PublishOpts{
		Priority: new(30),
		Delay:    time.Hour,
		Tags:     []string{"onboarding"},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(p.State)

	_, err = client.Publish(ctx, Welcome{}, warren.PublishOpts{Priority: new(7)})
	fmt.Println(err)
	// Output:
	// SCHEDULED
	// priority 7 is not configured (10, 20, 30, 40, 50)
}

// A job published in a transaction of your own exists if and only if that transaction commits.
func ExampleClient_PublishTx() {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		panic(err)
	}
	// Your program has its own pool; begin on it as ever: tx, err := pool.Begin(ctx).
	err = client.InTx(ctx, func(ctx context.Context, own *warren.Tx) error {
		tx, err := postgres.From(own.Tx)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "CREATE TABLE users (name text)"); err != nil {
			return err
		}
		_, err = client.PublishTx(ctx, postgres.Tx(tx), Welcome{Name: "Edsger"})
		return err
	})
	if err != nil {
		panic(err)
	}
	stats, err := store.Stats(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(stats.Total[jobstore.Ready], "job")
	// Output: 1 job
}

// InTx announces what was published right after its commit; a rollback leaves nothing.
func ExampleClient_InTx() {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		panic(err)
	}
	err = client.InTx(ctx, func(ctx context.Context, tx *warren.Tx) error {
		if _, err := tx.Publish(ctx, Welcome{Name: "Barbara"}); err != nil {
			return err
		}
		return errors.New("on second thoughts, no")
	})
	fmt.Println(err)
	stats, err := store.Stats(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(stats.Total[jobstore.Ready], "jobs")
	// Output:
	// on second thoughts, no
	// 0 jobs
}

// PublishMany writes many jobs in one statement.
func ExampleClient_PublishMany() {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		panic(err)
	}
	done, err := client.PublishMany(ctx, []warren.Item{
		{Args: Welcome{Name: "Donald"}},
		{Args: Welcome{Name: "Margaret"}, Opts: warren.PublishOpts{Priority: new(20)}},
		{Kind: "any.kind", Args: map[string]int{"answer": 42}},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(len(done), "jobs")
	// Output: 3 jobs
}

// Of two unique jobs with one identifier the second is REDUNDANT, and learns of the first.
func ExamplePublishOpts_unique() {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		panic(err)
	}
	unique := warren.PublishOpts{Mode: jobstore.Unique, Identifier: "welcome-ada"}
	first, err := client.Publish(ctx, Welcome{Name: "Ada"}, unique)
	if err != nil {
		panic(err)
	}
	second, err := client.Publish(ctx, Welcome{Name: "Ada"}, unique)
	if err != nil {
		panic(err)
	}
	fmt.Println(first.State, second.State, second.Existing == first.ID)
	open, err := client.Unfinished(ctx, "welcome-ada", "welcome-bob")
	if err != nil {
		panic(err)
	}
	fmt.Println(open)
	// Output:
	// READY REDUNDANT true
	// [welcome-ada]
}

// A job that is unique by its product: while one waits, further publishes rely on it. Once it runs, one
// more may wait, because it may have read the product before the change.
func ExamplePublishOpts_uniqueBy() {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		panic(err)
	}
	index := map[string]any{"product": 42, "by": "ada"}
	opts := warren.PublishOpts{UniqueBy: []string{"product"}, UniqueFor: warren.UntilStart}
	first, err := client.PublishRaw(ctx, "index", index, opts)
	if err != nil {
		panic(err)
	}
	index["by"] = "grace"
	second, err := client.PublishRaw(ctx, "index", index, opts)
	if err != nil {
		panic(err)
	}
	fmt.Println(second.State, second.Duplicate(), second.Existing == first.ID)
	// Output: REDUNDANT true true
}

// However often the document is saved, it is indexed once it has been left alone for ten seconds, or at
// the latest a minute after the first change.
func ExamplePublishOpts_debounce() {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		panic(err)
	}
	for version := range 3 {
		p, err := client.PublishRaw(ctx, "index", map[string]int{"version": version}, warren.PublishOpts{
			Identifier: "document 7", Debounce: 10 * time.Second, MaxWait: time.Minute,
		})
		if err != nil {
			panic(err)
		}
		fmt.Println(p.State, p.Duplicate())
	}
	// Output:
	// SCHEDULED false
	// SCHEDULED true
	// SCHEDULED true
}

// examplePropagator makes a Propagator of what go.opentelemetry.io/otel has: its Inject and Extract take a
// propagation.MapCarrier, which is such a map. Here the trace is a value of the context.
type examplePropagator struct{}

type exampleTrace struct{}

func (examplePropagator) Inject(ctx context.Context, carrier map[string]string) {
	if trace, ok := ctx.Value(exampleTrace{}).(string); ok {
		carrier["traceparent"] = trace // otel.GetTextMapPropagator().Inject(ctx, propagation.MapCarrier(carrier))
	}
}

func (examplePropagator) Extract(ctx context.Context, carrier map[string]string) context.Context {
	return context.WithValue(ctx, exampleTrace{}, carrier["traceparent"])
}

// The handler runs in the trace of whoever has published the job.
func ExampleCarryTrace() {
	hook, middleware := warren.CarryTrace(examplePropagator{})
	var registry warren.Registry
	registry.Use(middleware)
	warren.RegisterFunc(&registry, func(ctx context.Context, _ *warren.Job[Welcome]) error {
		fmt.Println(ctx.Value(exampleTrace{}))
		return nil
	})
	client, err := warren.NewInline(warren.InlineConfig{Registry: &registry, PublishHooks: []warren.PublishHook{hook}})
	if err != nil {
		panic(err)
	}
	ctx := context.WithValue(context.Background(), exampleTrace{}, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if _, err := client.Publish(ctx, Welcome{Name: "Ada"}); err != nil {
		panic(err)
	}
	// Output: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
}

// Code that takes a Publisher runs its jobs at once with an Inline, and drops them with a Discard.
func ExampleInline() {
	var registry warren.Registry
	warren.RegisterFunc(&registry, func(_ context.Context, job *warren.Job[Welcome]) error {
		fmt.Println("welcome,", job.Args.Name)
		return nil
	})
	signUp := func(jobs warren.Publisher) error {
		p, err := jobs.Publish(context.Background(), Welcome{Name: "Ada"})
		fmt.Println(p.State)
		return err
	}
	inline, err := warren.NewInline(warren.InlineConfig{Registry: &registry})
	if err != nil {
		panic(err)
	}
	discard, err := warren.NewDiscard(warren.InlineConfig{Registry: &registry})
	if err != nil {
		panic(err)
	}
	for _, jobs := range []warren.Publisher{inline, discard} {
		if err := signUp(jobs); err != nil {
			panic(err)
		}
	}
	// Output:
	// welcome, Ada
	// FINISHED
	// CANCELLED
}
