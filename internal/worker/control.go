package worker

import (
	"errors"
	"fmt"
	"time"
)

// The control errors a handler returns to say how its attempt ended. The root package
// re-exports their constructors; they live here so that Decide can see them.

// PermanentError ends the job: no further attempt until a person asks for one.
type PermanentError struct{ Err error }

// WaitError asks to come back after Delay without using up an attempt.
type WaitError struct {
	Delay time.Duration
	Err   error
}

// RetryAfterError fails the attempt and names the delay before the next one.
type RetryAfterError struct {
	Delay time.Duration
	Err   error
}

// SkipError ends the job as finished, with the reason kept.
type SkipError struct{ Reason string }

// ExpiredError ends the job as CANCELLED: it did not start in time.
type ExpiredError struct{ Late, After time.Duration }

// StopError is classified by the error it wraps (nil = permanent); then the consumer drains and
// exits before its next job.
type StopError struct{ Err error }

func text(prefix string, err error) string {
	if err == nil {
		return prefix
	}
	return prefix + ": " + err.Error()
}

func (e *PermanentError) Error() string  { return text("permanent", e.Err) }
func (e *PermanentError) Unwrap() error  { return e.Err }
func (e *WaitError) Error() string       { return text("wait "+e.Delay.String(), e.Err) }
func (e *WaitError) Unwrap() error       { return e.Err }
func (e *RetryAfterError) Error() string { return text("retry after "+e.Delay.String(), e.Err) }
func (e *RetryAfterError) Unwrap() error { return e.Err }
func (e *SkipError) Error() string       { return "skip: " + e.Reason }
func (e *ExpiredError) Error() string {
	return fmt.Sprintf("expired: it started %s after it was due, and was to start within %s", e.Late.Round(time.Millisecond), e.After)
}
func (e *StopError) Error() string { return text("stop consumer", e.Err) }
func (e *StopError) Unwrap() error { return e.Err }

// Causes of a handler's cancelled context, found with context.Cause.
var (
	// ErrLeaseLost means that the process could not renew its lease in time: whatever it still
	// ran may run elsewhere, and its outcome will not be recorded.
	ErrLeaseLost = errors.New("the consumer's lease was lost")
	// ErrShutdown means that the consumer's drain timeout has passed.
	ErrShutdown = errors.New("the consumer is shutting down")
	// ErrCancelled means that an operator wants the attempt ended: its job becomes CANCELLED.
	ErrCancelled = errors.New("the job was cancelled")
	// ErrTimeout means that the attempt ran longer than the job may.
	ErrTimeout = errors.New("the job's timeout has passed")
)
