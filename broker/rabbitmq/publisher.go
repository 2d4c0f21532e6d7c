package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/broker"
)

// window is the most hints that are sent before their confirms are waited for.
const window = 1000

// errUnroutable is a hint that the broker confirmed and returned: no queue took it.
var errUnroutable = errors.New("no queue is bound for it")

// lateError is the cause of a context that has ended before the confirms came.
type lateError time.Duration

func (e lateError) Error() string { return "no confirm within " + time.Duration(e).String() }

// Is makes it a deadline that has passed, as without a cause of its own.
func (lateError) Is(target error) bool { return target == context.DeadlineExceeded }

// errNack is a hint that the broker did not take: a quorum queue between two leaders, or one that
// a policy keeps short.
var errNack = fmt.Errorf("the broker did not accept it (nack): %w", broker.ErrRejected)

// nackPause is how long before a hint is sent again that was not accepted.
const nackPause = 100 * time.Millisecond

// errChannel is a hint whose confirm was lost with its channel.
var errChannel = errors.New("the channel was closed before the confirm")

// publisher sends hints over the session of its link. All callers share one channel: the broker
// then confirms many messages with one frame, which costs it, and us, less than a channel each
// (133 against 187 µs of broker CPU a message with 16 callers, 49 against 53 in batches of 20).
type publisher struct {
	link    *link
	names   naming
	timeout time.Duration
	count   *counters
	slow    *brake

	mu sync.Mutex
	ch *pubChannel // of some session, perhaps a past one
}

// message is one thing to publish.
type message struct {
	queue Queue
	body  []byte
	kind  string
	head  amqp.Table
}

// send publishes messages and waits for their confirms. errs[i] is nil when message i is in its
// queue. A message that no queue took is sent once more after its queue has been declared; so is
// everything when the exchange was missing.
func (p *publisher) send(ctx context.Context, ms []message) (errs []error) {
	errs = make([]error, len(ms))
	for from := 0; from < len(ms); from += window {
		to := min(from+window, len(ms))
		if p.sendWindow(ctx, ms[from:to], errs[from:to]) {
			continue
		}
		for i := to; i < len(ms); i++ { // the next window would wait as long for as little
			errs[i] = errs[from]
		}
		break
	}
	return errs
}

// sendWindow sends messages, all before the first confirm is waited for, and sets their errors.
// It returns false when all its time went by and nothing was confirmed: then nobody is listening.
func (p *publisher) sendWindow(ctx context.Context, ms []message, errs []error) (heard bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, lateError(p.timeout))
	defer cancel()
	todo := make([]int, len(ms))
	for i := range todo {
		todo[i] = i
	}
	for try := 0; try < 2 && len(todo) > 0; try++ {
		p.attempt(ctx, ms, errs, todo)
		again := todo[:0]
		for _, i := range todo {
			if worthAgain(errs[i]) {
				again = append(again, i)
			}
		}
		todo = again
		if try == 0 && len(todo) > 0 && pause(ctx, before(errs, todo)) != nil {
			break
		}
	}
	for i, err := range errs {
		if errors.Is(err, errUnroutable) { // although its queue was declared and bound just now
			err = p.slow.note(ms[i].queue.Name, fmt.Errorf("%w: %w", broker.ErrConfig, err))
		}
		if err != nil {
			errs[i] = fmt.Errorf("publish to %s: %w", ms[i].queue.Name, classify(err))
			p.count.unconfirmed.Add(1)
		} else {
			p.count.confirmed.Add(1)
			heard = true
		}
	}
	return heard || ctx.Err() == nil
}

// before is the pause before the messages todo are sent again.
func before(errs []error, todo []int) (d time.Duration) {
	for _, i := range todo {
		switch {
		case errors.Is(errs[i], errUnroutable):
			return vanishedPause
		case errors.Is(errs[i], errNack):
			d = nackPause
		}
	}
	return d
}

// worthAgain reports whether declaring what is missing, or a moment, and sending again can help.
func worthAgain(err error) bool {
	return errors.Is(err, errUnroutable) || errors.Is(err, errNack) || errors.Is(err, errChannel) && replied(err, amqp.NotFound)
}

// attempt sends the messages with the indexes todo once and sets their errors.
func (p *publisher) attempt(ctx context.Context, ms []message, errs []error, todo []int) {
	fail := func(err error) {
		for _, i := range todo {
			errs[i] = err
		}
	}
	sess, err := p.link.await(ctx)
	if err != nil {
		fail(err)
		return
	}
	send := make([]int, 0, len(todo))
	for _, i := range todo {
		if errs[i] = sess.topo.ensure(ctx, sess, ms[i].queue); errs[i] == nil {
			send = append(send, i)
		}
	}
	todo = send
	if len(todo) == 0 {
		return
	}
	ch, err := p.channel(ctx, sess)
	if err != nil {
		fail(err)
		return
	}
	ch.publish(ctx, p.names.jobs(), ms, errs, todo)
	var broken error
	for _, i := range todo {
		switch {
		case errors.Is(errs[i], errUnroutable):
			p.count.returned.Add(1)
			sess.topo.forget(ms[i].queue.Name)
		case errors.Is(errs[i], errChannel):
			broken = errs[i]
		}
	}
	if replied(broken, amqp.NotFound) {
		sess.topo.forgetAll() // the exchange is gone, and who knows what else
	} else {
		_ = p.slow.note("publish", classify(broken))
	}
}

// channel returns the publishing channel of sess, and opens a new one when the last one was
// closed by a refusal.
func (p *publisher) channel(ctx context.Context, sess *session) (*pubChannel, error) {
	if ch := p.current(sess); ch != nil {
		return ch, nil
	}
	if err := p.slow.held("publish"); err != nil {
		return nil, err
	}
	var ch *pubChannel
	err := sess.call(ctx, func() (err error) {
		if ch = p.current(sess); ch != nil { // another caller was first
			return nil
		}
		ch, err = p.open(sess)
		return err
	})
	if err != nil {
		return nil, classify(err)
	}
	return ch, nil
}

