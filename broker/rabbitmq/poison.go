package rabbitmq

import (
	"context"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
)

const (
	// poisonTries is how often a copy is attempted before the log has to do.
	poisonTries = 3
	// poisonLogged is how much of a body is logged.
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

	mu    sync.Mutex
	list  []bad
	told  time.Time // when the last copy was logged
	quiet int       // copies since then that were not
	wake  chan struct{}

	hopeless bool // nothing could be copied lately: one try each until one succeeds; only run uses it
}

func (p *poison) add(b bad) {
	p.count.poison.Add(1)
	b.body = b.body[:min(len(b.body), broker.MaxBody)]
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
		if ctx.Err() != nil { // what is not acked by then comes again after the restart
			return false
		}
		var retry []bad
		dropped := 0
		for i, b := range batch {
			b.tries++
			switch {
			case errs[i] == nil:
				p.tell(b)
				p.hopeless = false
			case !p.hopeless && b.tries < poisonTries && b.at.flow.holds(b.at.tag):
				retry = append(retry, b)
				continue
			default:
				if dropped++; dropped == 1 {
					p.tellDropped(b, errs[i])
				}
			}
			// When this fails the session is over and the message comes again.
			_ = b.at.flow.ack([]uint64{b.at.tag})
		}
		p.hopeless = p.hopeless || dropped > 0
		if dropped > 1 {
			p.log.Error("more messages that are no hints were dropped", zap.Int("count", dropped-1))
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

// tellDropped logs one that could not be copied, so that it is not gone without a trace. Keeping
// it would let rubbish fill the prefetch and stop the band.
func (p *poison) tellDropped(b bad, err error) {
	p.log.Error("a message that is no hint could not be copied to the poison queue and is dropped",
		zap.String("queue", b.at.flow.queue), zap.NamedError("reason", b.reason), zap.Int("bytes", len(b.body)),
		zap.String("body", strconv.Quote(string(b.body[:min(len(b.body), poisonLogged)]))), zap.Error(err))
}

// tell logs a copy, at most one a second: a flood of rubbish is no flood of lines.
func (p *poison) tell(b bad) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.told) < time.Second {
		p.quiet++
		return
	}
	p.log.Warn("a message that is no hint was moved to the poison queue",
		zap.String("queue", b.at.flow.queue), zap.NamedError("reason", b.reason),
		zap.String("poison", p.queue.Name), zap.Int("and_before_that", p.quiet))
	p.told, p.quiet = time.Now(), 0
}
