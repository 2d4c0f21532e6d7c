package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/warrenq/warren/broker"
)

// want is what the owner of a subscription has asked for.
type want int

const (
	running want = iota
	paused
	closed
)

// subscription implements broker.Subscription. It outlives sessions: on each one a goroutine of
// the consume link serves it (serve.go), which is the only one that does its RPCs. The methods
// here only say what is wanted and wait for it.
type subscription struct {
	b        *Broker
	bands    []broker.Band
	prefetch int

	wake chan struct{} // to Next: something arrived or changed
	kick chan struct{} // to serve: look at want and the flows again

	mu      sync.Mutex
	inbox   inbox
	want    want
	version uint64           // of want
	applied uint64           // the version that serve has brought about
	served  bool             // a goroutine serves this on a session
	ended   bool             // Run is over: nothing will arrive any more
	refused map[string]error // refusals that Next has not reported yet, by what was refused
	changed chan struct{}    // closed when applied or served changes
}

var _ broker.Subscription = (*subscription)(nil)

func newSubscription(b *Broker, bands []broker.Band, prefetch int) *subscription {
	return &subscription{
		b: b, bands: slices.Clone(bands), prefetch: prefetch,
		refused: map[string]error{}, wake: make(chan struct{}, 1), kick: make(chan struct{}, 1), changed: make(chan struct{}),
	}
}

// poke sends to a channel with one slot, where one signal stands for any number.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Next implements broker.Subscription. A refusal by the broker is reported once each time it
// happens, which is slowly, and only when nothing has arrived; calling Next again waits.
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

func (s *subscription) take() (d broker.Delivery, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.inbox.pop(); ok {
		return d, true, nil
	}
	if s.want == closed || s.ended {
		return d, false, broker.ErrClosed
	}
	for what, err := range s.refused {
		delete(s.refused, what)
		return d, false, err
	}
	return d, false, nil
}

// TryNext implements broker.Subscription.
func (s *subscription) TryNext() (broker.Delivery, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inbox.pop()
}

// Ack implements broker.Subscription. Deliveries that were settled before are left out.
func (s *subscription) Ack(ds []broker.Delivery) error {
	byFlow := make(map[*flow][]uint64, len(s.bands))
	var errs []error
	for _, d := range ds {
		r, ok := d.Settle.(receipt)
		if !ok || r.flow.owner != s {
			errs = append(errs, errForeign)
			continue
		}
		byFlow[r.flow] = append(byFlow[r.flow], r.tag)
	}
	for f, list := range byFlow {
		if err := f.ack(list); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Pause implements broker.Subscription. Without a connection there is nothing to stop, and the
// next session begins paused. When ctx ends first, pausing goes on.
func (s *subscription) Pause(ctx context.Context) error { return s.ask(ctx, paused) }

// Resume implements broker.Subscription. It does not wait for the broker: Next does.
func (s *subscription) Resume(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.want == closed {
		return broker.ErrClosed
	}
	s.setWant(running)
	return nil
}

// Close implements broker.Subscription. It waits as long as a confirm may take; what is not given
// back by then the broker gives back when it notices that we are gone.
func (s *subscription) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.b.cfg.ConfirmTimeout)
	defer cancel()
	err := s.ask(ctx, closed)
	s.b.leave(s)
	return err
}

// setWant changes what is wanted. Its caller holds mu.
func (s *subscription) setWant(w want) {
	if s.want == w {
		return
	}
	s.want = w
	s.version++
	poke(s.kick)
	poke(s.wake)
}

// ask sets what is wanted and waits until it is so.
func (s *subscription) ask(ctx context.Context, w want) error {
	s.mu.Lock()
	if s.want == closed && w != closed {
		s.mu.Unlock()
		return broker.ErrClosed
	}
	s.setWant(w)
	version := s.version
	for s.served && s.applied < version {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: the broker has not answered in time: %w", broker.ErrUnavailable, context.Cause(ctx))
		}
		s.mu.Lock()
	}
	s.mu.Unlock()
	return nil
}

// wanted is what to bring about now.
func (s *subscription) wanted() (want, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.want, s.version
}

// report says which version serve has brought about, or that it has gone.
func (s *subscription) report(served bool, applied uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served = served
	s.applied = max(s.applied, applied)
	close(s.changed)
	s.changed = make(chan struct{})
}

// refuse makes Next report that the broker refuses what: a queue, or "" for the connection.
func (s *subscription) refuse(what string, err error) {
	s.mu.Lock()
	s.refused[what] = err
	s.mu.Unlock()
	poke(s.wake)
}

// accepted forgets a refusal that was not reported and is over.
func (s *subscription) accepted(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.refused, what)
}

// end says that Run is over.
func (s *subscription) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	poke(s.wake)
}

// arrived puts a delivery where Next finds it.
func (s *subscription) arrived(d broker.Delivery, at receipt) {
	s.mu.Lock()
	s.inbox.push(d, at)
	s.mu.Unlock()
	poke(s.wake)
}

// forget removes what arrived by f and was not taken, and returns its tags.
func (s *subscription) forget(f *flow) []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inbox.drop(f)
}
