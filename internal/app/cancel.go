package app

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// cancelTick is how often CancelRunning looks.
const cancelTick = 250 * time.Millisecond

// CancelRunning cancels jobs whether they run or not. Consumers hear of it with their next heartbeat, so
// it waits for those that run, at most patience; what still runs then is refused. A job that is handed
// back meanwhile, because its consumer died, is cancelled all the same.
func (a *App) CancelRunning(ctx context.Context, ids []jobstore.ID, patience time.Duration) (all jobstore.Changed, err error) {
	wait, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	asked := map[jobstore.ID]bool{}
	for {
		got, err := a.Store.Cancel(ctx, ids)
		if err != nil {
			return all, err
		}
		all.Done = append(all.Done, got.Done...)
		ids = nil
		for _, no := range got.Refused {
			switch {
			case no.State == jobstore.Processing:
				ids = append(ids, no.ID)
			case no.State == jobstore.Cancelled && asked[no.ID]:
				all.Done = append(all.Done, no.ID)
			default:
				all.Refused = append(all.Refused, no)
			}
		}
		if len(ids) == 0 {
			slices.Sort(all.Done)
			return all, nil
		}
		if _, err := a.Store.AskCancel(ctx, ids); err != nil {
			return all, err
		}
		for _, id := range ids {
			asked[id] = true
		}
		if worker.Sleep(wait, cancelTick) != nil {
			break
		}
	}
	for _, id := range ids {
		all.Refused = append(all.Refused, jobstore.Refusal{ID: id, State: jobstore.Processing, Reason: fmt.Sprintf(
			"job %d still runs; its consumer was asked to end it, and does within seconds unless its handler ignores its context", id)})
	}
	return all, ctx.Err()
}
