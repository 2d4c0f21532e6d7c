package sweeper

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

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
		failed, err := s.cfg.Announcer.Announce(ctx, refs)
		s.heard(failed, err)
		if done := except(refs, failed); len(done) > 0 {
			if err := s.cfg.Store.Announced(ctx, done); err != nil {
				return err
			}
		}
		if len(failed) > 0 || len(refs) < s.cfg.Batch {
			return nil
		}
	}
	return nil
}

// announce tells consumers of rows that are READY and not in the outbox. What fails is put there.
func (s *Sweeper) announce(ctx context.Context, refs []jobstore.Ref) {
	if len(refs) == 0 {
		return
	}
	failed := refs // while the broker fails it is left in peace, and the outbox has its turn
	if !time.Now().Before(s.announceAfter) {
		var err error
		failed, err = s.cfg.Announcer.Announce(ctx, refs)
		s.heard(failed, err)
	}
	if len(failed) == 0 {
		return
	}
	ids := make([]jobstore.ID, len(failed))
	for i, ref := range failed {
		ids[i] = ref.ID
	}
	if err := s.cfg.Store.Unannounced(ctx, ids); err != nil {
		s.cfg.Log.Debug("could not put jobs into the outbox; the lost-hint sweep finds them", zap.Error(err))
	}
}

// heard doubles the pause between attempts to announce while they fail, up to 1 s. An attempt without a
// connection waits for one before it fails, so that mostly one is under way when the broker is back.
func (s *Sweeper) heard(failed []jobstore.Ref, err error) {
	if len(failed) == 0 {
		s.announcePause = 0
		s.announceAfter = time.Time{}
		return
	}
	if s.announcePause == 0 {
		s.cfg.Log.Warn("cannot announce jobs; their rows wait in the outbox", zap.Int("jobs", len(failed)), zap.Error(err))
	}
	s.announcePause = min(max(2*s.announcePause, s.cfg.Tick), time.Second)
	s.announceAfter = time.Now().Add(s.announcePause)
}

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
