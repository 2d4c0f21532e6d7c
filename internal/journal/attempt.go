package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/warrenq/warren/internal/argcheck"
	"github.com/warrenq/warren/jobstore"
)

// Limits of what an attempt says. What is longer is cut.
const (
	maxMessage = 1 << 10
	maxStage   = 255
	maxLoops   = 100      // that a later attempt goes on in
	maxText    = 16 << 10 // of a line; its fields have as much
)

// Attempt is one attempt that says something. Its methods may be called by many goroutines, also when it has
// ended: then they do nothing.
type Attempt struct {
	journal *Journal
	row     *jobstore.Job
	job     jobstore.ID
	by      jobstore.HolderID

	mu     sync.Mutex
	ended  bool
	queued bool
	// Progress.
	spoke   bool // it has said how far it is
	changed bool // and the database does not know yet
	written bool // there may be a row
	meter   meter
	cursors map[string]int64
	loops   map[string]int // how many have begun, by stage; nil = what earlier attempts did is not known yet
	looping bool
	// The log.
	lines, flying []jobstore.Line
	no            int
	waiting       int64 // bytes of lines
	kept          int64 // bytes of the job's log, as far as is known
	asked         bool  // what earlier attempts have logged
	late, over    int   // lines that were dropped: for want of room here, and because the log is full
}

// Open begins to listen to an attempt of a job, which by has leased.
func (j *Journal) Open(row *jobstore.Job, by jobstore.HolderID) *Attempt {
	return &Attempt{journal: j, row: row, job: row.ID, by: by, asked: row.LeaseNo <= 1, meter: newMeter(time.Now())}
}

// Progress says how far the attempt is. A total of 0 is not known.
func (a *Attempt) Progress(done, total int64, message string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ended {
		a.meter.set(done, total, message)
		a.saidMore()
	}
}

// Stage says that a part of the job begins which has this share, 0 to 1, of the whole; those before it are done.
func (a *Attempt) Stage(name string, share float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ended {
		a.meter.enter(time.Now(), argcheck.Sanitize(name, maxStage), share)
		a.saidMore()
	}
}

// Done says that everything is.
func (a *Attempt) Done(message string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ended {
		a.meter.finish(message)
		a.saidMore()
	}
}

// Loop begins the next loop of this stage, and returns its name and how far an earlier attempt has come in it.
func (a *Attempt) Loop(ctx context.Context, total int64) (name string, from int64, err error) {
	if err := a.recall(ctx); err != nil {
		return "", 0, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.looping {
		return "", 0, errors.New("another Each of this job runs: where it goes on would not be known; let them run one after the other")
	}
	a.looping = true
	stage := a.meter.stage
	a.loops[stage]++
	name = fmt.Sprintf("%s#%d", stage, a.loops[stage])
	a.meter.from(a.cursors[name], total)
	return name, a.cursors[name], nil
}

// EndLoop ends the loop.
func (a *Attempt) EndLoop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.looping = false
}

// Pass says that a loop is past one more item.
func (a *Attempt) Pass(loop string, cursor, total int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ended {
		if _, known := a.cursors[loop]; known || len(a.cursors) < maxLoops {
			a.cursors[loop] = cursor
		}
		a.meter.set(cursor, total, a.meter.message)
		a.saidMore()
	}
}

// recall reads once how far earlier attempts have come.
func (a *Attempt) recall(ctx context.Context) error {
	a.mu.Lock()
	known := a.loops != nil
	a.mu.Unlock()
	if known {
		return nil
	}
	var told []byte
	if a.row.LeaseNo > 1 { // an attempt whose process died has left it there
		var err error
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		if told, err = a.journal.cfg.Store.Told(ctx, a.job); err != nil {
			return fmt.Errorf("where an earlier attempt stopped: %w", err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.loops == nil {
		a.loops, a.cursors = map[string]int{}, map[string]int64{}
		if p := jobstore.LatestProgress(a.row, told); p != nil {
			maps.Copy(a.cursors, p.Cursors)
		}
	}
	return nil
}

func (a *Attempt) saidMore() {
	a.spoke, a.changed = true, true
	a.enqueue()
}

func (a *Attempt) enqueue() {
	if !a.queued {
		a.queued = true
		a.journal.queue(a)
	}
}

// tell adds to a telling what the database does not know yet.
func (a *Attempt) tell(now time.Time, t *jobstore.Telling) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queued = false
	if a.changed && !a.ended {
		t.Progress = append(t.Progress, jobstore.Told{By: a.by, Progress: a.progress(now)})
		a.changed, a.written = false, true
	}
	if len(a.lines) == 0 {
		return
	}
	t.Lines = append(t.Lines, a.lines...)
	a.flying, a.lines = a.lines, nil
	if !a.asked {
		t.Logged = append(t.Logged, a.job)
	}
}

// told is told that the telling was written. It returns how many bytes wait no more.
func (a *Attempt) told(logged int64, known bool) (bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.flying {
		bytes += int64(a.flying[i].Size())
	}
	if len(a.flying) > 0 {
		a.asked = true
	}
	a.flying = nil
	a.waiting -= bytes
	if known {
		a.kept += logged
	}
	return bytes
}

// notTold is told that the telling was not written, or that nobody knows.
func (a *Attempt) notTold() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lines, a.flying = append(a.flying, a.lines...), nil
	a.changed = a.spoke
	a.enqueue()
}

// progress is what the attempt says now.
func (a *Attempt) progress(now time.Time) jobstore.Progress {
	p := a.meter.read(now)
	p.Job, p.LeaseNo, p.Attempt = a.job, a.row.LeaseNo, a.row.Attempts
	p.Message = argcheck.Sanitize(p.Message, maxMessage)
	p.Cursors = maps.Clone(a.cursors)
	return p
}

// Note is what is to come with an outcome, a Progress as JSON, nil if the attempt has said nothing. A job that is
// finished has nowhere to go on.
func (a *Attempt) Note(finished bool) json.RawMessage {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.spoke || a.ended {
		return nil
	}
	p := a.progress(time.Now())
	if finished {
		p.Cursors = nil
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil // numbers and texts always encode
	}
	return text
}

// End ends the attempt, once its outcome is known.
func (a *Attempt) End() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return
	}
	a.dropped()
	a.ended = true
	if a.written {
		a.journal.sweep(a.job, a.row.LeaseNo)
	}
}
