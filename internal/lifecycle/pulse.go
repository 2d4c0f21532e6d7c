package lifecycle

import (
	"math"
	"sync/atomic"
	"time"
)

// Pulse is a loop's sign of life. The zero value rests: a loop that has not begun is not late.
type Pulse struct {
	beat atomic.Int64 // nanoseconds after epoch, plus one; 0 = never
}

//nolint:gochecknoglobals // only so that times are monotonic, and do not pass while the machine sleeps
var epoch = time.Now()

// Beat says that the loop has come round.
func (p *Pulse) Beat() { p.beat.Store(int64(time.Since(epoch)) + 1) }

// Rest says that the loop has ended, or waits for something that may take any time.
func (p *Pulse) Rest() { p.beat.Store(math.MaxInt64) }

// Since is how long ago the last beat was; 0 while the loop rests.
func (p *Pulse) Since() time.Duration {
	beat := p.beat.Load()
	if beat == 0 || beat == math.MaxInt64 {
		return 0
	}
	return max(time.Since(epoch)-time.Duration(beat-1), 0)
}
