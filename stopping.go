package warren

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/worker"
)

// StopReason says why a consumer stopped.
type StopReason string

// Why consumers stop.
const (
	StopAsked     StopReason = "asked"      // its context ended, or Drain was called: a signal, mostly
	StopRestart   StopReason = "restart"    // an operator told it to
	StopHandler   StopReason = "handler"    // a handler returned StopConsumer
	StopMaxJobs   StopReason = "max_jobs"   // it has run MaxJobs
	StopMaxTime   StopReason = "max_time"   // its MaxTime is up
	StopMaxMemory StopReason = "max_memory" // the process has outgrown MaxMemory
	StopStuck     StopReason = "stuck"      // MaxStuck handlers did not return when their context had ended
	StopEmpty     StopReason = "empty"      // nothing was due, with UntilEmpty
	StopFailed    StopReason = "failed"     // Run returned an error
)

// StopReason says why Run returned, or is about to; "" while the consumer goes on.
func (c *Consumer) StopReason() StopReason {
	reason, _ := c.reason.Load().(StopReason)
	return reason
}

// stopping notes the first reason, and tells the observer of it.
func (c *Consumer) stopping(reason StopReason) {
	if c.reason.CompareAndSwap(nil, reason) {
		c.tell(Event{Kind: ConsumerStopping, Reason: reason})
	}
}

// stopped notes what Run came to. Limits that only the feed knows of have no other place to show.
func (c *Consumer) stopped(err error) {
	switch {
	case err != nil:
		c.stopping(StopFailed)
	case c.cfg.MaxJobs > 0 && c.taken.Load() >= int64(c.cfg.MaxJobs):
		c.stopping(StopMaxJobs)
	case c.cfg.UntilEmpty:
		c.stopping(StopEmpty)
	default:
		c.stopping(StopAsked)
	}
	c.tell(Event{Kind: ConsumerStopped, Reason: c.StopReason(), Err: err})
}

// handlerStops notes that a handler has asked for the end.
func (c *Consumer) handlerStops(err error) {
	if _, stop := errors.AsType[*worker.StopError](err); stop {
		c.stopping(StopHandler)
	}
}

// limits ends the consumer by time or memory.
func (p *parts) limits(ctx context.Context) error {
	cfg := &p.consumer.cfg
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if cfg.MaxTime > 0 && time.Since(began) >= cfg.MaxTime {
			cfg.Log.Info("the consumer's time is up; draining", zap.Duration("max_time", cfg.MaxTime))
			p.consumer.stopping(StopMaxTime)
			return nil
		}
		if cfg.MaxMemory <= 0 {
			continue
		}
		if rss := residentBytes(); rss > cfg.MaxMemory {
			cfg.Log.Info("the process has grown over its limit; draining",
				zap.Int64("resident_bytes", rss), zap.Int64("max_memory", cfg.MaxMemory))
			p.consumer.stopping(StopMaxMemory)
			return nil
		}
	}
}
