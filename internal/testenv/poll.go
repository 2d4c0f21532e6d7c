package testenv

import (
	"context"
	"fmt"
	"time"
)

const (
	// patience bounds every wait for a server. It is generous because a noisy machine may be ten
	// times slower than a quiet one, and it is only reached when something is broken.
	patience = 180 * time.Second
	// pollEvery is how often a wait looks again.
	pollEvery = 25 * time.Millisecond
)

// poll calls try until it returns nil, ctx ends, or stop is closed, and returns the last error.
// A nil stop never closes.
func poll(ctx context.Context, stop <-chan struct{}, try func(context.Context) error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up (%w); the last try said: %w", context.Cause(ctx), err)
		case <-stop:
			return fmt.Errorf("the process ended; the last try said: %w", err)
		case <-tick.C:
		}
	}
}
