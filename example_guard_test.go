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

// exampleStates publishes jobs, runs what is due, and prints what became of them.
func exampleStates(registry *warren.Registry, items ...warren.Item) {
	ctx := context.Background()
	store := exampleStore()
	defer store.Close()
	client, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: registry})
	if err != nil {
		panic(err)
	}
	if _, err := client.PublishMany(ctx, items); err != nil {
		panic(err)
	}
	exampleRun(store, registry)
	jobs, err := store.List(ctx, jobstore.Filter{})
	if err != nil {
		panic(err)
	}
	for _, job := range jobs {
		fmt.Printf("%s: %s, attempts %d; %s\n", job.Identifier, job.State, job.Attempts, cmp.Or(job.Error, "no error"))
	}
}

// Each customer may have two mails an hour; what is too much waits for its turn, and is not an attempt.
func ExampleRateLimit() {
	var registry warren.Registry
	warren.RegisterFunc(&registry, func(context.Context, *warren.Job[Welcome]) error { return nil },
		warren.KindOpts{Guards: warren.Guards{RateLimits: []warren.RateLimit{{
			Name: "mails", Limit: warren.PerHour(2), Key: func(job *jobstore.Job) string { return job.Tags[0] },
		}}}})

	mail := func(customer, name string) warren.Item {
		return warren.Item{Args: Welcome{}, Opts: warren.PublishOpts{Identifier: name, Tags: []string{customer}}}
	}
	exampleStates(&registry, mail("ada", "a1"), mail("ada", "a2"), mail("ada", "a3"), mail("bob", "b1"))
	// Unordered output:
	// a1: FINISHED, attempts 1; no error
	// a2: FINISHED, attempts 1; no error
	// a3: WAITING, attempts 0; rate limit mails:ada is used up
	// b1: FINISHED, attempts 1; no error
}

// At most three exports run at a time, whatever their kind and on however many machines.
func ExampleLock() {
	var registry warren.Registry
	exports := warren.Guards{Locks: []warren.Lock{{Name: "exports", Places: 3}}}
	registry.Raw("export.csv", func(context.Context, *jobstore.Job) error { return nil }, warren.KindOpts{Guards: exports})
	registry.Raw("export.pdf", func(context.Context, *jobstore.Job) error { return nil }, warren.KindOpts{Guards: exports})
	exampleStates(&registry, warren.Item{Kind: "export.csv", Opts: warren.PublishOpts{Identifier: "accounts"}})
	// Output: accounts: FINISHED, attempts 1; no error
}

// After two failures of the bank no job tries it for five minutes.
func ExampleBreaker() {
	var registry warren.Registry
	warren.RegisterFunc(&registry, func(context.Context, *warren.Job[Charge]) error { return errors.New("the bank is down") },
		warren.KindOpts{Guards: warren.Guards{Breakers: []warren.Breaker{{
			Name: "bank", Errors: 2, Within: time.Minute, Cooldown: 5 * time.Minute,
			Changed: func(key string, open bool, err error) { fmt.Println(key, "open:", open, "because", err) },
		}}}})
	charge := func(name string) warren.Item {
		return warren.Item{Args: Charge{}, Opts: warren.PublishOpts{Identifier: name}}
	}
	exampleStates(&registry, charge("1"), charge("2"), charge("3"))
	// Unordered output:
	// bank open: true because the bank is down
	// 1: TEMPORARILY_FAILED, attempts 1; the bank is down
	// 2: TEMPORARILY_FAILED, attempts 1; the bank is down
	// 3: WAITING, attempts 0; breaker bank is open
}

// seat is booked by jobs; when one has failed for good the seat is free again.
type seat struct{}

func (seat) Handle(_ context.Context, job *warren.Job[Welcome]) error {
	return warren.Permanent(errors.New(job.Args.Name + " is no passenger"))
}

func (seat) OnFailed(_ context.Context, job *warren.Job[Welcome], err error) {
	fmt.Printf("the seat of %s is free again: %v\n", job.Args.Name, err)
}

// A handler that also has OnFailed is told when its job has failed for good.
func ExampleFailedHandler() {
	var registry warren.Registry
	warren.Register(&registry, seat{}, warren.KindOpts{
		RetryFor: 2 * time.Hour, MaxErrors: 10, Backoff: warren.BackoffJitter(0.2, warren.BackoffExponential(time.Second, time.Minute)),
	})
	exampleStates(&registry, warren.Item{Args: Welcome{Name: "Ada"}, Opts: warren.PublishOpts{Identifier: "1"}})
	// Output:
	// the seat of Ada is free again: permanent: Ada is no passenger
	// 1: PERMANENTLY_FAILED, attempts 1; Ada is no passenger
}
