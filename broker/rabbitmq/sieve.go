package rabbitmq

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/warrenq/warren/broker"
)

// Frames as AMQP 0-9-1 has them: type, channel, size of the payload, payload, end.
const (
	frameMethod    = 1
	frameHeader    = 2
	frameBody      = 3
	frameHeartbeat = 8

	frameStart = 7  // bytes before the payload
	plainSize  = 14 // payload of a content header without properties
	sizeEnd    = 12 // of it, with the body's size in the last eight
)

// maxKept is how much of a body arrives here: enough to see that it is too long.
const maxKept = broker.MaxBody + 1

// sieve is what a consuming session reads the broker through. It removes the properties and
// headers of every message, and of every body what is beyond maxKept.
//
// Both belong to whoever may write to a queue. The library parses headers, and ends the
// connection when they are nested too deeply, are too many, or do not fit into our frame size;
// the broker then delivers the same message to the next connection. One such message stopped a
// consumer for good. And it collects bodies of any size, which a broker takes up to 128 MB, as
// many as prefetch allows. Nothing but the body's numbers counts, so nothing is missing.
//
// What it does not understand it hands on as it is, for the library to complain about. A frame that
// does not end within patience is an error: when its size was changed on the way, heartbeats would
// fill it for hours, and keep the connection looking alive.
type sieve struct {
	in   *bufio.Reader
	out  []byte            // to be handed out before anything else
	pass int64             // bytes of in to hand out after that
	drop int64             // bytes of in to drop after that
	end  bool              // then hand out the byte that ends the frame
	left map[uint16]uint32 // how much of a body may still pass, by channel
	raw  bool              // hand out everything

	began    time.Time // of the current frame
	patience time.Duration
}

func newSieve(r io.Reader, patience time.Duration) *sieve {
	return &sieve{in: bufio.NewReaderSize(r, 32<<10), left: map[uint16]uint32{}, patience: patience}
}

// late is an error when the current frame takes too long.
func (s *sieve) late() error {
	if took := time.Since(s.began); took > s.patience {
		return fmt.Errorf("a frame from the broker is not complete after %s", took.Round(time.Second))
	}
	return nil
}

// Read implements io.Reader.
func (s *sieve) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		switch {
		case len(s.out) > 0:
			n := copy(p, s.out)
			s.out = s.out[n:]
			return n, nil
		case s.raw:
			return s.in.Read(p)
		case s.pass > 0:
			n, err := s.in.Read(p[:min(int64(len(p)), s.pass)])
			if s.pass -= int64(n); s.pass > 0 && err == nil {
				err = s.late()
			}
			return n, err
		}
		if err := s.next(); err != nil {
			return 0, err
		}
	}
}

// next ends the current frame, if there is one, and begins another.
func (s *sieve) next() error {
	for s.drop > 0 {
		if _, err := s.in.Peek(1); err != nil {
			return err
		}
		n, err := s.in.Discard(int(min(s.drop, int64(s.in.Buffered()))))
		if s.drop -= int64(n); s.drop > 0 && err == nil {
			err = s.late()
		}
		if err != nil {
			return err
		}
	}
	if s.end {
		s.end = false
		s.pass = 1
		return nil
	}
	var start [frameStart]byte
	if _, err := io.ReadFull(s.in, start[:]); err != nil {
		return err
	}
	s.began = time.Now()
	size := binary.BigEndian.Uint32(start[3:])
	channel := binary.BigEndian.Uint16(start[1:])
	switch start[0] {
	case frameHeader:
		return s.header(start, channel, size)
	case frameBody:
		s.body(start, channel, size)
	case frameMethod, frameHeartbeat:
		s.out = append(s.out[:0:0], start[:]...)
		s.pass = int64(size) + 1
	default:
		s.out = append(s.out[:0:0], start[:]...)
		s.raw = true
	}
	return nil
}

// header replaces a content header by one without properties.
func (s *sieve) header(start [frameStart]byte, channel uint16, size uint32) error {
	if size < plainSize {
		s.out = append(s.out[:0:0], start[:]...)
		s.raw = true
		return nil
	}
	var payload [plainSize]byte // the last two bytes, the flags of the properties, stay zero
	if _, err := io.ReadFull(s.in, payload[:sizeEnd]); err != nil {
		return err
	}
	kept := uint32(maxKept)
	if n := binary.BigEndian.Uint64(payload[sizeEnd-8:]); n < maxKept {
		kept = uint32(n)
	}
	binary.BigEndian.PutUint64(payload[sizeEnd-8:], uint64(kept))
	s.left[channel] = kept
	binary.BigEndian.PutUint32(start[3:], plainSize)
	s.out = append(append(s.out[:0:0], start[:]...), payload[:]...)
	s.drop, s.end = int64(size)-sizeEnd, true
	return nil
}

// body cuts a piece of a body, or drops it.
func (s *sieve) body(start [frameStart]byte, channel uint16, size uint32) {
	kept := min(size, s.left[channel])
	if s.left[channel] -= kept; s.left[channel] == 0 {
		delete(s.left, channel)
	}
	if kept == 0 {
		s.drop = int64(size) + 1
		return
	}
	binary.BigEndian.PutUint32(start[3:], kept)
	s.out = append(s.out[:0:0], start[:]...)
	s.pass, s.drop, s.end = int64(kept), int64(size-kept), true
}

// sieved is a wire that is read through a sieve.
type sieved struct {
	*wire
	sieve *sieve
}

// Read implements io.Reader.
func (s sieved) Read(p []byte) (int, error) { return s.sieve.Read(p) }
