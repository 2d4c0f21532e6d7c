package warren

import (
	"context"
	"errors"
	"fmt"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// maxAdded is how many jobs one attempt may add to its flow: they are recorded with its outcome.
const maxAdded = 10_000

// JobBatch is the batch around a job, for its handler. See Job.Batch.
type JobBatch struct{ job *jobstore.Job }

// JobChain is the chain around a job, for its handler. See Job.Flow.
type JobChain struct{ job *jobstore.Job }

// Batch is the nearest batch around the job. The methods of what it returns fail for a job of no batch.
func (j *Job[A]) Batch() JobBatch { return JobBatch{j.Job} }

// Flow is the nearest chain around the job. The methods of what it returns fail for a job of no chain.
func (j *Job[A]) Flow() JobChain { return JobChain{j.Job} }

type clientKey struct{}

// inFlow gives handlers of jobs of flows what they need to look at their flow and to change it.
func (c *Client) inFlow(next RawHandler) RawHandler {
	if c == nil {
		return next
	}
	return func(ctx context.Context, job *jobstore.Job) error {
		if job.Step != 0 {
			ctx = context.WithValue(ctx, clientKey{}, c)
		}
		return next(ctx, job)
	}
}

func clientOf(ctx context.Context, job *jobstore.Job) (*Client, error) {
	c, ok := ctx.Value(clientKey{}).(*Client)
	if !ok || job.Step == 0 {
		return nil, errNoFlow
	}
	return c, nil
}

// flowAround finds the nearest step around the job that fits.
func flowAround(ctx context.Context, job *jobstore.Job, fits func(s, holder *jobstore.Step) bool) (*Client, jobstore.Flow, *jobstore.Step, error) {
	c, err := clientOf(ctx, job)
	if err != nil {
		return nil, jobstore.Flow{}, nil, err
	}
	f, err := c.cfg.Store.Flow(ctx, job.Step)
	if err != nil {
		return nil, f, nil, err
	}
	byID := make(map[jobstore.StepID]*jobstore.Step, len(f.Steps))
	for i := range f.Steps {
		byID[f.Steps[i].ID] = &f.Steps[i]
	}
	for s := byID[job.Step]; s != nil; s = byID[s.Parent] {
		if fits(s, byID[s.Parent]) {
			return c, f, s, nil
		}
	}
	return c, f, nil, nil
}

func isBatch(s, _ *jobstore.Step) bool { return s.Role == jobstore.RoleBatch }

// Info tells how far the batch has come. A callback's is the batch that it hears of.
func (b JobBatch) Info(ctx context.Context) (BatchInfo, error) {
	_, f, s, err := flowAround(ctx, b.job, isBatch)
	if err == nil && s == nil {
		err = errors.New("this job is part of no batch")
	}
	if err != nil {
		return BatchInfo{}, err
	}
	return BatchInfo{Step: *s, Metadata: f.Metadata}, nil
}

// Cancel calls the batch off. See Client.CancelFlow.
func (b JobBatch) Cancel(ctx context.Context) error {
	info, err := b.Info(ctx)
	if err != nil {
		return err
	}
	return info.cancelBy(ctx, b.job)
}

func (b *BatchInfo) cancelBy(ctx context.Context, job *jobstore.Job) error {
	c, err := clientOf(ctx, job)
	if err != nil {
		return err
	}
	return c.CancelFlow(ctx, b.ID)
}

// Add adds jobs to the batch: Args or Items, at most 10,000 in one attempt. They are there when this
// attempt is recorded as finished, in the same transaction; an attempt that fails adds nothing.
func (b JobBatch) Add(ctx context.Context, jobs ...any) error {
	c, _, s, err := flowAround(ctx, b.job, func(s, _ *jobstore.Step) bool {
		return s.Role == jobstore.RoleBatch || s.Role == jobstore.RoleCallback
	})
	if err == nil && (s == nil || s.Role == jobstore.RoleCallback) {
		err = errors.New("only a member of a batch can add to it")
	}
	if err != nil {
		return err
	}
	return c.change(ctx, jobs, func(f *jobstore.FlowChange, list []jobstore.NewJob) { f.Add = append(f.Add, list...) })
}

// Prepend puts jobs into the chain right behind this one, before what follows. They are Args or Items, and
// recorded as with JobBatch.Add. What a later call gives comes before what an earlier one gave.
func (j JobChain) Prepend(ctx context.Context, jobs ...any) error {
	return j.grow(ctx, jobs, func(f *jobstore.FlowChange, list []jobstore.NewJob) { f.Prepend = append(list, f.Prepend...) })
}

// Append puts jobs at the end of the chain. See Prepend.
func (j JobChain) Append(ctx context.Context, jobs ...any) error {
	return j.grow(ctx, jobs, func(f *jobstore.FlowChange, list []jobstore.NewJob) { f.Append = append(f.Append, list...) })
}

func (j JobChain) grow(ctx context.Context, jobs []any, by func(*jobstore.FlowChange, []jobstore.NewJob)) error {
	c, _, s, err := flowAround(ctx, j.job, func(s, holder *jobstore.Step) bool {
		return s.Role == jobstore.RoleCallback || holder != nil && holder.Role == jobstore.RoleChain
	})
	if err == nil && (s == nil || s.Role == jobstore.RoleCallback) {
		err = errors.New("this job is part of no chain")
	}
	if err != nil {
		return err
	}
	return c.change(ctx, jobs, by)
}

// change notes what the attempt of ctx adds to its flow.
func (c *Client) change(ctx context.Context, jobs []any, by func(*jobstore.FlowChange, []jobstore.NewJob)) error {
	scope := worker.ScopeOf(ctx)
	if scope == nil {
		return errNoAttempt
	}
	d := &flowDraft{ctx: ctx, rules: &c.rules}
	list := make([]jobstore.NewJob, 0, len(jobs))
	for i, v := range jobs {
		if job, ok := d.job(v, fmt.Sprintf("job %d", i+1)); ok {
			list = append(list, job)
		}
	}
	if err := errors.Join(d.errs...); err != nil {
		return invalidJobError{err}
	}
	return scope.ChangeFlow(func(f *jobstore.FlowChange) error {
		if n := len(f.Add) + len(f.Prepend) + len(f.Append) + len(list); n > maxAdded {
			return fmt.Errorf("this attempt would add %d jobs to its flow; at most %d are allowed: let those that it adds add more", n, maxAdded)
		}
		by(f, list)
		return nil
	})
}
