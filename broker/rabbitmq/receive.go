package rabbitmq

import (
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/broker"
)

// renewAfter is how long nothing comes from a band before it is consumed anew.
const renewAfter = time.Minute

// renew replaces the flows from which nothing has come for a while.
//
// Such a band is idle, or the broker has forgotten us. When a quorum queue is deleted and made
// again within moments, RabbitMQ 3.10 consumes from the new one in our name and drops what it
// delivers: no cancel, no error, one consumer in every listing, and the hints that it holds are
// in no count. Nothing that AMQP offers tells this from having no work, but a new channel ends it.
func (s *subscription) renew(sess *session, lanes []*lane) {
	for _, l := range lanes {
		if l.flow == nil || !l.flow.consuming() || time.Now().Before(l.renew) {
			continue
		}
		arrived, open := l.flow.count()
		l.renew = time.Now().Add(s.b.renewAfter)
		if arrived != l.heard || open > 0 {
			l.heard = arrived
			continue
		}
		_ = sess.watched(func() error {
			s.retire(l)
			return nil
		})
	}
}

// retire closes a flow, which gives back what was not settled, for a new one to be made.
func (s *subscription) retire(l *lane) {
	s.forget(l.flow)
	_ = l.flow.ch.Close() // when this fails the session is over
	s.forget(l.flow)      // what came in between
	l.flow = nil
}

// receive takes one message from the broker. Nothing but the body counts: headers and properties
// can be written by anyone.
func (s *subscription) receive(f *flow, d amqp.Delivery) {
	at := receipt{flow: f, tag: d.DeliveryTag}
	numbers, err := broker.ParseBody(d.Body)
	if err != nil {
		s.b.poison.add(bad{at: at, body: d.Body, reason: err})
		return
	}
	s.arrived(broker.Delivery{
		Hint: broker.Hint{Band: f.band, Numbers: numbers}, Redelivered: d.Redelivered, Settle: at,
	}, at)
}
