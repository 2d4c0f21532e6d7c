package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/broker"
)

// spanSize is how many messages one channel holds. A quorum queue gives a channel without a limit
// 2000 and then waits; no limit can be larger than 65535.
const spanSize = 60_000

// holdTick is how often Hold asks whether anything is left in the queue.
const holdTick = 25 * time.Millisecond

// busyTicks is how often the queue has to be found empty when messages keep coming.
const busyTicks = 10

// first is the priority with which Hold consumes: before those who work, who have none.
const first = 1000

// HeldMessage is a message that nobody else can get while it is held.
type HeldMessage struct {
	Numbers []int64 // nil = it is no hint; a consumer moves it to the poison queue
	settle  heldTag
}

type heldTag struct {
	span int
	tag  uint64
}

// Held are the messages of a band's queue, delivered and not acknowledged. Release, or the death of
// this process, gives them back, each to its place.
type Held struct {
	admin *Admin
	queue string
	spans []span
}

// span is one channel with what it has delivered.
type span struct {
	ch   *amqp.Channel
	from <-chan amqp.Delivery
	n    int
}

// Hold takes every message out of a band's queue and shows it to each, until the queue is empty. Consumers get nothing from this queue until
// Release, and a moment longer from a quorum queue. What they already have does not show; when there are any, Hold goes on for settle, so
// that they claim it, or hand it back and it comes here. The caller ends with Release also after an
// error. A queue that does not exist is empty. Whoever holds the messages of a quorum queue adds one
// to their count of deliveries, which a delivery limit goes by.
func (a *Admin) Hold(ctx context.Context, band broker.Band, settle time.Duration, each func(HeldMessage)) (*Held, error) {
	h := &Held{admin: a, queue: a.names.queue(band)}
	err := h.read(ctx, settle, each)
	if replied(err, amqp.NotFound) {
		return h, nil
	}
	if err != nil {
		return h, classify(fmt.Errorf("read %s: %w", h.queue, err))
	}
	return h, nil
}

func (h *Held) read(ctx context.Context, settle time.Duration, each func(HeldMessage)) error {
	if err := h.open(); err != nil {
		return err
	}
	quiet, empty := 0, 0 // ticks since the last message; at which nothing waited
	var until time.Time  // zero = there may be more than has arrived
	tick := time.NewTicker(holdTick)
	defer tick.Stop()
	for {
		s := &h.spans[len(h.spans)-1]
		select {
		case d, ok := <-s.from:
			if !ok {
				return h.broken()
			}
			s.n++
			quiet = 0
			each(h.message(d))
			if s.n < h.admin.span {
				continue
			}
			if err := h.open(); err != nil {
				return err
			}
		case now := <-tick.C:
			state, err := s.ch.QueueDeclarePassive(h.queue, true, false, false, false, nil)
			if err != nil {
				return err
			}
			if quiet++; state.Messages == 0 {
				empty++
			}
			// Twice, because a quorum queue may count a message as delivered before it is here. Where
			// much is published there is no quiet moment.
			if until.IsZero() && empty >= 2 && (quiet >= 2 || empty >= busyTicks) {
				until = now
				if state.Consumers > len(h.spans) {
					until = now.Add(settle)
				}
			}
			if !until.IsZero() && !now.Before(until) {
				return h.end(each)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// open begins to consume on another channel. Of those that are open only the last gets messages:
// the others have as many as they may.
func (h *Held) open() error {
	ch, err := h.admin.conn.Channel()
	if err != nil {
		return err
	}
	h.spans = append(h.spans, span{ch: ch})
	s := &h.spans[len(h.spans)-1]
	if _, err := ch.QueueDeclarePassive(h.queue, true, false, false, false, nil); err != nil {
		return err
	}
	if err := ch.Qos(h.admin.span, 0, false); err != nil {
		return err
	}
	s.from, err = ch.Consume(h.queue, h.tag(len(h.spans)), false, false, false, false, amqp.Table{"x-priority": int32(first)})
	return err
}

func (h *Held) tag(span int) string { return tag(fmt.Sprintf("hold-%d-%s", span, h.queue)) }

// end stops the flow and shows what had arrived by then.
func (h *Held) end(each func(HeldMessage)) error {
	s := &h.spans[len(h.spans)-1]
	if err := s.ch.Cancel(h.tag(len(h.spans)), false); err != nil {
		return err
	}
	for d := range s.from {
		each(h.message(d))
	}
	return nil
}

func (h *Held) message(d amqp.Delivery) HeldMessage {
	numbers, err := broker.ParseBody(d.Body)
	if err != nil {
		numbers = nil
	}
	return HeldMessage{Numbers: numbers, settle: heldTag{span: len(h.spans) - 1, tag: d.DeliveryTag}}
}

// broken is the error of deliveries that have ended by themselves.
func (h *Held) broken() error {
	if h.admin.conn.IsClosed() {
		return errors.New("the connection to the broker broke")
	}
	return errors.New("the broker cancelled the subscription: was the queue deleted?")
}

// Drop removes one message from the queue. It is certain only when Release has succeeded.
func (h *Held) Drop(m HeldMessage) error {
	if err := h.spans[m.settle.span].ch.Ack(m.settle.tag, false); err != nil {
		return classify(fmt.Errorf("remove a message of %s: %w", h.queue, err))
	}
	return nil
}

// Release gives everything back that was not dropped. An error means that the connection broke,
// which gives it back too, and perhaps also what was dropped.
func (h *Held) Release() error {
	var errs []error
	for _, s := range h.spans {
		if err := s.ch.Close(); err != nil && !errors.Is(err, amqp.ErrClosed) {
			errs = append(errs, err)
		}
	}
	h.spans = nil
	if err := errors.Join(errs...); err != nil {
		return classify(fmt.Errorf("give back the messages of %s: %w", h.queue, err))
	}
	return nil
}
