package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

var errBoom = errors.New("boom")

// broken is an error of a user's whose methods panic on nil.
type broken struct{ inner error }

func (b *broken) Error() string { return b.inner.Error() }
func (b *broken) Unwrap() error { return b.inner }

func wait(d time.Duration, err error) error  { return &worker.WaitError{Delay: d, Err: err} }
func after(d time.Duration, err error) error { return &worker.RetryAfterError{Delay: d, Err: err} }
func permanent(err error) error              { return &worker.PermanentError{Err: err} }
func skip(reason string) error               { return &worker.SkipError{Reason: reason} }
func stop(err error) error                   { return &worker.StopError{Err: err} }

// want is what the table of the protocol says about an answer.
type want struct {
	state   jobstore.State
	delay   time.Duration
	uncount bool
	stop    bool
	text    string // that the row's error contains; "" = no error
}

const (
	attempt = 3
	backoff = attempt * time.Second // what the policy of these tests says about attempt
)

func decide(err, cause error, maxAttempts int) worker.Decision {
	lease := &jobstore.Lease{Job: jobstore.Job{
		ID: 7, LeaseNo: 9, Attempts: attempt, MaxAttempts: maxAttempts, SerialGroup: "g", Mode: jobstore.Recurring,
	}}
	policy := worker.Policy{Backoff: func(n int) time.Duration { return time.Duration(n) * time.Second }}
	return worker.Decide(lease, err, cause, policy)
}

func check(t *testing.T, d worker.Decision, w want) {
	t.Helper()
	o := d.Outcome
	if d.Drop || o.State != w.state || o.Delay != w.delay || o.Uncount != w.uncount || d.Stop != w.stop {
		t.Errorf("got %s after %s, uncount %t, stop %t, drop %t; want %+v", o.State, o.Delay, o.Uncount, d.Stop, d.Drop, w)
	}
	if (w.text == "") != (o.Error == "") || !strings.Contains(o.Error, w.text) {
		t.Errorf("error text %q, want %q", o.Error, w.text)
	}
	if o.ID != 7 || o.LeaseNo != 9 || o.SerialGroup != "g" || o.Mode != jobstore.Recurring {
		t.Errorf("the outcome does not carry its lease: %+v", o)
	}
}

const (
	ready     = jobstore.Ready
	finished  = jobstore.Finished
	failed    = jobstore.TemporarilyFailed
	forPerson = jobstore.PermanentlyFailed
	waiting   = jobstore.Waiting
)

// answer is what a handler says, why its context ended, and what that comes to.
type answer struct {
	err, cause error
	want       want
}

// answersAre checks answers without a limit of attempts, and with one that is not reached.
func answersAre(t *testing.T, table map[string]answer) {
	t.Helper()
	for name, c := range table {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, limit := range []int{0, attempt + 1} {
				d, w := decide(c.err, c.cause, limit), c.want
				if w.delay < 0 { // the default ladder, with its jitter
					w.delay = d.Outcome.Delay
				}
				check(t, d, w)
			}
		})
	}
}

func in(err error) error { return fmt.Errorf("context: %w", err) }

func TestDecideIsTheTableOfTheProtocol(t *testing.T) {
	t.Parallel()
	answersAre(t, map[string]answer{
		"nil":                        {nil, nil, want{state: finished}},
		"permanent":                  {permanent(errBoom), nil, want{state: forPerson, text: "boom"}},
		"permanent without an error": {permanent(nil), nil, want{state: forPerson, text: "permanent"}},
		"wait":                       {wait(time.Hour, errBoom), nil, want{state: waiting, delay: time.Hour, uncount: true, text: "boom"}},
		"wait without a reason":      {wait(time.Hour, nil), nil, want{state: waiting, delay: time.Hour, uncount: true, text: "wait 1h0m0s"}},
		"wait less than nothing":     {wait(-1, errBoom), nil, want{state: waiting, uncount: true, text: "boom"}},
		"skip":                       {skip("not needed"), nil, want{state: finished, text: "not needed"}},
		"retry after":                {after(time.Hour, errBoom), nil, want{state: failed, delay: time.Hour, text: "boom"}},
		"retry after less than 0":    {after(-1, errBoom), nil, want{state: failed, text: "boom"}},
		"any other error":            {errBoom, nil, want{state: failed, delay: backoff, text: "boom"}},
		"panic":                      {worker.NewPanicError("ouch"), nil, want{state: failed, delay: backoff, text: "panic: ouch\ngoroutine"}},
		"timeout":                    {context.Canceled, worker.ErrTimeout, want{state: failed, delay: backoff, text: "timeout has passed"}},

		"stop, bare":                {stop(nil), nil, want{state: forPerson, stop: true, text: "stop consumer"}},
		"stop with a plain error":   {stop(errBoom), nil, want{state: failed, delay: backoff, stop: true, text: "boom"}},
		"stop with permanent":       {stop(permanent(errBoom)), nil, want{state: forPerson, stop: true, text: "boom"}},
		"stop with wait":            {stop(wait(1, errBoom)), nil, want{state: waiting, delay: 1, uncount: true, stop: true, text: "boom"}},
		"stop with skip":            {stop(skip("why")), nil, want{state: finished, stop: true, text: "why"}},
		"stop with retry after":     {stop(after(1, errBoom)), nil, want{state: failed, delay: 1, stop: true, text: "boom"}},
		"stop in a stop, bare":      {stop(stop(nil)), nil, want{state: forPerson, stop: true, text: "stop consumer"}},
		"stop, bare, in the middle": {in(stop(nil)), nil, want{state: forPerson, stop: true, text: "stop consumer"}},
		"stop at a shutdown":        {stop(errBoom), worker.ErrShutdown, want{state: ready, uncount: true, stop: true}},
		"bare stop at a shutdown":   {stop(nil), worker.ErrShutdown, want{state: forPerson, stop: true, text: "stop consumer"}},
	})
}

