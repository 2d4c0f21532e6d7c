// Package journal gathers what running attempts say of themselves, how far they have come and their logs, and
// writes it, everything of the process together, at most once in a period: whatever handlers call, they wait for
// no statement, and an attempt that says nothing costs nothing.
package journal

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

// Every is how often a process writes at most.
const Every = 250 * time.Millisecond

// What may wait to be written: lines of one attempt, and of all. What is more is dropped and counted.
const (
	maxWaiting    = 256 << 10
	maxWaitingAll = 8 << 20
)

const (
	callTimeout = 5 * time.Second
	lastCall    = 3 * time.Second
	maxPause    = 5 * time.Second
	maxEnded    = 10_000 // attempts whose rows the next statement sweeps; the retention does the rest
)

// Config is what a Journal needs.
type Config struct {
	Store jobstore.Teller
	// MaxLog is how many bytes of lines a job keeps, over all of its attempts; 0 = none.
	MaxLog int64
	Log    *zap.Logger
}

// Journal takes what attempts say; Run writes it.
type Journal struct {
	cfg     Config
	waiting atomic.Int64 // bytes of lines

	mu    sync.Mutex
	dirty []*Attempt // those that have said something since the last time
	ended map[jobstore.ID]int64
	wake  chan struct{} // has room for one
}

// New prepares a journal; Run does the work.
func New(cfg Config) *Journal {
	return &Journal{cfg: cfg, ended: map[jobstore.ID]int64{}, wake: make(chan struct{}, 1)}
}

// Run writes until ctx ends, and then once more: every attempt has ended by then.
func (j *Journal) Run(ctx context.Context) error {
	period := time.NewTimer(0)
	defer period.Stop()
	for pause := Every; ; {
		select {
		case <-j.wake:
		case <-ctx.Done():
			j.flushLast(ctx)
			return nil
		}
		// The period begins when there is something to say, so that short jobs have ended by then.
		period.Reset(pause)
		select {
		case <-period.C:
		case <-ctx.Done():
			j.flushLast(ctx)
			return nil
		}
		if pause = min(2*pause, maxPause); j.flush(ctx, callTimeout) {
			pause = Every
		}
	}
}

func (j *Journal) flushLast(ctx context.Context) { j.flush(context.WithoutCancel(ctx), lastCall) }

// flush writes what waits, and reports whether that went well. What could not be written waits on.
func (j *Journal) flush(ctx context.Context, within time.Duration) bool {
	batch, t := j.gather(time.Now())
	if len(t.Progress)+len(t.Lines) == 0 {
		return true // what there was has come with an outcome
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	logged, err := j.cfg.Store.Tell(ctx, t)
	if errors.Is(err, jobstore.ErrInvalid) {
		j.cfg.Log.Error("the database refuses what jobs have said; it is left out", zap.Error(err),
			zap.Int("jobs", len(t.Progress)), zap.Int("lines", len(t.Lines)))
	} else if err != nil {
		if ctx.Err() == nil {
			j.cfg.Log.Warn("could not write what jobs have said; trying again", zap.Error(err))
		}
		for _, a := range batch {
			a.notTold()
		}
		return false
	}
	for _, a := range batch {
		bytes, known := logged[a.job]
		j.waiting.Add(-a.told(bytes, known))
	}
	return true
}

// gather takes what is to be told now.
func (j *Journal) gather(now time.Time) (batch []*Attempt, t jobstore.Telling) {
	j.mu.Lock()
	batch, j.dirty = j.dirty, nil
	j.mu.Unlock()
	for _, a := range batch {
		a.tell(now, &t)
	}
	if len(t.Progress)+len(t.Lines) == 0 {
		return batch, t
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	t.Ended, j.ended = j.ended, map[jobstore.ID]int64{}
	for i := range t.Progress { // the job has come back here, and says more
		delete(t.Ended, t.Progress[i].Job)
	}
	return batch, t
}

// queue has an attempt looked at by the next flush.
func (j *Journal) queue(a *Attempt) {
	j.mu.Lock()
	j.dirty = append(j.dirty, a)
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// sweep has the row of an attempt removed by the next statement there is.
func (j *Journal) sweep(job jobstore.ID, lease int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.ended) < maxEnded {
		j.ended[job] = lease
	}
}

// room reports whether n bytes of lines more may wait.
func (j *Journal) room(n int64) bool { return j.waiting.Load()+n <= maxWaitingAll }
