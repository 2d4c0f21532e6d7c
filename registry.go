package warren

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// Args is the typed input of a job: a struct that encodes to JSON and knows its kind.
type Args interface {
	// Kind names which handler runs the job: 1 to 128 letters, digits and _ . : / -
	Kind() string
}

// Job is one attempt of a job, as a typed handler sees it.
type Job[A Args] struct {
	// Job is the row as it was claimed: ID (an idempotency key), Attempts (this one included),
	// LeaseNo, and so on.
	*jobstore.Job
	// Args is the row's args, decoded.
	Args A
}

// LastAttempt reports whether a temporary failure of this attempt would be final.
func (j *Job[A]) LastAttempt() bool { return j.MaxAttempts > 0 && j.Attempts >= j.MaxAttempts }

// Handler runs one attempt of a job. See RawHandler for what its error says.
type Handler[A Args] interface {
	Handle(ctx context.Context, job *Job[A]) error
}

// FailedHandler is a Handler that wants to know when an attempt has ended its job as PERMANENTLY_FAILED: see
// KindOpts.OnFailed, which is called after it. Args that do not decode are zero there.
type FailedHandler[A Args] interface {
	OnFailed(ctx context.Context, job *Job[A], err error)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc[A Args] func(ctx context.Context, job *Job[A]) error

// Handle calls f.
func (f HandlerFunc[A]) Handle(ctx context.Context, job *Job[A]) error { return f(ctx, job) }

// ArgsSchema says whether args are such as a kind's handler expects. Its error continues the sentence "args of kind
// mail: …".
type ArgsSchema interface {
	CheckArgs(args json.RawMessage) error
}

// KindOpts is what a kind says about its jobs. The zero value takes every default.
type KindOpts struct {
	Queue       string        // default: the configured default queue
	Priority    int           // 0 = the first configured one, unless HasPriority
	HasPriority bool          // Priority counts although it is 0
	MaxAttempts int           // default 25; Unlimited = no limit
	Timeout     time.Duration // of one attempt; 0 = none
	Delay       time.Duration // of jobs that name no time; PublishOpts.Now goes past it
	// UniqueBy makes every job that names no Mode unique: by its Identifier, or else by these fields of
	// its args (AllArgs = all of them). UniqueFor is for how long, as in PublishOpts.
	UniqueBy  []string
	UniqueFor time.Duration
	// Backoff is the delay after the given failed attempt, counted from 1. Default: 1, 2, 4, 8,
	// 16, 16, … minutes, each ±10 %.
	Backoff func(attempt int) time.Duration
	// TimeoutIsPermanent ends the job as PERMANENTLY_FAILED when an attempt's time is up, unless its handler says by
	// itself what that means. Default: an attempt that took too long is tried again.
	TimeoutIsPermanent bool
	// MaxErrors ends the job as PERMANENTLY_FAILED after so many failed attempts, apart from MaxAttempts, which
	// also counts those during which a process died. Waiting counts for neither. 0 = MaxAttempts alone.
	MaxErrors int
	// RetryFor ends the job as PERMANENTLY_FAILED when its next attempt would begin later than this after
	// its first failure; 0 = no limit. Without a MaxAttempts only the time counts.
	RetryFor time.Duration
	// RetryUntil is like RetryFor, with a time for each job; the zero time is no limit.
	RetryUntil func(job *jobstore.Job) time.Time
	// OnFailed is called when an attempt ends its job as PERMANENTLY_FAILED, with the error that did
	// it: to give something back, or to tell somebody. It runs before that is recorded, so that a
	// process that dies meanwhile calls it again. Operators' orders and quarantine do not call it.
	OnFailed func(ctx context.Context, job *jobstore.Job, err error)
	// SkipOnRetry lets a serial group pass this kind's jobs while they back off, wait or are not yet due.
	SkipOnRetry bool
	// Schema checks args when they are published; nil = what is JSON is right. Package argschema has JSON
	// Schema. warren.enqueue() does not know it.
	Schema ArgsSchema
	// Encrypted stores args encrypted, with ClientConfig.Keys, and gives handlers and middleware the clear ones.
	// A job with a key that is unknown here WAITs; one whose args were tampered with, or are not
	// encrypted, is PERMANENTLY_FAILED.
	Encrypted bool
	// AcceptPlain, with Encrypted, also runs jobs whose args are not encrypted: those published before, and by
	// warren.enqueue(), which has no keys.
	AcceptPlain bool
	// Middleware wraps this kind's handler, the first outermost, inside of the registry's.
	Middleware []Middleware
	// Guards say when a job of this kind may begin; see there. They are asked before the middleware.
	Guards Guards
	// Describe tells people what the kind is.
	Describe Describe
	// HistoryAll notes attempts that succeed in the job's history too, with their host, version and duration: a small row
	// more for each. Default: only what is not plain success.
	HistoryAll bool
	// Settings are the kind's own, as this program has them: a struct that encodes to a JSON object of at most
	// 64 KiB. Operators change them while consumers run; handlers read them with the function Settings. They are shown to
	// whoever may look at the database, so they are no place for secrets. Default: none.
	Settings any
}

// check finds what could never be right. What depends on the configuration is found when a Client is made.
func (o *KindOpts) check() error {
	switch {
	case o.Delay < 0:
		return fmt.Errorf("delay %s is negative", o.Delay)
	case o.UniqueFor < 0 && o.UniqueFor != Forever && o.UniqueFor != UntilStart:
		return fmt.Errorf("unique-for %s is negative", o.UniqueFor)
	case o.AcceptPlain && !o.Encrypted:
		return errors.New("accept-plain needs encrypted: without it args are never encrypted")
	case o.UniqueFor != 0 && len(o.UniqueBy) == 0:
		return fmt.Errorf("unique-for %s needs unique-by: it says what must not exist twice", o.UniqueFor)
	case o.Timeout < 0:
		return fmt.Errorf("timeout %s is negative; leave it out for none", o.Timeout)
	case o.MaxErrors < 0:
		return fmt.Errorf("max errors %d is negative; leave it out for no limit", o.MaxErrors)
	case o.RetryFor < 0:
		return fmt.Errorf("retry for %s is negative; leave it out for no limit", o.RetryFor)
	}
	return o.Describe.check()
}

// Unlimited as MaxAttempts retries for ever.
const Unlimited = -1

// DefaultMaxAttempts is how often a job is tried when nobody said otherwise.
const DefaultMaxAttempts = 25

// BackoffSteps waits the given delays in turn and stays at the last: BackoffSteps(time.Second,
// 5*time.Second, 30*time.Second).
func BackoffSteps(delays ...time.Duration) func(attempt int) time.Duration {
	return worker.Steps(delays...)
}

// BackoffExponential doubles from first up to limit.
func BackoffExponential(first, limit time.Duration) func(attempt int) time.Duration {
	return worker.Exponential(first, limit)
}

// BackoffJitter spreads what a curve says by up to part either way, so that what failed together does not come
// back together: 0.1 is ±10 %. part is cut to 0 … 1.
func BackoffJitter(part float64, curve func(attempt int) time.Duration) func(attempt int) time.Duration {
	part = min(max(part, 0), 1)
	return func(attempt int) time.Duration {
		d := curve(attempt)
		return d + time.Duration((2*rand.Float64()-1)*part*float64(d))
	}
}

// Registry holds the kinds that a program knows and how to run them. The zero value is ready to
// use. It must not change once a Client or Consumer was made with it.
type Registry struct {
	kinds      map[string]registered
	middleware []Middleware
	guards     Guards
	err        error
}

type registered struct {
	handle   RawHandler
	opts     KindOpts
	settings *settingsCell // nil = none
}

// Register makes h the handler of A's kind. At most one KindOpts counts. Args that do not decode
// into A make a job PERMANENTLY_FAILED: another attempt would not help. A mistake (a kind twice,
// a bad name) is reported by NewConsumer.
func Register[A Args](r *Registry, h Handler[A], opts ...KindOpts) {
	var zero A
	r.Raw(zero.Kind(), raw(h), optsFor(h, opts)...)
}

// raw decodes args for a typed handler.
func raw[A Args](h Handler[A]) RawHandler {
	return func(ctx context.Context, row *jobstore.Job) error {
		job := Job[A]{Job: row}
		if err := decode(row.Args, &job.Args); err != nil {
			return Permanent(fmt.Errorf("args of kind %s: %w", row.Kind, err))
		}
		return h.Handle(ctx, &job)
	}
}

// optsFor puts the handler's own OnFailed before that of its options.
func optsFor[A Args](h Handler[A], opts []KindOpts) []KindOpts {
	own, ok := h.(FailedHandler[A])
	if !ok {
		return opts
	}
	var o KindOpts
	if len(opts) > 0 {
		o = opts[0]
	}
	more := o.OnFailed
	o.OnFailed = func(ctx context.Context, row *jobstore.Job, err error) {
		job := Job[A]{Job: row}
		if decode(row.Args, &job.Args) != nil {
			job.Args = *new(A) // it may be why the job failed
		}
		own.OnFailed(ctx, &job, err)
		if more != nil {
			more(ctx, row, err)
		}
	}
	return []KindOpts{o}
}

// RegisterFunc is Register for a plain function.
func RegisterFunc[A Args](r *Registry, f func(ctx context.Context, job *Job[A]) error, opts ...KindOpts) {
	Register(r, HandlerFunc[A](f), opts...)
}

// Raw makes h the handler of a kind without typed args.
func (r *Registry) Raw(kind string, h RawHandler, opts ...KindOpts) {
	if r.kinds == nil {
		r.kinds = map[string]registered{}
	}
	if err := checkKind(kind); err != nil {
		r.err = errors.Join(r.err, err)
	}
	if _, twice := r.kinds[kind]; twice {
		r.err = errors.Join(r.err, fmt.Errorf("kind %q is registered twice; give one of them another name", kind))
	}
	var o KindOpts
	if len(opts) > 0 {
		o = opts[0]
	}
	if err := errors.Join(o.check(), o.Guards.Validate()); err != nil {
		r.err = errors.Join(r.err, fmt.Errorf("kind %s: %w", kind, err))
	}
	if o.MaxAttempts == 0 && (o.RetryFor > 0 || o.RetryUntil != nil) {
		o.MaxAttempts = Unlimited // the time says when it is enough
	}
	k := registered{handle: h, opts: o}
	if o.Settings != nil {
		var err error
		if k.settings, err = newSettings(kind, o.Settings); err != nil {
			r.err = errors.Join(r.err, fmt.Errorf("kind %s: %w", kind, err))
		}
	}
	r.kinds[kind] = k
}

// Use adds middleware around every handler, the first outermost.
func (r *Registry) Use(m ...Middleware) { r.middleware = append(r.middleware, m...) }

// Kinds lists the registered kinds in alphabetical order.
func (r *Registry) Kinds() []string { return slices.Sorted(maps.Keys(r.kinds)) }

// opts returns what is known of a kind; a kind that is not registered here has the defaults.
func (r *Registry) opts(kind string) KindOpts {
	if r == nil {
		return KindOpts{}
	}
	return r.kinds[kind].opts
}

// workers builds what the pool runs.
func (r *Registry) workers(g guarding, keys *KeyRing, client *Client) map[string]worker.Kind {
	kinds := make(map[string]worker.Kind, len(r.kinds))
	for name, k := range r.kinds {
		h := finished(k.handle)
		for _, m := range slices.Backward(k.opts.Middleware) {
			h = m(h)
		}
		for _, m := range slices.Backward(r.middleware) {
			h = m(h)
		}
		g.hidden = k.opts.Encrypted
		if g.store != nil { // an Inline has no database, and so no guards
			h = g.wrap(r.guards.and(k.opts.Guards), h)
		}
		h = k.settings.around(inTime(finished(h))) // middleware may say Done, too
		h = keys.opened(k.opts, h)                 // outermost: guards may go by args, too
		h = client.inFlow(h)
		backoff := k.opts.Backoff
		if backoff == nil {
			backoff = worker.DefaultBackoff
		}
		kinds[name] = worker.Kind{Handle: worker.Handler(h), Timeout: k.opts.Timeout, Failed: keys.openedFailed(k.opts.OnFailed), Noted: k.opts.HistoryAll, Policy: worker.Policy{
			Backoff: backoff, MaxErrors: k.opts.MaxErrors, TimeoutEnds: k.opts.TimeoutIsPermanent, RetryFor: k.opts.RetryFor, RetryUntil: k.opts.RetryUntil,
		}}
	}
	return kinds
}

// finished lets a handler say Done, which is a success to everybody around it.
func finished(h RawHandler) RawHandler {
	return func(ctx context.Context, job *jobstore.Job) error { return done(ctx, h(ctx, job)) }
}

// decode reads args strictly in type, leniently in fields: a newer producer may send more than an
// older consumer knows.
func decode(args json.RawMessage, into any) error {
	if len(bytes.TrimSpace(args)) == 0 {
		args = json.RawMessage("{}")
	}
	return json.Unmarshal(args, into)
}
