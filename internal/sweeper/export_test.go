package sweeper

import (
	"context"
	"time"
)

// The parts, each once.
func (s *Sweeper) TickOnce(ctx context.Context) (time.Duration, error) { return s.tickOnce(ctx) }

func (s *Sweeper) LostHintsOnce(ctx context.Context) (time.Duration, error) {
	return s.lostHintsOnce(ctx)
}
func (s *Sweeper) HeadsOnce(ctx context.Context) (time.Duration, error)  { return s.headsOnce(ctx) }
func (s *Sweeper) RescueOnce(ctx context.Context) (time.Duration, error) { return s.rescueOnce(ctx) }

func (s *Sweeper) RetainOnce(ctx context.Context) (time.Duration, error) { return s.retainOnce(ctx) }
