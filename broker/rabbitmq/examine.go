package rabbitmq

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Rights are what a user may do, found out by trying. nil = not tried, and why is in the Note.
type Rights struct {
	Configure, Write, Read *bool
	Note                   string
}

// Supported reports whether a broker's version is one that Warren works with: 3.8 or newer. What
// is no version is not judged.
func Supported(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err := strconv.Atoi(major)
	if err != nil {
		return true
	}
	b, err := strconv.Atoi(minor)
	return err != nil || a > 3 || a == 3 && b >= 8
}

// Rights tries what the programs do, on a throw-away name where something would be left or changed:
// declare a queue, publish to the exchange with a key that no queue has, and subscribe to a queue
// in which nothing waits.
func (a *Admin) Rights(ctx context.Context, prefix string, found []Item) (Rights, error) {
	var r Rights
	name := prefix + ".doctor." + strings.ToLower(rand.Text()[:10])
	var err error
	r.Configure, err = a.may(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, false, true, true, false, nil)
		return err
	})
	if err != nil {
		return r, err
	}
	exchange, idle := false, ""
	for _, i := range found {
		exchange = exchange || i.What == "exchange" && i.Name == prefix+".jobs" && i.Result == Existed
		if i.What == "queue" && i.Name != prefix+".poison" && i.Result == Existed && i.Messages == 0 {
			idle = i.Name
		}
	}
	if exchange {
		r.Write, err = a.may(func(ch *amqp.Channel) error { return publishOnce(ctx, ch, prefix+".jobs", name) })
	}
	if err == nil && idle != "" {
		r.Read, err = a.may(func(ch *amqp.Channel) error {
			_, err := ch.Consume(idle, name, false, false, false, false, nil)
			return err // the channel's end gives back what has come in the meantime
		})
	}
	if !exchange || idle == "" {
		r.Note = "not everything could be tried, because queues are missing or in use"
	}
	return r, err
}

// publishOnce publishes a message that no queue takes, and waits until the broker has accepted or
// refused it.
func publishOnce(ctx context.Context, ch *amqp.Channel, exchange, key string) error {
	refused := ch.NotifyClose(make(chan *amqp.Error, 1))
	if err := ch.Confirm(false); err != nil {
		return err
	}
	confirm, err := ch.PublishWithDeferredConfirm(exchange, key, false, false, amqp.Publishing{Type: "warren.doctor"})
	if err != nil {
		return err
	}
	select {
	case <-confirm.Done():
		if confirm.Acked() {
			return nil
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	// A channel that the broker closes ends its confirms too.
	select {
	case e, ok := <-refused:
		if ok {
			return e
		}
		return amqp.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// may runs one attempt and reports whether the broker allowed it.
func (a *Admin) may(try func(*amqp.Channel) error) (*bool, error) {
	err := throwAway(a.conn, try)
	var reply *amqp.Error
	switch {
	case err == nil:
		return new(true), nil
	case errors.As(err, &reply) && reply.Code == amqp.AccessRefused:
		return new(false), nil
	}
	return nil, classify(err)
}
