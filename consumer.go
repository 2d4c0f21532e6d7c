package warren

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// ConsumerStore is what consuming needs of a database: *postgres.Store has it.
type ConsumerStore interface {
	ClientStore
	jobstore.Claimer
	jobstore.Recorder
	jobstore.Noter
	jobstore.Teller
	jobstore.Filer
	jobstore.FileStore
	jobstore.Registrar
	jobstore.Elector
	jobstore.Sweeper
	jobstore.Scheduler
	jobstore.Guard
	jobstore.Gauger
	Configure(ctx context.Context, s jobstore.Settings) error
	KindSettings(ctx context.Context, kinds []string) (jobstore.KindSettings, error)
}

// ConsumerConfig is how a Consumer is made. Store and Registry are needed.
type ConsumerConfig struct {
	Store ConsumerStore
	// Broker brings the numbers of ready jobs; nil = this consumer looks into the database.
	Broker broker.Broker
	// Registry has the kinds that this consumer runs. Jobs of other kinds are left alone.
	Registry *Registry
	// Name is what people call this consumer, where they see it; it need not be unique. At most 100 bytes without
	// spaces and control characters. Default: none, and its number, host and process id have to do.
	Name string
	// Queues that are taken. Default: every queue that the registered kinds use.
	Queues []string
	// Take are the priorities that this consumer is bound to. Default: all of Priorities.
	Take []int
	// Order is how the bands are served: OrderStrict, which is the default, OrderWeighted or OrderFair.
	Order Order
	// Weights are those of OrderWeighted.
	Weights Weights

	// Priorities, DefaultQueue, MaxArgs and HintSize are as in ClientConfig.
	Priorities   []int
	DefaultQueue string
	MaxArgs      int
	HintSize     int

	// Schedules are those that this program declares when it starts; see Schedules.Declare. Any consumer of
	// the installation plants their rows, whether it has their kinds or not.
	Schedules []Schedule

	// Concurrency is how many handlers run at a time. Default 10.
	Concurrency int
	// Scale has the consumer choose itself how many handlers run at a time; Concurrency is left out then.
	Scale *Scale
	// PollInterval is how often a consumer without a broker looks into the database when nobody tells it that
	// there is something, 50 ms to 30 s; one that hears of other processes' jobs looks a fifth as often, at
	// least every 30 s. Default 1 s.
	PollInterval time.Duration
	// Force goes on while everything is paused.
	Force bool
	// MaxJobs ends the consumer after so many jobs; 0 = no limit.
	MaxJobs int
	// UntilEmpty ends the consumer when nothing is due and nothing runs any more.
	UntilEmpty bool
	// EmptyFor is how long nothing may be due, with UntilEmpty, before that counts. Default 0.
	EmptyFor time.Duration
	// MaxTime ends the consumer after that time; 0 = no limit.
	MaxTime time.Duration
	// MaxMemory ends the consumer when the process has more resident bytes; 0 = no limit.
	MaxMemory int64
	// DrainTimeout is how long running handlers may take after the consumer was asked to stop.
	// Default 25 s.
	DrainTimeout time.Duration
	// Grace is how long a handler may take to return after its context has ended: at its timeout, say. Then its
	// goroutine is left behind, its job goes on as its failure says, with the goroutine's stack in its error,
	// and its slot takes the next job. Default 5 s.
	Grace time.Duration
	// MaxStuck ends the consumer when so many handlers were left behind, because only the end of a process ends
	// a goroutine; 0 = never. A supervisor starts it again.
	MaxStuck int
	// Heartbeat is how this process keeps its lease. Default: TTL 20 s, renewed every 5 s. After
	// the TTL without renewal its jobs run elsewhere.
	Heartbeat Heartbeat
	// Sweep sets the periods of the sweep; zero values take the protocol's. For tests.
	Sweep Sweep
	// Retention says how long each final state is kept. Default: FINISHED, REDUNDANT and
	// CANCELLED 14 days, PERMANENTLY_FAILED and QUARANTINED 90 days.
	Retention jobstore.Retention
	// MaxJobLog is how many bytes of lines the log of a job keeps, over all of its attempts; what is more is dropped
	// and counted. Default 1 MiB; negative = jobs have no logs of their own. See Logger.
	MaxJobLog int64
	// Files keeps the content of files that handlers Attach. Default: Store, the job database itself. FileDir is a
	// directory; a store of your own fulfils the interface. It must be the same in all consumers.
	Files jobstore.FileStore
	// MaxFile is how many bytes one of them may have. Default 16 MiB.
	MaxFile int64
	// NoMemory leaves out the record of the heap before and after each attempt, which costs a few
	// microseconds.
	NoMemory bool

	// Keys are as in ClientConfig; they are needed when a registered kind is Encrypted.
	Keys *KeyRing
	// PublishHooks are those of the consumer's Client.
	PublishHooks []PublishHook
	Hooks        Hooks
	Observer     Observer
	// Version of the program is shown to operators. During a deploy it decides which of two programs describes a kind.
	Version string
	Log     *zap.Logger
}

