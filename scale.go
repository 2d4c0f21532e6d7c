package warren

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

// ScaleBy is what makes a consumer open more slots.
type ScaleBy string

// What to scale by.
const (
	// ScaleByWait opens slots while the oldest READY job outside of serial groups has been due for longer than
	// Scale.Wait. It is the default.
	ScaleByWait ScaleBy = "wait"
	// ScaleBySize opens slots while more jobs are READY than there are open slots.
	ScaleBySize ScaleBy = "size"
)

// Scale has a consumer open and shut slots by itself. It opens Step more when all that are open have been in use
// and jobs wait, and shuts up to Step that were not in use for a whole Cooldown. A consumer with a free slot
// asks the database nothing for that.
type Scale struct {
	// Min and Max are the fewest and the most slots, 1 to 10000.
	Min, Max int
	// By is ScaleByWait or ScaleBySize. Default ScaleByWait.
	By ScaleBy
	// Step is how many slots are opened or shut at a time. Default 1.
	Step int
	// Cooldown is how long it takes between two changes at least, 100 ms to 1 h. Default 3 s.
	Cooldown time.Duration
	// Wait is for how long a job may wait, with ScaleByWait. Default 1 s.
	Wait time.Duration
}

func (s Scale) withDefaults() Scale {
	if s.By == "" {
		s.By = ScaleByWait
	}
	if s.Step == 0 {
		s.Step = 1
	}
	if s.Cooldown == 0 {
		s.Cooldown = 3 * time.Second
	}
	if s.Wait == 0 {
		s.Wait = time.Second
	}
	return s
}

// maxSlots is how many slots a consumer may have when it scales.
const maxSlots = 10_000

// Validate says what is wrong, nil when nothing is.
func (s Scale) Validate() error {
	s = s.withDefaults()
	var errs []error
	if s.Min < 1 || s.Max < s.Min || s.Max > maxSlots {
		errs = append(errs, fmt.Errorf("scale from %d to %d slots; give min and max from 1 to %d, min not above max", s.Min, s.Max, maxSlots))
	}
	if s.By != ScaleByWait && s.By != ScaleBySize {
		errs = append(errs, fmt.Errorf("scale by %.50q; it is %s or %s", string(s.By), ScaleByWait, ScaleBySize))
	}
	if s.Step < 1 || s.Step > maxSlots {
		errs = append(errs, fmt.Errorf("scale in steps of %d slots; give 1 to %d", s.Step, maxSlots))
	}
	if s.Cooldown < 100*time.Millisecond || s.Cooldown > time.Hour {
		errs = append(errs, fmt.Errorf("scale with a cooldown of %s; give 100ms to 1h", s.Cooldown))
	}
	if s.Wait < 0 || s.Wait > 24*time.Hour {
		errs = append(errs, fmt.Errorf("scale when jobs wait for %s; give a time up to 24h", s.Wait))
	}
	return errors.Join(errs...)
}

// scale opens and shuts slots until ctx ends.
func (p *parts) scale(ctx context.Context) error {
	cfg := &p.consumer.cfg
	s := *cfg.Scale
	tick := time.NewTicker(s.Cooldown)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		open, peak := p.pool.Load()
		next := open
		switch {
		case peak < open:
			next = max(open-s.Step, peak, s.Min)
		case open < s.Max && p.behind(ctx, open):
			next = min(open+s.Step, s.Max)
		}
		if next != open {
			p.pool.Resize(next)
			cfg.Log.Info("scaled", zap.Int("slots", next), zap.Int("before", open))
			p.consumer.tell(Event{Kind: ConsumerScaled, Count: next})
		}
	}
}

// behind asks whether more slots would help. When nobody answers, they would not.
func (p *parts) behind(ctx context.Context, open int) bool {
	cfg := &p.consumer.cfg
	ctx, cancel := context.WithTimeout(ctx, cfg.Scale.Cooldown+2*time.Second)
	defer cancel()
	limit := 1 // ages need no counting
	if cfg.Scale.By == ScaleBySize {
		limit = open + 1
	}
	gauges, err := cfg.Store.Gauges(ctx, limit)
	if err != nil {
		cfg.Log.Debug("could not see how much waits; the slots stay as they are", zap.Error(err))
		return false
	}
	var waiting int64
	for _, band := range gauges.Bands {
		if band.State != jobstore.Ready || !p.consumer.takes(band.Band) {
			continue
		}
		waiting += band.Jobs
		if cfg.Scale.By == ScaleByWait && band.Age > cfg.Scale.Wait {
			return true
		}
	}
	return cfg.Scale.By == ScaleBySize && waiting > int64(open)
}
