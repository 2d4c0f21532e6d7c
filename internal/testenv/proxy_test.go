package testenv_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/testenv"
)

// upstream is a server that hands each connection it takes to the test.
func upstream(t *testing.T) (addr string, taken <-chan *net.TCPConn) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan *net.TCPConn, 10)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns <- conn.(*net.TCPConn)
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		accepting.Wait()
		close(conns)
		for conn := range conns {
			_ = conn.Close()
		}
	})
	return listener.Addr().String(), conns
}

func dialTCP(t *testing.T, addr string) (net.Conn, error) {
	t.Helper()
	return (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", addr)
}

// open dials and gives up on reads and writes after the tests' patience.
func open(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn, err := dialTCP(t, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn)
}

// take is the next connection that reached the upstream.
func take(t *testing.T, taken <-chan *net.TCPConn) *net.TCPConn {
	t.Helper()
	select {
	case conn := <-taken:
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patience))
		return conn
	case <-wait(t).Done():
		t.Fatal("no connection reached the upstream")
		return nil
	}
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got[:n], err, want)
	}
}

// silent checks that nothing can be read, not even an end, for a short while.
func silent(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	var one [1]byte
	if n, err := conn.Read(one[:]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %q, %v; want silence", one[:n], err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
}

func TestProxyCarriesBothWaysAndHalfCloses(t *testing.T) {
	t.Parallel()
	addr, taken := upstream(t)
	client := open(t, testenv.NewProxy(t, addr).Addr())
	server := take(t, taken)
	send(t, client, "question\n")
	expect(t, server, "question\n")

	// The client has no more to say, yet hears the answer to its end.
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(server); err != nil || len(rest) != 0 {
		t.Fatalf("server read %q, %v; want the end", rest, err)
	}
	send(t, server, "answer\n")
	_ = server.Close()
	if line, err := bufio.NewReader(client).ReadString('\n'); err != nil || line != "answer\n" {
		t.Fatalf("client read %q, %v", line, err)
	}
	if rest, err := io.ReadAll(client); err != nil || len(rest) != 0 {
		t.Fatalf("client read %q, %v; want the end", rest, err)
	}
}

func TestProxyHandsOnAReset(t *testing.T) {
	t.Parallel()
	addr, taken := upstream(t)
	client := open(t, testenv.NewProxy(t, addr).Addr())
	server := take(t, taken)
	_ = server.SetLinger(0)
	_ = server.Close()
	if _, err := io.ReadAll(client); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("client read: %v; want the server's reset", err)
	}
}

func TestProxyWithoutUpstream(t *testing.T) {
	t.Parallel()
	nobody, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()
	client, err := dialTCP(t, testenv.NewProxy(t, nobody.Addr().String()).Addr())
	if err == nil {
		defer client.Close() //nolint:errcheck // it is reset
		_, err = io.ReadAll(client)
	}
	// The reset may come before the dialler looks, or after.
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection to nowhere: %v; want a reset", err)
	}
}

func TestProxyCut(t *testing.T) {
	t.Parallel()
	addr, taken := upstream(t)
	proxy := testenv.NewProxy(t, addr)
	client := open(t, proxy.Addr())
	server := take(t, taken)
	send(t, client, "x")
	expect(t, server, "x")
	proxy.Cut()
	for name, conn := range map[string]net.Conn{"client": client, "server": server} {
		if _, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v; want a reset", name, err)
		}
	}
	client = open(t, proxy.Addr())
	send(t, client, "again")
	expect(t, take(t, taken), "again")
}

func TestProxyRefuse(t *testing.T) {
	t.Parallel()
	addr, taken := upstream(t)
	proxy := testenv.NewProxy(t, addr)
	client := open(t, proxy.Addr())
	server := take(t, taken)
	proxy.Refuse(true)
	proxy.Refuse(true) // twice is once
	if _, err := dialTCP(t, proxy.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v; want it refused", err)
	}
	send(t, client, "still here")
	expect(t, server, "still here")
	proxy.Refuse(false)
	client = open(t, proxy.Addr())
	send(t, client, "back")
	expect(t, take(t, taken), "back")
}

func TestProxyBlackHole(t *testing.T) {
	t.Parallel()
	addr, taken := upstream(t)
	proxy := testenv.NewProxy(t, addr)
	idle, idleServer := open(t, proxy.Addr()), take(t, taken)
	busy, busyServer := open(t, proxy.Addr()), take(t, taken)
	ending, endingServer := open(t, proxy.Addr()), take(t, taken)

	proxy.BlackHole(true)
	send(t, busy, "lost")
	send(t, busyServer, "lost too")
	_ = ending.Close()
	late := open(t, proxy.Addr())
	send(t, late, "hello?")
	for _, conn := range []net.Conn{busy, busyServer, endingServer, late} {
		silent(t, conn)
	}

	proxy.BlackHole(false)
	send(t, idle, "nothing was lost")
	expect(t, idleServer, "nothing was lost")
	send(t, busy, "after the gap")
	send(t, late, "after the gap")
	for _, conn := range []net.Conn{busyServer, endingServer, late} {
		silent(t, conn)
	}
	again := open(t, proxy.Addr())
	send(t, again, "new")
	expect(t, take(t, taken), "new")

	proxy.Cut() // ends also the connections that fell silent
	if _, err := io.ReadAll(busy); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a silent connection after Cut: %v; want a reset", err)
	}
}
