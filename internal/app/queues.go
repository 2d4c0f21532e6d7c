package app

import (
	"context"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// reannounceBatch is how many rows one transaction puts into the outbox.
const reannounceBatch = 1000

// CheckQueue says what is wrong with the name of a queue.
func (a *App) CheckQueue(name string) error {
	_, err := a.CheckEdit(warren.EditOpts{Queue: name})
	return err
}

// Resume ends the pause of a queue, and has what waited there announced again. It reports whether
// there was a pause, and how many jobs are announced.
func (a *App) Resume(ctx context.Context, queue string) (was bool, announced int, err error) {
	if was, err = a.Store.Resume(ctx, queue); err != nil || !was {
		return was, 0, err
	}
	if a.Config.AMQPURL == "" { // consumers go by rows; they only need to look
		return was, 0, a.Store.Wake(ctx, []jobstore.Band{{Queue: queue}})
	}
	announced, err = a.reannounce(ctx, queue)
	return was, announced, err
}

// reannounce puts what may run in a queue into the outbox.
func (a *App) reannounce(ctx context.Context, queue string) (announced int, err error) {
	var at jobstore.Position
	for more := true; more; {
		var n int
		if n, at, more, err = a.Store.Reannounce(ctx, queue, at, reannounceBatch); err != nil {
			return announced, err
		}
		announced += n
	}
	return announced, nil
}
