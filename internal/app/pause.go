package app

import (
	"context"

	"github.com/warrenq/warren/jobstore"
)

// ResumeOf ends a pause of a kind, of a serial group or of everything, or enables a kind, and has what waited announced
// again. It reports whether there was a pause, and how many jobs are announced.
func (a *App) ResumeOf(ctx context.Context, of jobstore.PauseOf, name string) (was bool, announced int, err error) {
	if was, err = a.Store.ResumeOf(ctx, of, name); err != nil || !was {
		return was, 0, err
	}
	if a.Config.AMQPURL == "" { // consumers go by rows; they only need to look
		return was, 0, a.Store.Wake(ctx, []jobstore.Band{{Queue: a.Config.DefaultQueue}})
	}
	if of == jobstore.PauseOfAll {
		announced, err = a.reannounceAll(ctx)
		return was, announced, err
	}
	f := jobstore.Filter{States: []jobstore.State{jobstore.Ready}, Limit: reannounceBatch}
	if of == jobstore.PauseOfKind || of == jobstore.PauseOfDisabled {
		f.Kinds = []string{name}
	} else {
		f.SerialGroups = []string{name}
	}
	for {
		found, err := a.Store.Find(ctx, f)
		if err != nil || len(found) == 0 {
			return was, announced, err
		}
		ids := make([]jobstore.ID, len(found))
		for i, t := range found {
			ids[i] = t.ID
		}
		if err := a.Store.Unannounced(ctx, ids); err != nil {
			return was, announced, err
		}
		announced += len(ids)
		f.After = ids[len(ids)-1]
	}
}

// reannounceAll goes through every queue.
func (a *App) reannounceAll(ctx context.Context) (announced int, err error) {
	list, err := a.Store.Queues(ctx)
	if err != nil {
		return 0, err
	}
	for _, q := range list {
		n, err := a.reannounce(ctx, q.Queue)
		announced += n
		if err != nil {
			return announced, err
		}
	}
	return announced, nil
}
