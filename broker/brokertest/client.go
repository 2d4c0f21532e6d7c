package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/warrenq/warren/broker"
)

// patience is how long Publish and Depth wait for Run to start.
const patience = 5 * time.Second

// client implements broker.Broker. server.mu guards everything.
type client struct {
	server    *Server
	subs      []*subscription
	running   bool
	ended     bool
	connected bool
	changed   chan struct{} // closed at every change of the three above
}

// Run implements broker.Broker.
func (c *client) Run(ctx context.Context) error {
	s := c.server
	s.mu.Lock()
	if c.running || c.ended {
		s.mu.Unlock()
		return errors.New("this broker has been run already: open another")
	}
	c.running = true
	c.change()
	if s.refused != nil {
		c.refuse(s.refused)
	}
	s.connect()
	s.mu.Unlock()

	<-ctx.Done()

	s.mu.Lock()
	defer s.mu.Unlock()
	c.running, c.ended = false, true
	c.disconnect()
	s.dispatch()
	for _, sub := range c.subs {
		poke(sub.wake)
	}
	return nil
}

// Up implements broker.Broker.
func (c *client) Up() bool {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return c.connected
}

// await waits for Run and reports why there is no connection. When it returns nil it has left the
// server locked.
func (c *client) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		c.server.mu.Lock()
		changed := c.changed
		err := c.state()
		if err == nil && c.connected {
			return nil
		}
		c.server.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: not connected yet: %w", broker.ErrUnavailable, context.Cause(ctx))
		}
	}
}

// state is why this client cannot work; nil also before Run. mu is held.
func (c *client) state() error {
	switch {
	case c.ended:
		return fmt.Errorf("%w: it has been shut down", broker.ErrUnavailable)
	case !c.running:
		return nil
	case c.server.refused != nil:
		return fmt.Errorf("%w: %w", broker.ErrConfig, c.server.refused)
	case c.server.down:
		return fmt.Errorf("%w: the server is down", broker.ErrUnavailable)
	}
	return nil
}

// Publish implements broker.Publisher.
func (c *client) Publish(ctx context.Context, hints []broker.Hint) []error {
	errs := make([]error, len(hints))
	failed := false
	hang := false
	for i, h := range hints {
		body, err := broker.FormatBody(h.Numbers)
		if err == nil {
			err = checkBand(h.Band)
		}
		if err == nil {
			err = c.publish(ctx, h, body)
		}
		hang = hang || errors.Is(err, errHang)
		errs[i] = err
		failed = failed || err != nil
	}
	if hang {
		<-ctx.Done()
	}
	if !failed {
		return nil
	}
	return errs
}

var errHang = fmt.Errorf("%w: no confirm in time", broker.ErrUnavailable)

func (c *client) publish(ctx context.Context, h broker.Hint, body []byte) error {
	if err := c.await(ctx); err != nil {
		return err
	}
	s := c.server
	defer s.mu.Unlock()
	verdict := s.judge(broker.Hint{Band: h.Band, Numbers: slices.Clone(h.Numbers)})
	switch verdict {
	case Reject:
		return fmt.Errorf("%w: %w on purpose", broker.ErrUnavailable, broker.ErrRejected)
	case Lose:
		return nil
	case Double:
		s.put(h.Band, message{body: body})
	case Accept, Unconfirmed, Hang:
	}
	s.put(h.Band, message{body: body})
	s.dispatch()
	switch verdict {
	case Unconfirmed:
		return fmt.Errorf("%w: the confirm was lost on purpose", broker.ErrUnavailable)
	case Hang:
		return errHang
	case Accept, Lose, Double, Reject:
	}
	return nil
}

// Subscribe implements broker.Broker.
func (c *client) Subscribe(bands []broker.Band, prefetch int) (broker.Subscription, error) {
	if len(bands) == 0 || prefetch < 1 || prefetch > 65535 {
		return nil, fmt.Errorf("subscribe: %d bands, prefetch %d: use at least one band and a prefetch of 1 to 65535", len(bands), prefetch)
	}
	for i, b := range bands {
		if err := checkBand(b); err != nil {
			return nil, fmt.Errorf("subscribe: %w", err)
		}
		if slices.Contains(bands[:i], b) {
			return nil, fmt.Errorf("subscribe: band %s is named twice", b)
		}
	}
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := &subscription{
		client: c, bands: slices.Clone(bands), prefetch: prefetch,
		open: map[int64]delivered{}, wake: make(chan struct{}, 1),
	}
	c.subs = append(c.subs, sub)
	s.dispatch()
	return sub, nil
}

func checkBand(b broker.Band) error {
	if b.Queue == "" || b.Priority < 0 || b.Priority > 999 {
		return fmt.Errorf("band %q priority %d: use a queue name and a priority of 0 to 999", b.Queue, b.Priority)
	}
	return nil
}

// Depth implements broker.Broker.
func (c *client) Depth(ctx context.Context, band broker.Band) (int, error) {
	if err := checkBand(band); err != nil {
		return 0, err
	}
	if err := c.await(ctx); err != nil {
		return 0, err
	}
	defer c.server.mu.Unlock()
	return len(c.server.queue(band).ready), nil
}

// The rest is called with server.mu held.

func (c *client) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *client) disconnect() {
	c.connected = false
	c.change()
	for _, sub := range c.subs {
		sub.reset()
	}
}

func (c *client) refuse(err error) {
	if !c.running {
		return
	}
	for _, sub := range c.subs {
		sub.refused = fmt.Errorf("%w: %w", broker.ErrConfig, err)
		poke(sub.wake)
	}
}
