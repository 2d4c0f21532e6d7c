package command

import (
	"bytes"
	"io"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/handlers"
)

// lastWords is how long the pipes are read after the program, and its whole group, has ended. It
// only takes time when the program has started something outside of its group that writes on.
const lastWords = 5 * time.Second

// pipes copies what a program writes.
type pipes struct {
	readers, writers []*os.File
	copying          sync.WaitGroup
}

// to returns the end of a new pipe for the program; what comes out of the other goes to w.
func (p *pipes) to(w io.Writer) (*os.File, error) {
	r, wr, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.readers, p.writers = append(p.readers, r), append(p.writers, wr)
	p.copying.Go(func() { _, _ = io.Copy(w, r) })
	return wr, nil
}

// started lets go of the program's ends, which it has its own copies of by now.
func (p *pipes) started() {
	for _, w := range p.writers {
		_ = w.Close()
	}
	p.writers = nil
}

// end returns when all has been copied.
func (p *pipes) end() {
	p.started()
	for _, r := range p.readers {
		_ = r.SetReadDeadline(time.Now().Add(lastWords))
	}
	p.copying.Wait()
	for _, r := range p.readers {
		_ = r.Close()
	}
}

// capped keeps the first bytes of what is written to it and swallows the rest, so that a program
// that talks too much neither fills the memory nor blocks.
type capped struct {
	limit int
	kept  []byte
	cut   bool
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), c.limit-len(c.kept))
	c.kept = append(c.kept, p[:n]...)
	c.cut = c.cut || n < len(p)
	return len(p), nil
}

const (
	maxLine = 4 << 10  // bytes of one line that are logged
	maxLog  = 64 << 10 // bytes of all lines that are logged
	maxLast = 1 << 10  // bytes of the last line that go into the error
)

// lines logs each line that is written to it, and remembers the last one that is not empty.
type lines struct {
	log     *zap.Logger
	line    []byte // the beginning of the line that is being written
	last    string
	logged  int
	dropped int
}

func (l *lines) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n')
		part := rest
		if end >= 0 {
			part = rest[:end]
		}
		l.line = append(l.line, part[:min(len(part), maxLine-len(l.line))]...)
		if end < 0 {
			break
		}
		l.endLine()
		rest = rest[end+1:]
	}
	return len(p), nil
}

func (l *lines) endLine() {
	text := handlers.Excerpt(string(l.line), maxLine)
	l.line = l.line[:0]
	if text == "" {
		return
	}
	l.last = handlers.Excerpt(text, maxLast)
	if l.logged+len(text) > maxLog {
		l.dropped++
		return
	}
	l.logged += len(text)
	l.log.Info(text, zap.String("stream", "stderr"))
}

// flush logs what did not end in a line break, and how much was left out.
func (l *lines) flush() {
	l.endLine()
	if l.dropped > 0 {
		l.log.Warn("the program wrote more than is kept in the log", zap.Int("dropped_lines", l.dropped))
	}
}
