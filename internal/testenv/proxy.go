package testenv

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy is a TCP proxy inside the test process, for cutting the wire between a program and its
// server. It hands on bytes, ends of streams (one direction may end before the other) and resets.
// Its methods may be called from any goroutine.
type Proxy struct {
	tb       testing.TB
	upstream string
	port     *port
	hole     atomic.Bool

	mu       sync.Mutex // guards what follows; never held while waiting for the network
	listener net.Listener
	pairs    map[*pair]struct{}

	accepting sync.WaitGroup // goroutines that take connections
	running   sync.WaitGroup // goroutines that carry one
}

// NewProxy starts a proxy before upstreamAddr (host:port), and stops it at the test's end.
func NewProxy(tb testing.TB, upstreamAddr string) *Proxy {
	tb.Helper()
	address, err := reservePort()
	if err != nil {
		tb.Fatalf("start a proxy before %s: %v", upstreamAddr, err)
	}
	p := &Proxy{tb: tb, upstream: upstreamAddr, port: address, pairs: map[*pair]struct{}{}}
	p.Refuse(false)
	tb.Cleanup(func() {
		p.Refuse(true)
		p.accepting.Wait() // from here on Cut sees every connection
		p.Cut()
		p.running.Wait()
		p.port.release()
	})
	return p
}

// Addr is where the proxy listens, as net.Dial takes it. It stays the same for the proxy's life.
func (p *Proxy) Addr() string { return p.port.addr() }

// Cut resets every connection, in both directions, and returns when they are gone. New ones are
// taken.
func (p *Proxy) Cut() {
	p.mu.Lock()
	var cut []*pair
	for c := range p.pairs {
		cut = append(cut, c)
	}
	p.mu.Unlock()
	for _, c := range cut {
		c.reset()
	}
	for _, c := range cut {
		<-c.gone
	}
}

// Refuse has the kernel refuse new connections, as for a port where nothing listens, or, with
// false, takes them again. Those that stand are left alone.
func (p *Proxy) Refuse(refuse bool) {
	p.tb.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if refuse == (p.listener == nil) {
		return
	}
	if refuse {
		_ = p.listener.Close() // it is gone either way
		p.listener = nil
		return
	}
	listener, err := net.Listen("tcp", p.port.addr()) //nolint:noctx // a listen on an address does not wait
	if err != nil {
		p.tb.Fatalf("have the proxy listen on %s: %v", p.port.addr(), err)
	}
	p.listener = listener
	p.accepting.Go(func() { p.accept(listener) })
}

// BlackHole swallows what either side sends, its end of stream included, while both sides find
// the wire whole; a new connection is taken and hears nothing. With false, new connections work
// again, and so do those that lost nothing meanwhile. One that lost a byte stays silent until it is
// cut: what comes after a gap is not what was sent.
func (p *Proxy) BlackHole(swallow bool) { p.hole.Store(swallow) }

// accept takes connections until the listener is closed.
func (p *Proxy) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed by Refuse
		}
		client, ok := conn.(*net.TCPConn)
		if !ok {
			panic(fmt.Sprintf("a TCP listener took a %T", conn))
		}
		c := &pair{client: client, gone: make(chan struct{})}
		p.mu.Lock()
		p.pairs[c] = struct{}{}
		p.mu.Unlock()
		p.running.Go(func() {
			defer close(c.gone)
			p.carry(c)
			p.mu.Lock()
			delete(p.pairs, c)
			p.mu.Unlock()
		})
	}
}

// carry serves one connection to its end.
func (p *Proxy) carry(c *pair) {
	if p.hole.Load() {
		c.lost.Store(true)
		_, _ = io.Copy(io.Discard, c.client) // until the client closes or Cut does
		c.reset()
		return
	}
	conn, err := net.DialTimeout("tcp", p.upstream, 10*time.Second) //nolint:noctx // bounded by the timeout
	if err != nil {
		c.reset()
		return
	}
	server, ok := conn.(*net.TCPConn)
	if !ok || !c.join(server) {
		_ = conn.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.pump(c, c.client, server) })
	both.Go(func() { p.pump(c, server, c.client) })
	both.Wait()
	c.close()
}

// pump carries one direction to its end.
func (p *Proxy) pump(c *pair, from, to *net.TCPConn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if (n > 0 || err != nil) && p.hole.Load() {
			c.lost.Store(true)
		}
		switch {
		case c.lost.Load() && err == nil:
			continue // swallowed
		case c.lost.Load():
			// The other side must not learn of it; what it still sends is swallowed until it
			// gives up by itself.
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				c.reset()
				return
			}
		}
		if errors.Is(err, io.EOF) {
			_ = to.CloseWrite() // an error means that it is closed already
			return
		}
		if err != nil {
			c.reset()
			return
		}
	}
}

// pair is one connection through the proxy.
type pair struct {
	client *net.TCPConn
	lost   atomic.Bool   // something was swallowed: nothing more is handed on
	gone   chan struct{} // closed when both sides are

	mu     sync.Mutex
	server *net.TCPConn // nil until dialled
	ended  bool
}

// join adds the server's side, unless the pair was cut meanwhile.
func (c *pair) join(server *net.TCPConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.server = server
	return true
}

// close ends both sides in order.
func (c *pair) close() { c.end(false) }

// reset ends both sides with a reset, dropping what is on its way.
func (c *pair) reset() { c.end(true) }

func (c *pair) end(abort bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for _, conn := range []*net.TCPConn{c.client, c.server} {
		if conn == nil {
			continue
		}
		if abort {
			_ = conn.SetLinger(0) // an error means that it is closed already
		}
		_ = conn.Close() // likewise
	}
}
