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
// and only then does a cancelled context explain an error. Of several control errors the outermost
// counts, so that middleware and hooks can overrule a handler by wrapping its error.
func Decide(lease *jobstore.Lease, err, cause error, policy Policy) (d Decision) {
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
	d = Decision{Outcome: out}
	defer func() {
		// The error and the backoff are the user's: a typed nil whose methods use it, say. Here that
		// is this attempt's failure; in a slot it would be the end of the process and all it runs.
		if v := recover(); v != nil {
			d.Outcome = out
			d.retry(lease, NewPanicError(v), DefaultBackoff(lease.Job.Attempts))
		}
	}()
	if stop, ok := errors.AsType[*StopError](err); ok {
		d.Stop = true
		if said(err) == nil {
			err = stop.Err
		}
	}
	d.classify(lease, err, cause, policy)
	return d
}

func (d *Decision) classify(lease *jobstore.Lease, err, cause error, policy Policy) {
	switch e := said(err).(type) { //nolint:errorlint // said has unwrapped it
	case *SkipError:
		d.end(jobstore.Finished, errors.New(e.Reason))
	case *PermanentError:
		d.end(jobstore.PermanentlyFailed, inner(e.Err, err))
	case *StopError: // a bare one is for a person
		d.end(jobstore.PermanentlyFailed, err)
	case *WaitError:
		d.end(jobstore.Waiting, inner(e.Err, err))
		d.Outcome.Delay, d.Outcome.Uncount = max(e.Delay, 0), true
	case *RetryAfterError:
		d.retry(lease, inner(e.Err, err), e.Delay)
	default:
		if errors.Is(cause, ErrShutdown) {
			// Our own shutdown interrupted it: not the handler's failure.
			d.Outcome.State, d.Outcome.Uncount = jobstore.Ready, true
			return
		}
		if errors.Is(cause, ErrTimeout) && !errors.Is(err, ErrTimeout) {
			err = fmt.Errorf("%w: %w", ErrTimeout, err)
		}
		backoff := policy.Backoff
		if backoff == nil {
			backoff = DefaultBackoff
		}
		d.retry(lease, err, backoff(lease.Job.Attempts))
	}
}

// Said reports whether an error says by itself how its attempt ended.
func Said(err error) bool { return said(err) != nil }

// said is the outermost error by which a handler says how its attempt ended, nil if there is none.
// A StopConsumer says it only when it wraps nothing. It walks as errors.As does.
func said(err error) error {
	switch e := err.(type) { //nolint:errorlint // this is the walk itself
	case *SkipError, *PermanentError, *WaitError, *RetryAfterError:
		return err
	case *StopError:
		if e.Err == nil {
			return e
		}
		return said(e.Err)
	case interface{ Unwrap() error }:
		return said(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			if found := said(one); found != nil {
				return found
			}
		}
	}
	return nil
}

// retry is a temporary failure, or the last one when the attempts are used up. Attempts was
// raised by the claim, so it counts the attempt that just ended.
func (d *Decision) retry(lease *jobstore.Lease, err error, delay time.Duration) {
	d.end(jobstore.TemporarilyFailed, err)
	d.Outcome.Delay = max(delay, 0)
	if lease.Job.MaxAttempts > 0 && lease.Job.Attempts >= lease.Job.MaxAttempts {
		d.Outcome.State, d.Outcome.Delay = jobstore.PermanentlyFailed, 0
	}
}

func (d *Decision) end(state jobstore.State, err error) {
	d.Outcome.State = state
	text := fmt.Sprint(err) // not err.Error(), which panics for many a typed nil
	if panicked, ok := errors.AsType[*PanicError](err); ok {
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
