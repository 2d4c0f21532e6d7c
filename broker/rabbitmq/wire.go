package rabbitmq

import (
	"net"
	"sync"
	"time"
)

// wire is the socket under a session, with deadlines of its own.
//
// The library leaves two holes that a frozen broker falls into. It arms a read deadline only
// after the first frame that follows the handshake, and it never sets a write deadline, so that
// one full socket buffer holds its send lock, and with it Channel, Close and every publish, for
// ever. Here every read and every write has a deadline from the first byte on. Of what the
// library asks for, only the deadline of CloseDeadline is obeyed.
type wire struct {
	net.Conn

	mu    sync.Mutex
	idle  time.Duration // how long the broker may be silent; 0 during the handshake
	stall time.Duration // how long one write may take
	last  time.Time     // when the closing must be over; zero = not closing
	err   error         // what ended reading; the library keeps only its text
}

// newWire covers the handshake with one deadline.
func newWire(conn net.Conn, handshake time.Time) (*wire, error) {
	if err := conn.SetDeadline(handshake); err != nil {
		return nil, err
	}
	return &wire{Conn: conn}, nil
}

// settle ends the handshake. From now on silence for idle, and a write that takes longer than
// stall, end the connection.
func (w *wire) settle(idle, stall time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle, w.stall = idle, stall
	// The library's reader waits inside of Read already: this reaches it there.
	if err := w.Conn.SetWriteDeadline(w.until(stall)); err != nil {
		return err
	}
	return w.Conn.SetReadDeadline(w.until(idle))
}

// until is the time after d, or the end if that comes first. Its caller holds mu.
func (w *wire) until(d time.Duration) time.Time {
	t := time.Now().Add(d)
	if !w.last.IsZero() && w.last.Before(t) {
		return w.last
	}
	return t
}

// Read reads. The broker's heartbeats keep pushing its deadline away.
func (w *wire) Read(p []byte) (int, error) {
	w.mu.Lock()
	if w.idle > 0 {
		if err := w.Conn.SetReadDeadline(w.until(w.idle)); err != nil {
			w.mu.Unlock()
			return 0, err
		}
	}
	w.mu.Unlock()
	n, err := w.Conn.Read(p)
	if err != nil {
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
	}
	return n, err
}

// ended is what ended reading, or nil.
func (w *wire) ended() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Write writes.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	if w.stall > 0 {
		if err := w.Conn.SetWriteDeadline(w.until(w.stall)); err != nil {
			w.mu.Unlock()
			return 0, err
		}
	}
	w.mu.Unlock()
	return w.Conn.Write(p)
}

// SetDeadline obeys a deadline, which only CloseDeadline sets, and ignores the lifting of one,
// which the library does at the end of the handshake.
func (w *wire) SetDeadline(t time.Time) error {
	if t.IsZero() {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = t
	return w.Conn.SetDeadline(t)
}

// SetReadDeadline does nothing: the library's own watch begins too late, ours covers it.
func (w *wire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
