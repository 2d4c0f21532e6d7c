package worker

import (
	"fmt"
	"runtime/metrics"
	"sync"
	"time"
)

// heapGauge reads the size of the heap at most ten times a second: handlers share one heap, so a
// finer figure for one attempt would be no truer, and reading it costs more than a short job.
type heapGauge struct {
	mu     sync.Mutex
	read   time.Time
	sample [1]metrics.Sample

	before, after uint64 // what note is about
	note          []byte
}

// change says in JSON how large the heap was before an attempt, and is now. Attempts that end soon
// after each other mostly share one note, which nobody may change.
func (g *heapGauge) change(before uint64) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	after := g.now()
	if g.note == nil || g.before != before || g.after != after {
		g.before, g.after = before, after
		g.note = fmt.Appendf(nil, `{"before":%d,"after":%d}`, before, after)
	}
	return g.note
}

func (g *heapGauge) bytes() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.now()
}

func (g *heapGauge) now() uint64 {
	if now := time.Now(); now.Sub(g.read) > 100*time.Millisecond {
		g.read = now
		g.sample[0].Name = "/memory/classes/heap/objects:bytes"
		metrics.Read(g.sample[:])
	}
	return g.sample[0].Value.Uint64()
}
