package warren

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// Middleware wraps a handler, to do something before, after or instead of it. Registry.Use puts it
// around every handler of a consumer, KindOpts.Middleware around those of one kind.
//
// The ready-made ones below do not overrule a handler that has said by itself what becomes of its
// job, with Permanent, Wait, RetryAfter, Skip or StopConsumer.
type Middleware func(next RawHandler) RawHandler

// SkipIf ends a job as FINISHED, with the reason kept, when cond is true for it, without running it.
func SkipIf(reason string, cond func(ctx context.Context, job *jobstore.Job) bool) Middleware {
	return instead(cond, func() error { return Skip(reason) })
}

// WaitIf puts a job aside for d when cond is true for it, without running it and without using up an
// attempt.
func WaitIf(reason string, d time.Duration, cond func(ctx context.Context, job *jobstore.Job) bool) Middleware {
	return instead(cond, func() error { return Wait(d, errors.New(reason)) })
}

// PermanentOn makes an attempt the last one when its error is one of the targets, as errors.Is finds
// it. ErrTimeout as a target also catches a handler that returned because its time was up, whatever it
// returned then.
func PermanentOn(targets ...error) Middleware {
	return reclass(func(ctx context.Context, err error) bool { return isAny(ctx, err, targets) }, Permanent)
}

// PermanentIf makes an attempt the last one when cond is true for its error, which is not nil.
func PermanentIf(cond func(err error) bool) Middleware {
	return reclass(func(_ context.Context, err error) bool { return cond(err) }, Permanent)
}

// SkipOn ends a job as FINISHED when its error is one of the targets: what it was about is gone, say. The
// error's text is kept as the reason.
func SkipOn(targets ...error) Middleware {
	return reclass(func(ctx context.Context, err error) bool { return isAny(ctx, err, targets) },
		func(err error) error { return Skip(fmt.Sprint(err)) })
}

// WaitOn puts a job aside for d, without using up an attempt, when its error is one of the targets: what
// it needs is not there yet, say.
func WaitOn(d time.Duration, targets ...error) Middleware {
	return reclass(func(ctx context.Context, err error) bool { return isAny(ctx, err, targets) },
		func(err error) error { return Wait(d, err) })
}

// instead answers for the handler when cond is true.
func instead(cond func(ctx context.Context, job *jobstore.Job) bool, answer func() error) Middleware {
	return func(next RawHandler) RawHandler {
		return func(ctx context.Context, job *jobstore.Job) error {
			if cond(ctx, job) {
				return answer()
			}
			return next(ctx, job)
		}
	}
}

// reclass changes the class of an error that says none by itself.
func reclass(cond func(ctx context.Context, err error) bool, class func(err error) error) Middleware {
	return func(next RawHandler) RawHandler {
		return func(ctx context.Context, job *jobstore.Job) error {
			err := next(ctx, job)
			if err == nil || worker.Said(err) || !cond(ctx, err) {
				return err
			}
			return class(err)
		}
	}
}

func isAny(ctx context.Context, err error, targets []error) bool {
	for _, target := range targets {
		if errors.Is(err, target) || target == ErrTimeout && errors.Is(worker.Cause(ctx), ErrTimeout) { //nolint:errorlint // a target is compared as it was given
			return true
		}
	}
	return false
}
