package health

import (
	"net"
	"sync"
)

// Limit accepts at most n connections at a time; others wait in the kernel's queue.
func Limit(l net.Listener, n int) net.Listener {
	return &limiter{Listener: l, free: make(chan struct{}, n), closed: make(chan struct{})}
}

type limiter struct {
	net.Listener
	free   chan struct{} // holds a token for each open connection
	closed chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (l *limiter) Accept() (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.free
		return nil, err
	}
	return &limitedConn{Conn: c, done: func() { <-l.free }}, nil
}

// Close implements net.Listener.
func (l *limiter) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	once sync.Once
	done func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.done)
	return err
}
