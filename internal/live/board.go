package live

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// Config is how a Board is made. Title and Jobs are needed.
type Config struct {
	// Title is the first line.
	Title string
	// Try are commands that a person may type next.
	Try []string
	// Jobs says how much is waiting.
	Jobs jobstore.Gauger
	// Expect estimates how long a job will run, 0 = it is not known. nil = none is.
	Expect func(job *jobstore.Job) time.Duration
}

// Board knows what a person wants to see. It is the consumer's Observer.
type Board struct {
	cfg Config

	mu       sync.Mutex
	began    time.Time
	running  map[jobstore.ID]attempt
	ended    map[jobstore.Band]*meter
	totals   map[jobstore.State]int
	outcomes []outcome // the last ones, newest last
	fresh    int       // how many of them nobody has been shown yet
	gauges   jobstore.Gauges
	stale    bool // the database did not say lately
	draining bool
}

// attempt is a handler that runs.
type attempt struct {
	id     jobstore.ID
	kind   string
	band   jobstore.Band
	number int
	group  string
	since  time.Time
	expect time.Duration
}

// outcome is what became of one attempt.
type outcome struct {
	id     jobstore.ID
	kind   string
	state  jobstore.State
	took   time.Duration
	again  time.Duration // until the next attempt
	reason string
}

// keep is how many outcomes a board remembers.
const keep = 200

// New makes a board.
func New(cfg Config) *Board {
	if cfg.Expect == nil {
		cfg.Expect = func(*jobstore.Job) time.Duration { return 0 }
	}
	return &Board{
		cfg: cfg, began: time.Now(), running: map[jobstore.ID]attempt{},
		ended: map[jobstore.Band]*meter{}, totals: map[jobstore.State]int{},
	}
}

// Observe implements warren.Observer.
func (b *Board) Observe(_ context.Context, e warren.Event) {
	if e.Kind == warren.JobStarted {
		b.start(e.Job)
	}
	if e.Kind == warren.JobEnded {
		b.end(e)
	}
	if e.Kind == warren.LeaseLost {
		b.mu.Lock()
		delete(b.running, e.Job.ID)
		b.mu.Unlock()
	}
}

// Drain says that the consumer takes nothing more.
func (b *Board) Drain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.draining = true
}

// Totals are the outcomes so far, by state.
func (b *Board) Totals() map[jobstore.State]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.totals)
}

func (b *Board) start(j *jobstore.Job) {
	a := attempt{
		id: j.ID, kind: j.Kind, band: jobstore.Band{Queue: j.Queue, Priority: j.Priority}, number: j.Attempts,
		group: j.SerialGroup, since: time.Now(), expect: b.cfg.Expect(j),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running[j.ID] = a
}

func (b *Board) end(e warren.Event) {
	now := time.Now()
	o := outcome{id: e.Job.ID, kind: e.Job.Kind, state: e.Outcome.State, took: e.Outcome.Duration, reason: e.Outcome.Error}
	if !o.state.Final() {
		o.again = e.Outcome.Delay
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.running, e.Job.ID)
	band := jobstore.Band{Queue: e.Job.Queue, Priority: e.Job.Priority}
	m := b.ended[band]
	if m == nil {
		m = &meter{}
		b.ended[band] = m
	}
	m.add(now)
	b.totals[o.state]++
	b.outcomes = append(b.outcomes, o)
	b.fresh = min(b.fresh+1, keep)
	if len(b.outcomes) > 2*keep {
		b.outcomes = slices.Clone(b.outcomes[keep:])
	}
}

// look asks the database how much is waiting.
func (b *Board) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	g, err := b.cfg.Jobs.Gauges(ctx, countLimit)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stale = err != nil; !b.stale {
		b.gauges = g
	}
}

// countLimit bounds a count of what is waiting; a count that has reached it is shown with a "+".
const countLimit = 10_000

// snapshot is what one frame shows.
type snapshot struct {
	title   string
	try     []string
	drain   bool
	now     time.Time
	since   time.Duration
	bands   []bandLine
	running []attempt // longest first
	ended   []outcome // newest first
	totals  map[jobstore.State]int
	stale   bool
}

type bandLine struct {
	jobstore.Band
	counts map[jobstore.State]int64
	ended  int
	rate   float64 // a second
}

func (b *Board) snapshot() snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	s := snapshot{
		title: b.cfg.Title, try: b.cfg.Try, drain: b.draining, now: now, since: now.Sub(b.began), totals: maps.Clone(b.totals), stale: b.stale,
	}
	lines := map[jobstore.Band]*bandLine{}
	line := func(band jobstore.Band) *bandLine {
		if lines[band] == nil {
			lines[band] = &bandLine{Band: band, counts: map[jobstore.State]int64{}}
		}
		return lines[band]
	}
	for _, c := range b.gauges.Bands {
		line(c.Band).counts[c.State] += c.Jobs
	}
	for band, m := range b.ended {
		l := line(band)
		l.ended, l.rate = m.total, m.rate(now)
	}
	for _, l := range lines {
		s.bands = append(s.bands, *l)
	}
	slices.SortFunc(s.bands, func(x, y bandLine) int {
		return cmp.Or(cmp.Compare(x.Queue, y.Queue), cmp.Compare(x.Priority, y.Priority))
	})
	s.running = slices.SortedFunc(maps.Values(b.running), func(x, y attempt) int {
		return cmp.Or(x.since.Compare(y.since), cmp.Compare(x.id, y.id))
	})
	s.ended = slices.Clone(b.outcomes[max(0, len(b.outcomes)-keep):])
	slices.Reverse(s.ended)
	return s
}

// news returns the outcomes since the last call, oldest first.
func (b *Board) news() []outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := slices.Clone(b.outcomes[len(b.outcomes)-min(b.fresh, len(b.outcomes)):])
	b.fresh = 0
	return list
}
