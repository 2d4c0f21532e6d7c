package rabbitmq_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/testenv"
)

// withholding is rawURL by way of a proxy that keeps the next answer of one method from the client once it is armed.
func withholding(t *testing.T, rawURL string, class, method uint16, armed *atomic.Bool) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	u.Host, _ = listen(t, func(client net.Conn) {
		defer func() { _ = client.Close() }()
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server)
		if err != nil {
			return
		}
		var sending sync.WaitGroup
		sending.Go(func() {
			_, _ = io.Copy(conn, client)
			_ = conn.Close()
		})
		defer sending.Wait()
		defer func() { _, _ = client.Close(), conn.Close() }()
		head := make([]byte, 7) // type, channel, length
		for {
			if _, err := io.ReadFull(conn, head); err != nil {
				return
			}
			frame := make([]byte, 7+binary.BigEndian.Uint32(head[3:])+1)
			copy(frame, head)
			if _, err := io.ReadFull(conn, frame[7:]); err != nil {
				return
			}
			isMethod := frame[0] == 1 && binary.BigEndian.Uint16(frame[7:]) == class && binary.BigEndian.Uint16(frame[9:]) == method
			if isMethod && armed.CompareAndSwap(true, false) {
				continue
			}
			if _, err := client.Write(frame); err != nil {
				return
			}
		}
	})
	return u.String()
}

// A broker that goes on with its heartbeats and owes an answer must not keep a band silent for ever.
func TestAnAnswerThatDoesNotComeEndsTheSession(t *testing.T) {
	t.Parallel()
	for name, method := range map[string]uint16{"to a cancel": 31, "to a consume": 21} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var armed atomic.Bool
			b := start(t, rabbitmq.Config{URL: withholding(t, testenv.RabbitMQ(t), 60, method, &armed), Heartbeat: 2 * time.Second})
			s := subscribe(t, b, 5, 10)
			publishEventually(t, b, hint(10, 1))
			ack(t, s, next(t, s))
			armed.Store(true)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := s.Pause(ctx); err != nil {
				t.Errorf("Pause = %v", err)
			}
			if err := s.Resume(ctx); err != nil {
				t.Errorf("Resume = %v", err)
			}
			publishEventually(t, b, hint(10, 2))
			if d := next(t, s); d.Numbers[0] != 2 {
				t.Errorf("got %v, want 2", d.Numbers)
			}
			if armed.Load() {
				t.Error("the answer was not asked for")
			}
		})
	}
}
