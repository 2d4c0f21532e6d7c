package warrentest

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/sqlite"
)

// Opts is how an Env is made. The zero value works.
type Opts struct {
	// Priorities and DefaultQueue are as in warren.ClientConfig.
	Priorities   []int
	DefaultQueue string
	// Hooks are called around every attempt, as in warren.ConsumerConfig.
	Hooks warren.Hooks
	// Keys encrypt args as in production. Default: a key of the Env's own.
	Keys *warren.KeyRing
	// Inline runs jobs when they are published: Publish returns after their attempt. See the package
	// documentation.
	Inline bool
	// Schedules are declared at once, as a consumer does. When the clock has moved over their times, their
	// jobs run in the next Drain: of times that were passed over, as many of the latest as CatchUp says.
	Schedules []warren.Schedule
	// Start is what the clock says at first. Default: the time of New.
	Start time.Time
	// Patience is how long, in real time, one Drain or one inline publish may take before it gives
	// up and says what still runs. Default 30 s.
	Patience time.Duration
}

// Env is an installation of a test's own: a database in memory, a client, and a clock that only
// the test moves. Its methods may be called by many goroutines at once, but those that take no
// context fail the test, so that they belong into its own goroutine.
type Env struct {
	tb       testing.TB
	opts     Opts
	registry *warren.Registry
	store    *sqlite.Store
	client   *warren.Client
	flows    *flowLog

	mu    sync.Mutex
	now   time.Time
	ran   []Attempt
	ended chan struct{} // closed and replaced when an attempt has ended
}

// New makes an installation that knows the kinds of registry, and removes it at the test's end.
// At most one Opts counts. What is wrong with the registry or the options fails the test.
func New(tb testing.TB, registry *warren.Registry, opts ...Opts) *Env {
	tb.Helper()
	e := &Env{tb: tb, registry: registry, ended: make(chan struct{})}
	if len(opts) > 0 {
		e.opts = opts[0]
	}
	e.opts.Patience = cmp.Or(e.opts.Patience, patience)
	e.opts.Priorities = slices.Clone(e.opts.Priorities)
	e.now = e.opts.Start
	if e.now.IsZero() {
		e.now = time.Now()
	}
	e.now = e.now.Truncate(time.Millisecond) // as a row keeps it, so that delays come out in round figures
	if err := e.open(tb.Context()); err != nil {
		tb.Fatalf("warrentest: %v", err)
	}
	return e
}

func (e *Env) open(ctx context.Context) error {
	var err error
	if e.store, err = sqlite.Open(ctx, sqlite.Memory, sqlite.Config{Now: e.Now}); err != nil {
		return err
	}
	e.tb.Cleanup(e.store.Close)
	if err := e.store.Migrate(ctx); err != nil {
		return err
	}
	if e.opts.Keys == nil {
		key, err := warren.GenerateKey("test")
		if err == nil {
			e.opts.Keys, err = warren.ParseKeys(key)
		}
		if err != nil {
			return err
		}
	}
	// A consumer checks the whole registry, and this one is not run.
	if _, err := e.consumer(nil); err != nil { //nolint:contextcheck // it makes a consumer and starts nothing
		return err
	}
	var store warren.ClientStore = e.store
	if e.opts.Inline {
		store = newInline(e)
	}
	e.flows = &flowLog{ClientStore: store}
	e.client, err = warren.NewClient(warren.ClientConfig{
		Store: e.flows, Registry: e.registry, Priorities: e.opts.Priorities, DefaultQueue: e.opts.DefaultQueue, Keys: e.opts.Keys,
	})
	if err != nil {
		return err
	}
	return e.client.Schedules(e.store).Declare(ctx, e.opts.Schedules...)
}

// Client publishes into this installation. Hand it to the code under test.
func (e *Env) Client() *warren.Client { return e.client }

// Store is the database, to look at rows, to cancel or retry as an operator would, or for
// statements of the test's own with its InTx and sqlite.From. It is closed at the test's end.
func (e *Env) Store() *sqlite.Store { return e.store }

// Now is what the clock of this installation says. It stands still; see Advance.
func (e *Env) Now() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now
}

// Advance moves the clock forward by d. Jobs that become due by that run in the next Drain.
func (e *Env) Advance(d time.Duration) {
	e.tb.Helper()
	if d < 0 {
		e.tb.Fatalf("warrentest: advance by %s: the clock goes forward only", d)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = e.now.Add(d)
}

// advanceTo moves the clock to t, unless it has passed.
func (e *Env) advanceTo(t time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.After(e.now) {
		e.now = t
	}
}

// Job returns a job's row as it is now. A number that no job has fails the test.
func (e *Env) Job(id jobstore.ID) jobstore.Job {
	e.tb.Helper()
	ctx, cancel := e.patience()
	defer cancel()
	job, err := e.store.Get(ctx, id)
	if err != nil {
		e.tb.Fatalf("warrentest: %v", err)
	}
	return job
}

// patience is a context for one call. It does not end with the test's: cleanups come after that.
func (e *Env) patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(e.tb.Context()), e.opts.Patience)
}

// List makes an Env something that RequirePublished looks into. It returns jobs by number, with their args in
// the clear.
func (e *Env) List(ctx context.Context, f jobstore.Filter) ([]jobstore.Job, error) {
	jobs, err := e.store.List(ctx, f)
	for i := range jobs {
		if args, err := e.opts.Keys.OpenArgs(&jobs[i]); err == nil {
			jobs[i].Args = args // else a test is about just that
		}
	}
	return jobs, err
}
