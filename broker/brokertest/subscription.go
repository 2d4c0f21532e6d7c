package brokertest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/warrenq/warren/broker"
)

// subscription implements broker.Subscription. server.mu guards everything.
type subscription struct {
	client   *client
	bands    []broker.Band
	prefetch int
	paused   bool
	closed   bool
	refused  error
	session  int // counts lost connections
	next     int64
	inbox    []arrived           // not taken
	open     map[int64]delivered // not settled, taken or not, of this session
	wake     chan struct{}
}

// delivered is a message that a consumer has.
type delivered struct {
	band broker.Band
	message
}

type arrived struct {
	broker.Delivery
	receipt
}

// receipt is broker.Delivery.Settle.
type receipt struct {
	sub     *subscription
	session int
	n       int64
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Next implements broker.Subscription.
func (s *subscription) Next(ctx context.Context) (broker.Delivery, error) {
	for {
		d, ok, err := s.take()
		if ok || err != nil {
			return d, err
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return broker.Delivery{}, context.Cause(ctx)
		}
	}
}

// TryNext implements broker.Subscription.
func (s *subscription) TryNext() (broker.Delivery, bool) {
	s.client.server.mu.Lock()
	defer s.client.server.mu.Unlock()
	return s.pop()
}

func (s *subscription) take() (broker.Delivery, bool, error) {
	s.client.server.mu.Lock()
	defer s.client.server.mu.Unlock()
	if d, ok := s.pop(); ok {
		return d, true, nil
	}
	if s.closed || s.client.ended {
		return broker.Delivery{}, false, broker.ErrClosed
	}
	err := s.refused
	s.refused = nil
	return broker.Delivery{}, false, err
}

// pop removes the best that has arrived.
func (s *subscription) pop() (broker.Delivery, bool) {
	if len(s.inbox) == 0 {
		return broker.Delivery{}, false
	}
	best := slices.MinFunc(s.inbox, func(a, b arrived) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.n, b.n))
	})
	s.inbox = slices.DeleteFunc(s.inbox, func(a arrived) bool { return a.n == best.n })
	return best.Delivery, true
}

// Ack implements broker.Subscription.
func (s *subscription) Ack(ds []broker.Delivery) error {
	s.client.server.mu.Lock()
	defer s.client.server.mu.Unlock()
	var errs []error
	for _, d := range ds {
		r, ok := d.Settle.(receipt)
		switch {
		case !ok || r.sub != s:
			errs = append(errs, errors.New("the delivery is not from this subscription"))
		case r.session != s.session || s.closed:
			errs = append(errs, fmt.Errorf("%w: session %d is over", broker.ErrStale, r.session))
		default:
			delete(s.open, r.n)
		}
	}
	s.client.server.dispatch()
	return errors.Join(errs...)
}

// Pause implements broker.Subscription.
func (s *subscription) Pause(context.Context) error {
	s.client.server.mu.Lock()
	defer s.client.server.mu.Unlock()
	if s.closed {
		return broker.ErrClosed
	}
	s.paused = true
	untaken := make([]int64, 0, len(s.inbox))
	for _, a := range s.inbox {
		untaken = append(untaken, a.n)
	}
	s.inbox = nil
	s.giveBack(untaken)
	return nil
}

// Resume implements broker.Subscription.
func (s *subscription) Resume(context.Context) error {
	s.client.server.mu.Lock()
	defer s.client.server.mu.Unlock()
	if s.closed {
		return broker.ErrClosed
	}
	s.paused = false
	s.client.server.dispatch()
	return nil
}

// Close implements broker.Subscription.
func (s *subscription) Close() error {
	s.client.server.mu.Lock()
	defer s.client.server.mu.Unlock()
	s.closed = true
	s.reset()
	s.client.subs = slices.DeleteFunc(s.client.subs, func(o *subscription) bool { return o == s })
	s.client.server.dispatch()
	poke(s.wake)
	return nil
}

// The rest is called with server.mu held.

// reset ends the session: nothing is taken, nothing is open, and old receipts are stale.
func (s *subscription) reset() {
	s.inbox = nil
	s.giveBack(slices.Collect(maps.Keys(s.open)))
	s.session++
}

// giveBack returns deliveries to their queues, in the order they had there.
func (s *subscription) giveBack(ns []int64) {
	slices.Sort(ns)
	byBand := map[broker.Band][]message{}
	for _, n := range ns {
		d := s.open[n]
		delete(s.open, n)
		byBand[d.band] = append(byBand[d.band], d.message)
	}
	for band, ms := range byBand {
		s.client.server.giveBack(band, ms)
	}
	if s.paused {
		s.client.server.dispatch() // to others
	}
}

// takes reports whether s may be given a message of band now.
func (s *subscription) takes(band broker.Band) bool {
	if s.paused || s.closed || !slices.Contains(s.bands, band) {
		return false
	}
	unsettled := 0
	for _, d := range s.open {
		if d.band == band {
			unsettled++
		}
	}
	return unsettled < s.prefetch
}

func (s *subscription) deliver(h broker.Hint, m message) {
	s.next++
	r := receipt{sub: s, session: s.session, n: s.next}
	s.open[s.next] = delivered{band: h.Band, message: m}
	s.inbox = append(s.inbox, arrived{
		Delivery: broker.Delivery{Hint: h, Redelivered: m.redelivered, Settle: r}, receipt: r,
	})
	poke(s.wake)
}

// Arrived counts what has arrived at a subscription of a Server and was not taken.
func Arrived(s broker.Subscription) int {
	sub := s.(*subscription)
	sub.client.server.mu.Lock()
	defer sub.client.server.mu.Unlock()
	return len(sub.inbox)
}