func (p *publisher) current(sess *session) *pubChannel {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ch != nil && p.ch.sess == sess && !p.ch.ch.IsClosed() {
		return p.ch
	}
	return nil
}

// open opens a publishing channel. Only the goroutine that does the RPCs of sess calls it.
func (p *publisher) open(sess *session) (*pubChannel, error) {
	ch, err := openPubChannel(sess)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ch = ch
	return ch, nil
}

// pubChannel is a channel in confirm mode with the goroutine that drains its notifications.
type pubChannel struct {
	sess *session
	ch   *amqp.Channel
	sync chan chan struct{} // asks the drainer to catch up
	done chan struct{}      // the channel is closed and drained; err is set
	err  error

	mu      sync.Mutex
	nextID  int64
	flights []*flight
}

// flight is one batch under way. Its messages have the ids first … first+len(returned)-1.
type flight struct {
	first    int64
	returned []bool
}

func openPubChannel(sess *session) (*pubChannel, error) {
	ch, err := sess.conn.Channel()
	if err != nil {
		return nil, err
	}
	p := &pubChannel{sess: sess, ch: ch, sync: make(chan chan struct{}), done: make(chan struct{}), nextID: 1}
	returns := ch.NotifyReturn(make(chan amqp.Return, window))
	closes := ch.NotifyClose(make(chan *amqp.Error, 1))
	sess.extra.Go(func() { p.drain(returns, closes) })
	if err := ch.Confirm(false); err != nil {
		_ = ch.Close()
		return nil, err
	}
	return p, nil
}

// drain reads returns and closes to their ends.
func (p *pubChannel) drain(returns <-chan amqp.Return, closes <-chan *amqp.Error) {
	defer close(p.done)
	p.err = amqp.ErrClosed
	for returns != nil || closes != nil {
		select {
		case r, ok := <-returns:
			if !ok {
				returns = nil
				continue
			}
			p.markReturned(r.MessageId)
		case e, ok := <-closes:
			if !ok {
				closes = nil
				continue
			}
			p.err = e
		case reply := <-p.sync:
			for more := true; more; {
				select {
				case r, ok := <-returns:
					if more = ok; ok {
						p.markReturned(r.MessageId)
					}
				default:
					more = false
				}
			}
			close(reply)
		}
	}
}

func (p *pubChannel) markReturned(messageID string) {
	id, err := strconv.ParseInt(messageID, 10, 64)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.flights {
		if id >= f.first && id-f.first < int64(len(f.returned)) {
			f.returned[id-f.first] = true
		}
	}
}

func (p *pubChannel) takeOff(n int) *flight {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := &flight{first: p.nextID, returned: make([]bool, n)}
	p.nextID += int64(n)
	p.flights = append(p.flights, f)
	return f
}

func (p *pubChannel) land(f *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.flights {
		if p.flights[i] == f {
			p.flights = append(p.flights[:i], p.flights[i+1:]...)
			return
		}
	}
}

// publish sends the messages with the indexes todo, all of them before it waits for the first
// confirm, and sets their errors.
func (p *pubChannel) publish(ctx context.Context, exchange string, ms []message, errs []error, todo []int) {
	f := p.takeOff(len(todo))
	defer p.land(f)
	now := time.Now()
	confirms := make([]*amqp.DeferredConfirmation, len(todo))
	for k, i := range todo {
		// Mandatory, or else a hint without a queue is confirmed and nothing more.
		confirms[k], errs[i] = p.ch.PublishWithDeferredConfirm(exchange, ms[i].queue.Name, true, false, amqp.Publishing{
			ContentType: "text/plain", DeliveryMode: amqp.Persistent, Type: ms[i].kind, AppId: "warren",
			MessageId: strconv.FormatInt(f.first+int64(k), 10), Timestamp: now, Headers: ms[i].head,
			Body: ms[i].body,
		})
	}
	for k, i := range todo {
		if errs[i] == nil {
			errs[i] = p.wait(ctx, confirms[k])
		} else if p.ch.IsClosed() {
			errs[i] = p.closed(ctx)
		}
	}
	p.settleReturns(f, errs, todo)
}

// wait waits for one confirm.
func (p *pubChannel) wait(ctx context.Context, c *amqp.DeferredConfirmation) error {
	acked, err := c.WaitContext(ctx)
	switch {
	case err != nil:
		p.sess.doubt()
		return p.sess.late(ctx)
	case acked:
		return nil
	case p.ch.IsClosed():
		return p.closed(ctx)
	default:
		return errNack
	}
}

// closed is the error of whatever was under way when the channel closed.
func (p *pubChannel) closed(ctx context.Context) error {
	select {
	case <-p.done: // soon: the library closes what the drainer reads while it closes the channel
		return fmt.Errorf("%w: %w", errChannel, p.err)
	case <-p.sess.done:
		return p.sess.gone()
	case <-ctx.Done():
		return p.sess.late(ctx)
	}
}

// settleReturns finds the messages that were confirmed although no queue took them. The broker
// returns a message before it confirms it, so once all confirms are here, all returns are at
// least in the drainer's buffer.
func (p *pubChannel) settleReturns(f *flight, errs []error, todo []int) {
	caughtUp := make(chan struct{})
	select {
	case p.sync <- caughtUp:
		<-caughtUp
	case <-p.done:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, i := range todo {
		if f.returned[k] && errs[i] == nil {
			errs[i] = errUnroutable
		}
	}
}

var _ broker.Publisher = (*Broker)(nil)
