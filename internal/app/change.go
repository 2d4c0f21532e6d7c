package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// changeBatch is how many jobs one transaction changes: it holds their locks for milliseconds.
const changeBatch = 500

// The rhythm in which a change looks at what has become of its jobs, and at how many.
const (
	canaryTick   = 250 * time.Millisecond
	watchTick    = time.Second
	watchedJobs  = 1000
	fewestJudged = 20 // a share of fewer jobs says nothing
)

// MassChange is an order about every job that a filter selects.
type MassChange struct {
	Order  jobstore.Order
	Filter jobstore.Filter // Limit 0 = no limit
	// Spec is what was asked for: a change that was broken off goes on under the same spec.
	Spec json.RawMessage
	By   string
	// Rate is how many jobs are changed a second; 0 = as fast as it goes.
	Rate float64
	// Canary are changed first, and the rest when those have ended; 0 = none.
	Canary int
	// CanaryWait is how long they may take.
	CanaryWait time.Duration
	StopIf     StopIf // the zero value never stops
}

// StoppedError says that a change has stopped by itself.
type StoppedError struct{ Reason string }

func (e *StoppedError) Error() string { return "stopped: " + e.Reason }

// Change carries a mass change out, part by part, and calls part after each. It returns the change as
// it was written down, also with an error. A StoppedError when its threshold was exceeded; a HeldError
// when another process is at the same change.
//
// Whatever breaks it off, a second call with the same spec goes on where the first has come to, and
// UndoChange undoes it. Only when ctx ends is it over: a second call then begins anew.
func (a *App) Change(ctx context.Context, m MassChange, begun func(jobstore.Change), part func(jobstore.Changed)) error {
	if err := a.forgetChanges(ctx, 1); err != nil {
		return err
	}
	c, err := a.Store.BeginChange(ctx, m.Order.Verb, m.Spec, m.By)
	if err != nil {
		return err
	}
	return a.Exclusively(ctx, changeLease(c.ID), func(own context.Context) error {
		// Somebody else may have gone on with it before the lease was ours.
		list, err := a.Store.Changes(own, c.ID, 1)
		if err != nil || len(list) == 0 {
			return err
		}
		begun(list[0])
		r := &changeRun{MassChange: m, store: a.Store, change: list[0], part: part, began: time.Now()}
		err = r.run(own)
		return errors.Join(err, a.endChange(ctx, c.ID, err))
	})
}

func changeLease(id jobstore.ChangeID) string { return fmt.Sprintf("change %d", id) }

// endChange notes how a change has ended. One that failed otherwise than by being called off may go on.
func (a *App) endChange(ctx context.Context, id jobstore.ChangeID, err error) error {
	stopped, byItself := errors.AsType[*StoppedError](err)
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	switch {
	case err == nil:
		return a.Store.EndChange(late, id, jobstore.ChangeDone, "")
	case byItself:
		return a.Store.EndChange(late, id, jobstore.ChangeStopped, stopped.Reason)
	case ctx.Err() != nil:
		return a.Store.EndChange(late, id, jobstore.ChangeStopped, "called off by "+context.Cause(ctx).Error())
	}
	return nil
}

// changeRun is one process at work on a change.
type changeRun struct {
	MassChange

	store  jobstore.Store
	change jobstore.Change
	part   func(jobstore.Changed)
	passed bool // the canary has
	began  time.Time
	done   int       // by this process
	looked time.Time // at what has become of the jobs
}

func (r *changeRun) run(ctx context.Context) error {
	f := r.Filter
	f.After = r.change.Through
	left := r.Filter.Limit - r.change.Changed - r.change.Refused
	if r.Filter.Limit > 0 && left <= 0 {
		return nil
	}
	for {
		if err := r.judge(ctx); err != nil {
			return err
		}
		f.Limit = r.size()
		if r.Filter.Limit > 0 {
			f.Limit = min(f.Limit, left)
		}
		found, err := r.store.Find(ctx, f)
		if err != nil || len(found) == 0 {
			return err
		}
		ids := make([]jobstore.ID, len(found))
		for i, t := range found {
			ids[i] = t.ID
		}
		f.After = ids[len(ids)-1]
		changed, err := r.store.ChangeNext(ctx, r.change.ID, r.Order, ids, f.After)
		if err != nil {
			return err
		}
		r.change.Changed += len(changed.Done)
		r.done += len(changed.Done)
		r.part(changed)
		if left -= len(ids); r.Filter.Limit > 0 && left <= 0 {
			return nil
		}
		if err := r.pace(ctx); err != nil {
			return err
		}
	}
}

