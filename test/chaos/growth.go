package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// peak is the most that any consumer held at a time.
type peak struct {
	MiB         int `json:"mib"` // resident memory
	Descriptors int `json:"descriptors"`
}

// growth compares the halves of an attack: what leaks is larger in the second. Goroutines are counted by the
// consumers themselves when they end.
type growth struct {
	First  peak `json:"first_half"`
	Second peak `json:"second_half"`
}

func (g *growth) String() string {
	if g == nil {
		return "–"
	}
	return fmt.Sprintf("%d, then %d MiB; %d, then %d", g.First.MiB, g.Second.MiB, g.First.Descriptors, g.Second.Descriptors)
}

// leaks reports whether the second half is so much larger that chance does not account for it.
func (g *growth) leaks() bool {
	return g.Second.MiB > 2*g.First.MiB+32 || g.Second.Descriptors > 2*g.First.Descriptors+32
}

// watchGrowth looks at the consumers every second for as long as an attack lasts.
func (w *world) watchGrowth(ctx context.Context, lasts time.Duration) (result func() *growth) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan *growth)
	go func() {
		var g growth
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for began := time.Now(); ctx.Err() == nil; {
			half := &g.First
			if time.Since(began) > lasts/2 {
				half = &g.Second
			}
			for _, p := range w.processes() {
				if p.alive() {
					half.add(p.pid())
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		done <- &g
	}()
	return func() *growth {
		cancel()
		return <-done
	}
}

// add looks at one process. One that has just ended adds nothing.
func (p *peak) add(pid int) {
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid)); err == nil {
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			pages, _ := strconv.Atoi(fields[1])
			p.MiB = max(p.MiB, pages*os.Getpagesize()>>20)
		}
	}
	if open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
		p.Descriptors = max(p.Descriptors, len(open))
	}
}
