// Package demo is sample work for `warren dev`: kinds that a newcomer understands, all of them
// probes, and jobs that show priorities, a serial group, retries, a delay and a recurring job.
package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/handlers/probe"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/jobstore"
)

// Kinds are what the samples need, besides the kinds that cfg has. They take priorities from those
// that are configured, the best for mail and the last for report.
func Kinds(cfg *config.Config) map[string]config.Kind {
	kinds := maps.Clone(cfg.Kinds)
	if kinds == nil {
		kinds = map[string]config.Kind{}
	}
	at := func(share int) int { return cfg.Priorities[share*(len(cfg.Priorities)-1)/4] }
	for name, k := range map[string]config.Kind{
		"mail":      {Priority: at(0)},
		"charge":    {Priority: at(1), Backoff: []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}},
		"thumbnail": {Priority: at(2)},
		"export":    {Priority: at(3)},
		"report":    {Priority: at(4)},
		"heartbeat": {Priority: at(0)},
		"probe":     {Priority: at(2)},
	} {
		if _, own := kinds[name]; own {
			continue
		}
		k.Probe, k.MaxAttempts = &probe.Config{}, cfg.MaxAttempts
		kinds[name] = k
	}
	return kinds
}

// args are a probe's.
type args struct {
	Sleep     string `json:"sleep"`
	FailTimes int    `json:"fail_times,omitempty"`
	Outcome   string `json:"outcome,omitempty"`
	Message   string `json:"message,omitempty"`
}

// Expect says how long a sample will run.
func Expect(job *jobstore.Job) time.Duration {
	var a args
	if json.Unmarshal(job.Args, &a) != nil {
		return 0
	}
	d, err := time.ParseDuration(a.Sleep)
	if err != nil {
		return 0
	}
	return d
}

// Publisher is what publishes samples.
type Publisher interface {
	PublishMany(ctx context.Context, items []warren.Item) ([]warren.Published, error)
	PublishRaw(ctx context.Context, kind string, args any, opts ...warren.PublishOpts) (warren.Published, error)
}

// wave is how long it takes until more samples come.
const wave = 10 * time.Second

// Run publishes samples: much at the beginning, then a little every ten seconds until ctx ends.
func Run(ctx context.Context, p Publisher) error {
	if _, err := p.PublishRaw(ctx, "heartbeat", args{Sleep: "50ms"}, warren.PublishOpts{
		Mode: jobstore.Recurring, Identifier: "demo", Every: 5 * time.Second,
	}); err != nil && ctx.Err() == nil {
		return fmt.Errorf("publish the recurring sample: %w", err)
	}
	tick := time.NewTicker(wave)
	defer tick.Stop()
	for n := 0; ; n++ {
		items := small(n)
		if n == 0 {
			items = slices.Concat(special(), many(), items)
		}
		if _, err := p.PublishMany(ctx, items); err != nil && ctx.Err() == nil {
			return fmt.Errorf("publish samples: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// many is a backlog over several priorities, so that one sees the best go first.
func many() []warren.Item {
	var items []warren.Item
	for i := range 120 {
		kind := []string{"mail", "thumbnail", "export"}[i%3]
		items = append(items, warren.Item{Kind: kind, Args: args{Sleep: "150ms"}})
	}
	return items
}

// special are those that each show one thing.
func special() []warren.Item {
	items := []warren.Item{
		{Kind: "charge", Args: args{Sleep: "200ms", FailTimes: 2, Message: "the bank does not answer"}},
		{Kind: "charge", Args: args{Sleep: "200ms", Outcome: "permanent", Message: "this card does not exist"}},
		{Kind: "mail", Args: args{Sleep: "100ms"}, Opts: warren.PublishOpts{Delay: 8 * time.Second}},
		{Kind: "report", Args: args{Sleep: "15s"}},
	}
	for range 6 {
		items = append(items, warren.Item{Kind: "export", Args: args{Sleep: "1s"}, Opts: warren.PublishOpts{SerialGroup: "customer-7"}})
	}
	return items
}

// small is what comes every now and then.
func small(n int) []warren.Item {
	items := []warren.Item{
		{Kind: "report", Args: args{Sleep: "6s"}},
		{Kind: "charge", Args: args{Sleep: "300ms", FailTimes: n % 3, Message: "the bank does not answer"}},
	}
	for range 12 {
		items = append(items, warren.Item{Kind: "mail", Args: args{Sleep: "250ms"}})
	}
	return items
}
