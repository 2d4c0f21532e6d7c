package rabbitmq

import (
	"context"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"
)

const (
	// poisonTries is how often a copy is attempted before the log has to do.
	poisonTries = 3
	// poisonKept is how much of a body is copied, and poisonLogged how much is logged.
	poisonKept   = 20_000
	poisonLogged = 256
	// poisonBatch is how many are copied at a time.
	poisonBatch = 200
)

// bad is a message that is no hint.
type bad struct {
	at     receipt
	body   []byte
	reason error
	tries  int
}

// poison moves messages that are no hints out of the way: a copy to the poison queue, then one
// acknowledgement. They are never given back to their queue, where the next consumer would find
// them. It runs beside the sessions, because copies go out on the publish connection: an alarm
// blocks that one, and consuming goes on.
type poison struct {
	pub   *publisher
	log   *zap.Logger
	count *counters
	queue Queue

	mu   sync.Mutex
	list []bad
	wake chan struct{}
}

func (p *poison) add(b bad) {
	p.count.poison.Add(1)
	if len(b.body) > poisonKept { // a body can be as large as the broker allows
		b.body = append([]byte(nil), b.body[:poisonKept]...)
	}
	p.mu.Lock()
	p.list = append(p.list, b)
	p.mu.Unlock()
	poke(p.wake)
}

// run copies until ctx ends.
func (p *poison) run(ctx context.Context) {
	for {
		select {
		case <-p.wake:
		case <-ctx.Done():
			return
		}
		for delay := time.Second; p.once(ctx) && ctx.Err() == nil; delay = min(2*delay, backoffMost) {
			if pause(ctx, between(delay/2, delay)) != nil {
				return
			}
		}
	}
}

// once tries to copy everything that waits, and reports whether something has to be tried again.
func (p *poison) once(ctx context.Context) (again bool) {
	for {
		batch := p.next()
		if len(batch) == 0 {
			return false
		}
		ms := make([]message, len(batch))
		for i, b := range batch {
			ms[i] = message{
				queue: p.queue, body: b.body, kind: "warren.poison",
				head: amqp.Table{"x-warren-queue": b.at.flow.queue, "x-warren-reason": b.reason.Error()},
			}
		}
		errs := p.pub.send(ctx, ms)
		var retry []bad
		for i, b := range batch {
			b.tries++
			if errs[i] != nil && b.tries < poisonTries && b.at.flow.holds(b.at.tag) {
				retry = append(retry, b)
				continue
			}
			p.done(b, errs[i])
		}
		if len(retry) > 0 {
			p.mu.Lock()
			p.list = append(retry, p.list...)
			p.mu.Unlock()
			return true
		}
	}
}

// next takes a batch of those that are still ours to settle. The others come again.
func (p *poison) next() []bad {
	p.mu.Lock()
	defer p.mu.Unlock()
	var batch []bad
	for len(p.list) > 0 && len(batch) < poisonBatch {
		b := p.list[0]
		p.list[0] = bad{}
		p.list = p.list[1:]
		if b.at.flow.holds(b.at.tag) {
			batch = append(batch, b)
		}
	}
	return batch
}

// done settles one. What could not be copied is in the log instead, so that it is not gone
// without a trace; keeping it would let rubbish fill the prefetch and stop the band.
func (p *poison) done(b bad, err error) {
	if err != nil {
		p.log.Error("a message that is no hint could not be copied to the poison queue and is dropped",
			zap.String("queue", b.at.flow.queue), zap.NamedError("reason", b.reason),
			zap.ByteString("body", b.body[:min(len(b.body), poisonLogged)]), zap.Error(err))
	} else {
		p.log.Warn("a message that is no hint was moved to the poison queue",
			zap.String("queue", b.at.flow.queue), zap.NamedError("reason", b.reason), zap.String("poison", p.queue.Name))
	}
	// When this fails the session is over and the message comes again.
	_ = b.at.flow.ack([]uint64{b.at.tag})
}
