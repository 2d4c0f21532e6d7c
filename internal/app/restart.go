package app

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// restartTick is how often AwaitGone looks.
const restartTick = 250 * time.Millisecond

// Restart tells every living consumer that takes one of the queues, or every one without queues, to drain
// and exit 0. It returns those that have been told now or before, and have not gone yet.
func (a *App) Restart(ctx context.Context, queues []string) ([]jobstore.HolderID, error) {
	for {
		list, err := a.Store.Consumers(ctx)
		if err != nil {
			return nil, err
		}
		var told []jobstore.HolderID
		waiting := map[string]int{} // by queue: those that are not told yet
		for _, c := range list {
			i := slices.IndexFunc(c.Queues, func(q string) bool { return len(queues) == 0 || slices.Contains(queues, q) })
			switch {
			case !c.Alive || i < 0:
			case c.Restarting:
				told = append(told, c.ID)
			default:
				waiting[c.Queues[i]]++
			}
		}
		if len(waiting) == 0 {
			return told, nil
		}
		for queue, n := range waiting {
			// ErrRefused: one of them has gone since it was counted.
			if _, err := a.Store.Restart(ctx, queue, n); err != nil && !errors.Is(err, jobstore.ErrRefused) {
				return told, err
			}
		}
	}
}

// AwaitGone waits until none of the consumers is registered any more, and returns those that still are
// when ctx ends.
func (a *App) AwaitGone(ctx context.Context, told []jobstore.HolderID) ([]jobstore.HolderID, error) {
	for {
		list, err := a.Store.Consumers(context.WithoutCancel(ctx))
		if err != nil {
			return told, err
		}
		told = slices.DeleteFunc(told, func(id jobstore.HolderID) bool {
			return !slices.ContainsFunc(list, func(c jobstore.ConsumerInfo) bool { return c.ID == id })
		})
		if len(told) == 0 || worker.Sleep(ctx, restartTick) != nil {
			return told, nil //nolint:nilerr // that time is up is no error: the answer is who is left
		}
	}
}
