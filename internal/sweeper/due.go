package sweeper

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/jobstore"
)

// rounds bounds how many batches one tick works off, so that other parts have their turn.
const rounds = 20

// shortest is how soon a tick may follow another: a thousand rows that become due in the course of
// one second are fifty statements, not a thousand.
const shortest = 20 * time.Millisecond

// tickOnce plants the next rows of schedules, makes due rows READY, announces them, and empties the outbox.
// It comes back at the next tick, or earlier when a row becomes due before: a look that finds due rows does not
// see what comes after them, so that another follows soon. Schedules come before due rows:
// a row that is too late is withdrawn while it still waits.
func (s *Sweeper) tickOnce(ctx context.Context) (time.Duration, error) {
	look, err := s.cfg.Store.Look(ctx)
	if err != nil {
		return 0, err
	}
	next := s.cfg.Tick
	if look.Next > 0 {
		next = min(next, max(look.Next, shortest))
	}
	if look.Due {
		next = min(next, shortest)
	}
	var failed error // one part's trouble is not the others'
	for _, part := range []struct {
		has bool
		run func(ctx context.Context) (more bool, err error)
	}{{look.Schedules, s.plantOnce}, {look.Flows, s.flowsOnce}, {look.Due, s.dueOnce}} {
		if !part.has {
			continue
		}
		more, err := part.run(ctx)
		failed = errors.Join(failed, err)
		if more {
			next = 0
		}
	}
	// Runs of schedules that are made up for, and what an order on a flow has released, wait in the outbox.
	if (look.Outbox || look.Schedules || look.Flows) && !time.Now().Before(s.announceAfter) {
		failed = errors.Join(failed, s.outboxOnce(ctx))
	}
	if failed != nil {
		return 0, failed
	}
	return next, nil
}

func (s *Sweeper) dueOnce(ctx context.Context) (more bool, err error) {
	for range rounds {
		refs, err := s.cfg.Store.Due(ctx, s.cfg.Batch)
		s.announce(ctx, refs) // those beside an error are READY
		if err != nil {
			return false, err
		}
		if len(refs) < s.cfg.Batch {
			return false, nil
		}
	}
	return true, nil
}

// outboxOnce announces rows and takes them out of the outbox after the confirm, never before: a
// hint marked before its confirm is a job that waits for the lost-hint sweep.
func (s *Sweeper) outboxOnce(ctx context.Context) error {
	for range rounds {
		refs, err := s.cfg.Store.Outbox(ctx, s.cfg.Batch)
		if err != nil || len(refs) == 0 {
			return err
		}
		later, away := s.tell(ctx, refs)
		if done := except(refs, later); len(done) > 0 {
			if err := s.cfg.Store.Announced(ctx, done); err != nil {
				return err
			}
		}
		full := len(refs) == s.cfg.Batch
		if len(later) > 0 && (full || !away) {
			if err := s.cfg.Store.AnnounceLater(ctx, except(later, nil), s.patience(later)); err != nil {
				return err
			}
		}
		if away || !full {
			return nil
		}
	}
	return nil
}

// tell announces what is of bands that take hints, and returns what is to be told later. away says that
// nothing was taken, for a reason that may be any band's.
func (s *Sweeper) tell(ctx context.Context, refs []jobstore.Ref) (later []jobstore.Ref, away bool) {
	now := time.Now()
	told := make([]jobstore.Ref, 0, len(refs))
	for _, ref := range refs {
		if r := s.refusing[ref.Band]; r != nil && now.Before(r.until()) {
			later = append(later, ref)
		} else {
			told = append(told, ref)
		}
	}
	if len(told) == 0 {
		return later, false
	}
	failed, err := s.cfg.Announcer.Announce(ctx, told)
	return append(later, failed...), s.heard(told, failed, err)
}

// announce tells consumers of rows that are READY and not in the outbox. What fails is put there.
func (s *Sweeper) announce(ctx context.Context, refs []jobstore.Ref) {
	if len(refs) == 0 {
		return
	}
	failed := refs // while the broker fails it is left in peace, and the outbox has its turn
	if !time.Now().Before(s.announceAfter) {
		failed, _ = s.tell(ctx, refs)
	}
	if len(failed) == 0 {
		return
	}
	if err := s.cfg.Store.Unannounced(ctx, except(failed, nil)); err != nil {
		s.cfg.Log.Debug("could not put jobs into the outbox; the lost-hint sweep finds them", zap.Error(err))
	}
}

