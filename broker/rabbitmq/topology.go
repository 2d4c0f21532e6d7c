package rabbitmq

import (
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/warrenq/warren/broker"
)

const (
	poisonLength = 1000
	poisonTTL    = 14 * 24 * time.Hour
	// maxQueueName leaves room for prefix and priority in the 255 bytes of an AMQP name.
	maxQueueName = 160
	maxPriority  = 999
)

// Exchange is an exchange that has to exist. All are durable.
type Exchange struct {
	Name string
	Kind string // direct or fanout
	Args map[string]any
}

// Queue is a durable queue that has to exist, bound to Exchange by its own name.
type Queue struct {
	Name     string
	Exchange string
	Args     map[string]any
}

// Layout is everything that has to exist in a vhost for some bands, in the order in which it can
// be made. It is what a program without the right to configure expects to find.
type Layout struct {
	Exchanges []Exchange
	Queues    []Queue
}

// Topology describes what bands need under prefix. queueType is Classic or Quorum.
//
// Nothing is bound to <prefix>.unroutable on purpose: a hint that no queue takes must come back
// to its sender, and a queue there would make the broker count it as routed. Whoever binds one to
// look at such hints switches that off; the sweep for lost hints remains.
func Topology(prefix, queueType string, bands []broker.Band) Layout {
	names := naming{prefix: prefix, queueType: queueType}
	l := Layout{Exchanges: names.exchanges(), Queues: []Queue{names.poisonQueue()}}
	for _, b := range bands {
		l.Queues = append(l.Queues, names.bandQueue(b))
	}
	return l
}

// naming makes names and arguments of everything under one prefix.
type naming struct {
	prefix    string
	queueType string
}

// queueBook makes the queue of each band once: names and arguments cost more than the rest of a
// small hint.
type queueBook struct {
	names naming

	mu   sync.RWMutex
	made map[broker.Band]Queue
}

func (b *queueBook) queue(band broker.Band) Queue {
	b.mu.RLock()
	q, ok := b.made[band]
	b.mu.RUnlock()
	if ok {
		return q
	}
	q = b.names.bandQueue(band)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.made) >= maxBook { // bands come from the program; it may make them up for ever
		clear(b.made)
	}
	b.made[band] = q
	return q
}

// maxBook is how many queues a queueBook remembers.
const maxBook = 10_000

func (n naming) jobs() string       { return n.prefix + ".jobs" }
func (n naming) unroutable() string { return n.prefix + ".unroutable" }
func (n naming) poison() string     { return n.prefix + ".poison" }

// queue is a band's queue, and the key its hints are routed by. Three digits make the management
// UI sort them by priority.
func (n naming) queue(b broker.Band) string {
	return fmt.Sprintf("%s.%s.p%03d", n.prefix, b.Queue, b.Priority)
}

func (n naming) exchanges() []Exchange {
	return []Exchange{
		{Name: n.unroutable(), Kind: "fanout"},
		{Name: n.jobs(), Kind: "direct", Args: map[string]any{"alternate-exchange": n.unroutable()}},
	}
}

// bandQueue has the type as its only argument: arguments cannot be changed later, policies can.
func (n naming) bandQueue(b broker.Band) Queue {
	return Queue{
		Name: n.queue(b), Exchange: n.jobs(),
		Args: map[string]any{"x-queue-type": n.queueType},
	}
}

// poisonQueue is bounded, so that no flood of rubbish fills the broker. It is classic on any
// cluster: losing it loses nothing.
func (n naming) poisonQueue() Queue {
	return Queue{
		Name: n.poison(), Exchange: n.jobs(),
		Args: map[string]any{
			"x-queue-type": Classic, "x-max-length": int64(poisonLength),
			"x-message-ttl": poisonTTL.Milliseconds(),
		},
	}
}

var queuePattern = regexp.MustCompile(`^[^\x00-\x1f\x7f*#]+$`)

// checkBand refuses bands that cannot be the name of a broker queue.
func checkBand(b broker.Band) error {
	switch {
	case b.Queue == "" || len(b.Queue) > maxQueueName || !queuePattern.MatchString(b.Queue):
		return fmt.Errorf("queue name %.80q: use 1 to %d bytes without control characters, * and #", b.Queue, maxQueueName)
	case b.Priority < 0 || b.Priority > maxPriority:
		return fmt.Errorf("priority %d of queue %q: use 0 to %d", b.Priority, b.Queue, maxPriority)
	}
	return nil
}
