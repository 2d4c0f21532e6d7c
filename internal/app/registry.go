package app

import (
	"fmt"
	"maps"
	"slices"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/handlers/command"
	"github.com/warrenq/warren/handlers/probe"
	"github.com/warrenq/warren/handlers/webhook"
	"github.com/warrenq/warren/internal/config"
)

// Registry makes the stock handlers that the configuration gives its kinds.
func (a *App) Registry() (*warren.Registry, error) { return a.registry(&config.Pool{}) }

// registry has the timeout and the backoff of a pool for kinds that name none.
func (a *App) registry(pool *config.Pool) (*warren.Registry, error) {
	r := &warren.Registry{}
	for _, name := range slices.Sorted(maps.Keys(a.Config.Kinds)) {
		k := a.Config.Kinds[name]
		h, err := handler(k)
		if err != nil {
			return nil, usageError{fmt.Errorf("kind %s: %w", name, err)}
		}
		opts := warren.KindOpts{
			Queue: k.Queue, Priority: k.Priority, HasPriority: true, Timeout: k.Timeout,
			MaxAttempts: k.MaxAttempts, SkipOnRetry: k.GroupSkip, Guards: k.Guards.For(name), MaxErrors: k.MaxErrors, TimeoutIsPermanent: k.TimeoutIsPermanent, RetryFor: k.RetryFor,
			HistoryAll: k.HistoryAll,
			Describe:   warren.Describe{Title: k.Title, Description: k.Description, Scope: k.Scope},
			Encrypted:  k.Encrypted, AcceptPlain: k.AcceptPlain, Delay: k.Delay, UniqueBy: k.UniqueBy, UniqueFor: k.UniqueFor,
		}
		if k.Schema != nil { // nil in the interface would be a schema
			opts.Schema = k.Schema
		}
		if k.Settings != nil {
			opts.Settings = k.Settings
		}
		if opts.MaxAttempts == 0 {
			opts.MaxAttempts = warren.Unlimited
		}
		if k.DefaultTimeout && pool.Timeout > 0 {
			opts.Timeout = pool.Timeout
		}
		steps := k.Backoff
		if len(steps) == 0 {
			steps = pool.Backoff
		}
		if len(steps) > 0 {
			opts.Backoff = warren.BackoffSteps(steps...)
		}
		r.Raw(name, h, opts)
	}
	return r, nil
}

func handler(k config.Kind) (warren.RawHandler, error) {
	switch {
	case k.Webhook != nil:
		return webhook.New(*k.Webhook)
	case k.Command != nil:
		return command.New(*k.Command)
	default:
		return probe.New(probe.Config{})
	}
}
