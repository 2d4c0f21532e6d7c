package rabbitmq

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
)

// steadyAfter is how long a session has to live for the next failure to be the first one again.
// A broker that accepts and drops connections does not get asked faster for accepting them.
const steadyAfter = 10 * time.Second

// remindEvery is how often an outage that goes on is logged again.
const remindEvery = 30 * time.Second

// link keeps one connection up: one session after the other, for ever.
type link struct {
	role  string // "publish" or "consume"
	name  string // of the connection, for operators
	sift  bool   // read the broker through a sieve
	cfg   Config
	log   *zap.Logger
	count *counters
	pace  *pace // shared by both links
	topo  func() *topo
	// open prepares a new session and returns what serves it until its end. An error is one of
	// the connection attempt.
	open func(*session) (serve func(), err error)
	// refused hears of every attempt that only a person can make succeed.
	refused func(error)

	nodes []endpoint // shuffled
	next  int        // of nodes; only run uses it

	mu      sync.Mutex
	sess    *session      // nil while there is none
	err     error         // why there is none; nil before the first attempt has failed
	ended   bool          // run has returned
	changed chan struct{} // closed at every change of the above
}

func (l *link) set(sess *session, err error, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sess, l.err, l.ended = sess, err, ended
	close(l.changed)
	l.changed = make(chan struct{})
}

// up reports whether there is a session.
func (l *link) up() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sess != nil
}

// await returns the current session. It waits for the end of the first connection attempt of a
// process, but not for a broker that is known to be away: whoever asks has something better to do.
func (l *link) await(ctx context.Context) (*session, error) {
	for {
		l.mu.Lock()
		sess, err, ended, changed := l.sess, l.err, l.ended, l.changed
		l.mu.Unlock()
		switch {
		case sess != nil:
			return sess, nil
		case ended:
			return nil, fmt.Errorf("%w: it has been shut down", broker.ErrUnavailable)
		case err != nil:
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: not connected yet: %w", broker.ErrUnavailable, context.Cause(ctx))
		}
	}
}

// run supervises until ctx ends.
func (l *link) run(ctx context.Context) {
	defer l.set(nil, nil, true)
	var failures, refusals int
	var logged reminder
	for ctx.Err() == nil {
		if l.pace.wait(ctx) != nil {
			return
		}
		node := l.nodes[l.next%len(l.nodes)]
		began := time.Now()
		connected, err := l.once(ctx, node)
		if ctx.Err() != nil {
			return
		}
		l.next++
		if connected && time.Since(began) > steadyAfter {
			failures = 0
		}
		err = classify(fmt.Errorf("%s: %w", node, err))
		l.set(nil, err, false)
		delay := backoff(failures, ceiling(connected, err))
		failures++
		if isConfig(err) {
			l.refused(err)
			delay = slowDelay(refusals)
			refusals++
		} else {
			refusals = 0
		}
		l.tell(&logged, connected, delay, err)
		if pause(ctx, delay) != nil {
			return
		}
	}
}

// once makes one connection attempt and serves the session until it ends. connected says whether
// there was one.
func (l *link) once(ctx context.Context, node endpoint) (connected bool, err error) {
	l.count.attempts.Add(1)
	conn, w, err := dial(ctx, node, l.name, l.sift, l.cfg.DialTimeout)
	if err != nil {
		return false, err
	}
	sess := newSession(conn, w, l.topo(), 3*l.cfg.Heartbeat)
	var serve func()
	err = sess.watched(func() (err error) {
		serve, err = l.prepare(ctx, sess)
		return err
	})
	if err != nil {
		sess.close()
		sess.extra.Wait()
		return false, err
	}
	l.log.Info("connected to the broker", zap.Stringer("node", node), zap.Any("version", conn.Properties["version"]))
	l.count.connected.Add(1)
	err = sess.run(ctx, serve, func(up bool) {
		if up {
			l.set(sess, nil, false)
		} else {
			l.set(nil, sess.gone(), false)
		}
	})
	return true, err
}

// prepare opens a channel at once, which proves that the broker answers.
func (l *link) prepare(ctx context.Context, sess *session) (serve func(), err error) {
	stop := context.AfterFunc(ctx, func() { _ = sess.wire.Close() })
	defer stop()
	return l.open(sess)
}

// ceiling is the longest pause after err. A broker that was there a moment ago, and has perhaps been restarted twice in a
// row, is looked for as often as a port where nobody listens.
func ceiling(connected bool, err error) time.Duration {
	if connected || nobodyListens(err) {
		return deafMost
	}
	return backoffMost
}

// reminder remembers what was logged of an outage.
type reminder struct {
	text string
	at   time.Time
}

// tell logs a failure when it is news, and now and then while it lasts: a broker that is away
// for an hour fills no disk. Refusals come slowly enough to be logged each.
func (l *link) tell(logged *reminder, connected bool, delay time.Duration, err error) {
	fields := []zap.Field{zap.Error(err), zap.Duration("retry_in", delay)}
	switch {
	case isConfig(err):
		l.log.Error("the broker refuses this program; a person has to change the configuration or the broker", fields...)
	case connected:
		l.log.Warn("lost the connection to the broker", fields...)
	case err.Error() != logged.text || time.Since(logged.at) > remindEvery:
		l.log.Warn("cannot connect to the broker", fields...)
	default:
		return
	}
	*logged = reminder{text: err.Error(), at: time.Now()}
}
