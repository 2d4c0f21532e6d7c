package sweeper_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/internal/sweeper"
	"github.com/warrenq/warren/jobstore"
)

var errAway = errors.New("away")

// store is what a sweep works on. Every call is counted by its name; err fails them all.
type store struct {
	jobstore.Scheduler // what the sweep has no use for

	mu          sync.Mutex
	calls       map[string]int
	lines       []string // what was announced and written, in order
	err         error
	broken      string // a call that fails
	hang        bool   // calls wait for the end of their context
	slow        map[string]time.Duration
	look        jobstore.Look
	due         []jobstore.Ref
	outbox      []jobstore.Ref
	oldest      []jobstore.Ref
	ready       []jobstore.Ref
	unclaimable jobstore.ID // those of ready with smaller numbers are for nobody
	claimable   jobstore.ID // but for so many from 5 on
	heads       []jobstore.Ref
	bands       []jobstore.Band
	rescue      []jobstore.Rescued // one a call, then nothing
	next        time.Duration      // of the earliest living registration
	old         int                // rows past retention
	oldFlows    int
	ages        jobstore.FlowAges // that flows were last pruned by

	schedules []jobstore.Schedule // that are due
	moves     []jobstore.ScheduleMove
	bad       string // a schedule whose job cannot be stored

	leader string // who has the lease, until when
	until  time.Time

	deaf      bool                      // announcing fails
	mute      map[jobstore.Band]error   // that of these does
	later     map[jobstore.ID]time.Time // when rows of the outbox are due that were put off
	bandOf    map[jobstore.ID]jobstore.Band
	announced [][]jobstore.ID
	heard     []jobstore.ID // those of them that arrived
	at        []time.Time   // when
	depth     int
	depthErr  error
}

func (s *store) call(ctx context.Context, name string) error {
	s.mu.Lock()
	s.calls[name]++
	err, hang, slow := s.err, s.hang, s.slow[name]
	if name == s.broken {
		err = errors.New(name + " is broken")
	}
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if slow > 0 {
		<-time.After(slow)
	}
	return err
}

// set changes what the store holds. The sweep is not under way then: Wait has seen to that.
func (s *store) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *store) count(names ...string) int {
	n := 0
	s.set(func() {
		for name, c := range s.calls {
			if len(names) == 0 || slices.Contains(names, name) {
				n += c
			}
		}
	})
	return n
}

func take(from *[]jobstore.Ref, n int) []jobstore.Ref {
	out := (*from)[:min(n, len(*from))]
	*from = (*from)[len(out):]
	return out
}

func (s *store) Look(ctx context.Context) (look jobstore.Look, err error) {
	err = s.call(ctx, "look")
	s.set(func() {
		look = s.look
		look.Due = look.Due || len(s.due) > 0
		look.Outbox = look.Outbox || len(s.outbox) > 0
		look.Schedules = look.Schedules || len(s.schedules) > 0
	})
	return look, err
}

