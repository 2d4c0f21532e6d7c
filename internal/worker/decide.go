package worker

import (
	"context"
	"encoding/json"
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
	// MaxErrors is after how many failed attempts the job is given up; those during which a process
	// died do not count. 0 = only the job's own limit of attempts counts.
	MaxErrors int
	// TimeoutEnds makes a failure PERMANENTLY_FAILED when the attempt's time was up.
	TimeoutEnds bool
	// RetryFor is for how long after its first failure a job is tried again; 0 = no limit.
	RetryFor time.Duration
	// RetryUntil says up to when a job is tried again; the zero time = no limit.
	RetryUntil func(job *jobstore.Job) time.Time
	// Took is how long this attempt took. It ended that long after Job.AttemptedAt, by the database's clock.
	Took time.Duration
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
	// FailingSince is when the job began to fail, where Policy.RetryFor asks for it; it has to be kept.
	FailingSince time.Time
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
		SerialGroup: lease.Job.SerialGroup, Mode: lease.Job.Mode, Step: lease.Job.Step,
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
			d.retry(lease, NewPanicError(v), DefaultBackoff(lease.Job.Attempts), Policy{})
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
	answer := said(err)
	if errors.Is(cause, ErrCancelled) && !ends(answer) {
		d.end(jobstore.Cancelled, err)
		return
	}
	switch e := answer.(type) { //nolint:errorlint // said has unwrapped it
	case *SkipError:
		d.end(jobstore.Finished, errors.New(e.Reason))
	case *ExpiredError:
		d.end(jobstore.Cancelled, e)
	case *PermanentError:
		d.end(jobstore.PermanentlyFailed, inner(e.Err, err))
	case *StopError: // a bare one is for a person
		d.end(jobstore.PermanentlyFailed, err)
	case *WaitError:
		d.end(jobstore.Waiting, inner(e.Err, err))
		d.Outcome.Delay, d.Outcome.Uncount = max(e.Delay, 0), true
	case *RetryAfterError:
		d.retry(lease, inner(e.Err, err), e.Delay, policy)
	default:
		if errors.Is(cause, ErrShutdown) {
			// Our own shutdown interrupted it: not the handler's failure.
			d.Outcome.State, d.Outcome.Uncount = jobstore.Ready, true
			return
		}
		if errors.Is(cause, ErrTimeout) && !errors.Is(err, ErrTimeout) {
			err = fmt.Errorf("%w: %w", ErrTimeout, err)
		}
		if policy.TimeoutEnds && errors.Is(cause, ErrTimeout) {
			d.end(jobstore.PermanentlyFailed, err)
			return
		}
		backoff := policy.Backoff
		if backoff == nil {
			backoff = DefaultBackoff
		}
		d.retry(lease, err, backoff(lease.Job.Attempts), policy)
	}
}

// ends reports whether an answer ends its job by itself: then it does not matter that it was cancelled.
func ends(answer error) bool {
	switch answer.(type) { //nolint:errorlint // said has unwrapped it
	case *SkipError, *ExpiredError, *PermanentError, *StopError:
		return true
	}
	return false
}

// Said reports whether an error says by itself how its attempt ended.
func Said(err error) bool { return said(err) != nil }

// said is the outermost error by which a handler says how its attempt ended, nil if there is none.
// A StopConsumer says it only when it wraps nothing. It walks as errors.As does.
func said(err error) error {
	switch e := err.(type) { //nolint:errorlint // this is the walk itself
	case *SkipError, *ExpiredError, *PermanentError, *WaitError, *RetryAfterError:
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

// retry is a temporary failure, or the last one when the attempts, the errors or the time are used up.
// Attempts was raised by the claim, so it counts the attempt that just ended.
func (d *Decision) retry(lease *jobstore.Lease, err error, delay time.Duration, policy Policy) {
	d.end(jobstore.TemporarilyFailed, err)
	d.Outcome.Delay = max(delay, 0)
	job := &lease.Job
	if job.MaxAttempts > 0 && job.Attempts >= job.MaxAttempts ||
		policy.MaxErrors > 0 && job.Attempts-job.Crashes >= policy.MaxErrors || d.late(job, policy) {
		d.Outcome.State, d.Outcome.Delay = jobstore.PermanentlyFailed, 0
	}
}

// late reports whether the next attempt would begin after the time in which the kind tries again.
func (d *Decision) late(job *jobstore.Job, policy Policy) bool {
	if job.AttemptedAt == nil || policy.RetryFor <= 0 && policy.RetryUntil == nil {
		return false
	}
	now := job.AttemptedAt.Add(policy.Took)
	next := now.Add(d.Outcome.Delay)
	if policy.RetryFor > 0 {
		d.FailingSince = failingSince(job, now)
		if next.After(d.FailingSince.Add(policy.RetryFor)) {
			return true
		}
	}
	if policy.RetryUntil == nil {
		return false
	}
	until := policy.RetryUntil(job)
	return !until.IsZero() && next.After(until)
}

// FailingSinceKey is where the metadata of a job says since when it fails.
const FailingSinceKey = "warren.failing_since"

// failingSince reads what an earlier failure has noted. A job at its first attempt has not failed
// before: what is noted is from before somebody let it begin anew.
func failingSince(job *jobstore.Job, now time.Time) time.Time {
	var note struct {
		Since time.Time `json:"warren.failing_since"`
	}
	if job.Attempts <= 1 || len(job.Metadata) == 0 || json.Unmarshal(job.Metadata, &note) != nil ||
		note.Since.IsZero() || note.Since.After(now) {
		return now
	}
	return note.Since
}

func (d *Decision) end(state jobstore.State, err error) {
	d.Outcome.State = state
	text := fmt.Sprint(err) // not err.Error(), which panics for many a typed nil
	if panicked, ok := errors.AsType[*PanicError](err); ok {
		text += "\n" + string(panicked.Stack)
	}
	if stuck, ok := errors.AsType[*StuckError](err); ok {
		text += "\n" + string(stuck.Stack)
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