func TestTheOutermostAnswerCountsHoweverItIsWrapped(t *testing.T) {
	t.Parallel()
	answersAre(t, map[string]answer{
		"wrapped permanent":   {in(permanent(errBoom)), nil, want{state: forPerson, text: "boom"}},
		"wrapped wait":        {in(wait(1, errBoom)), nil, want{state: waiting, delay: 1, uncount: true, text: "boom"}},
		"wrapped skip":        {in(skip("why")), nil, want{state: finished, text: "why"}},
		"wrapped retry after": {in(after(1, errBoom)), nil, want{state: failed, delay: 1, text: "boom"}},
		"joined":              {errors.Join(errBoom, permanent(errBoom)), nil, want{state: forPerson, text: "boom"}},

		"the outermost counts: retry of a permanent": {after(1, permanent(errBoom)), nil, want{state: failed, delay: 1, text: "boom"}},
		"the outermost counts: wait of a skip":       {wait(1, in(skip("why"))), nil, want{state: waiting, delay: 1, uncount: true, text: "why"}},
		"the outermost counts: permanent of a wait":  {permanent(wait(1, errBoom)), nil, want{state: forPerson, text: "boom"}},
		"the outermost counts: permanent of a stop":  {permanent(stop(wait(1, errBoom))), nil, want{state: forPerson, stop: true, text: "boom"}},
	})
}

func TestWhyTheContextEndedExplainsAnErrorAndNoAnswer(t *testing.T) {
	t.Parallel()
	answersAre(t, map[string]answer{
		"shutdown":                        {context.Canceled, worker.ErrShutdown, want{state: ready, uncount: true}},
		"shutdown, another error":         {errBoom, worker.ErrShutdown, want{state: ready, uncount: true}},
		"shutdown, but it had finished":   {nil, worker.ErrShutdown, want{state: finished}},
		"shutdown, but it said permanent": {permanent(errBoom), worker.ErrShutdown, want{state: forPerson, text: "boom"}},
		"shutdown, but it said wait":      {wait(1, errBoom), worker.ErrShutdown, want{state: waiting, delay: 1, uncount: true, text: "boom"}},
		"cancelled":                       {context.Canceled, worker.ErrCancelled, want{state: jobstore.Cancelled, text: "context canceled"}},
		"cancelled, and it said wait":     {wait(1, errBoom), worker.ErrCancelled, want{state: jobstore.Cancelled, text: "boom"}},
		"cancelled, and it said retry":    {after(1, errBoom), worker.ErrCancelled, want{state: jobstore.Cancelled, text: "boom"}},
		"cancelled, but it had finished":  {nil, worker.ErrCancelled, want{state: finished}},
		"cancelled, but it said skip":     {skip("why"), worker.ErrCancelled, want{state: finished, text: "why"}},
		"cancelled, but said permanent":   {permanent(errBoom), worker.ErrCancelled, want{state: forPerson, text: "boom"}},
		"timeout, but it had finished":    {nil, worker.ErrTimeout, want{state: finished}},
		"timeout, but it said permanent":  {permanent(errBoom), worker.ErrTimeout, want{state: forPerson, text: "boom"}},

		"an error whose methods panic":  {(*broken)(nil), nil, want{state: failed, delay: -1, text: "panic: runtime error"}},
		"the same, with a stop":         {stop((*broken)(nil)), nil, want{state: failed, delay: -1, stop: true, text: "panic: runtime error"}},
		"an error whose text panics":    {&broken{}, nil, want{state: failed, delay: backoff, text: "PANIC"}},
		"a wait whose reason so panics": {wait(1, &broken{}), nil, want{state: waiting, delay: 1, uncount: true, text: "PANIC"}},
	})
}

