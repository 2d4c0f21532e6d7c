package testenv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Ports are taken from a range below the one that Linux gives to outgoing connections (32768 and
// up), so that nothing takes the port of a server that is down for a moment, and above the
// standard ports of PostgreSQL and RabbitMQ (5432, 5672, 15672, 25672).
const (
	firstPort = 26000
	lastPort  = 31999
)

// port is a TCP port of 127.0.0.1 that is this process's own until it is released.
type port struct {
	number int
	claim  net.Listener // what other processes see; nil where the platform has no such thing
}

// reservePort finds a port on which nothing listens and which no other test process has reserved.
func reservePort() (*port, error) {
	var last error
	for range 200 {
		number := firstPort + rand.IntN(lastPort-firstPort+1)
		claim, err := claimPort(number)
		if err != nil {
			last = err
			continue
		}
		// The lookup of a listener proves that no foreign program has the port.
		probe, err := net.Listen("tcp", loopback(number)) //nolint:noctx // a listen on an address does not wait
		if err == nil {
			return &port{number: number, claim: claim}, probe.Close()
		}
		last = errors.Join(err, closeClaim(claim))
	}
	return nil, fmt.Errorf("find a free port between %d and %d: %w", firstPort, lastPort, last)
}

// addr is the port's address as net.Dial takes it.
func (p *port) addr() string { return loopback(p.number) }

// release lets others have the port.
func (p *port) release() {
	if p != nil {
		_ = closeClaim(p.claim) // the claim ends with the process anyway
	}
}

func closeClaim(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

func loopback(number int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(number)) }

// Addr returns an address of this machine on which nothing listens. No other test process takes it
// until the test ends.
func Addr(tb testing.TB) string {
	tb.Helper()
	p, err := reservePort()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.release)
	return p.addr()
}
