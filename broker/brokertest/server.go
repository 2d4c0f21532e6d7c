package brokertest

import (
	"slices"
	"sync"

	"github.com/warrenq/warren/broker"
)

// Verdict is what becomes of a hint that is published.
type Verdict int

// The verdicts.
const (
	// Accept puts the hint into its queue and confirms it.
	Accept Verdict = iota
	// Lose confirms the hint and forgets it.
	Lose
	// Double puts the hint into its queue twice and confirms it.
	Double
	// Reject answers broker.ErrUnavailable and does not take the hint.
	Reject
	// Unconfirmed takes the hint, and its confirm is lost: broker.ErrUnavailable.
	Unconfirmed
	// Hang takes the hint and never confirms it: Publish waits for the end of its context.
	Hang
)

// Server is a broker in memory. Its methods may be called from any goroutine. Make one with
// NewServer.
type Server struct {
	mu      sync.Mutex
	queues  map[broker.Band]*queue
	clients []*client
	poison  [][]byte
	judge   func(broker.Hint) Verdict
	down    bool
	refused error
}

// queue is one band's messages, the next one first.
type queue struct {
	ready []message
	turn  int // of the consumers
}

type message struct {
	body        []byte
	redelivered bool
}

// NewServer returns a server that is up and empty.
func NewServer() *Server {
	return &Server{queues: map[broker.Band]*queue{}, judge: func(broker.Hint) Verdict { return Accept }}
}

// Open returns a broker connected to s, as a process of its own would have it. It works while
// its Run does.
func (s *Server) Open() broker.Broker {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &client{server: s, changed: make(chan struct{})}
	s.clients = append(s.clients, c)
	return c
}

// OnPublish makes judge decide about every hint that is published from now on. It is called with
// the server locked and must not call it. Nil accepts everything.
func (s *Server) OnPublish(judge func(broker.Hint) Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if judge == nil {
		judge = func(broker.Hint) Verdict { return Accept }
	}
	s.judge = judge
}

// Down takes the server away: connections end, publishing fails with broker.ErrUnavailable, and
// what was not settled returns to its queue.
func (s *Server) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
	s.disconnect()
}

// Up brings the server back with the messages it had. Subscriptions go on.
func (s *Server) Up() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = false
	s.connect()
}

// Disconnect ends all connections; new ones are made at once.
func (s *Server) Disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disconnect()
	s.connect()
}

// Refuse makes the server refuse everybody with an error that wraps broker.ErrConfig and err;
// every waiting Next reports it once. Nil accepts everybody again.
func (s *Server) Refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused = err; err != nil {
		s.disconnect()
		for _, c := range s.clients {
			c.refuse(err)
		}
		return
	}
	s.connect()
}

// Wipe makes the server forget everything, as one does that was reinstalled: messages, unsettled
// deliveries, poison. Connections end, new ones are made at once.
func (s *Server) Wipe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disconnect()
	clear(s.queues)
	s.poison = nil
	s.connect()
}

// Purge removes the messages that wait in a band's queue. Deliveries stay with their consumers.
func (s *Server) Purge(b broker.Band) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue(b).ready = nil
}

// Inject puts a message with any body into a band's queue.
func (s *Server) Inject(b broker.Band, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(b, message{body: slices.Clone(body)})
	s.dispatch()
}

// Poison returns the bodies that were no hints.
func (s *Server) Poison() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.poison)
}

// Waiting returns the numbers that wait in a band's queue, in order.
func (s *Server) Waiting(b broker.Band) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []int64
	for _, m := range s.queue(b).ready {
		if numbers, err := broker.ParseBody(m.body); err == nil {
			all = append(all, numbers...)
		}
	}
	return all
}

// The rest is called with mu held.

func (s *Server) queue(b broker.Band) *queue {
	q := s.queues[b]
	if q == nil {
		q = &queue{}
		s.queues[b] = q
	}
	return q
}

func (s *Server) put(b broker.Band, m message) {
	q := s.queue(b)
	q.ready = append(q.ready, m)
}

// giveBack puts messages before those that wait, as a broker does.
func (s *Server) giveBack(b broker.Band, ms []message) {
	for i := range ms {
		ms[i].redelivered = true
	}
	q := s.queue(b)
	q.ready = append(ms, q.ready...)
}

func (s *Server) usable() bool { return !s.down && s.refused == nil }

func (s *Server) connect() {
	if !s.usable() {
		return
	}
	for _, c := range s.clients {
		if c.running {
			c.connected = true
			c.change()
		}
	}
	s.dispatch()
}

func (s *Server) disconnect() {
	for _, c := range s.clients {
		c.disconnect()
	}
}

// dispatch delivers until every consumer has its prefetch or no message is left.
func (s *Server) dispatch() {
	for band, q := range s.queues {
		for len(q.ready) > 0 {
			sub := s.consumer(band, q)
			if sub == nil {
				break
			}
			m := q.ready[0]
			q.ready = q.ready[1:]
			numbers, err := broker.ParseBody(m.body)
			if err != nil {
				s.poison = append(s.poison, m.body)
				continue
			}
			sub.deliver(broker.Hint{Band: band, Numbers: numbers}, m)
		}
	}
}

// consumer is who gets the next message of a band, in turns.
func (s *Server) consumer(band broker.Band, q *queue) *subscription {
	var ready []*subscription
	for _, c := range s.clients {
		for _, sub := range c.subs {
			if c.connected && sub.takes(band) {
				ready = append(ready, sub)
			}
		}
	}
	if len(ready) == 0 {
		return nil
	}
	q.turn++
	return ready[q.turn%len(ready)]
}
