package journal

import (
	"time"

	"github.com/warrenq/warren/jobstore"
)

// Waiting is how many bytes of lines wait to be written.
func (j *Journal) Waiting() int64 { return j.waiting.Load() }

// Meter is a meter with a clock of the test's own.
type Meter struct{ meter }

// NewMeter begins at a moment.
func NewMeter(now time.Time) *Meter { return &Meter{newMeter(now)} }

// What a meter does.
func (m *Meter) Set(done, total int64, message string)            { m.set(done, total, message) }
func (m *Meter) From(done, total int64)                           { m.from(done, total) }
func (m *Meter) Enter(now time.Time, stage string, share float64) { m.enter(now, stage, share) }
func (m *Meter) Read(now time.Time) jobstore.Progress             { return m.read(now) }
func (m *Meter) Done() int64                                      { return m.done }
