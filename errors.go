package warren

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/argcheck"
	"github.com/warrenq/warren/internal/worker"
)

// Causes of a handler's cancelled context: context.Cause(ctx) returns one of them.
var (
	// ErrLeaseLost means that this process could not renew its lease in time. The job may
	// already run elsewhere; whatever this handler returns will not be recorded.
	ErrLeaseLost = worker.ErrLeaseLost
	// ErrShutdown means that the consumer was asked to stop and its drain timeout has passed.
	// The job goes back to READY and this attempt is not counted.
	ErrShutdown = worker.ErrShutdown
	// ErrCancelled means that an operator wants the attempt ended. Unless the handler returns nil, Skip or
	// Permanent, its job becomes CANCELLED.
	ErrCancelled = worker.ErrCancelled
	// ErrTimeout means that the attempt ran longer than the job's timeout.
	ErrTimeout = worker.ErrTimeout
)

// Permanent makes an attempt the last one: the job becomes PERMANENTLY_FAILED and a person
// decides what is next.
func Permanent(err error) error { return &worker.PermanentError{Err: err} }

// Wait puts the job aside for d (at least 0) without using up an attempt: the row becomes
// WAITING. err, which may be nil, is kept as the reason.
func Wait(d time.Duration, err error) error { return &worker.WaitError{Delay: d, Err: err} }

// RetryAfter fails the attempt like any other error, but names the delay before the next one.
func RetryAfter(d time.Duration, err error) error {
	return &worker.RetryAfterError{Delay: d, Err: err}
}

// Skip ends the job as FINISHED without having done it, and keeps the reason.
func Skip(reason string) error { return &worker.SkipError{Reason: reason} }

// StopConsumer classifies the attempt by the error it wraps (nil means PERMANENTLY_FAILED), and
// then the consumer drains and exits before its next job.
func StopConsumer(err error) error { return &worker.StopError{Err: err} }

var errNoAttempt = errors.New("this context belongs to no running job")

// SetOutput keeps v, encoded as JSON (at most 256 KiB), as the output of the job that ctx belongs
// to. It is written with the outcome; a later call replaces it. What the database could not store
// (a NUL character, say) is refused here.
func SetOutput(ctx context.Context, v any) error {
	s := worker.ScopeOf(ctx)
	if s == nil {
		return errNoAttempt
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the job's output: %w", err)
	}
	if err := argcheck.Check(b, maxOutput); err != nil {
		return fmt.Errorf("the job's output %w", err)
	}
	s.SetOutput(b)
	return nil
}

// SetMetadata merges the members of v, which encodes to a JSON object of at most 8 KiB, over the
// metadata of the job that ctx belongs to; of a member that is set twice the later value counts. What a
// Before hook sets is in the row while the handler runs; what is set later is written with the outcome.
// The next job of a recurring one begins with it.
func SetMetadata(ctx context.Context, v any) error {
	s := worker.ScopeOf(ctx)
	if s == nil {
		return errNoAttempt
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the job's metadata: %w", err)
	}
	if err := argcheck.Check(b, maxMetadata); err != nil {
		return fmt.Errorf("the job's metadata %w", err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil || members == nil {
		return fmt.Errorf("the job's metadata is %.40s, which is no JSON object: use a struct or a map", b)
	}
	s.SetMetadata(members)
	return nil
}

// maxOutput is how many bytes of output a row keeps.
const maxOutput = 256 << 10

// Logger returns a logger that names the job that ctx belongs to, or one that drops everything
// outside of a job. What is said at info or above is also kept in the job's own log, for warren jobs logs: it is there
// within a second, up to ConsumerConfig.MaxJobLog, and goes with the job. Logging waits for nothing: lines that
// come faster than the database takes them are dropped and counted.
func Logger(ctx context.Context) *zap.Logger {
	if s := worker.ScopeOf(ctx); s != nil {
		return s.Logger()
	}
	return zap.NewNop()
}
