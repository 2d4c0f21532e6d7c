package worker

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"go.uber.org/zap"
)

// leaveBehind gives a slot back whose handler does not return, though ctx has ended, and says where that is.
func (p *Pool) leaveBehind(ctx context.Context, w Work, r *runner) error {
	job := &w.Lease.Job
	if errors.Is(Cause(ctx), ErrShutdown) && p.hurried() { // nobody has given it the time to end
		p.cfg.Log.Info("a handler still runs, and the process ends without it; its job is handed back",
			zap.Int64("job_id", int64(job.ID)), zap.String("kind", job.Kind))
		r.leave()
		return &StuckError{Grace: heed}
	}
	err := &StuckError{Grace: p.grace(ctx), Stack: r.stack()}
	r.leave()
	p.cfg.Log.Error("a handler did not return after its context ended; its goroutine is left behind",
		zap.Int64("job_id", int64(job.ID)), zap.String("kind", job.Kind),
		zap.NamedError("cause", Cause(ctx)), zap.ByteString("stack", err.Stack))
	if p.cfg.Stuck != nil {
		p.cfg.Stuck(job, err)
	}
	if n := p.stuck.Add(1); p.cfg.MaxStuck > 0 && n >= int64(p.cfg.MaxStuck) {
		p.cfg.Log.Error("so many handlers were left behind that this process stops; draining", zap.Int64("left_behind", n))
		p.stop()
	}
	return err
}

// noteFailure keeps since when a job fails, in its metadata.
func (p *Pool) noteFailure(d *Decision, scope *Scope) {
	if d.FailingSince.IsZero() {
		return
	}
	since, err := json.Marshal(d.FailingSince.UTC().Format(time.RFC3339Nano))
	if err == nil {
		scope.SetMetadata(map[string]json.RawMessage{FailingSinceKey: since})
	}
}

// failed tells a kind that its job has failed for good. It happens before that is recorded, under the lease, so that
// a process that dies here does it again.
func (p *Pool) failed(w Work, kind Kind, scope *Scope, err error, r *runner) {
	ctx := WithScope(context.WithoutCancel(w.Term.Context()), scope)
	told := p.aside(ctx, r, func(ctx context.Context) error {
		kind.Failed(ctx, &w.Lease.Job, err)
		return nil
	}, nil)
	if told != nil {
		p.cfg.Log.Error("what is to be done when a job has failed for good did not come to its end",
			zap.Int64("job_id", int64(w.Lease.Job.ID)), zap.Error(told))
	}
}
