package rabbitmq

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func rawFrame(kind byte, channel uint16, payload []byte) []byte {
	f := []byte{kind, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(f[1:], channel)
	binary.BigEndian.PutUint32(f[3:], uint32(len(payload)))
	return append(append(f, payload...), 0xCE)
}

// rawHeader is a content header with rest after the size of the body.
func rawHeader(channel uint16, size uint64, rest string) []byte {
	p := binary.BigEndian.AppendUint64([]byte{0, 60, 0, 0}, size)
	return rawFrame(frameHeader, channel, append(p, rest...))
}

func TestSieve(t *testing.T) {
	t.Parallel()
	method := rawFrame(frameMethod, 1, []byte("any method"))
	heartbeat := rawFrame(frameHeartbeat, 0, nil)
	plain := func(channel uint16, size uint64) []byte { return rawHeader(channel, size, "\x00\x00") }
	long := bytes.Repeat([]byte("7"), 15_000)
	for name, c := range map[string]struct{ in, want [][]byte }{
		"nothing":            {},
		"methods":            {[][]byte{method, heartbeat, method}, [][]byte{method, heartbeat, method}},
		"a plain message":    {[][]byte{method, plain(1, 3), rawFrame(frameBody, 1, []byte("1 2"))}, [][]byte{method, plain(1, 3), rawFrame(frameBody, 1, []byte("1 2"))}},
		"an empty message":   {[][]byte{plain(1, 0), method}, [][]byte{plain(1, 0), method}},
		"properties":         {[][]byte{rawHeader(1, 1, "\x80\x00\x0atext/plain"), rawFrame(frameBody, 1, []byte("1"))}, [][]byte{plain(1, 1), rawFrame(frameBody, 1, []byte("1"))}},
		"headers of 300 KB":  {[][]byte{rawHeader(1, 1, "\x20\x00"+strings.Repeat("x", 300_000)), rawFrame(frameBody, 1, []byte("1"))}, [][]byte{plain(1, 1), rawFrame(frameBody, 1, []byte("1"))}},
		"two channels mixed": {[][]byte{rawHeader(1, 2, "\x10\x00\x02"), plain(2, 2), rawFrame(frameBody, 1, []byte("1")), rawFrame(frameBody, 2, []byte("22")), rawFrame(frameBody, 1, []byte("1")), method}, [][]byte{plain(1, 2), plain(2, 2), rawFrame(frameBody, 1, []byte("1")), rawFrame(frameBody, 2, []byte("22")), rawFrame(frameBody, 1, []byte("1")), method}},
		"a body that is too long": {
			[][]byte{plain(1, 1<<40), rawFrame(frameBody, 1, long), rawFrame(frameBody, 1, long), rawFrame(frameBody, 1, long), method, plain(1, 1), rawFrame(frameBody, 1, []byte("1"))},
			[][]byte{plain(1, maxKept), rawFrame(frameBody, 1, long), rawFrame(frameBody, 1, long[:maxKept-15_000]), method, plain(1, 1), rawFrame(frameBody, 1, []byte("1"))},
		},
		"a body without a header":     {[][]byte{rawFrame(frameBody, 1, []byte("1")), method}, [][]byte{method}},
		"a header that is too short":  {[][]byte{rawFrame(frameHeader, 1, []byte("short")), method}, [][]byte{rawFrame(frameHeader, 1, []byte("short")), method}},
		"another protocol":            {[][]byte{[]byte("AMQP\x00\x01\x00\x00"), method}, [][]byte{[]byte("AMQP\x00\x01\x00\x00"), method}},
		"a frame of an unknown type":  {[][]byte{rawFrame(9, 1, []byte("x")), plain(1, 1)}, [][]byte{rawFrame(9, 1, []byte("x")), plain(1, 1)}},
		"a header with a wrong ender": {[][]byte{append(rawHeader(1, 1, "\x00\x00abc")[:24], 1), method}, nil},
	} {
		in, want := slices.Concat(c.in...), slices.Concat(c.want...)
		for how, r := range map[string]io.Reader{
			"at once":      bytes.NewReader(in),
			"by bytes":     iotest.OneByteReader(bytes.NewReader(in)),
			"error at end": iotest.DataErrReader(bytes.NewReader(in)),
		} {
			got, err := io.ReadAll(newSieve(r, time.Hour))
			if want != nil && (err != nil || !bytes.Equal(got, want)) {
				t.Errorf("%s, %s: got %d bytes, %v; want %d", name, how, len(got), err, len(want))
			}
		}
	}
}

func TestSieveHandsOnWhatEndsReading(t *testing.T) {
	t.Parallel()
	whole := slices.Concat(rawFrame(frameMethod, 1, []byte("m")), rawHeader(1, 5, "\x80\x00\x01x"), rawFrame(frameBody, 1, []byte("12345")))
	broken := errors.New("broken")
	for n := range whole {
		if _, err := io.ReadAll(newSieve(io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(broken)), time.Hour)); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v; want the reader's error", n, err)
		}
	}
}

// FuzzSieve: no input panics or makes more of itself, and however it is cut into pieces the same
// comes out.
func FuzzSieve(f *testing.F) {
	f.Add(slices.Concat(rawFrame(frameMethod, 1, []byte("m")), rawHeader(1, 5, "\x80\x00\x01x"), rawFrame(frameBody, 1, []byte("12345"))))
	f.Add(rawHeader(3, 1<<63, ""))
	f.Add(slices.Concat(rawHeader(1, 30_000, "\x00\x00"), rawFrame(frameBody, 1, bytes.Repeat([]byte("1"), 30_000))))
	f.Add([]byte("AMQP\x00\x00\x09\x01"))
	f.Add([]byte{frameBody, 0, 1, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := io.ReadAll(newSieve(bytes.NewReader(in), time.Hour))
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("error %v", err)
		}
		if len(got) > len(in)+2 { // the flags of a header that ends before its own
			t.Fatalf("%d bytes became %d", len(in), len(got))
		}
		again, _ := io.ReadAll(newSieve(iotest.OneByteReader(bytes.NewReader(in)), time.Hour))
		if !bytes.Equal(got, again) {
			t.Fatalf("%x at once, %x by bytes", got, again)
		}
	})
}

// drip hands out a byte a second.
type drip struct{ in io.Reader }

func (d drip) Read(p []byte) (int, error) {
	<-time.After(time.Second)
	return d.in.Read(p[:1])
}

// A frame whose size was changed on the way swallows what follows it. Heartbeats that it swallows must
// not keep it alive.
func TestSieveEndsAFrameThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	heartbeats := bytes.Repeat(rawFrame(frameHeartbeat, 0, nil), 1000)
	for name, begin := range map[string][]byte{
		"a method":          rawFrame(frameMethod, 1, make([]byte, 4000))[:frameStart],
		"a header":          rawHeader(1, 5, strings.Repeat("x", 4000))[:30],
		"a body, kept":      slices.Concat(rawHeader(1, 4000, "\x00\x00"), rawFrame(frameBody, 1, make([]byte, 4000))[:frameStart]),
		"a body, not asked": rawFrame(frameBody, 1, make([]byte, 4000))[:frameStart],
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			_, err := io.ReadAll(newSieve(drip{io.MultiReader(bytes.NewReader(begin), bytes.NewReader(heartbeats))}, 30*time.Second))
			if err == nil || !strings.Contains(err.Error(), "not complete") || time.Since(began) > 2*time.Minute {
				t.Errorf("%s: %v after %s", name, err, time.Since(began))
			}
		})
	}
}
