package rabbitmq

import (
	"errors"
	"fmt"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/broker"
)

// flow is one band's channel on one session: the way its hints come in and are settled. When its
// channel closes it is dead, for whatever reason, and the subscription makes a new one.
//
// The subscription's goroutine does its RPCs. Settling is safe from any goroutine.
type flow struct {
	owner *subscription
	band  broker.Band
	queue string
	ch    *amqp.Channel

	closed chan struct{} // the channel is closed and its notifications are drained
	err    error         // why; read it after closed

	pumped chan struct{} // closed when the current consumer is gone and all it sent is in; nil = none

	// mu orders settlements on the wire. It is never taken with the subscription's lock held.
	mu      sync.Mutex
	tags    tags
	arrived uint64 // deliveries so far
}

// receipt is broker.Delivery.Settle: the flow it came by and its number there. It can only be
// settled by that flow, so that it cannot settle another delivery with the same number.
type receipt struct {
	flow *flow
	tag  uint64
}

// openFlow opens the channel of a band.
func openFlow(owner *subscription, sess *session, band broker.Band, queue string, prefetch int) (*flow, error) {
	ch, err := sess.conn.Channel()
	if err != nil {
		return nil, err
	}
	f := &flow{owner: owner, band: band, queue: queue, ch: ch, closed: make(chan struct{})}
	// The cancel notice itself says nothing that the end of the deliveries does not say, but it
	// has to be drained, or the library stops reading.
	closes := ch.NotifyClose(make(chan *amqp.Error, 1))
	cancels := ch.NotifyCancel(make(chan string, 1))
	sess.extra.Go(func() { f.drain(closes, cancels) })
	// Per consumer: quorum queues refuse a limit for the whole channel, and close the connection.
	if err := ch.Qos(prefetch, 0, false); err != nil {
		_ = ch.Close()
		return nil, err
	}
	return f, nil
}

func (f *flow) drain(closes <-chan *amqp.Error, cancels <-chan string) {
	defer close(f.closed)
	f.err = amqp.ErrClosed
	for closes != nil || cancels != nil {
		select {
		case e, ok := <-closes:
			if !ok {
				closes = nil
			} else {
				f.err = e
			}
		case _, ok := <-cancels:
			if !ok {
				cancels = nil
			}
		}
	}
}

// consume starts a consumer whose deliveries go to take, one after the other, until its stream
// ends; then gone is called. A stream ends by cancel, with the queue, with the channel or with
// the connection: it is never a sign that there is no work left.
func (f *flow) consume(sess *session, take func(*flow, amqp.Delivery), gone func()) error {
	in, err := f.ch.Consume(f.queue, tag(f.queue), false, false, false, false, nil)
	if err != nil {
		return err
	}
	pumped := make(chan struct{})
	f.pumped = pumped
	sess.extra.Go(func() {
		defer gone()
		defer close(pumped)
		for d := range in {
			f.mu.Lock()
			ok := f.tags.add(d.DeliveryTag)
			f.arrived++
			f.mu.Unlock()
			if !ok {
				sess.end(fmt.Errorf("delivery %d of %s came out of order", d.DeliveryTag, f.queue))
				continue
			}
			take(f, d)
		}
	})
	return nil
}

// consuming reports whether there is a consumer that has not ended.
func (f *flow) consuming() bool {
	if f.pumped == nil {
		return false
	}
	select {
	case <-f.pumped:
		return false
	default:
		return true
	}
}

// cancelled reports whether the broker has ended the consumer.
func (f *flow) cancelled() bool { return f.pumped != nil && !f.consuming() }

// cancel ends the consumer. When it returns nil everything the broker has sent is in.
func (f *flow) cancel() error {
	if !f.consuming() {
		return nil
	}
	if err := f.ch.Cancel(tag(f.queue), false); err != nil {
		return err
	}
	<-f.pumped // the library ends the stream after the last delivery
	f.pumped = nil
	return nil
}

// dead reports whether the channel is closed.
func (f *flow) dead() bool { return f.ch.IsClosed() }

// why is the reason of the end of a dead flow.
func (f *flow) why() error {
	<-f.closed
	return fmt.Errorf("the channel of %s was closed: %w", f.queue, f.err)
}

// ack settles tags. A dead flow answers broker.ErrStale.
func (f *flow) ack(list []uint64) error {
	return f.settle(list, func(fr frame) error { return f.ch.Ack(fr.tag, fr.multiple) })
}

// giveBack returns tags to the queue.
func (f *flow) giveBack(list []uint64) error {
	return f.settle(list, func(fr frame) error { return f.ch.Nack(fr.tag, fr.multiple, true) })
}

// settle sends the frames in the order in which they were made, which only the lock guarantees.
func (f *flow) settle(list []uint64, send func(frame) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fr := range f.tags.settle(list) {
		if err := send(fr); err != nil {
			// Written or not, the session ends with it and the broker delivers these again.
			return fmt.Errorf("%w: %w", broker.ErrStale, err)
		}
	}
	if f.dead() {
		return fmt.Errorf("%w: the channel of %s is closed", broker.ErrStale, f.queue)
	}
	return nil
}

// holds reports whether a delivery still waits to be settled.
func (f *flow) holds(tag uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.dead() && f.tags.holds(tag)
}

// count returns how many deliveries have arrived, and how many of them are not settled.
func (f *flow) count() (arrived uint64, open int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.arrived, len(f.tags.open)
}

var errForeign = errors.New("the delivery is not from this subscription")
