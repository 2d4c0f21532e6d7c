package rabbitmq

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/broker"
)

// What Apply and Inspect say of a thing.
const (
	Made    = "made"    // it was missing
	Existed = "exists"  // as it should be
	Differs = "differs" // it exists with other arguments, and is used as it is
	Bound   = "bound"   // now; AMQP does not tell whether it was before
	Missing = "missing" // it does not exist
	Refused = "refused" // this user may not make or see it
)

// Item is one exchange, queue or binding of a layout, and what was found or done.
type Item struct {
	What   string `json:"what"` // exchange, queue or binding
	Name   string `json:"name"`
	Result string `json:"result"`
	Detail string `json:"detail,omitempty"` // the broker's words, or the type of a queue
	// Messages and Consumers are about queues that exist.
	Messages  int `json:"messages,omitempty"`
	Consumers int `json:"consumers,omitempty"`
}

// Layout is what has to exist for bands under this configuration.
func (c Config) Layout(bands []broker.Band) (Layout, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return Layout{}, err
	}
	for _, b := range bands {
		if err := checkBand(b); err != nil {
			return Layout{}, err
		}
	}
	nodes := 1
	if c.URL != "" {
		list, err := parseEndpoints(c)
		if err != nil {
			return Layout{}, err
		}
		nodes = len(list)
	}
	return Topology(c.Prefix, c.queueType(nodes), bands), nil
}

// Vhost is the virtual host that a broker URL leads to.
func Vhost(urls string) (string, error) {
	list, err := parseEndpoints(Config{URL: urls})
	if err != nil {
		return "", err
	}
	return list[0].vhost, nil
}

// Admin is a connection for one look or one change by a person. It is not kept up.
type Admin struct {
	conn  *amqp.Connection
	wire  *wire
	names naming
	span  int // most messages that one channel holds
}

// OpenAdmin connects to the first node that answers. The caller ends with Close.
func OpenAdmin(ctx context.Context, cfg Config) (*Admin, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	nodes, err := parseEndpoints(cfg)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, e := range nodes {
		conn, w, err := dial(ctx, e, cfg.Name, true, cfg.DialTimeout)
		if err == nil {
			return &Admin{conn: conn, wire: w, names: naming{prefix: cfg.Prefix, queueType: cfg.queueType(len(nodes))}, span: spanSize}, nil
		}
		errs = append(errs, classify(fmt.Errorf("%s: %w", e, err)))
	}
	return nil, errors.Join(errs...)
}

// Close ends the connection.
func (a *Admin) Close() {
	_ = a.conn.Close() // a connection that broke before is closed too
	_ = a.wire.Close()
}

// Version is what the broker says it is.
func (a *Admin) Version() string {
	v, _ := a.conn.Properties["version"].(string)
	return v
}

// Apply makes what is missing of a layout and says what it did, in the order of the layout. What
// exists is not changed: a queue's arguments cannot be. The error is about the connection; what
// the broker refuses is an Item.
func (a *Admin) Apply(l Layout) ([]Item, error) {
	var items []Item
	for _, e := range l.Exchanges {
		item, err := a.exchange(e)
		if err != nil {
			return items, err
		}
		items = append(items, item)
	}
	for _, q := range l.Queues {
		some, err := a.queue(q)
		if err != nil {
			return items, err
		}
		items = append(items, some...)
	}
	return items, nil
}

// Inspect finds out what of a layout exists, and changes nothing.
func (a *Admin) Inspect(l Layout) ([]Item, error) {
	var items []Item
	for _, e := range l.Exchanges {
		item, err := a.find("exchange", e.Name, func(ch *amqp.Channel, _ *Item) error {
			return ch.ExchangeDeclarePassive(e.Name, e.Kind, true, false, false, false, nil)
		})
		if err != nil {
			return items, err
		}
		items = append(items, item)
	}
	for _, q := range l.Queues {
		item, err := a.findQueue(q)
		if err != nil {
			return items, err
		}
		items = append(items, item)
	}
	return items, nil
}

func (a *Admin) findQueue(q Queue) (Item, error) {
	return a.find("queue", q.Name, func(ch *amqp.Channel, item *Item) error {
		found, err := ch.QueueDeclarePassive(q.Name, true, false, false, false, nil)
		item.Messages, item.Consumers = found.Messages, found.Consumers
		return err
	})
}

// find asks for one thing on a channel of its own.
func (a *Admin) find(what, name string, ask func(*amqp.Channel, *Item) error) (Item, error) {
	item := Item{What: what, Name: name, Result: Existed}
	err := throwAway(a.conn, func(ch *amqp.Channel) error { return ask(ch, &item) })
	return item.judged(err, Missing)
}

// judged turns the broker's refusals into results. Missing is what a 404 means.
func (i Item) judged(err error, missing string) (Item, error) {
	var reply *amqp.Error
	switch {
	case err == nil:
		return i, nil
	case !errors.As(err, &reply) || !reply.Server:
		return i, classify(fmt.Errorf("%s %s: %w", i.What, i.Name, err))
	case reply.Code == amqp.NotFound:
		i.Result = missing
	case reply.Code == amqp.PreconditionFailed:
		i.Result = Differs
	case reply.Code == amqp.AccessRefused, reply.Code == amqp.ResourceLocked:
		i.Result = Refused
	default:
		return i, classify(fmt.Errorf("%s %s: %w", i.What, i.Name, err))
	}
	i.Detail = reply.Reason
	return i, nil
}

func (a *Admin) exchange(e Exchange) (Item, error) {
	found, err := a.find("exchange", e.Name, func(ch *amqp.Channel, _ *Item) error {
		return ch.ExchangeDeclarePassive(e.Name, e.Kind, true, false, false, false, nil)
	})
	if err != nil {
		return found, err
	}
	return a.declare(found, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(e.Name, e.Kind, true, false, false, false, amqp.Table(e.Args))
	})
}

// declare makes what was not found. What was found is declared too, because that shows whether its
// arguments are the right ones.
func (a *Admin) declare(found Item, do func(*amqp.Channel) error) (Item, error) {
	item := found
	if found.Result == Missing {
		item.Result, item.Detail = Made, ""
	}
	item, err := item.judged(throwAway(a.conn, do), Refused)
	if err == nil && item.Result == Refused && found.Result == Existed {
		// Somebody else manages it; there is nothing to complain about.
		item.Result, item.Detail = Existed, "this user may not configure it"
	}
	return item, err
}

func (a *Admin) queue(q Queue) ([]Item, error) {
	found, err := a.findQueue(q)
	if err != nil {
		return nil, err
	}
	item, err := a.declare(found, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(q.Name, true, false, false, false, amqp.Table(q.Args))
		return err
	})
	if err != nil || item.Result == Refused {
		return []Item{item}, err
	}
	if kind, ok := q.Args["x-queue-type"].(string); ok && item.Result == Made {
		item.Detail = kind
	}
	binding := Item{What: "binding", Name: q.Exchange + " -> " + q.Name, Result: Bound}
	binding, err = binding.judged(throwAway(a.conn, func(ch *amqp.Channel) error {
		return ch.QueueBind(q.Name, q.Name, q.Exchange, false, nil)
	}), Refused)
	return []Item{item, binding}, err
}
