package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/warrenq/warren/internal/terminal"
)

// progress draws a bar on a terminal and nothing elsewhere.
type progress struct {
	out   io.Writer
	size  int64 // bytes in all; 0 = not known
	read  int64
	count int
	began time.Time
	drawn time.Time
	on    bool
}

func newProgress(out io.Writer, size int64) *progress {
	return &progress{out: out, size: size, began: time.Now(), on: terminal.Is(out)}
}

func (p *progress) add(bytes int) {
	p.read += int64(bytes)
	if p.on && time.Since(p.drawn) > 100*time.Millisecond {
		p.draw()
	}
}

func (p *progress) jobs(n int) { p.count = n }

func (p *progress) draw() {
	p.drawn = time.Now()
	rate := float64(p.count) / max(time.Since(p.began).Seconds(), 0.001)
	if p.size <= 0 {
		fmt.Fprintf(p.out, "\r%d jobs, %.0f/s\x1b[K", p.count, rate)
		return
	}
	const width = 30
	full := min(int(p.read*width/p.size), width)
	fmt.Fprintf(p.out, "\r[%s%s] %3d %%  %d jobs, %.0f/s\x1b[K",
		strings.Repeat("#", full), strings.Repeat(".", width-full), min(p.read*100/p.size, 100), p.count, rate)
}

func (p *progress) done() {
	if p.on {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
