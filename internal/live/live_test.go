package live

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// counts is a database that only counts.
type counts struct {
	bands []jobstore.BandCount
	err   error
}

func (c *counts) Gauges(context.Context, int) (jobstore.Gauges, error) {
	return jobstore.Gauges{Bands: c.bands}, c.err
}

func job(id jobstore.ID, kind string, priority int) *jobstore.Job {
	return &jobstore.Job{ID: id, Kind: kind, Queue: "default", Priority: priority, Attempts: 1}
}

// busy is a board of a consumer that runs one job, has finished one and failed one.
func busy(t *testing.T) *Board {
	t.Helper()
	band := jobstore.Band{Queue: "default", Priority: 10}
	b := New(Config{
		Title: "Warren", Try: []string{"producer publish mail"},
		Jobs:   &counts{bands: []jobstore.BandCount{{Band: band, State: jobstore.Ready, Jobs: 7}, {Band: band, State: jobstore.Scheduled, Jobs: countLimit}}},
		Expect: func(*jobstore.Job) time.Duration { return 8 * time.Second },
	})
	ctx := t.Context()
	for _, j := range []*jobstore.Job{job(1, "mail", 10), job(2, "charge", 20), job(3, "report", 10)} {
		b.Observe(ctx, warren.Event{Kind: warren.JobStarted, Job: j})
	}
	b.Observe(ctx, warren.Event{Kind: warren.JobEnded, Job: job(1, "mail", 10), Outcome: jobstore.Outcome{State: jobstore.Finished, Duration: 12 * time.Millisecond}})
	b.Observe(ctx, warren.Event{Kind: warren.JobEnded, Job: job(2, "charge", 20), Outcome: jobstore.Outcome{
		State: jobstore.TemporarilyFailed, Duration: 2 * time.Second, Delay: time.Minute, Error: "no \x1b[2J answer\nat all",
	}})
	b.look(ctx)
	return b
}

func TestFrame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := busy(t)
		<-time.After(2 * time.Second)
		snap := b.snapshot()
		want := `Warren · 00:02

queue    priority  ready  running  delayed  retrying  ended     a second
default        10      7        0   10000+         0      1          0.2
default        20      0        0        0         0      1          0.2

running: 1
   3      report      10  [######..................] 2s of 8s
what came of it: 1 TEMPORARILY_FAILED, 1 FINISHED
   2      charge     TEMPORARILY_FAILED after 2s, again in 1m0s: no \x1b[2J ans…
   1      mail       FINISHED after 12ms

try next, in a second terminal:
  producer publish mail
Ctrl-C ends it.`
		if got := strings.Join(frame(&snap, 80, 24, false), "\n"); got != want {
			t.Errorf("the frame is\n%s\nwant\n%s", got, want)
		}
	})
}

// Whatever the terminal's size, the frame fits, and what runs and what came of it is still there.
func TestFrameFits(t *testing.T) {
	t.Parallel()
	b := busy(t)
	for id := range jobstore.ID(30) {
		b.Observe(t.Context(), warren.Event{Kind: warren.JobStarted, Job: job(100+id, "mail", 10)})
		b.Observe(t.Context(), warren.Event{Kind: warren.JobEnded, Job: job(200+id, "mail", 10), Outcome: jobstore.Outcome{State: jobstore.Finished}})
	}
	snap := b.snapshot()
	for height := 2; height < 60; height++ {
		lines := frame(&snap, 40, height, false)
		if len(lines) >= height {
			t.Errorf("%d lines on a terminal of %d", len(lines), height)
		}
		for _, line := range lines {
			if n := len([]rune(line)); n > 40 {
				t.Errorf("a line of %d columns: %q", n, line)
			}
		}
		text := strings.Join(lines, "\n")
		if height > 14 && (!strings.Contains(text, "running: 31") || !strings.Contains(text, "229")) {
			t.Errorf("at %d lines something is missing:\n%s", height, text)
		}
	}
}

// On a terminal a frame takes the place of the last one, and logs stand above it.
func TestScreenRedraws(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := busy(t)
		var out bytes.Buffer
		screen := &Screen{Out: &out, Terminal: true}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- b.Run(ctx, screen) }()
		<-time.After(250 * time.Millisecond)
		if _, err := screen.Write([]byte("a log line\n")); err != nil {
			t.Error(err)
		}
		b.Drain()
		<-time.After(250 * time.Millisecond)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		text := out.String()
		frames := strings.Count(text, "Warren · ")
		erased := strings.Count(text, "\x1b[J")
		if frames < 3 || erased != frames-1 {
			t.Errorf("%d frames, %d erased", frames, erased)
		}
		if !strings.Contains(text, "\x1b[Ja log line\nWarren") {
			t.Errorf("a log line does not stand above the view: %q", text)
		}
		if !strings.HasSuffix(text, "draining: nothing more is taken; Ctrl-C again hands back what still runs\n") {
			t.Errorf("a drain is not shown: %q", text)
		}
	})
}

// Without a terminal there are lines, and none while nothing changes.
func TestPlainLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := busy(t)
		var out bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.Run(ctx, &Screen{Out: &out}); err != nil {
			t.Error(err)
		}
		want := `Warren

try next, in a second terminal:
  producer publish mail
Ctrl-C ends it.
2      charge     TEMPORARILY_FAILED after 2s, again in 1m0s: no \x1b[2J answer at all
00:00  7 ready, 1 running, 10000 delayed, 0 retrying, 0.0 a second; 1 TEMPORARILY_FAILED, 1 FINISHED
00:02  7 ready, 1 running, 10000 delayed, 0 retrying, 0.4 a second; 1 TEMPORARILY_FAILED, 1 FINISHED
00:06  7 ready, 1 running, 10000 delayed, 0 retrying, 0.0 a second; 1 TEMPORARILY_FAILED, 1 FINISHED
`
		if out.String() != want {
			t.Errorf("the lines are\n%s\nwant\n%s", out.String(), want)
		}
	})
}

func TestADatabaseThatDoesNotAnswerIsSaid(t *testing.T) {
	t.Parallel()
	b := busy(t)
	b.cfg.Jobs = &counts{err: context.DeadlineExceeded}
	b.look(t.Context())
	snap := b.snapshot()
	if text := strings.Join(frame(&snap, 80, 24, false), "\n"); !strings.Contains(text, "does not answer") || !strings.Contains(text, "10      7") {
		t.Errorf("the frame is\n%s", text)
	}
}
