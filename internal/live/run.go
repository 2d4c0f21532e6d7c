package live

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/warrenq/warren/internal/terminal"
	"github.com/warrenq/warren/jobstore"
)

// Screen is where a board is shown.
type Screen struct {
	Out io.Writer
	// Terminal says that a person looks: then the view is drawn anew in its place. Otherwise there
	// are plain lines: what to try, every outcome that is not FINISHED, and what stands, every two
	// seconds while it changes.
	Terminal bool
	Colour   bool

	mu    sync.Mutex
	drawn int    // lines of the frame that stands there
	last  string // what was reported last
}

const (
	redraw   = 200 * time.Millisecond
	report   = 2 * time.Second
	lookEach = time.Second
)

// Run shows the board until ctx ends, and then what stands one last time.
func (b *Board) Run(ctx context.Context, to *Screen) error {
	pace := report
	if to.Terminal {
		pace = redraw
	}
	show, look := time.NewTicker(pace), time.NewTicker(lookEach)
	defer show.Stop()
	defer look.Stop()
	b.look(ctx)
	to.begin(b)
	to.show(b)
	for {
		select {
		case <-ctx.Done():
			to.show(b)
			return nil
		case <-look.C:
			b.look(ctx)
		case <-show.C:
			to.show(b)
		}
	}
}

// begin tells what a frame always shows, once.
func (s *Screen) begin(b *Board) {
	if s.Terminal {
		return
	}
	s.print(strings.Join(append([]string{b.cfg.Title}, tryNext(b.cfg.Try)...), "\n") + "\n")
}

func (s *Screen) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = io.WriteString(s.Out, text) // nobody is left to tell
}

func (s *Screen) show(b *Board) {
	if !s.Terminal {
		s.report(b)
		return
	}
	columns, lines := terminal.Size(s.Out)
	snap := b.snapshot()
	text := frame(&snap, columns, lines, s.Colour)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	_, _ = io.WriteString(s.Out, strings.Join(text, "\n")+"\n") // nobody is left to tell
	s.drawn = len(text)
}

// erase takes the frame away, so that what is written next begins in its place.
func (s *Screen) erase() {
	if s.drawn > 0 {
		fmt.Fprintf(s.Out, "\x1b[%dA\x1b[J", s.drawn)
		s.drawn = 0
	}
}

// Write implements io.Writer for logs: on a terminal they appear above the view.
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	return s.Out.Write(p)
}

// report writes plain lines.
func (s *Screen) report(b *Board) {
	var out bytes.Buffer
	for _, o := range b.news() {
		if o.state != jobstore.Finished {
			fmt.Fprintln(&out, terminal.OneLine(o.line()))
		}
	}
	snap := b.snapshot()
	if now := snap.sentence(); now != s.last {
		fmt.Fprintln(&out, clock(snap.since)+"  "+now)
		s.last = now
	}
	s.print(out.String())
}

// sentence is what stands, in one line.
func (s *snapshot) sentence() string {
	var ready, delayed, retrying int64
	rate := 0.0
	for _, b := range s.bands {
		ready += b.counts[jobstore.Ready] + b.counts[jobstore.BackToBroker] + b.counts[jobstore.BrokerFailed]
		delayed += b.counts[jobstore.Scheduled] + b.counts[jobstore.Waiting]
		retrying += b.counts[jobstore.TemporarilyFailed]
		rate += b.rate
	}
	return fmt.Sprintf("%d ready, %d running, %d delayed, %d retrying, %.1f a second; %s", ready,
		len(s.running), delayed, retrying, rate, totals(s.totals))
}
