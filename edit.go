package warren

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/warrenq/warren/internal/argcheck"
	"github.com/warrenq/warren/internal/seal"
	"github.com/warrenq/warren/jobstore"
)

// EditOpts is what to change about a job that has not started; what is nil or zero stays as it is.
type EditOpts struct {
	Queue       string
	Priority    *int
	Args        any // encoded as JSON
	Delay       *time.Duration
	At          time.Time      // not together with Delay
	MaxAttempts int            // Unlimited = no limit
	Timeout     *time.Duration // 0 = none
	Metadata    any            // encoded as JSON; replaces all of it
	Tags        *[]string      // replaces all of them
}

// CheckEdit applies the rules of Publish to a change, for jobstore.Operator. Its errors are
// ErrInvalidJob.
func (c *Client) CheckEdit(o EditOpts) (jobstore.Edit, error) {
	e, err := c.rules.edit(o)
	if err != nil {
		return jobstore.Edit{}, invalidJobError{err}
	}
	return e, nil
}

func (r *rules) edit(o EditOpts) (jobstore.Edit, error) {
	e := jobstore.Edit{Priority: o.Priority, AvailableAt: o.At, Delay: o.Delay, Timeout: o.Timeout, Tags: o.Tags}
	if o.Priority != nil && !slices.Contains(r.priorities, *o.Priority) {
		return e, r.notConfigured(*o.Priority)
	}
	if o.Delay != nil && !o.At.IsZero() {
		return e, inField("delay", errors.New("both a delay and a time are given; use one"))
	}
	var err error
	if o.Args != nil {
		if e.Args, err = encode(o.Args); err == nil {
			err = argcheck.Check(e.Args, r.maxArgs)
		}
		if err == nil && seal.Sealed(e.Args) { // which nobody could open
			err = fmt.Errorf("a first member %q is taken for encrypted args; give it another name", seal.Member)
		}
		if err != nil {
			return e, inField("args", fmt.Errorf("args: %w", err))
		}
	}
	if o.Metadata != nil {
		if e.Metadata, err = encode(o.Metadata); err == nil {
			err = argcheck.Check(e.Metadata, maxMetadata)
		}
		if err != nil {
			return e, inField("metadata", fmt.Errorf("metadata: %w", err))
		}
	}
	// The rest keeps to the rules of a job that has nothing else to it.
	job := jobstore.NewJob{Queue: firstNonEmpty(o.Queue, r.defaultQueue), Mode: jobstore.Normal, AvailableAt: o.At}
	if o.Queue != "" {
		e.Queue = &o.Queue
	}
	if o.MaxAttempts != 0 {
		job.MaxAttempts = attempts(o.MaxAttempts, 0)
		e.MaxAttempts = &job.MaxAttempts
	}
	if o.Delay != nil {
		job.Delay = *o.Delay
	}
	if o.Timeout != nil {
		job.Timeout = *o.Timeout
	}
	if o.Tags != nil {
		job.Tags = *o.Tags
	}
	return e, checkJob(&job)
}
