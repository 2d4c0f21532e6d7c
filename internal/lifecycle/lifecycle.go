// Package lifecycle starts the long-lived parts of a program in order and stops them in reverse.
//
// Every part is a blocking Run(ctx) error that owns what it starts and returns only when all of
// it is gone. Constructors start nothing.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Part is one long-lived piece of work.
type Part struct {
	// Name is for errors.
	Name string
	// Run blocks until ctx ends or the part is done. Returning nil early is how a part asks
	// everything to stop.
	Run func(ctx context.Context) error
}

// Run starts the parts in order. When ctx ends, or any part returns, it stops them one by one in
// reverse order, each with the parts before it still running, so that the last outcomes reach
// the completer while the heartbeat still beats. It returns what the parts returned, without the
// context's own error.
//
// The contexts of the parts keep ctx's values but not its end: a part ends only when its turn comes.
func Run(ctx context.Context, parts ...Part) error {
	started := make([]running, 0, len(parts))
	ended := make(chan struct{}, len(parts))
	for _, p := range parts {
		started = append(started, start(ctx, p, ended))
	}
	select {
	case <-ctx.Done():
	case <-ended:
	}
	cause := context.Cause(ctx)
	var errs []error
	for _, part := range slices.Backward(started) {
		part.stop(cause)
		err := <-part.done
		if err == nil || errors.Is(err, context.Canceled) || (cause != nil && errors.Is(err, cause)) {
			continue
		}
		errs = append(errs, fmt.Errorf("%s: %w", part.name, err))
	}
	return errors.Join(errs...)
}

type running struct {
	name string
	stop context.CancelCauseFunc
	done chan error
}

func start(ctx context.Context, p Part, ended chan<- struct{}) running {
	own, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	r := running{name: p.Name, stop: stop, done: make(chan error, 1)}
	go func() {
		r.done <- p.Run(own)
		ended <- struct{}{}
	}()
	return r
}
