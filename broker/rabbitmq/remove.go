package rabbitmq

import (
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Remove deletes what a layout names, with the hints that wait there. What does not exist is fine. It goes on after
// a refusal, so that as little as possible is left.
func (a *Admin) Remove(l Layout) error {
	var errs []error
	for _, q := range l.Queues {
		errs = append(errs, a.remove("queue", q.Name, func(ch *amqp.Channel) error {
			_, err := ch.QueueDelete(q.Name, false, false, false)
			return err
		}))
	}
	for _, e := range l.Exchanges {
		errs = append(errs, a.remove("exchange", e.Name, func(ch *amqp.Channel) error {
			return ch.ExchangeDelete(e.Name, false, false)
		}))
	}
	return errors.Join(errs...)
}

func (a *Admin) remove(what, name string, do func(*amqp.Channel) error) error {
	err := throwAway(a.conn, do)
	var reply *amqp.Error
	if err == nil || errors.As(err, &reply) && reply.Code == amqp.NotFound {
		return nil
	}
	return classify(fmt.Errorf("remove %s %s: %w", what, name, err))
}