func (s *store) Due(ctx context.Context, limit int) (refs []jobstore.Ref, err error) {
	if err := s.call(ctx, "due"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	refs = take(&s.due, limit)
	for _, ref := range refs {
		s.bandOf[ref.ID] = ref.Band
	}
	return refs, nil
}

func (s *store) Outbox(ctx context.Context, limit int) ([]jobstore.Ref, error) {
	if err := s.call(ctx, "outbox"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	due := slices.DeleteFunc(slices.Clone(s.outbox), func(r jobstore.Ref) bool { return time.Now().Before(s.later[r.ID]) })
	return due[:min(limit, len(due))], nil
}

func (s *store) AnnounceLater(ctx context.Context, ids []jobstore.ID, after time.Duration) error {
	if err := s.call(ctx, "announce later"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var first, last []jobstore.Ref
	for _, ref := range s.outbox {
		if slices.Contains(ids, ref.ID) {
			s.later[ref.ID] = time.Now().Add(after)
			last = append(last, ref)
		} else {
			first = append(first, ref)
		}
	}
	s.outbox = slices.Concat(first, last)
	return nil
}

func (s *store) Announced(ctx context.Context, ids []jobstore.ID) error {
	if err := s.call(ctx, "announced"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outbox = slices.DeleteFunc(s.outbox, func(r jobstore.Ref) bool { return slices.Contains(ids, r.ID) })
	s.lines = append(s.lines, "cleared")
	return nil
}

func (s *store) Unannounced(ctx context.Context, ids []jobstore.ID) error {
	if err := s.call(ctx, "unannounced"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.outbox = append(s.outbox, jobstore.Ref{ID: id, Band: s.bandOf[id]})
	}
	return nil
}

func (s *store) Oldest(ctx context.Context, bands []jobstore.Band) ([]jobstore.Ref, error) {
	err := s.call(ctx, "oldest")
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.oldest), func(r jobstore.Ref) bool { return !slices.Contains(bands, r.Band) }), err
}

func (s *store) ReadyFrom(ctx context.Context, band jobstore.Band, from jobstore.ID, limit int) (refs []jobstore.Ref, next jobstore.ID, err error) {
	err = s.call(ctx, "ready from")
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(s.ready), func(r jobstore.Ref) bool { return r.Band != band || r.ID < from })
	if len(rest) >= limit {
		rest, next = rest[:limit], rest[limit-1].ID+1
	}
	return slices.DeleteFunc(rest, func(r jobstore.Ref) bool { return r.ID < s.unclaimable && r.ID >= 5+s.claimable }), next, err
}

func (s *store) Heads(ctx context.Context, limit int) ([]jobstore.Ref, error) {
	err := s.call(ctx, "heads")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heads[:min(limit, len(s.heads))], err
}

func (s *store) LiveBands(ctx context.Context) ([]jobstore.Band, error) {
	err := s.call(ctx, "live bands")
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bands, err
}

func (s *store) Rescue(ctx context.Context, _, _ int) (jobstore.Rescued, error) {
	if err := s.call(ctx, "rescue"); err != nil {
		return jobstore.Rescued{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rescue) == 0 {
		return jobstore.Rescued{Next: s.next}, nil
	}
	r := s.rescue[0]
	s.rescue = s.rescue[1:]
	return r, nil
}

func (s *store) Retain(ctx context.Context, _ jobstore.Retention, limit int) (int, error) {
	if err := s.call(ctx, "retain"); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(limit, s.old)
	s.old -= n
	return n, nil
}

func (s *store) PruneFlows(ctx context.Context, ages jobstore.FlowAges, limit int) (int, error) {
	if err := s.call(ctx, "prune flows"); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(limit, s.oldFlows)
	s.oldFlows -= n
	s.ages = ages
	return n, nil
}

func (s *store) SettleFlows(ctx context.Context, _ int) (released []jobstore.Ref, more bool, err error) {
	return nil, false, s.call(ctx, "settle flows")
}

func (s *store) DueSchedules(ctx context.Context, limit int) ([]jobstore.Schedule, time.Time, error) {
	err := s.call(ctx, "due schedules")
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.schedules[:min(limit, len(s.schedules))]), time.Now(), err
}

// MoveSchedules knows one version of each schedule: what was moved is not due any more.
func (s *store) MoveSchedules(ctx context.Context, moves []jobstore.ScheduleMove) (moved []string, err error) {
	if err := s.call(ctx, "move schedules"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range moves {
		if m.Name == s.bad && len(m.Plant) > 0 {
			return nil, jobstore.ErrInvalid
		}
	}
	for _, m := range moves {
		s.schedules = slices.DeleteFunc(s.schedules, func(one jobstore.Schedule) bool {
			if one.Name != m.Name || one.Version != m.Version {
				return false
			}
			moved = append(moved, m.Name)
			s.moves = append(s.moves, m)
			s.lines = append(s.lines, "moved "+m.Name)
			return true
		})
	}
	return moved, nil
}

func (s *store) Lead(ctx context.Context, _, who string, ttl time.Duration) (int64, bool, error) {
	if err := s.call(ctx, "lead"); err != nil {
		return 0, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader != who && time.Now().Before(s.until) {
		return 0, false, nil
	}
	s.leader, s.until = who, time.Now().Add(ttl)
	return 1, true, nil
}

func (s *store) Resign(ctx context.Context, _, who string) error {
	err := s.call(ctx, "resign")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader == who {
		s.until = time.Time{}
	}
	return err
}

// Announce is the announcer's.
func (s *store) Announce(_ context.Context, refs []jobstore.Ref) ([]jobstore.Ref, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]jobstore.ID, len(refs))
	for i, r := range refs {
		ids[i] = r.ID
	}
	s.announced = append(s.announced, ids)
	s.at = append(s.at, time.Now())
	s.lines = append(s.lines, "announced")
	if s.deaf {
		return refs, fmt.Errorf("%w: %w", broker.ErrUnavailable, errAway)
	}
	var failed []jobstore.Ref
	var err error
	for _, ref := range refs {
		if why := s.mute[ref.Band]; why != nil {
			failed, err = append(failed, ref), why
		} else {
			s.heard = append(s.heard, ref.ID)
		}
	}
	return failed, err
}

// failing is a store whose leases cannot be renewed while it is away.
type failing struct {
	*store
	away bool
}

func (f *failing) Lead(ctx context.Context, name, who string, ttl time.Duration) (int64, bool, error) {
	f.mu.Lock()
	away := f.away
	f.mu.Unlock()
	if away {
		return 0, false, errAway
	}
	return f.store.Lead(ctx, name, who, ttl)
}

// told is what was announced since the last time it was asked for.
func (s *store) told() (all []jobstore.ID) {
	s.set(func() {
		all = slices.Concat(s.announced...)
		s.announced, s.at = nil, nil
	})
	return all
}

// rig is a sweeper over a store, in a synctest bubble.
type rig struct {
	*store
	t    *testing.T
	cfg  sweeper.Config
	s    *sweeper.Sweeper
	logs *observer.ObservedLogs
	stop context.CancelFunc
}

var band = jobstore.Band{Queue: "q", Priority: 10} //nolint:gochecknoglobals // a constant

func refs(from, to jobstore.ID) []jobstore.Ref {
	var out []jobstore.Ref
	for id := from; id <= to; id++ {
		out = append(out, jobstore.Ref{ID: id, Band: band})
	}
	return out
}

func bubble(t *testing.T, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		s := &store{calls: map[string]int{}, slow: map[string]time.Duration{}, bands: []jobstore.Band{band}}
		s.later, s.bandOf = map[jobstore.ID]time.Time{}, map[jobstore.ID]jobstore.Band{}
		r := &rig{t: t, store: s, logs: logs, stop: func() {}}
		r.cfg = sweeper.Config{Store: s, Announcer: s, Self: "me", Log: zap.New(core)}
		r.cfg.Depth = func(context.Context, jobstore.Band) (int, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.calls["depth"]++
			return s.depth, s.depthErr
		}
		r.s = sweeper.New(r.cfg)
		test(r)
	})
}

// start runs the sweeper.
func (r *rig) start() {
	ctx, cancel := context.WithCancel(r.t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := r.s.Run(ctx); err != nil {
			r.t.Errorf("Run = %v", err)
		}
	})
	r.stop = func() { cancel(); run.Wait() }
	r.t.Cleanup(r.stop)
	synctest.Wait()
}

// once does one part.
func (r *rig) once(part func(ctx context.Context) (time.Duration, error)) time.Duration {
	r.t.Helper()
	next, err := part(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return next
}

// tells checks what was announced since the last look.
func (r *rig) tells(want ...jobstore.ID) {
	r.t.Helper()
	if got := r.told(); !slices.Equal(got, want) {
		r.t.Errorf("announced %v, want %v", got, want)
	}
}

func pass(d time.Duration) { <-time.After(d); synctest.Wait() }
