package rabbitmq

import (
	"context"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
)

// vanishedPause is how long a queue that has been deleted is not made again. By then the broker
// has told its consumers; see renew for what becomes of those it has not told.
const vanishedPause = 500 * time.Millisecond

// topo remembers what exists, for one session: a broker that comes back may have lost everything.
// Refusals outlive it in slow, so that a new session does not repeat them sooner.
type topo struct {
	names naming
	log   *zap.Logger
	slow  *brake

	mu    sync.Mutex
	known map[string]bool // exchanges and queues that exist
}

func newTopo(names naming, slow *brake, log *zap.Logger) *topo {
	return &topo{names: names, slow: slow, log: log, known: map[string]bool{}}
}

// ensureBand makes sure that a band's queue exists and gets its hints.
func (t *topo) ensureBand(ctx context.Context, s *session, b broker.Band) error {
	return t.ensure(ctx, s, t.names.bandQueue(b))
}

func (t *topo) ensure(ctx context.Context, s *session, q Queue) error {
	if t.has(q.Name) {
		return nil
	}
	if err := t.slow.held(q.Name); err != nil {
		return err
	}
	err := s.call(ctx, func() error {
		if t.has(q.Name) { // another caller was first
			return nil
		}
		for _, e := range t.names.exchanges() {
			if err := t.exchange(s.conn, e); err != nil {
				return err
			}
		}
		return t.queue(s.conn, q)
	})
	return t.slow.note(q.Name, classify(err))
}

func (t *topo) has(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known[name]
}

func (t *topo) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known[name] = true
}

// forget is called when a queue has turned out to be missing.
func (t *topo) forget(names ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range names {
		delete(t.known, n)
	}
}

// forgetAll is called when an exchange has turned out to be missing.
func (t *topo) forgetAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.known)
}

// exchange declares e, or finds it if it may not be declared.
func (t *topo) exchange(conn *amqp.Connection, e Exchange) error {
	if t.has(e.Name) {
		return nil
	}
	err := throwAway(conn, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(e.Name, e.Kind, true, false, false, false, amqp.Table(e.Args))
	})
	if t.mayExist("exchange", e.Name, err) {
		err = throwAway(conn, func(ch *amqp.Channel) error {
			return ch.ExchangeDeclarePassive(e.Name, e.Kind, true, false, false, false, nil)
		})
	}
	if err != nil {
		return explainMissing("exchange", e.Name, err)
	}
	t.add(e.Name)
	return nil
}

// queue declares and binds q, or finds it if it may not be declared.
func (t *topo) queue(conn *amqp.Connection, q Queue) error {
	err := throwAway(conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(q.Name, true, false, false, false, amqp.Table(q.Args))
		return err
	})
	if t.mayExist("queue", q.Name, err) {
		err = throwAway(conn, func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclarePassive(q.Name, true, false, false, false, nil)
			return err
		})
	}
	if err != nil {
		return explainMissing("queue", q.Name, err)
	}
	err = throwAway(conn, func(ch *amqp.Channel) error {
		return ch.QueueBind(q.Name, q.Name, q.Exchange, false, nil)
	})
	switch {
	case replied(err, amqp.AccessRefused):
		// Whoever made the queue has bound it, or else our hints come back as unroutable.
		if t.slow.first("bind " + q.Name) {
			t.log.Warn("may not bind a broker queue; assuming that it is bound", zap.String("queue", q.Name), zap.Error(err))
		}
	case err != nil:
		return err
	}
	t.add(q.Name)
	return nil
}

// mayExist reports whether a declaration was refused in a way that a thing which exists already
// explains: with other arguments, or managed by someone else.
func (t *topo) mayExist(what, name string, err error) bool {
	switch {
	case replied(err, amqp.PreconditionFailed):
		if t.slow.first("406 " + name) {
			t.log.Warn("the broker has it with other arguments; using it as it is",
				zap.String("what", what), zap.String("name", name), zap.Error(err))
		}
		return true
	case replied(err, amqp.AccessRefused):
		if t.slow.first("403 " + name) {
			t.log.Info("may not declare it; expecting that it exists",
				zap.String("what", what), zap.String("name", name))
		}
		return true
	}
	return false
}

func explainMissing(what, name string, err error) error {
	if replied(err, amqp.NotFound) {
		return fmt.Errorf("%s %s does not exist and this user may not make it: apply the topology, or grant the right to configure %s: %w", what, name, name, err)
	}
	return fmt.Errorf("declare %s %s: %w", what, name, err)
}

// throwAway runs one RPC on a channel of its own, because a refusal closes the channel.
func throwAway(conn *amqp.Connection, rpc func(*amqp.Channel) error) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := rpc(ch); err != nil {
		_ = ch.Close() // closed by the broker already, unless it was the connection that broke
		return err
	}
	return ch.Close()
}

// brake slows down what the broker refuses: the same refusal is returned for at least five
// seconds, then longer, before the broker is asked again.
type brake struct {
	mu   sync.Mutex
	seen map[string]bool
	hold map[string]refusal
}

type refusal struct {
	err   error
	until time.Time
	times int
}

func newBrake() *brake { return &brake{seen: map[string]bool{}, hold: map[string]refusal{}} }

// held is the refusal of what, as long as it is too early to ask again.
func (b *brake) held(what string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r, ok := b.hold[what]; ok && time.Now().Before(r.until) {
		return r.err
	}
	return nil
}

// note remembers the outcome of an attempt and returns it.
func (b *brake) note(what string, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !isConfig(err) {
		delete(b.hold, what)
		return err
	}
	r := b.hold[what]
	b.hold[what] = refusal{err: err, until: time.Now().Add(slowDelay(r.times)), times: r.times + 1}
	return err
}

// first reports whether it has not been asked for what yet: such warnings come once a process.
func (b *brake) first(what string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen[what] {
		return false
	}
	b.seen[what] = true
	return true
}
