package warren

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/warrenq/warren/internal/journal"
	"github.com/warrenq/warren/internal/worker"
)

// Progress says how far the job that ctx belongs to has come: done of total, which is 0 when nobody knows, and a few
// words of at most 1 KiB. Others see it within a second, with a rate and the time that is left: warren jobs show,
// GET /api/v1/jobs/{id}. It may be called as often as one likes: it waits for nothing, and a process writes at most
// four times a second, for all of its jobs together. What was said last comes with the outcome. Outside of a job it
// does nothing; numbers that make no sense, a negative done say, are taken for the nearest that do.
func Progress(ctx context.Context, done, total int64, message string) {
	if a := heard(ctx); a != nil {
		a.Progress(done, total, message)
	}
}

// Stage begins a part of the job that makes up share, from 0 to 1, of the whole: Progress counts from 0 within it, and
// the parts before it are done. Shares that come to more than the whole are cut.
func Stage(ctx context.Context, name string, share float64) {
	if a := heard(ctx); a != nil {
		a.Stage(name, share)
	}
}

// Each calls do with every one of items and tells the progress. A later attempt of the job goes on behind the last
// item that was done, so that items must come in the same order again; for a part of them at a time,
// slices.Chunk makes items of chunks. total is how many there are, 0 when nobody knows.
//
// Where it stopped is written with the progress, at most four times a second, and with the outcome: a process that is
// killed has done a quarter of a second's items, or the one that takes longer, that are done again. Several loops
// of a handler are told apart by their stage and their order, so that they come one after the other and in the same
// order in every attempt; two at once are an error. One that do begins neither tells progress nor goes on anywhere:
// its item is done again as a whole. Each returns the error of do, or the cause of the end of ctx.
func Each[T any](ctx context.Context, items iter.Seq[T], total int64, do func(ctx context.Context, item T) error) error {
	past := func(int64) {}
	var from int64
	if a := heard(ctx); a != nil && ctx.Value(loopKey{}) == nil {
		loop, cursor, err := a.Loop(ctx, total)
		if err != nil {
			return err
		}
		defer a.EndLoop()
		from, past = cursor, func(n int64) { a.Pass(loop, n, total) }
		ctx = context.WithValue(ctx, loopKey{}, true)
	}
	var n int64
	for item := range items {
		if n++; n <= from {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := do(ctx, item); err != nil {
			return err
		}
		past(n)
	}
	return nil
}

// loopKey marks what runs inside of an Each.
type loopKey struct{}

// heard is where the attempt of ctx says something; nil where nobody hears it.
func heard(ctx context.Context) *journal.Attempt {
	if s := worker.ScopeOf(ctx); s != nil {
		return s.Attempt()
	}
	return nil
}

// doneError ends a job as FINISHED, with a result.
type doneError struct {
	result  any
	message string
}

func (e *doneError) Error() string { return "done: " + e.message }

// Done ends a job as FINISHED with a result, which is kept as SetOutput keeps it, and a message, which is the last of
// its Progress: return warren.Done(report, "3 files were imported"). Both may be empty. A result that cannot be kept
// makes the job PERMANENTLY_FAILED: its work was done, and doing it again would not help.
func Done(result any, message string) error { return &doneError{result: result, message: message} }

// done lets a handler return Done.
func done(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	d, ok := errors.AsType[*doneError](err)
	if !ok {
		return err
	}
	if d.result != nil {
		if err := SetOutput(ctx, d.result); err != nil {
			return Permanent(fmt.Errorf("the work is done, and its result is not kept: %w", err))
		}
	}
	if a := heard(ctx); a != nil && d.message != "" {
		a.Done(d.message)
	}
	return nil
}
