package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/broker"
)

// session is one connection and everything that lives on it: channels, deliveries, confirms that
// are waited for. It never reconnects. When it ends everything on it has ended, and the next
// session shares nothing with it; that is why an old delivery cannot settle a new one.
type session struct {
	conn *amqp.Connection
	wire *wire
	topo *topo

	done chan struct{} // closed when the session has ended
	once sync.Once
	err  error // why; written before done is closed

	probe *amqp.Channel  // for inspect; only the goroutine that does the RPCs uses it
	calls chan call      // requests to the goroutine that does the RPCs
	extra sync.WaitGroup // goroutines that drain channels; they end with the connection

	patience time.Duration // how long a call may go without an answer

	blockMu sync.Mutex
	blocked string // why the broker has stopped reading from us; "" = it reads
}

// call is one piece of work for the RPC goroutine.
type call struct {
	do   func() error
	done chan error // buffered: the caller may have gone
}

func newSession(conn *amqp.Connection, w *wire, t *topo, patience time.Duration) *session {
	return &session{conn: conn, wire: w, topo: t, done: make(chan struct{}), calls: make(chan call), patience: patience}
}

// end ends the session at once. The socket is closed here, because the library's own way can
// wait for a lock that a stuck write holds.
func (s *session) end(err error) {
	s.once.Do(func() {
		s.err = err
		close(s.done)
		_ = s.wire.Close()
	})
}

// run serves the session until it ends or ctx does, with work as the part that is special to
// publishing or consuming; up is called with true once it can be used and with false as soon as
// it cannot. It returns why it ended, and when it returns every goroutine of the session is gone.
func (s *session) run(ctx context.Context, work func(), up func(bool)) error {
	var wg sync.WaitGroup
	// Registered before anything is used, buffered, and drained to their ends by one goroutine.
	closes := s.conn.NotifyClose(make(chan *amqp.Error, 4))
	blocks := s.conn.NotifyBlocked(make(chan amqp.Blocking, 16))
	wg.Go(func() { s.listen(closes, blocks) })
	wg.Go(s.serveCalls)
	wg.Go(work)
	up(true)
	select {
	case <-s.done:
	case <-ctx.Done():
		// The broker hears goodbye, and gives back at once what was not settled.
		s.once.Do(func() {
			s.err = context.Cause(ctx)
			close(s.done)
		})
	}
	up(false)
	s.close()
	wg.Wait()
	s.extra.Wait() // after wg: what wg waits for can still add to it
	return s.err
}

// goodbye is how long a broker may take to answer when it is told that a session ends. Without an answer it notices
// by the socket.
const goodbye = time.Second

// close says goodbye to the broker, unless it has said itself that it does not listen, and closes the socket in any
// case. A program that has published one job waits for this.
func (s *session) close() {
	if s.blockedBy() == "" {
		_ = s.conn.CloseDeadline(time.Now().Add(goodbye))
	}
	_ = s.wire.Close()
}

// listen drains the connection's notifications until the library has closed both.
func (s *session) listen(closes <-chan *amqp.Error, blocks <-chan amqp.Blocking) {
	for closes != nil || blocks != nil {
		select {
		case e, ok := <-closes:
			if !ok {
				closes = nil
				s.end(errors.New("the connection was closed"))
			} else {
				s.end(e)
			}
		case b, ok := <-blocks:
			if !ok {
				blocks = nil
				continue
			}
			s.blockMu.Lock()
			s.blocked = ""
			if b.Active {
				s.blocked = b.Reason
			}
			s.blockMu.Unlock()
		}
	}
}

// blockedBy is why the broker does not read what we publish, as it told us, or "".
// It may be late or missing: it explains a failure and decides nothing.
func (s *session) blockedBy() string {
	s.blockMu.Lock()
	defer s.blockMu.Unlock()
	return s.blocked
}

// watched does something that the broker has to answer, and ends the session when that lasts longer than
// patience. Heartbeats that arrive do not mean that answers do: the library reads a text as long
// as the broker says it is, beyond the end of its frame, and waits for that many heartbeats.
func (s *session) watched(do func() error) error {
	t := time.AfterFunc(s.patience, func() {
		if s.blockedBy() == "" {
			s.end(errors.New("the broker sends heartbeats but no answer"))
		}
	})
	defer t.Stop()
	return do()
}

// doubt asks the broker for something, in the background, because an answer is late. When there is
// none either, the session ends.
func (s *session) doubt() {
	ask := func() error {
		ch, err := s.conn.Channel()
		if err == nil {
			err = ch.Close()
		}
		return err
	}
	select {
	case s.calls <- call{do: ask, done: make(chan error, 1)}:
	default: // another call is under way, and watched
	}
}

// serveCalls does the RPCs of the session one after the other: the library's are not safe to be
// called from several goroutines.
func (s *session) serveCalls() {
	for {
		select {
		case c := <-s.calls:
			c.done <- s.watched(c.do)
		case <-s.done:
			return
		}
	}
}

// call runs do in the RPC goroutine and waits for it. A call whose ctx ends while it waits in
// line is not made; one that has begun goes on.
func (s *session) call(ctx context.Context, do func() error) error {
	c := call{do: do, done: make(chan error, 1)}
	select {
	case s.calls <- c:
	case <-s.done:
		return s.gone()
	case <-ctx.Done():
		return s.late(ctx)
	}
	select {
	case err := <-c.done:
		return err
	case <-s.done:
		return s.gone()
	case <-ctx.Done():
		return s.late(ctx)
	}
}

// inspect counts the messages that wait in a queue, and its consumers. A refusal closes the
// channel, so the channel is one that nothing else uses.
func (s *session) inspect(ctx context.Context, queue string) (amqp.Queue, error) {
	var q amqp.Queue
	err := s.call(ctx, func() (err error) {
		if s.probe == nil || s.probe.IsClosed() {
			ch, err := s.conn.Channel()
			if err != nil {
				return err
			}
			s.probe = ch
		}
		q, err = s.probe.QueueDeclarePassive(queue, true, false, false, false, nil)
		return err
	})
	if err != nil { // q may still be written
		return amqp.Queue{}, err
	}
	return q, nil
}

// gone is the error of whatever was in flight when the session ended.
func (s *session) gone() error {
	return fmt.Errorf("%w: the connection has ended: %w", broker.ErrUnavailable, s.err)
}

// late is the error of whatever the broker has not answered in time.
func (s *session) late(ctx context.Context) error {
	if why := s.blockedBy(); why != "" {
		return fmt.Errorf("%w: no answer in time, the broker has blocked publishers (%.100q): %w",
			broker.ErrUnavailable, why, context.Cause(ctx))
	}
	return fmt.Errorf("%w: no answer in time: %w", broker.ErrUnavailable, context.Cause(ctx))
}
