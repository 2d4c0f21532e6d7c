package warren

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/internal/dispatch"
	"github.com/warrenq/warren/internal/lifecycle"
	"github.com/warrenq/warren/internal/relay"
	"github.com/warrenq/warren/internal/sweeper"
	"github.com/warrenq/warren/jobstore"
)

// ClientStore is what publishing needs of a database: *postgres.Store has it.
type ClientStore interface {
	jobstore.Inserter
	jobstore.Requester
	jobstore.Waker
	jobstore.Flows
	Unannounced(ctx context.Context, ids []jobstore.ID) error
	Unfinished(ctx context.Context, identifiers []string, excludeProcessing bool) ([]string, error)
}

// ClientConfig is how a Client is made. Only Store is needed.
type ClientConfig struct {
	Store ClientStore
	// Broker carries the numbers of published jobs; nil = consumers look into the database.
	Broker broker.Broker
	// Registry gives the defaults of kinds; a program that only publishes may leave it out.
	Registry *Registry
	// Priorities are those that jobs may have, 0–999; the smallest is the default. Default 10,
	// 20, 30, 40, 50. They must be the same in all programs of an installation.
	Priorities []int
	// DefaultQueue takes the jobs of kinds without a queue. Default "default".
	DefaultQueue string
	// MaxArgs is how many bytes args may have. Default 256 KiB.
	MaxArgs int
	// HintSize is how many numbers one message to the broker carries at most. Default 50.
	HintSize int
	// Keys encrypt the args of kinds that are KindOpts.Encrypted. See ParseKeys.
	Keys *KeyRing
	// PublishHooks see every job before it is checked and written, in this order.
	PublishHooks []PublishHook
	// Observer is told of JobPublished, and of what SweepOnce finds.
	Observer Observer
	// Log gets what goes wrong in the background. Default: nothing is logged.
	Log *zap.Logger
}

func (c ClientConfig) withDefaults() ClientConfig {
	if len(c.Priorities) == 0 {
		c.Priorities = []int{10, 20, 30, 40, 50}
	}
	c.Priorities = slices.Sorted(slices.Values(c.Priorities))
	if c.DefaultQueue == "" {
		c.DefaultQueue = "default"
	}
	if c.MaxArgs == 0 {
		c.MaxArgs = 256 << 10
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return c
}

// rules are what jobs are checked against.
func (c *ClientConfig) rules() rules {
	return rules{
		priorities: c.Priorities, defaultQueue: c.DefaultQueue, maxArgs: c.MaxArgs, registry: c.Registry, keys: c.Keys, hooks: c.PublishHooks,
	}
}

func (c *ClientConfig) validate() error {
	var errs []error
	if c.Store == nil {
		errs = append(errs, errors.New("no store is given; make one with postgres.Open"))
	}
	if c.Registry != nil && c.Registry.err != nil {
		errs = append(errs, c.Registry.err)
	}
	errs = append(errs, checkPriorities(c.Priorities), checkQueue(c.DefaultQueue))
	return errors.Join(errs...)
}

func checkPriorities(ps []int) error {
	for i, p := range ps {
		if p < 0 || p > maxPriority {
			return fmt.Errorf("priority %d is outside of 0 to %d", p, maxPriority)
		}
		if i > 0 && ps[i-1] == p {
			return fmt.Errorf("priority %d is listed twice", p)
		}
	}
	return nil
}

// Client publishes jobs. It is safe for concurrent use.
//
// A publish has succeeded when the job's row is committed. Telling consumers is not its business:
// that happens in the background while Run runs, and whatever is missed there is made up for by
// the sweep of any consumer.
type Client struct {
	cfg       ClientConfig
	rules     rules
	announcer relay.Announcer
	relay     *relay.Relay
}

// NewClient makes a client. It connects to nothing and starts nothing.
func NewClient(cfg ClientConfig) (*Client, error) { return newClient(cfg, nil) }

// newClient makes a client that also offers jobs to a feed of this process.
func newClient(cfg ClientConfig, offer func(refs []jobstore.Ref) (taken bool)) (*Client, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, rules: cfg.rules()}
	if cfg.Broker != nil {
		c.announcer = dispatch.NewBrokered(cfg.Broker, cfg.HintSize)
	} else {
		c.announcer = dispatch.NewPolled(cfg.Store, offer)
	}
	c.relay = relay.New(relay.Config{Announcer: c.announcer, Outbox: cfg.Store, Log: cfg.Log})
	return c, nil
}

// Run announces published jobs until ctx ends, and keeps the broker's connection up meanwhile.
// Without a Run somewhere, published rows wait for a consumer's sweep, at most about a second.
func (c *Client) Run(ctx context.Context) error { return lifecycle.Run(ctx, c.parts()...) }

