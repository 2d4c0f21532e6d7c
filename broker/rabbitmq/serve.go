package rabbitmq

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
)

// lane is what serve knows about one band on one session.
type lane struct {
	band  broker.Band
	queue string
	flow  *flow     // nil while there is none
	tries int       // failures in a row
	since time.Time // of the current consumer
	again time.Time // not before; zero = now

	renew time.Time // when to ask whether anything has come
	heard uint64    // deliveries when that was asked last
}

// calm makes the next failure the first one again if there was no reason to complain for a while.
func (l *lane) calm() {
	if !l.since.IsZero() && time.Since(l.since) > steadyAfter {
		l.tries = 0
	}
	l.since = time.Time{}
}

// serve keeps the bands of s flowing on sess until the session ends or s is closed. It is the
// goroutine that does the RPCs of s.
func (s *subscription) serve(sess *session) {
	lanes := make([]*lane, 0, len(s.bands))
	for _, band := range s.bands {
		lanes = append(lanes, &lane{band: band, queue: s.b.names.queue(band)})
	}
	defer func() {
		for _, l := range lanes {
			if l.flow != nil {
				s.forget(l.flow)
			}
		}
		s.report(false, 0)
	}()
	s.report(true, 0) // from here on Pause and Close wait for us
	s.accepted("")
	for {
		w, version := s.wanted()
		if w == running {
			s.renew(sess, lanes)
		}
		s.reconcile(sess, lanes, w)
		select {
		case <-sess.done: // whatever reconcile did, it did to a session that is over
			return
		default:
		}
		s.report(true, version)
		if w == closed {
			return
		}
		timer := time.NewTimer(soonest(lanes, w))
		select {
		case <-sess.done:
			timer.Stop()
			return
		case <-s.kick:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// soonest is how long nothing has to be tried again.
func soonest(lanes []*lane, w want) time.Duration {
	d := time.Hour
	for _, l := range lanes {
		switch {
		case w != running:
		case l.flow != nil && l.flow.consuming():
			d = min(d, time.Until(l.renew))
		default:
			d = min(d, time.Until(l.again))
		}
	}
	return max(d, time.Millisecond)
}

// reconcile brings every lane to what is wanted. An answer that the broker keeps to itself would hold up all of
// them for ever: the library waits for it as long as the connection lives.
func (s *subscription) reconcile(sess *session, lanes []*lane, w want) {
	for _, l := range lanes {
		_ = sess.watched(func() error {
			s.tend(sess, l, w)
			return nil
		})
	}
}

// tend brings a lane to what is wanted.
func (s *subscription) tend(sess *session, l *lane, w want) {
	switch {
	case l.flow == nil:
	case l.flow.dead():
		s.lost(sess, l)
	case l.flow.cancelled():
		s.deleted(sess, l)
	}
	var err error
	switch {
	case w == closed && l.flow != nil:
		s.retire(l)
	case w == paused && l.flow != nil:
		err = s.halt(l.flow)
	case w == running && (l.flow == nil || !l.flow.consuming()) && !time.Now().Before(l.again):
		err = s.start(sess, l)
	}
	if err != nil {
		s.failed(sess, l, err)
	}
}

// start makes the queue of a lane and consumes from it.
func (s *subscription) start(sess *session, l *lane) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.b.cfg.ConfirmTimeout)
	defer cancel()
	if err := sess.topo.ensureBand(ctx, sess, l.band); err != nil {
		return err
	}
	if l.flow == nil {
		f, err := openFlow(s, sess, l.band, l.queue, s.prefetch)
		if err != nil {
			return err
		}
		l.flow = f
	}
	if err := l.flow.consume(sess, s.receive, func() { poke(s.kick) }); err != nil {
		return err
	}
	l.since = time.Now()
	l.heard, l.renew = 0, time.Now().Add(between(s.b.renewAfter/2, s.b.renewAfter))
	s.accepted(l.queue)
	return nil
}

// halt cancels first and gives back afterwards: given back to a living consumer, a hint would
// come again at once.
func (s *subscription) halt(f *flow) error {
	if err := f.cancel(); err != nil {
		return err
	}
	if tags := s.forget(f); len(tags) > 0 {
		return f.giveBack(tags)
	}
	return nil
}

// lost forgets a flow whose channel was closed.
func (s *subscription) lost(sess *session, l *lane) {
	f := l.flow
	l.flow = nil
	s.forget(f)
	select {
	case <-sess.done: // then it closed with the connection
	default:
		// The broker closes a channel that has worked when a delivery waits too long for its ack
		// (406, like other arguments). Whether anything has to be configured shows the next start.
		s.failed(sess, l, fmt.Errorf("%w: %w", broker.ErrUnavailable, f.why()))
	}
}

// deleted prepares for making a queue again that has gone, with the broker's word that nothing
// more comes from it. Someone may be deleting it in a loop.
func (s *subscription) deleted(sess *session, l *lane) {
	// The channel goes with it: acks of what the old queue delivered have no business there.
	s.retire(l)
	sess.topo.forget(l.queue)
	l.calm()
	l.again = time.Now().Add(vanishedPause + backoff(l.tries, backoffMost))
	l.tries++
	s.b.cfg.Log.Warn("the broker has ended a consumer, its queue was deleted or has moved; making it again",
		zap.String("queue", l.queue))
}

// failed decides when a lane is tried again, and says so if it is a person's turn.
func (s *subscription) failed(sess *session, l *lane, err error) {
	if l.flow != nil { // whatever it was, the channel is not to be trusted any more
		s.retire(l)
	}
	sess.topo.forget(l.queue)
	err = classify(err)
	l.calm()
	delay := backoff(l.tries, backoffMost)
	if isConfig(err) {
		delay = slowDelay(l.tries)
		s.refuse(l.queue, err)
	}
	l.tries++
	l.again = time.Now().Add(delay)
	select {
	case <-sess.done: // it is the session that failed, and that is told already
		return
	default:
	}
	log := s.b.cfg.Log.Warn
	if isConfig(err) {
		log = s.b.cfg.Log.Error
	}
	log("cannot consume from a band", zap.Stringer("band", l.band), zap.String("queue", l.queue),
		zap.Duration("retry_in", delay), zap.Error(err))
}