// size is how many jobs the next part may have.
func (r *changeRun) size() int {
	n := changeBatch
	if r.Rate > 0 {
		n = min(n, max(1, int(r.Rate/2)))
	}
	if r.Canary > r.change.Changed {
		n = min(n, r.Canary-r.change.Changed)
	}
	return n
}

// pace waits until as much time has passed as the rate wants for what is done.
func (r *changeRun) pace(ctx context.Context) error {
	if r.Rate <= 0 {
		return ctx.Err()
	}
	due := r.began.Add(time.Duration(float64(r.done) / r.Rate * float64(time.Second)))
	return worker.Sleep(ctx, time.Until(due))
}

// judge looks at what has become of the jobs: it waits for a canary that is complete, and afterwards
// looks from time to time.
func (r *changeRun) judge(ctx context.Context) error {
	if r.Canary > 0 && !r.passed && r.change.Changed >= r.Canary {
		if err := r.awaitCanary(ctx); err != nil {
			return err
		}
		r.passed, r.began, r.done = true, time.Now(), 0 // the rate counts from here
	}
	if !r.StopIf.given() || time.Since(r.looked) < watchTick || r.Canary > r.change.Changed {
		return nil
	}
	r.looked = time.Now()
	f, err := r.store.Follow(ctx, r.change.ID, watchedJobs)
	if err != nil {
		return err
	}
	if ended := f.Finished + f.Failed; ended >= fewestJudged && r.StopIf.exceeded(f.Failed, ended) {
		return &StoppedError{fmt.Sprintf("%d of the last %d jobs that ended have failed again, and the limit is %s", f.Failed, ended, r.StopIf)}
	}
	return nil
}

// awaitCanary returns when the canary has ended well enough. It counts failures as a share of the
// whole canary, so that it can tell before the last one has ended.
func (r *changeRun) awaitCanary(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, r.CanaryWait)
	defer cancel()
	for {
		f, err := r.store.Follow(ctx, r.change.ID, r.Canary)
		switch {
		case err != nil:
			return err
		case r.StopIf.exceeded(f.Failed, f.Jobs()):
			return &StoppedError{fmt.Sprintf("%d of the first %d jobs have failed again, and the limit is %s", f.Failed, f.Jobs(), r.StopIf)}
		case f.Open == 0:
			return nil
		}
		if worker.Sleep(wait, canaryTick) != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return &StoppedError{fmt.Sprintf("%d of the first %d jobs have not ended within %s; are there consumers for them?", f.Open, f.Jobs(), r.CanaryWait)}
		}
	}
}

// UndoChange makes the jobs of a change what they were before, as far as they have not started
// since, and calls part after each part. What breaks it off leaves a change that a second call undoes
// on. A HeldError while somebody is still at the change.
func (a *App) UndoChange(ctx context.Context, id jobstore.ChangeID, part func(jobstore.Changed)) error {
	return a.Exclusively(ctx, changeLease(id), func(ctx context.Context) error {
		var after jobstore.ID
		for {
			got, next, done, err := a.Store.UndoNext(ctx, id, after, changeBatch)
			if err != nil {
				return err
			}
			part(got)
			if done {
				return nil
			}
			after = next
		}
	})
}

// forgetBatch is how many rows one transaction forgets.
const forgetBatch = 5000

// forgetChanges removes old changes, in at most so many steps; 0 = until none is left.
func (a *App) forgetChanges(ctx context.Context, steps int) error {
	for step := 1; ; step++ {
		n, err := a.Store.ForgetChanges(ctx, jobstore.ChangesKept, forgetBatch)
		if err != nil || n == 0 || step == steps {
			return err
		}
	}
}

// Carry carries an order out for a few jobs.
func Carry(ctx context.Context, store jobstore.Operator, o jobstore.Order, ids []jobstore.ID) (jobstore.Changed, error) {
	switch o.Verb {
	case jobstore.VerbRetry:
		return store.Retry(ctx, ids)
	case jobstore.VerbCancel:
		return store.Cancel(ctx, ids)
	case jobstore.VerbDelete:
		return store.Delete(ctx, ids)
	case jobstore.VerbEdit:
		return store.Edit(ctx, ids, o.Edit)
	}
	return jobstore.Changed{}, fmt.Errorf("%w: %q is no verb", jobstore.ErrInvalid, o.Verb)
}
