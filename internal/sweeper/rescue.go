package sweeper

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

// rescueOnce hands back what dead processes held. It comes back when the next registration could
// expire, at the latest after the rescue interval.
func (s *Sweeper) rescueOnce(ctx context.Context) (time.Duration, error) {
	if wait := time.Until(s.holdRescue); wait > 0 {
		return wait, nil
	}
	for {
		r, err := s.cfg.Store.Rescue(ctx, s.cfg.Batch, s.cfg.MaxCrashes)
		if len(r.Released)+len(r.Quarantined)+r.Consumers > 0 { // there may be some beside an error
			s.cfg.Log.Warn("rescued the jobs of consumers that stopped renewing their lease",
				zap.Int("consumers", r.Consumers), zap.Int("jobs", len(r.Released)), zap.Int("quarantined", len(r.Quarantined)))
		}
		if s.cfg.Rescued != nil && r.Crashed+r.Consumers > 0 {
			s.cfg.Rescued(r)
		}
		s.announce(ctx, r.Released)
		if err != nil {
			return 0, err
		}
		if len(r.Released)+len(r.Quarantined)+r.Crashed == 0 { // of paused groups nothing is released
			next := s.cfg.Rescue
			if r.Next > 0 {
				// A little after the expiry, and not for every renewal that moves it.
				next = min(next, max(r.Next+50*time.Millisecond, 200*time.Millisecond))
			}
			return next, nil
		}
	}
}

// retainOnce removes final rows past retention, in bounded batches. It soon lets the other parts
// have their turn: there may be millions of rows, and due jobs are not to wait for them.
func (s *Sweeper) retainOnce(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if err := s.sweepFiles(ctx); err != nil {
		return 0, err
	}
	flows := true // there may be more of them
	for range rounds {
		if flows {
			n, err := s.cfg.Store.PruneFlows(ctx, flowAges(s.cfg.Retention), s.cfg.Batch)
			if err != nil {
				return 0, err
			}
			flows = n >= s.cfg.Batch
		}
		n, err := s.cfg.Store.Retain(ctx, s.cfg.Retention, 10*s.cfg.Batch)
		if err != nil {
			return 0, err
		}
		if n == 0 && !flows {
			return s.cfg.Retain, nil
		}
		if time.Since(began) > s.cfg.Tick/4 {
			break
		}
	}
	return s.cfg.Tick, nil
}

// flowAges keeps flows for as long as any job that can make one run again: the longest of the states that a
// job of a flow that has ended may be in. A state that is missing is kept for ever, and its flows with it.
func flowAges(keep jobstore.Retention) jobstore.FlowAges {
	ages := jobstore.FlowAges{Cancelled: keep[jobstore.Cancelled]}
	for _, state := range []jobstore.State{jobstore.Finished, jobstore.PermanentlyFailed, jobstore.Quarantined} {
		age, limited := keep[state]
		if !limited {
			ages.Finished = 0
			break
		}
		ages.Finished = max(ages.Finished, age)
	}
	return ages
}

// sweepFiles removes files that belong to nobody.
func (s *Sweeper) sweepFiles(ctx context.Context) error {
	if s.cfg.Files == nil {
		return nil
	}
	for range rounds {
		if n, err := s.cfg.Files(ctx, s.cfg.Batch); err != nil || n == 0 {
			return err
		}
	}
	return nil
}
