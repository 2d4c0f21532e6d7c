package worker

import (
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
}

func (g *heapGauge) bytes() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); now.Sub(g.read) > 100*time.Millisecond {
		g.read = now
		g.sample[0].Name = "/memory/classes/heap/objects:bytes"
		metrics.Read(g.sample[:])
	}
	return g.sample[0].Value.Uint64()
}
