package warren_test

import (
	"context"
	"fmt"
	"time"

	"github.com/warrenq/warren"
)

// Cleanup is a kind that schedules publish.
type Cleanup struct {
	OlderThan string `json:"older_than"`
}

// Kind names the handler.
func (Cleanup) Kind() string { return "cleanup" }

// A schedule says when in words of its zone, and which job.
func ExampleSchedule() {
	nightly := warren.Schedule{Name: "cleanup", When: warren.Cron("30 2 * * *"), Zone: "Europe/Berlin", Args: Cleanup{OlderThan: "30d"}}
	at := time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC)
	for range 3 {
		next, err := nightly.Next(at)
		if err != nil {
			panic(err)
		}
		fmt.Println(next.Format(time.RFC3339))
		at = next
	}
	// On the 29th clocks go from 02:00 to 03:00: right after that, once.

	// Output:
	// 2026-03-28T01:30:00Z
	// 2026-03-29T01:00:00Z
	// 2026-03-30T00:30:00Z
}

// Inside of a window, each day.
func ExampleWhen_Between() {
	day := warren.Schedule{Name: "import", When: warren.Every(15*time.Minute).Between("05:00", "23:00"), Args: Cleanup{}}
	next, err := day.Next(time.Date(2026, 6, 1, 23, 0, 0, 0, time.UTC))
	fmt.Println(day.When, "after 23:00:", next.Format(time.RFC3339), err)

	_, err = warren.Schedule{Name: "night", When: warren.Every(time.Hour).Between("22:00", "06:00")}.Next(time.Now())
	fmt.Println(err)
	// Output:
	// every 15m0s from 05:00 to 23:00 after 23:00: 2026-06-02T05:00:00Z <nil>
	// the window from 22:00 to 06:00 ends before it begins; one that spans midnight is two schedules, or a cron
}

// A consumer declares the schedules of its program when it starts, and any consumer plants their jobs.
func ExampleTickOf() {
	store := exampleStore()
	defer store.Close()
	ctx := context.Background()

	var registry warren.Registry
	warren.RegisterFunc(&registry, func(_ context.Context, job *warren.Job[Cleanup]) error {
		name, tick, ok := warren.TickOf(job.Job)
		fmt.Println(name, "asks for what is older than", job.Args.OlderThan, ok && !tick.IsZero())
		return nil
	})
	consumer, err := warren.NewConsumer(warren.ConsumerConfig{
		Store: store, Registry: &registry, UntilEmpty: true,
		Schedules: []warren.Schedule{{Name: "cleanup", When: warren.Cron("30 2 * * *"), Zone: "Europe/Berlin", Args: Cleanup{OlderThan: "30d"}}},
	})
	if err != nil {
		panic(err)
	}
	schedules := consumer.Client().Schedules(store)
	if err := schedules.Declare(ctx, warren.Schedule{Name: "cleanup", When: warren.Cron("30 2 * * *"), Zone: "Europe/Berlin", Args: Cleanup{OlderThan: "30d"}}); err != nil {
		panic(err)
	}
	if _, err := schedules.Run(ctx, "cleanup"); err != nil { // now, besides its times
		panic(err)
	}
	if err := consumer.Run(ctx); err != nil {
		panic(err)
	}
	// Output: cleanup asks for what is older than 30d true
}

// Schedules are changed while everything runs; the change holds until the program declares something else.
func ExampleSchedules() {
	store := exampleStore()
	defer store.Close()
	ctx := context.Background()
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		panic(err)
	}
	schedules := client.Schedules(store)
	if _, err := schedules.Add(ctx, warren.Schedule{Name: "cleanup", When: warren.Cron("@daily"), Args: Cleanup{OlderThan: "30d"}}); err != nil {
		panic(err)
	}
	info, err := schedules.Edit(ctx, "cleanup", func(s *warren.Schedule) error {
		s.When, s.Args = warren.Cron("0 4 * * *"), Cleanup{OlderThan: "60d"}
		return nil
	})
	if err != nil {
		panic(err)
	}
	next, err := store.Get(ctx, info.Job) // the next run is a job like others
	fmt.Println(info.When, next.State, string(next.Args), next.AvailableAt.Equal(info.Next), err)

	if info, err = schedules.Pause(ctx, "cleanup"); err != nil {
		panic(err)
	}
	fmt.Println(info.Paused, info.Next.IsZero())
	// Output:
	// cron 0 4 * * * SCHEDULED {"older_than": "60d"} true <nil>
	// true true
}
