package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
)

// Broker is a broker.Broker that speaks AMQP 0-9-1. Use Open to make one.
type Broker struct {
	cfg     Config
	names   naming
	book    *queueBook
	slow    *brake
	count   *counters
	pub     *link
	con     *link
	sender  *publisher
	poison  *poison
	started atomic.Bool

	renewAfter time.Duration

	mu    sync.Mutex
	subs  []*subscription
	added chan struct{} // to the consume session: subs has grown
	ended bool
}

var _ broker.Broker = (*Broker)(nil)

// Open checks cfg and prepares a Broker. It connects to nothing and starts nothing: Run does.
// Its errors name the offending value, without secrets, and what to use instead.
func Open(cfg Config) (*Broker, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	nodes, err := parseEndpoints(cfg)
	if err != nil {
		return nil, err
	}
	for _, e := range nodes {
		if !e.secure && !e.loopback() {
			cfg.Log.Warn("the connection to the broker is not encrypted: use amqps://", zap.Stringer("node", e))
		}
	}
	shuffle(nodes)
	b := &Broker{
		cfg: cfg, names: naming{prefix: cfg.Prefix, queueType: cfg.queueType(len(nodes))},
		slow: newBrake(), renewAfter: renewAfter, count: &counters{}, added: make(chan struct{}, 1),
	}
	b.book = &queueBook{names: b.names, made: map[broker.Band]Queue{}}
	turns := &pace{}
	b.pub = b.newLink("publish", nodes, turns)
	b.con = b.newLink("consume", nodes, turns)
	b.sender = &publisher{link: b.pub, names: b.names, timeout: cfg.ConfirmTimeout, count: b.count, slow: b.slow}
	b.poison = &poison{
		pub: b.sender, log: cfg.Log, count: b.count, queue: b.names.poisonQueue(), wake: make(chan struct{}, 1),
	}
	b.pub.open = func(s *session) (func(), error) {
		_, err := b.sender.open(s)
		return func() {}, err
	}
	b.con.open = func(s *session) (func(), error) {
		ch, err := s.conn.Channel()
		s.probe = ch
		return func() { b.consume(s) }, err
	}
	b.pub.refused = func(error) {}
	b.con.refused = b.refuse
	return b, nil
}

func (b *Broker) newLink(role string, nodes []endpoint, turns *pace) *link {
	return &link{
		role: role, name: b.cfg.Name + " (" + role + ")", sift: role == "consume", cfg: b.cfg, nodes: slices.Clone(nodes),
		log: b.cfg.Log.With(zap.String("connection", role)), count: b.count, pace: turns,
		topo:    func() *topo { return newTopo(b.names, b.slow, b.cfg.Log) },
		changed: make(chan struct{}),
	}
}

// Run implements broker.Broker. It returns nil when ctx has ended, after both connections are
// closed and every goroutine is gone. A Broker runs once.
func (b *Broker) Run(ctx context.Context) error {
	if !b.started.CompareAndSwap(false, true) {
		return errors.New("this broker has been run already: open another")
	}
	var wg sync.WaitGroup
	wg.Go(func() { b.pub.run(ctx) })
	wg.Go(func() { b.con.run(ctx) })
	wg.Go(func() { b.poison.run(ctx) })
	wg.Wait()
	b.mu.Lock()
	b.ended = true
	subs := slices.Clone(b.subs)
	b.mu.Unlock()
	for _, s := range subs {
		s.end()
	}
	return nil
}

// Up implements broker.Broker.
func (b *Broker) Up() bool { return b.pub.up() && b.con.up() }

// Publish implements broker.Publisher. It waits for the first connection of the process, but not
// for a broker that is known to be away, and for each thousand hints at most
// Config.ConfirmTimeout for their confirms.
func (b *Broker) Publish(ctx context.Context, hints []broker.Hint) []error {
	errs := make([]error, len(hints))
	ms := make([]message, 0, len(hints))
	at := make([]int, 0, len(hints))
	failed := false
	for i, h := range hints {
		body, err := broker.FormatBody(h.Numbers)
		if err == nil {
			err = checkBand(h.Band)
		}
		if err != nil {
			errs[i], failed = fmt.Errorf("hint for %s: %w", h.Band, err), true
			continue
		}
		ms = append(ms, message{queue: b.book.queue(h.Band), body: body, kind: "warren.hint"})
		at = append(at, i)
	}
	for k, err := range b.sender.send(ctx, ms) {
		if err != nil {
			errs[at[k]], failed = err, true
		}
	}
	if !failed {
		return nil
	}
	return errs
}

// Subscribe implements broker.Broker. It refuses an empty list, a band named twice, names that
// cannot be a queue's, and a prefetch outside of 1 … 65535.
func (b *Broker) Subscribe(bands []broker.Band, prefetch int) (broker.Subscription, error) {
	if len(bands) == 0 {
		return nil, errors.New("subscribe: name at least one band")
	}
	if prefetch < 1 || prefetch > 65535 {
		return nil, fmt.Errorf("subscribe: prefetch %d: use 1 to 65535", prefetch)
	}
	seen := map[broker.Band]bool{}
	for _, band := range bands {
		if err := checkBand(band); err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
		if seen[band] {
			return nil, fmt.Errorf("subscribe: band %s is named twice", band)
		}
		seen[band] = true
	}
	s := newSubscription(b, bands, prefetch)
	b.mu.Lock()
	b.subs = append(b.subs, s)
	ended := b.ended
	b.mu.Unlock()
	if ended {
		s.end()
	}
	poke(b.added)
	return s, nil
}

// leave forgets a closed subscription.
func (b *Broker) leave(s *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subs = slices.DeleteFunc(b.subs, func(o *subscription) bool { return o == s })
}

// refuse tells all subscriptions that the broker refuses this program.
func (b *Broker) refuse(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.subs {
		s.refuse("", err)
	}
}

// consume serves all subscriptions on one session, those that are made later too.
func (b *Broker) consume(sess *session) {
	var wg sync.WaitGroup
	defer wg.Wait()
	serving := map[*subscription]bool{}
	for {
		b.mu.Lock()
		subs := slices.Clone(b.subs)
		b.mu.Unlock()
		maps.DeleteFunc(serving, func(s *subscription, _ bool) bool { return !slices.Contains(subs, s) })
		for _, s := range subs {
			if !serving[s] {
				serving[s] = true
				wg.Go(func() { s.serve(sess) })
			}
		}
		select {
		case <-b.added:
		case <-sess.done:
			return
		}
	}
}

// Depth implements broker.Broker. A queue that does not exist is empty: the next hint makes it.
func (b *Broker) Depth(ctx context.Context, band broker.Band) (int, error) {
	if err := checkBand(band); err != nil {
		return 0, err
	}
	name := b.names.queue(band)
	ctx, cancel := context.WithTimeout(ctx, b.cfg.ConfirmTimeout)
	defer cancel()
	sess, err := b.con.await(ctx)
	if err != nil {
		return 0, fmt.Errorf("depth of %s: %w", name, err)
	}
	if err := b.slow.held("depth " + name); err != nil {
		return 0, err
	}
	q, err := sess.inspect(ctx, name)
	if replied(err, amqp.NotFound) {
		return 0, nil
	}
	if err = b.slow.note("depth "+name, classify(err)); err != nil {
		return 0, fmt.Errorf("depth of %s: %w", name, err)
	}
	return q.Messages, nil
}
