package warrentest

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// Attempt is one run of a handler and what it came to.
type Attempt struct {
	// Job is the row right after the attempt was recorded.
	Job jobstore.Job
	// Number counts the attempts of the job, from 1. One that only waited is not counted by the row.
	Number int
	// State is what the attempt made of its job: FINISHED, TEMPORARILY_FAILED, WAITING or
	// PERMANENTLY_FAILED.
	State jobstore.State
	// Err is what the handler returned, or an error that tells of its panic. nil = it did its work.
	Err error
	// Delay is how long the job waits for its next attempt, by the clock of the Env, so that
	// env.Advance(a.Delay) makes it due; 0 when there is none.
	Delay time.Duration
	// Output is what the handler gave to warren.SetOutput, as JSON.
	Output []byte
	// Flow is what the attempt has added to its batch or chain.
	Flow jobstore.FlowChange
	// Progress is what the handler gave to warren.Progress last; nil = it said nothing.
	Progress *jobstore.Progress
	// Files are the files of the job, by name, with what the handler gave to warren.Attach.
	Files map[string][]byte
	// Log is what the handler wrote to warren.Logger at info and above.
	Log []jobstore.Line
}

// String says what happened, for messages of tests.
func (a Attempt) String() string {
	s := fmt.Sprintf("job %d of kind %s, attempt %d: %s", a.Job.ID, a.Job.Kind, a.Number, a.State)
	if a.Err != nil {
		s += fmt.Sprintf(" (%v)", a.Err)
	}
	return s
}

// Drain runs every job that is due, and what those jobs publish, until nothing is due any more, and
// returns the attempts in the order in which they ran: one at a time, the best priority first and
// in the order of publishing. Claims, timeouts, panics and outcomes are those of production.
//
// A job that fails is tried again at a later time, which Drain does not wait for: see Advance. A
// handler that returns warren.StopConsumer ends its consumer, and the rest runs in the next one.
// When it takes longer than Opts.Patience the test fails with what still runs.
func (e *Env) Drain() []Attempt {
	e.tb.Helper()
	ctx, cancel := e.patience()
	defer cancel()
	attempts, err := e.drain(ctx)
	if err != nil {
		e.tb.Fatalf("warrentest: %v", err)
	}
	return attempts
}

// drain ends with ctx, which has the patience of the Env.
func (e *Env) drain(ctx context.Context) ([]Attempt, error) {
	var attempts []Attempt
	for {
		next, err := e.next(ctx)
		if err != nil {
			return attempts, fmt.Errorf("drain, after %d attempts: %w", len(attempts), err)
		}
		if next != nil {
			attempts = append(attempts, *next)
		}
		switch {
		case ctx.Err() == nil && next == nil:
			return attempts, nil
		case ctx.Err() == nil:
		case len(attempts) == 0:
			return nil, fmt.Errorf("drain: the database gave no job within %s; is a transaction still open?", e.opts.Patience)
		default:
			return attempts, fmt.Errorf("drain, after %d attempts: there is no end within %s, and the last was %s; "+
				"does a job publish its own successor, or try again without a delay?", len(attempts), e.opts.Patience, attempts[len(attempts)-1])
		}
	}
}

// next runs the first job that is due in a consumer of its own, so that the order is exact and
// what it has changed is seen before the next one is chosen. nil = nothing is due, or ctx ended.
func (e *Env) next(ctx context.Context) (*Attempt, error) {
	seen := &watch{}
	consumer, err := e.consumer(seen) //nolint:contextcheck // it makes a consumer and starts nothing
	if err != nil {
		return nil, err
	}
	// The end of ctx alone would be a drain, for which handlers have a long time.
	unhook := context.AfterFunc(ctx, consumer.Release)
	defer unhook()
	defer e.announceEnd()
	if err := consumer.Run(ctx); err != nil {
		return nil, err
	}
	started, ended := seen.what()
	switch {
	case started == nil:
		return nil, nil //nolint:nilnil // nothing was due, and nothing is wrong
	case ended == nil || ended.Outcome.State == jobstore.Ready:
		return nil, fmt.Errorf("job %d of kind %s, attempt %d, still runs after %s: its context has ended now; "+
			"a longer Opts.Patience lets it go on", started.ID, started.Kind, started.Attempts, e.opts.Patience)
	}
	return e.attempt(ctx, ended)
}

// attempt reads what was recorded.
func (e *Env) attempt(ctx context.Context, ended *warren.Event) (*Attempt, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.opts.Patience)
	defer cancel()
	job, err := e.store.Get(ctx, ended.Job.ID)
	if err != nil {
		return nil, err
	}
	a := &Attempt{Job: job, Number: ended.Job.Attempts, State: ended.Outcome.State, Err: ended.Err, Output: ended.Outcome.Output}
	if p := job.Progress; p != nil && p.LeaseNo == ended.Job.LeaseNo {
		a.Progress = p
	}
	if a.Log, err = e.store.Lines(ctx, jobstore.LineFilter{Job: job.ID, After: jobstore.LineMark{LeaseNo: ended.Job.LeaseNo}}); err != nil {
		return nil, err
	}
	if a.Files, err = e.files(ctx, job.ID); err != nil {
		return nil, err
	}
	if ended.Outcome.Flow != nil {
		a.Flow = *ended.Outcome.Flow
	}
	if !a.State.Final() {
		a.Delay = max(job.AvailableAt.Sub(e.Now()), 0)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ran = append(e.ran, *a)
	return a, nil
}

// files reads the files of a job.
func (e *Env) files(ctx context.Context, id jobstore.ID) (map[string][]byte, error) {
	list, err := e.store.Files(ctx, id)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	files := make(map[string][]byte, len(list))
	for _, f := range list {
		content, err := e.store.OpenFile(ctx, f.ID)
		if err == nil {
			files[f.Name], err = io.ReadAll(content)
		}
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// consumer makes one that runs a single job, if there is one due.
func (e *Env) consumer(seen warren.Observer) (*warren.Consumer, error) {
	return warren.NewConsumer(warren.ConsumerConfig{
		Store: e.store, Registry: e.registry, Keys: e.opts.Keys, Priorities: e.opts.Priorities, DefaultQueue: e.opts.DefaultQueue,
		Concurrency: 1, MaxJobs: 1, UntilEmpty: true, NoMemory: true, Hooks: e.opts.Hooks, Observer: seen,
		// A test moves the clock by days, which must not end a lease or prune what it wants to look at.
		Heartbeat: warren.Heartbeat{TTL: 100 * 365 * 24 * time.Hour}, Retention: jobstore.Retention{},
	})
}

// announceEnd tells whoever waits for the end of attempts to look again.
func (e *Env) announceEnd() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.ended)
	e.ended = make(chan struct{})
}

// watch keeps what a consumer for one job says of it.
type watch struct {
	mu      sync.Mutex
	started *jobstore.Job
	ended   *warren.Event
}

// Observe implements warren.Observer.
func (w *watch) Observe(_ context.Context, event warren.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch event.Kind { //nolint:exhaustive // the others are about consumers that live longer
	case warren.JobStarted:
		w.started = event.Job
	case warren.JobEnded:
		w.ended = &event
	}
}

func (w *watch) what() (started *jobstore.Job, ended *warren.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.started, w.ended
}
