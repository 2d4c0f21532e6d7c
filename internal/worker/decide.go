package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/warrenq/warren/internal/argcheck"
	"github.com/warrenq/warren/jobstore"
)

// MaxError is how many bytes of an error's text a row keeps.
const MaxError = 8 << 10

// Policy is what the kind of a job says about its failures.
type Policy struct {
	// Backoff returns the delay after the given failed attempt, counted from 1.
	Backoff func(attempt int) time.Duration
}

// PanicError is what a handler's panic becomes.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// NewPanicError captures a recovered value with the stack of the goroutine that panicked.
func NewPanicError(v any) *PanicError { return &PanicError{Value: v, Stack: debug.Stack()} }

// Decision is what an attempt came to, besides its row.
type Decision struct {
	Outcome jobstore.Outcome
	// Drop says that nothing may be recorded: the lease is lost.
	Drop bool
	// Stop says that the consumer drains and exits.
	Stop bool
}

// Decide turns a handler's answer into an outcome. It is pure: the row as leased, the error, why
// the context ended (nil if it did not) and the kind's policy are all it knows. The table is
// section S6 of the protocol.
//
// The order of the questions matters: a lost lease outweighs everything, an answer that the
// handler gave on purpose (nil or a control error) outweighs the shutdown that happened meanwhile,
// and only then does a cancelled context explain an error.
func Decide(lease *jobstore.Lease, err, cause error, policy Policy) Decision {
	out := jobstore.Outcome{
		ID: lease.Job.ID, LeaseNo: lease.Job.LeaseNo,
		SerialGroup: lease.Job.SerialGroup, Mode: lease.Job.Mode,
	}
	if errors.Is(cause, ErrLeaseLost) {
		return Decision{Outcome: out, Drop: true}
	}
	if err == nil {
		out.State = jobstore.Finished
		return Decision{Outcome: out}
	}
	d := Decision{Outcome: out}
	var stop *StopError
	if errors.As(err, &stop) {
		d.Stop = true
		if stop.Err == nil { // a bare stop is for a person
			d.fail(jobstore.PermanentlyFailed, err)
			return d
		}
		err = stop.Err
	}
	d.classify(lease, err, cause, policy)
	return d
}

func (d *Decision) classify(lease *jobstore.Lease, err, cause error, policy Policy) {
	var (
		permanent *PermanentError
		wait      *WaitError
		retry     *RetryAfterError
		skip      *SkipError
	)
	switch {
	case errors.As(err, &skip):
		d.fail(jobstore.Finished, errors.New(skip.Reason))
	case errors.As(err, &permanent):
		d.fail(jobstore.PermanentlyFailed, inner(permanent.Err, err))
	case errors.As(err, &wait):
		d.fail(jobstore.Waiting, inner(wait.Err, err))
		d.Outcome.Delay, d.Outcome.Uncount = max(wait.Delay, 0), true
	case errors.As(err, &retry):
		d.fail(jobstore.TemporarilyFailed, inner(retry.Err, err))
		d.Outcome.Delay = max(retry.Delay, 0)
		d.spend(lease)
	case errors.Is(cause, ErrShutdown):
		// Our own shutdown interrupted it: not the handler's failure.
		d.Outcome.State, d.Outcome.Uncount = jobstore.Ready, true
	default:
		if errors.Is(cause, ErrTimeout) && !errors.Is(err, ErrTimeout) {
			err = fmt.Errorf("%w: %w", ErrTimeout, err)
		}
		d.fail(jobstore.TemporarilyFailed, err)
		d.Outcome.Delay = policy.Backoff(lease.Job.Attempts)
		d.spend(lease)
	}
}

// spend makes a temporary failure the last one when the attempts are used up. Attempts was
// raised by the claim, so it counts the attempt that just ended.
func (d *Decision) spend(lease *jobstore.Lease) {
	if lease.Job.MaxAttempts > 0 && lease.Job.Attempts >= lease.Job.MaxAttempts {
		d.Outcome.State, d.Outcome.Delay = jobstore.PermanentlyFailed, 0
	}
}

func (d *Decision) fail(state jobstore.State, err error) {
	d.Outcome.State = state
	text := err.Error()
	var panicked *PanicError
	if errors.As(err, &panicked) {
		text += "\n" + string(panicked.Stack)
	}
	d.Outcome.Error = argcheck.Sanitize(text, MaxError)
}

// inner is the error that a control error wraps, or the control error itself.
func inner(wrapped, control error) error {
	if wrapped != nil {
		return wrapped
	}
	return control
}

// Cause returns why ctx ended, as far as it concerns a decision: nil while it has not.
func Cause(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}
