// Package wire is a TCP proxy that a test breaks: it cuts, stalls, refuses and counts connections, and
// understands enough of PostgreSQL's and AMQP's protocols to do so at a chosen statement or frame.
package wire

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy hands on bytes between programs and one server. Its methods may be called from any goroutine.
type Proxy struct {
	upstream string
	listener net.Listener
	taps     func() Tap
	dials    atomic.Int64

	mu     sync.Mutex
	closed bool
	reject bool
	gate   chan struct{} // closed while bytes may pass
	pairs  map[*pair]struct{}

	running sync.WaitGroup
}

// Tap looks at one connection. It returns the readers' view: each method copies one direction until
// its end, and may end it earlier.
type Tap interface {
	FromClient(dst io.Writer, src io.Reader) error
	FromServer(dst io.Writer, src io.Reader) error
}

// New starts a proxy before upstream (host:port). taps makes the tap of a new connection; nil = bytes are
// only handed on.
func New(upstream string, taps func() Tap) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a listen on an address does not wait
	if err != nil {
		return nil, err
	}
	p := &Proxy{upstream: upstream, listener: listener, taps: taps, pairs: map[*pair]struct{}{}, gate: make(chan struct{})}
	close(p.gate)
	p.running.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Dials is how many connections were asked for so far, the rejected ones included.
func (p *Proxy) Dials() int { return int(p.dials.Load()) }

// Close cuts everything and ends the proxy.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close() // nothing can be done about it
	p.Stall(false)
	p.Cut()
	p.running.Wait()
}

// Reject resets new connections as soon as they are there, or takes them again.
func (p *Proxy) Reject(reject bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reject = reject
}

// Stall holds back what either side sends, the end of a connection included, as a network does that
// loses every packet; with false all of it arrives after all.
func (p *Proxy) Stall(stall bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	open := false
	select {
	case <-p.gate:
		open = true
	default:
	}
	switch {
	case stall && open:
		p.gate = make(chan struct{})
	case !stall && !open:
		close(p.gate)
	}
}

// Cut resets every connection.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		c.cut()
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.dials.Add(1)
		p.mu.Lock()
		reject := p.reject || p.closed
		p.mu.Unlock()
		if reject {
			reset(client)
			continue
		}
		p.running.Go(func() { p.carry(client) })
	}
}

// carry joins a client with the server until one of them ends.
func (p *Proxy) carry(client net.Conn) {
	server, err := net.DialTimeout("tcp", p.upstream, 5*time.Second) //nolint:noctx // it has a timeout
	if err != nil {
		reset(client)
		return
	}
	c := &pair{client: client, server: server}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		c.cut()
		return
	}
	p.pairs[c] = struct{}{}
	p.mu.Unlock()
	var tap Tap = plain{}
	if p.taps != nil {
		tap = p.taps()
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(c, tap.FromClient, server, client) })
	both.Go(func() { p.copy(c, tap.FromServer, client, server) })
	both.Wait()
	p.mu.Lock()
	delete(p.pairs, c)
	p.mu.Unlock()
	c.cut()
}

// copy carries one direction. Its end is handed on; an error cuts the connection.
func (p *Proxy) copy(c *pair, carry func(io.Writer, io.Reader) error, dst, src net.Conn) {
	if err := carry(gated{p, dst}, src); err != nil && !errors.Is(err, io.EOF) {
		p.await()
		c.cut()
		return
	}
	p.await()
	if tcp, ok := dst.(*net.TCPConn); ok {
		_ = tcp.CloseWrite() // an error means that it has ended
	}
}

func (p *Proxy) await() {
	p.mu.Lock()
	gate := p.gate
	p.mu.Unlock()
	<-gate
}

// gated is a writer that waits while the proxy stalls.
type gated struct {
	p *Proxy
	w io.Writer
}

func (g gated) Write(b []byte) (int, error) {
	g.p.await()
	return g.w.Write(b)
}

// pair is a client's connection and the one to the server that goes with it.
type pair struct {
	client, server net.Conn
	once           sync.Once
}

func (c *pair) cut() {
	c.once.Do(func() {
		reset(c.client)
		reset(c.server)
	})
}

// reset closes a connection so that the other side sees a reset, not an end.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // an error means that it has ended
	}
	_ = conn.Close() // as above
}

// plain hands on bytes as they are.
type plain struct{}

func (plain) FromClient(dst io.Writer, src io.Reader) error { return pass(dst, src) }
func (plain) FromServer(dst io.Writer, src io.Reader) error { return pass(dst, src) }

func pass(dst io.Writer, src io.Reader) error {
	_, err := io.Copy(dst, src)
	return err
}