// maxName is how many bytes the name of a consumer may have: it stands in lists.
const maxName = 100

// Limits of PollInterval: more often is a load, and a loop that stands still is told from one that waits.
const (
	minPoll = 50 * time.Millisecond
	maxPoll = 30 * time.Second
)

// Heartbeat is how a consumer process keeps its lease.
type Heartbeat = worker.Beat

// Sweep sets the periods of the sweep.
type Sweep struct {
	Tick, LostHints, Heads, Rescue, Retain, LeaderTTL time.Duration
}

// DefaultRetention is how long each final state is kept when nobody said otherwise.
func DefaultRetention() jobstore.Retention {
	const day = 24 * time.Hour
	return jobstore.Retention{
		jobstore.Finished: 14 * day, jobstore.Redundant: 14 * day, jobstore.Cancelled: 14 * day,
		jobstore.PermanentlyFailed: 90 * day, jobstore.Quarantined: 90 * day,
	}
}

func (c ConsumerConfig) withDefaults() ConsumerConfig {
	if c.Scale != nil {
		c.Scale = new(c.Scale.withDefaults())
		if c.Concurrency == 0 {
			c.Concurrency = c.Scale.Max
		}
	}
	if c.Concurrency == 0 {
		c.Concurrency = 10
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 25 * time.Second
	}
	if c.MaxFile == 0 {
		c.MaxFile = 16 << 20
	}
	if c.Files == nil {
		c.Files = c.Store
	}
	if c.MaxJobLog == 0 {
		c.MaxJobLog = 1 << 20
	}
	if c.Retention == nil {
		c.Retention = DefaultRetention()
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	c.Heartbeat = c.Heartbeat.WithDefaults()
	return c
}

func (c *ConsumerConfig) client() ClientConfig {
	return ClientConfig{
		Store: c.Store, Broker: c.Broker, Registry: c.Registry, Priorities: c.Priorities,
		DefaultQueue: c.DefaultQueue, MaxArgs: c.MaxArgs, HintSize: c.HintSize, Keys: c.Keys, PublishHooks: c.PublishHooks, Observer: c.Observer, Log: c.Log,
	}
}

func (c *ConsumerConfig) validate(configured []int) error {
	var errs []error
	if c.Registry == nil || len(c.Registry.kinds) == 0 {
		errs = append(errs, errors.New("no kind is registered; this consumer would have nothing to run"))
	}
	if c.Grace < 0 {
		errs = append(errs, fmt.Errorf("grace %s is negative; leave it out for 5 s", c.Grace))
	}
	if c.MaxStuck < 0 {
		errs = append(errs, fmt.Errorf("max stuck %d is negative; leave it out for never", c.MaxStuck))
	}
	if len(c.Name) > maxName || strings.ContainsFunc(c.Name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		errs = append(errs, fmt.Errorf("name %.200q of the consumer is not allowed; use at most %d bytes without spaces and control characters", c.Name, maxName))
	}
	if c.PollInterval != 0 && (c.PollInterval < minPoll || c.PollInterval > maxPoll) {
		errs = append(errs, fmt.Errorf("poll interval %s is not from %s to %s; leave it out for 1 s", c.PollInterval, minPoll, maxPoll))
	}
	if c.Scale != nil {
		errs = append(errs, c.Scale.Validate())
		if c.Concurrency != c.Scale.Max {
			errs = append(errs, fmt.Errorf("concurrency %d and scale are both set; keep one", c.Concurrency))
		}
	}
	if c.MaxFile < 0 {
		errs = append(errs, fmt.Errorf("max file %d is negative; leave it out for 16 MiB", c.MaxFile))
	}
	if c.Concurrency < 0 {
		errs = append(errs, fmt.Errorf("concurrency %d is negative", c.Concurrency))
	}
	if c.EmptyFor < 0 || c.MaxTime < 0 || c.MaxJobs < 0 || c.MaxMemory < 0 {
		errs = append(errs, fmt.Errorf("a limit is negative (max jobs %d, max time %s, max memory %d, empty for %s); 0 means none", c.MaxJobs, c.MaxTime, c.MaxMemory, c.EmptyFor))
	}
	for _, p := range c.Take {
		if !slices.Contains(configured, p) {
			errs = append(errs, fmt.Errorf("priority %d is not configured (%s)", p, joinInts(configured)))
		}
	}
	if c.Registry != nil && c.Keys == nil {
		for kind, k := range c.Registry.kinds {
			if k.opts.Encrypted {
				errs = append(errs, fmt.Errorf("kind %s is encrypted, and there are no keys; configure keys, as 'warren keys generate' makes them", kind))
			}
		}
	}
	for _, q := range c.Queues {
		errs = append(errs, checkQueue(q))
	}
	return errors.Join(errs...)
}

// Consumer claims jobs and runs their handlers. A process may have several.
type Consumer struct {
	cfg    ConsumerConfig
	client *Client
	self   jobstore.Claimant
	parts  *parts

	settings *settingsReader

	drain     chan struct{}
	drainOnce sync.Once
	tell      func(Event)  // the observer, with no context: what happens to a consumer is part of no call
	reason    atomic.Value // StopReason: why it stops
	left      atomic.Int64 // handlers that were left behind
	taken     atomic.Int64 // jobs that were started, when there is a limit
	now       chan struct{}
	nowOnce   sync.Once
}

// NewConsumer makes a consumer. It connects to nothing and starts nothing.
func NewConsumer(cfg ConsumerConfig) (*Consumer, error) {
	cfg = cfg.withDefaults()
	c := &Consumer{drain: make(chan struct{}), now: make(chan struct{})}
	c.tell = c.observe
	client, err := newClient(cfg.client(), func(refs []jobstore.Ref) bool { return c.parts.offer(refs) })
	if err != nil {
		return nil, err
	}
	if err := cfg.validate(client.cfg.Priorities); err != nil {
		return nil, err
	}
	cfg.Log = client.cfg.Log
	if len(cfg.Take) == 0 {
		cfg.Take = client.cfg.Priorities
	}
	cfg.Take = slices.Sorted(slices.Values(cfg.Take))
	if len(cfg.Queues) == 0 {
		cfg.Queues = queuesOf(cfg.Registry, client.cfg.DefaultQueue)
	}
	if err := cfg.checkOrder(); err != nil {
		return nil, err
	}
	for _, kind := range cfg.Registry.Kinds() {
		if _, err := client.rules.priority(nil, cfg.Registry.opts(kind)); err != nil {
			return nil, fmt.Errorf("kind %s: %w", kind, err)
		}
	}
	if _, err := client.rules.declare(cfg.Schedules); err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	c.cfg, c.client = cfg, client
	c.self = jobstore.Claimant{
		Host: host, PID: os.Getpid(), Queues: cfg.Queues, Priorities: cfg.Take, Kinds: cfg.Registry.Kinds(),
	}
	c.settings = newSettingsReader(&c.cfg)
	c.parts, err = c.assemble()
	return c, err
}

func queuesOf(r *Registry, defaultQueue string) []string {
	var queues []string
	for _, kind := range r.Kinds() {
		queues = append(queues, firstNonEmpty(r.opts(kind).Queue, defaultQueue))
	}
	slices.Sort(queues)
	return slices.Compact(queues)
}

// Client publishes over the same connections, for handlers and for the program around them. Its
// Run is part of the consumer's.
func (c *Consumer) Client() *Client { return c.client }

func (c *Consumer) takes(band jobstore.Band) bool {
	return slices.Contains(c.cfg.Queues, band.Queue) && slices.Contains(c.cfg.Take, band.Priority)
}

// Queues are the queues that this consumer takes.
func (c *Consumer) Queues() []string { return slices.Clone(c.cfg.Queues) }

// Priorities are the priorities that this consumer is bound to.
func (c *Consumer) Priorities() []int { return slices.Clone(c.cfg.Take) }

// Run consumes until ctx ends, Drain is called, a handler asks the consumer to stop, or a limit
// (MaxJobs, UntilEmpty, MaxTime, MaxMemory) is reached. Then it takes nothing more, waits for the
// handlers that run up to DrainTimeout, hands back what still runs, records what ended, and
// returns nil. It returns an error when it could not begin: the database's schema does not fit,
// say. Run may be called once.
func (c *Consumer) Run(ctx context.Context) error {
	configured := c.client.Settings()
	configured.Version = c.cfg.Version
	if err := c.cfg.Store.Configure(ctx, configured); err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop before it began
		}
		return fmt.Errorf("register the kinds: %w", err)
	}
	if err := c.settings.read(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("read the settings of the kinds: %w", err)
	}
	if err := c.client.Schedules(c.cfg.Store).Declare(ctx, c.cfg.Schedules...); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("declare the schedules: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	unhook := context.AfterFunc(ctx, c.Drain)
	defer unhook()
	c.tell(Event{Kind: ConsumerStarted})
	err := c.parts.run(ctx, c.drain, stop)
	c.stopped(err)
	return err
}

// Drain asks the consumer to take nothing more and to return from Run once its handlers have
// ended. It returns at once.
func (c *Consumer) Drain() {
	c.stopping(StopAsked)
	c.drainOnce.Do(func() { close(c.drain) })
}

// restart drains because an operator has asked for it.
func (c *Consumer) restart() {
	c.stopping(StopRestart)
	c.Drain()
}

// Release cuts a drain short: handlers' contexts end, and what does not return at once is handed
// back to run elsewhere.
func (c *Consumer) Release() {
	c.Drain()
	c.nowOnce.Do(func() { close(c.now) })
}

// Alive returns nil while the loops of the consumer go round, also when the database or the broker
// are away; otherwise an error that names the loop that stands still: only a restart helps then.
func (c *Consumer) Alive() error { return c.parts.alive() }

// Ready returns nil while the consumer is registered, its broker is up and it is not draining;
// otherwise why it is not.
func (c *Consumer) Ready(ctx context.Context) error { return c.parts.ready(ctx, c.drain) }
