package worker

import (
	"errors"
	"sync/atomic"
)

var errExit = errors.New("the handler, or a hook, ended its goroutine")

// runner runs what belongs to users, one call after the other, in a goroutine apart from the slot's:
// the slot must be able to leave a call behind that does not return. The goroutine is kept from job
// to job, because a new one grows its stack again each time, which costs more than most short
// handlers. A runner belongs to one slot.
type runner struct {
	calls   chan func() error // nil while there is no goroutine
	answers chan error
	id      *atomic.Int64 // of the goroutine, as dumps name it
	now     *current      // what it runs
}

// stack is where the goroutine is now.
func (r *runner) stack() []byte {
	if r.id == nil {
		return nil
	}
	return stackOf(r.id.Load())
}

// start begins a call. Its answer has to be taken, or the call left behind, before the next one. A
// panic is an answer too, and so is an exit of the goroutine (runtime.Goexit; t.FailNow in a test
// does so), after which nothing but deferred calls run.
func (r *runner) start(run func() error) (answer <-chan error) {
	if r.calls == nil {
		// With room for one, neither side waits for the other to arrive, and the answer of a call
		// that was left behind finds a place.
		r.calls, r.answers = make(chan func() error, 1), make(chan error, 1)
		r.id = new(atomic.Int64)
		go serve(r.calls, r.answers, r.id)
	}
	r.calls <- run
	return r.answers
}

// took is told of each answer that was taken.
func (r *runner) took(answer error) {
	if errors.Is(answer, errExit) {
		r.leave()
	}
}

// leave gives the goroutine up. It ends when the call that it is in returns.
func (r *runner) leave() {
	if r.calls != nil {
		close(r.calls)
		r.calls, r.answers = nil, nil
	}
}

func serve(calls <-chan func() error, answers chan<- error, id *atomic.Int64) {
	id.Store(goroutineID())
	for run := range calls {
		once(run, answers)
	}
}

func once(run func() error, answers chan<- error) {
	err := errExit
	defer func() {
		if v := recover(); v != nil {
			err = NewPanicError(v)
		}
		answers <- err
	}()
	err = run()
}