// heard learns from an attempt to announce. away is its answer for tell.
//
// While nothing arrives it doubles the pause between attempts, up to 1 s. An attempt without a
// connection waits for one before it fails, so that mostly one is under way when the broker is back.
//
// Where it is a band that cannot be announced, because others can or because the broker says so, that band alone is
// left in peace: its queue may be missing for days, and its rows would be in the way of all that come after them.
func (s *Sweeper) heard(told, failed []jobstore.Ref, err error) (away bool) {
	out := make(map[jobstore.ID]bool, len(failed))
	silent := map[jobstore.Band]bool{}
	known := true // to refuse
	for _, ref := range failed {
		out[ref.ID], silent[ref.Band] = true, true
		known = known && s.refusing[ref.Band] != nil
	}
	unclear := len(failed) == len(told) && errors.Is(err, broker.ErrUnavailable) && !errors.Is(err, broker.ErrRejected)
	if unclear && !known {
		if s.announcePause == 0 {
			s.cfg.Log.Warn("cannot announce jobs; their rows wait in the outbox", zap.Int("jobs", len(failed)), zap.Error(err))
		}
		s.announcePause = min(max(2*s.announcePause, s.cfg.Tick), time.Second)
		s.announceAfter = time.Now().Add(s.announcePause)
		return true
	}
	s.announcePause = 0
	s.announceAfter = time.Time{}
	if len(failed) < len(told) {
		s.arrived = time.Now()
	}
	for _, ref := range told {
		if len(silent)+len(s.refusing) > 0 && !out[ref.ID] { // its band takes some
			delete(silent, ref.Band)
			delete(s.refusing, ref.Band)
		}
	}
	for band := range silent {
		s.refuses(band, unclear, err)
	}
	return false
}

// refusal is a band that cannot be announced, though others may be.
type refusal struct {
	pause time.Duration
	tried time.Time
}

// How long a band is left in peace, at first and at most. A connection that breaks in the middle of an announcement
// looks like bands that refuse, so the first is short.
const (
	firstRefusal = time.Second
	lastRefusal  = 30 * time.Second
)

func (r *refusal) until() time.Time { return r.tried.Add(r.pause) }

// refuses notes that a band could not be announced. Unclear is whether that is a matter of the band: when
// nothing has arrived of any other since the last try, the pause stays as it is.
func (s *Sweeper) refuses(band jobstore.Band, unclear bool, err error) {
	r := s.refusing[band]
	if r == nil {
		r = &refusal{pause: firstRefusal / 2}
		s.refusing[band] = r
		s.cfg.Log.Warn("the jobs of a band cannot be announced; their rows wait in the outbox",
			zap.String("queue", band.Queue), zap.Int("priority", band.Priority), zap.Error(err))
	}
	if !unclear || s.arrived.After(r.tried) {
		r.pause = min(2*r.pause, lastRefusal)
	}
	r.tried = time.Now()
}

// patience is how long rows that were not told wait before they are looked at again: until one of their bands is
// tried again. Without any, it only lets others go first.
func (s *Sweeper) patience(later []jobstore.Ref) time.Duration {
	shortest := lastRefusal
	for _, ref := range later {
		r := s.refusing[ref.Band]
		if r == nil {
			return s.cfg.Tick / 5
		}
		shortest = min(shortest, max(time.Until(r.until()), s.cfg.Tick/5))
	}
	return shortest
}

// except are the numbers of refs without those that failed.
func except(refs, failed []jobstore.Ref) []jobstore.ID {
	out := make(map[jobstore.ID]bool, len(failed))
	for _, ref := range failed {
		out[ref.ID] = true
	}
	ids := make([]jobstore.ID, 0, len(refs))
	for _, ref := range refs {
		if !out[ref.ID] {
			ids = append(ids, ref.ID)
		}
	}
	return ids
}