func TestTheLastAttemptEndsEveryTemporaryFailure(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"plain": errBoom, "panic": worker.NewPanicError("boom"), "retry after": after(time.Hour, errBoom),
		"wrapped": fmt.Errorf("in: %w", errBoom), "panicking": &broken{}, "typed nil": (*broken)(nil),
	} {
		for _, limit := range []int{attempt, attempt - 1} { // an operator may have lowered it
			d := decide(err, nil, limit)
			if o := d.Outcome; o.State != jobstore.PermanentlyFailed || o.Delay != 0 || o.Error == "" {
				t.Errorf("%s at attempt %d of %d: %s after %s, %q", name, attempt, limit, o.State, o.Delay, o.Error)
			}
		}
	}
	ends := worker.Decide(&jobstore.Lease{Job: jobstore.Job{ID: 7, Attempts: 1}}, errBoom, worker.ErrTimeout, worker.Policy{TimeoutEnds: true})
	if ends.Outcome.State != jobstore.PermanentlyFailed || !strings.Contains(ends.Outcome.Error, "timeout has passed") {
		t.Errorf("a timeout that ends the job came to %+v", ends.Outcome)
	}
	again := worker.Decide(&jobstore.Lease{Job: jobstore.Job{ID: 7, Attempts: 1}}, errBoom, nil, worker.Policy{TimeoutEnds: true})
	if again.Outcome.State != jobstore.TemporarilyFailed {
		t.Errorf("an error in time came to %+v", again.Outcome)
	}
	check(t, decide(errBoom, worker.ErrTimeout, attempt), want{state: jobstore.PermanentlyFailed, text: "timeout has passed"})
	check(t, decide(stop(errBoom), nil, attempt), want{state: jobstore.PermanentlyFailed, stop: true, text: "boom"})
}

func TestWhatCountsNoAttemptSpendsNoBudget(t *testing.T) {
	t.Parallel()
	check(t, decide(wait(1, errBoom), nil, 1), want{state: jobstore.Waiting, delay: 1, uncount: true, text: "boom"})
	check(t, decide(errBoom, worker.ErrShutdown, 1), want{state: jobstore.Ready, uncount: true})
}

func TestALostLeaseOutweighsEveryAnswer(t *testing.T) {
	t.Parallel()
	for _, err := range []error{nil, errBoom, permanent(errBoom), wait(1, nil), stop(nil), skip("why"), worker.NewPanicError(1)} {
		for _, cause := range []error{worker.ErrLeaseLost, fmt.Errorf("in: %w", worker.ErrLeaseLost)} {
			if d := decide(err, cause, 0); !d.Drop || d.Stop || d.Outcome.State != "" {
				t.Errorf("%v: %+v, want it dropped", err, d)
			}
		}
	}
}

func TestABackoffThatPanicsFailsTheAttemptOnly(t *testing.T) {
	t.Parallel()
	lease := &jobstore.Lease{Job: jobstore.Job{Attempts: 1}}
	for text, policy := range map[string]worker.Policy{
		"ouch": {Backoff: func(int) time.Duration { panic("ouch") }},
		"boom": {}, // the default ladder
	} {
		o := worker.Decide(lease, errBoom, nil, policy).Outcome
		if o.State != jobstore.TemporarilyFailed || o.Delay < 50*time.Second || !strings.Contains(o.Error, text) {
			t.Errorf("%s: %+v", text, o)
		}
	}
	below := worker.Policy{Backoff: func(int) time.Duration { return -time.Hour }}
	if o := worker.Decide(lease, errBoom, nil, below).Outcome; o.Delay != 0 {
		t.Errorf("a negative backoff is a delay of %s", o.Delay)
	}
}

func TestTheErrorTextFitsTheRow(t *testing.T) {
	t.Parallel()
	long := decide(errors.New(strings.Repeat("é", worker.MaxError)), nil, 0).Outcome.Error
	if len(long) > worker.MaxError {
		t.Errorf("%d bytes, want at most %d", len(long), worker.MaxError)
	}
	if text := decide(errors.New("a\x00b\xffc"), nil, 0).Outcome.Error; strings.Contains(text, "\x00") || !utf8.ValidString(text) {
		t.Errorf("text that no row takes: %q", text)
	}
	if text := decide(errors.New("<nil>"), errBoom, 0).Outcome.Error; text != "<nil>" {
		t.Errorf("an unknown cause changes the text to %q", text)
	}
}
