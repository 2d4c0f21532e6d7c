package cli

import (
	"context"
	"io"
	"os"
)

// console is standard input, whose reading ends with ctx. A read of a terminal or a pipe cannot be called off: the one
// that waits stays behind, with a buffer of its own, until the program ends.
type console struct {
	ctx  context.Context //nolint:containedctx // a reader has nowhere else to be told that it is to end
	file *os.File
	got  chan chunk
	rest []byte // read, and not yet fetched
	err  error
}

type chunk struct {
	bytes []byte
	err   error
}

func newConsole(ctx context.Context, file *os.File) *console {
	return &console{ctx: ctx, file: file, got: make(chan chunk, 1)}
}

// Fd tells whether a person sits there.
func (c *console) Fd() uintptr { return c.file.Fd() }

func (c *console) Read(p []byte) (int, error) {
	if len(c.rest) == 0 && c.err == nil && len(p) > 0 {
		go func(buf []byte) {
			n, err := c.file.Read(buf)
			c.got <- chunk{buf[:n], err}
		}(make([]byte, min(len(p), 64<<10)))
		select {
		case got := <-c.got:
			c.rest, c.err = got.bytes, got.err
		case <-c.ctx.Done():
			c.err = context.Cause(c.ctx)
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, c.err
}

var _ io.Reader = (*console)(nil)
