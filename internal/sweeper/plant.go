package sweeper

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/schedule"
	"github.com/warrenq/warren/jobstore"
)

// plantBatch is how many schedules one transaction moves: it holds their locks for milliseconds.
const plantBatch = 100

// plantOnce plants the rows of the next ticks of schedules whose time has come. What another leader, or a
// person, has moved meanwhile is left to them: the version that was read is gone.
func (s *Sweeper) plantOnce(ctx context.Context) (more bool, err error) {
	for range rounds {
		due, now, err := s.cfg.Store.DueSchedules(ctx, plantBatch)
		if err != nil || len(due) == 0 {
			return false, err
		}
		moves, missed := make([]jobstore.ScheduleMove, 0, len(due)), []string{}
		for i := range due {
			plan, err := schedule.Advance(&due[i], now, rand.N[int64])
			if err != nil {
				s.cfg.Log.Warn("a schedule cannot be planned here; it is looked at again later",
					zap.String("schedule", due[i].Name), zap.Error(err))
			}
			moves = append(moves, plan.Move)
			if plan.Missed {
				missed = append(missed, due[i].Name)
			}
		}
		moved, err := s.move(ctx, moves, due, now)
		if err != nil {
			return false, err
		}
		for _, name := range missed {
			if slices.Contains(moved, name) {
				s.missed(name)
			}
		}
		if len(due) < plantBatch {
			return false, nil
		}
	}
	return true, nil
}

// move carries the moves out together, or one by one when the job of one of them cannot be stored: that
// one is put off, and holds up no other.
func (s *Sweeper) move(ctx context.Context, moves []jobstore.ScheduleMove, due []jobstore.Schedule, now time.Time) (moved []string, err error) {
	moved, err = s.cfg.Store.MoveSchedules(ctx, moves)
	if err == nil || !errors.Is(err, jobstore.ErrInvalid) {
		return moved, err
	}
	for i, m := range moves {
		one, err := s.cfg.Store.MoveSchedules(ctx, []jobstore.ScheduleMove{m})
		if errors.Is(err, jobstore.ErrInvalid) {
			s.cfg.Log.Warn("the job of a schedule cannot be stored; it is looked at again later", zap.String("schedule", m.Name), zap.Error(err))
			_, err = s.cfg.Store.MoveSchedules(ctx, []jobstore.ScheduleMove{schedule.Postpone(&due[i], now)})
		}
		if err != nil {
			return moved, err
		}
		moved = append(moved, one...)
	}
	return moved, nil
}

func (s *Sweeper) missed(name string) {
	s.cfg.Log.Warn("runs of a schedule were missed; those that its catch-up allows are made up for", zap.String("schedule", name))
	if s.cfg.Missed != nil {
		s.cfg.Missed(name)
	}
}
