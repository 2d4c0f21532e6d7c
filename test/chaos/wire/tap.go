package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
)

// Moment is when a hook is asked about a statement or frame.
type Moment string

// The moments. Replied is when the server has done it and its answer is not handed on yet; for AMQP,
// Sent is when the frame has just been handed on.
const (
	Sending Moment = "sending"
	Sent    Moment = "sent"
	Replied Moment = "replied"
)

// Hook is told what passes, in the goroutine that carries it. It returns false to cut the connection there and then.
type Hook func(what string, when Moment) bool

// ErrCut is how a hook ends a connection.
var ErrCut = errors.New("cut by a hook")

// maxFrame is longer than anything that the suite sends.
const maxFrame = 64 << 20

var errFrame = errors.New("a frame of impossible length")

// Postgres makes taps for PostgreSQL's protocol 3. What passes is named by the comment at the
// beginning of a statement, "-- warren: claim" as "claim", up to a comma: "-- warren: record, finished" is a way
// to record. A statement without one is named by its text in lower case.
func Postgres(hook Hook) func() Tap {
	return func() Tap { return &postgresTap{hook: hook, prepared: map[string]string{}} }
}

type postgresTap struct {
	hook Hook

	mu       sync.Mutex
	prepared map[string]string // by the name of the statement
	flying   []string          // sent, not replied to
}

// FromClient copies what a client sends.
func (t *postgresTap) FromClient(dst io.Writer, src io.Reader) error {
	startup := make([]byte, 4)
	if _, err := io.ReadFull(src, startup); err != nil {
		return err
	}
	body, err := readBody(src, int(binary.BigEndian.Uint32(startup))-4)
	if err != nil {
		return err
	}
	if _, err := dst.Write(slices.Concat(startup, body)); err != nil {
		return err
	}
	for {
		kind, frame, err := readMessage(src)
		if err != nil {
			return err
		}
		if what := t.statement(kind, frame[5:]); what != "" && !t.hook(what, Sending) {
			return ErrCut
		}
		if _, err := dst.Write(frame); err != nil {
			return err
		}
	}
}

// statement is what a message executes, "" for one that executes nothing.
func (t *postgresTap) statement(kind byte, body []byte) (what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch kind {
	case 'P': // Parse: name, text
		name, rest := cstring(body)
		text, _ := cstring(rest)
		t.prepared[name] = naming(text)
		return ""
	case 'B': // Bind: portal, name
		_, rest := cstring(body)
		name, _ := cstring(rest)
		what = t.prepared[name]
	case 'Q':
		text, _ := cstring(body)
		what = naming(text)
	default:
		return ""
	}
	t.flying = append(t.flying, what)
	return what
}

// FromServer copies what the server sends.
func (t *postgresTap) FromServer(dst io.Writer, src io.Reader) error {
	for {
		kind, frame, err := readMessage(src)
		if err != nil {
			return err
		}
		if kind == 'Z' { // ReadyForQuery: what was sent is done, and committed unless a transaction is open
			for _, what := range t.done() {
				if !t.hook(what, Replied) {
					return ErrCut
				}
			}
		}
		if _, err := dst.Write(frame); err != nil {
			return err
		}
	}
}

func (t *postgresTap) done() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	done := t.flying
	t.flying = nil
	return done
}

func readMessage(src io.Reader) (kind byte, frame []byte, err error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(src, head); err != nil {
		return 0, nil, err
	}
	body, err := readBody(src, int(binary.BigEndian.Uint32(head[1:]))-4)
	return head[0], slices.Concat(head, body), err
}

func readBody(src io.Reader, n int) ([]byte, error) {
	if n < 0 || n > maxFrame {
		return nil, errFrame
	}
	body := make([]byte, n)
	_, err := io.ReadFull(src, body)
	return body, err
}

func cstring(b []byte) (s string, rest []byte) {
	before, after, _ := bytes.Cut(b, []byte{0})
	return string(before), after
}

func naming(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	if name, ok := strings.CutPrefix(line, "-- warren: "); ok {
		name, _, _ = strings.Cut(name, ",")
		return name
	}
	return strings.ToLower(strings.TrimSpace(line))
}

// AMQP makes taps for AMQP 0-9-1. What passes is "publish" and "ack" from a client, "confirm" and
// "deliver" from the broker.
func AMQP(hook Hook) func() Tap { return func() Tap { return amqpTap{hook} } }

type amqpTap struct{ hook Hook }

// FromClient copies what a client sends.
func (t amqpTap) FromClient(dst io.Writer, src io.Reader) error {
	header := make([]byte, 8)
	if _, err := io.ReadFull(src, header); err != nil {
		return err
	}
	if _, err := dst.Write(header); err != nil {
		return err
	}
	return t.frames(dst, src, map[uint32]string{basic | 40: "publish", basic | 80: "ack"})
}

// FromServer copies what the broker sends.
func (t amqpTap) FromServer(dst io.Writer, src io.Reader) error {
	return t.frames(dst, src, map[uint32]string{basic | 80: "confirm", basic | 60: "deliver"})
}

// basic is the class of the methods that move messages.
const basic = 60 << 16

func (t amqpTap) frames(dst io.Writer, src io.Reader, methods map[uint32]string) error {
	for {
		head := make([]byte, 7) // type, channel, length
		if _, err := io.ReadFull(src, head); err != nil {
			return err
		}
		body, err := readBody(src, int(binary.BigEndian.Uint32(head[3:]))+1)
		if err != nil {
			return err
		}
		what := ""
		if head[0] == 1 && len(body) >= 4 {
			what = methods[binary.BigEndian.Uint32(body)]
		}
		if what != "" && !t.hook(what, Sending) {
			return ErrCut
		}
		if _, err := dst.Write(slices.Concat(head, body)); err != nil {
			return err
		}
		if what != "" && !t.hook(what, Sent) {
			return ErrCut
		}
	}
}
