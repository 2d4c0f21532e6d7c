package journal

import (
	"math"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// memory is how far back a rate looks.
const memory = 10 * time.Second

// meter makes a rate, and the time that is left, of how far an attempt says it is.
type meter struct {
	done, total    int64
	message, stage string
	before, share  float64 // of the whole: what came before this stage, and this stage

	seenAt     time.Time
	seenDone   int64
	seenWhole  float64
	rate, pace float64 // a second, of done and of the whole; 0 = not known
}

func newMeter(now time.Time) meter { return meter{share: 1, seenAt: now} }

// set takes what makes no sense for what is nearest to it: a handler does not fail by how it counts.
func (m *meter) set(done, total int64, message string) {
	m.done, m.total, m.message = max(done, 0), max(total, 0), message
}

// from says that what is done up to there was not done by this attempt.
func (m *meter) from(done, total int64) {
	m.set(done, total, m.message)
	m.seenDone = m.done
	m.seenWhole, _ = m.whole()
}

// enter begins a stage. The shares of all stages are cut to a whole.
func (m *meter) enter(now time.Time, stage string, share float64) {
	if m.stage != "" {
		m.before = min(m.before+m.share, 1)
	}
	if math.IsNaN(share) || share < 0 {
		share = 0
	}
	m.stage, m.share = stage, min(share, 1-m.before)
	m.done, m.total, m.message = 0, 0, ""
	m.seenAt, m.seenDone, m.rate = now, 0, 0
	m.seenWhole, _ = m.whole()
}

func (m *meter) finish(message string) {
	m.before, m.share, m.message = 1, 0, message
	if m.total > 0 {
		m.done = m.total
	}
}

// whole is how much of the job is done, 0 to 1.
func (m *meter) whole() (part float64, known bool) {
	if m.total > 0 {
		return m.before + m.share*min(float64(m.done)/float64(m.total), 1), true
	}
	return m.before, m.stage != "" || m.before > 0
}

// observe moves the averages by what has come since something came last.
func (m *meter) observe(now time.Time) {
	whole, _ := m.whole()
	took := now.Sub(m.seenAt)
	if m.done == m.seenDone && whole == m.seenWhole || took <= 0 {
		return
	}
	weight := 1 - math.Exp(-took.Seconds()/memory.Seconds())
	average := func(old, more float64) float64 {
		more = max(more, 0) / took.Seconds()
		if old == 0 {
			return more
		}
		return old + weight*(more-old)
	}
	m.rate = average(m.rate, float64(m.done-m.seenDone))
	m.pace = average(m.pace, whole-m.seenWhole)
	m.seenAt, m.seenDone, m.seenWhole = now, m.done, whole
}

// read tells how far it is.
func (m *meter) read(now time.Time) jobstore.Progress {
	m.observe(now)
	p := jobstore.Progress{
		Done: m.done, Total: m.total, Stage: m.stage, Message: m.message, Rate: math.Round(m.rate*1000) / 1000, At: now.UTC().Truncate(time.Millisecond),
	}
	whole, known := m.whole()
	if !known {
		return p
	}
	p.Percent = new(math.Floor(whole*1000+1e-9) / 10)
	// An ETA of years says nothing that a rate of almost nothing does not.
	if ms := (1 - whole) / m.pace * 1000; whole >= 1 {
		p.ETA = new(int64(0))
	} else if m.pace > 0 && ms < float64(math.MaxInt64)/1e7 {
		p.ETA = new(int64(math.Ceil(ms)))
	}
	return p
}