func (c *Client) parts() []lifecycle.Part {
	var parts []lifecycle.Part
	if c.cfg.Broker != nil {
		parts = append(parts, lifecycle.Part{Name: "broker", Run: c.cfg.Broker.Run})
	}
	return append(parts, lifecycle.Part{Name: "relay", Run: c.relay.Run})
}

// Drain waits until everything published so far has been announced, or put into the outbox for
// the sweep to announce.
func (c *Client) Drain(ctx context.Context) error { return c.relay.Flush(ctx) }

// AwaitRun waits until Run is under way: what is published from then on is announced by this
// process. Publishing before is right too, only slower.
func (c *Client) AwaitRun(ctx context.Context) error {
	select {
	case <-c.relay.Started():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// SweepOnce makes due rows READY and announces them, rescues what dead consumers held and removes
// rows past retention: the periodic round of a consumer, once, for a pass from cron.
func (c *Client) SweepOnce(ctx context.Context, store SweepStore, keep jobstore.Retention) error {
	return sweeper.New(sweeper.Config{
		Store: store, Announcer: c.announcer, Retention: keep, Rescued: c.rescued, Swept: c.swept,
		Missed: c.missed, Log: c.cfg.Log,
	}).Once(ctx)
}

// SweepStore is what a sweep needs of a database: *postgres.Store has it.
type SweepStore interface {
	jobstore.Sweeper
	jobstore.Scheduler
	jobstore.Elector
	jobstore.Flows
}

// Publish writes a job and returns once it is committed. At most one PublishOpts counts.
func (c *Client) Publish(ctx context.Context, args Args, opts ...PublishOpts) (Published, error) {
	return c.PublishRaw(ctx, args.Kind(), args, opts...)
}

// PublishRaw is Publish for a kind without a Go type: args is anything that encodes to JSON, and a
// json.RawMessage is taken as it is.
func (c *Client) PublishRaw(ctx context.Context, kind string, args any, opts ...PublishOpts) (Published, error) {
	done, err := c.PublishMany(ctx, []Item{{Kind: kind, Args: args, Opts: firstOpts(opts)}})
	if err != nil {
		return Published{}, err
	}
	return done[0], nil
}

// Item is one job of PublishMany.
type Item struct {
	Kind string // default: that of Args, when it is an Args
	Args any
	Opts PublishOpts
}

// PublishMany writes all jobs or none, in one statement. A thousand at a time is fast; much more
// makes long transactions. An error about one item names its index.
func (c *Client) PublishMany(ctx context.Context, items []Item) ([]Published, error) {
	jobs, err := c.jobs(ctx, items)
	if err != nil || len(jobs) == 0 {
		return nil, err
	}
	inserted, err := c.cfg.Store.Insert(ctx, jobs)
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	c.announce(inserted)
	c.observePublished(ctx, jobs, inserted)
	return published(inserted), nil
}

// PublishOnce is PublishMany for a request that its caller may send again: for a day, the same
// request publishes nothing more and gets the first one's answer. It works over any number of
// processes. jobstore.ErrKeyReused when the key stands for a request with another digest.
func (c *Client) PublishOnce(ctx context.Context, r jobstore.Request, items []Item) ([]Published, error) {
	jobs, err := c.jobs(ctx, items)
	if err != nil || len(jobs) == 0 {
		return nil, err
	}
	inserted, again, err := c.cfg.Store.InsertOnce(ctx, r, jobs)
	if err != nil {
		return nil, fmt.Errorf("publish once: %w", err)
	}
	if !again {
		c.announce(inserted)
		c.observePublished(ctx, jobs, inserted)
	}
	return published(inserted), nil
}

// PublishTx writes a job inside the caller's transaction, made with postgres.Tx: it exists if and
// only if that transaction commits. Its row waits in the outbox, so it starts at the next tick of
// the sweep, at most about half a second after the commit; InTx is quicker.
func (c *Client) PublishTx(ctx context.Context, tx jobstore.Tx, args Args, opts ...PublishOpts) (Published, error) {
	done, err := c.PublishManyTx(ctx, tx, []Item{{Kind: args.Kind(), Args: args, Opts: firstOpts(opts)}})
	if err != nil {
		return Published{}, err
	}
	return done[0], nil
}

// PublishManyTx is PublishMany inside the caller's transaction.
func (c *Client) PublishManyTx(ctx context.Context, tx jobstore.Tx, items []Item) ([]Published, error) {
	jobs, err := c.jobs(ctx, items)
	if err != nil || len(jobs) == 0 {
		return nil, err
	}
	for i := range jobs {
		jobs[i].Outbox = true // nobody here learns when the transaction commits
	}
	inserted, err := c.cfg.Store.InsertTx(ctx, tx, jobs)
	if err != nil {
		return nil, fmt.Errorf("publish in a transaction: %w", err)
	}
	c.observePublished(ctx, jobs, inserted)
	return published(inserted), nil
}

// Tx is an open transaction of Client.InTx.
type Tx struct {
	// Tx is the store's transaction: postgres.From(tx.Tx) is the pgx.Tx for your own statements.
	jobstore.Tx

	client   *Client
	inserted []jobstore.Inserted
}

// Publish writes a job inside the transaction.
func (t *Tx) Publish(ctx context.Context, args Args, opts ...PublishOpts) (Published, error) {
	jobs, err := t.client.jobs(ctx, []Item{{Kind: args.Kind(), Args: args, Opts: firstOpts(opts)}})
	if err != nil {
		return Published{}, err
	}
	inserted, err := t.client.cfg.Store.InsertTx(ctx, t.Tx, jobs)
	if err != nil {
		return Published{}, fmt.Errorf("publish in a transaction: %w", err)
	}
	t.inserted = append(t.inserted, inserted...)
	t.client.observePublished(ctx, jobs, inserted)
	return published(inserted)[0], nil
}

// InTx runs fn in a transaction of the store's own. When fn returns nil it commits, and what fn
// published is announced right after the commit, never before.
func (c *Client) InTx(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	var done []jobstore.Inserted
	err := c.cfg.Store.InTx(ctx, func(ctx context.Context, tx jobstore.Tx) error {
		own := &Tx{Tx: tx, client: c}
		err := fn(ctx, own)
		done = own.inserted // the store may have repeated fn; only the last one counts
		return err
	})
	if err != nil {
		return err
	}
	c.announce(done)
	return nil
}

// Unfinished returns those of the identifiers that have a job which is not done: not in a final
// state, or PERMANENTLY_FAILED.
func (c *Client) Unfinished(ctx context.Context, identifiers ...string) ([]string, error) {
	return c.cfg.Store.Unfinished(ctx, identifiers, false)
}

// UnfinishedNow is Unfinished without those identifiers all of whose jobs that are not done run at the moment: what is
// left has yet to begin, or to begin again.
func (c *Client) UnfinishedNow(ctx context.Context, identifiers ...string) ([]string, error) {
	return c.cfg.Store.Unfinished(ctx, identifiers, true)
}

// jobs checks all items and applies the defaults. While nobody runs the relay, the rows are due for
// announcing by the sweep.
func (c *Client) jobs(ctx context.Context, items []Item) ([]jobstore.NewJob, error) {
	jobs, err := c.rules.newJobs(ctx, items)
	outbox := !c.relay.Running()
	for i := range jobs {
		jobs[i].Outbox = outbox
	}
	return jobs, err
}

// ItemError says which item of PublishMany was wrong.
type ItemError struct {
	Index int // from 0
	Err   error
}

func (e *ItemError) Error() string { return fmt.Sprintf("item %d: %v", e.Index, e.Err) }

// Unwrap returns what was wrong with the item.
func (e *ItemError) Unwrap() error { return e.Err }

func (c *Client) announce(inserted []jobstore.Inserted) {
	refs := make([]jobstore.Ref, 0, len(inserted))
	for _, in := range inserted {
		if in.State == jobstore.Ready {
			refs = append(refs, in.Ref)
		}
	}
	c.relay.Add(refs...)
}

func published(inserted []jobstore.Inserted) []Published {
	out := make([]Published, len(inserted))
	for i, in := range inserted {
		out[i] = Published{ID: in.ID, State: in.State, Queue: in.Queue, Priority: in.Priority, Existing: in.Existing}
	}
	return out
}

func firstOpts(opts []PublishOpts) PublishOpts {
	if len(opts) == 0 {
		return PublishOpts{}
	}
	return opts[0]
}

// Settings is what the database needs to know so that warren.enqueue() agrees with this program. A
// consumer stores it when it starts.
func (c *Client) Settings() jobstore.Settings {
	s := jobstore.Settings{Priorities: c.cfg.Priorities, DefaultQueue: c.cfg.DefaultQueue, MaxArgs: c.cfg.MaxArgs}
	if c.cfg.Registry == nil {
		return s
	}
	for _, kind := range c.cfg.Registry.Kinds() {
		o := c.cfg.Registry.opts(kind)
		p, err := c.rules.priority(nil, o)
		if err != nil {
			p = c.cfg.Priorities[0]
		}
		s.Kinds = append(s.Kinds, jobstore.KindDefaults{
			Kind: kind, Queue: firstNonEmpty(o.Queue, c.cfg.DefaultQueue), Priority: p,
			MaxAttempts: attempts(0, o.MaxAttempts), Timeout: o.Timeout, GroupSkip: o.SkipOnRetry,
			Title: o.Describe.Title, Description: o.Describe.Description, Scope: o.Describe.Scope,
		})
		last := &s.Kinds[len(s.Kinds)-1]
		if schema, ok := o.Schema.(interface{ JSONSchema() json.RawMessage }); ok {
			last.Schema = schema.JSONSchema()
		}
		if cell := c.cfg.Registry.kinds[kind].settings; cell != nil {
			last.Defaults, last.SettingsSchema = cell.text, cell.schema
		}
	}
	return s
}
