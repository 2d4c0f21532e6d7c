package jobstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Target is a job that an order may be about: what it takes to decide and to report.
type Target struct {
	Ref
	Kind      string
	State     State
	CreatedAt time.Time
}

// Refusal is a job that an order has left alone, and why.
type Refusal struct {
	ID     ID     `json:"id"`
	State  State  `json:"state,omitempty"` // "" = there is no such job
	Reason string `json:"reason"`
}

// Missing reports whether the job does not exist.
func (r Refusal) Missing() bool { return r.State == "" }

// Changed is what came of an order. Every job of the order is in one of the lists.
type Changed struct {
	Done    []ID
	Refused []Refusal
}

// Add appends another part of the same order.
func (c *Changed) Add(more Changed) {
	c.Done = append(c.Done, more.Done...)
	c.Refused = append(c.Refused, more.Refused...)
}

// Edit is what to change about a job that has not started. nil leaves as is.
type Edit struct {
	Queue       *string
	Priority    *int
	Args        json.RawMessage
	AvailableAt time.Time      // an instant the user named; zero = Delay
	Delay       *time.Duration // from the database's now(); 0 = at once
	MaxAttempts *int           // 0 = no limit
	Timeout     *time.Duration // 0 = none
	Metadata    json.RawMessage
	Tags        *[]string
}

// Empty reports whether the edit changes nothing.
func (e *Edit) Empty() bool {
	return e.Queue == nil && e.Priority == nil && e.Args == nil && e.AvailableAt.IsZero() && e.Delay == nil &&
		e.MaxAttempts == nil && e.Timeout == nil && e.Metadata == nil && e.Tags == nil
}

// Operator carries out a person's orders. A call is one short transaction over at most a few
// hundred jobs: callers go through more with Find. No order touches a job that is PROCESSING,
// because its lease says that somebody else decides about it; such jobs are refused, one by one,
// and so are jobs whose state does not allow the order.
type Operator interface {
	// Find lists what a filter selects, by number, ascending; After pages. Limit 0 means 500.
	Find(ctx context.Context, f Filter) ([]Target, error)
	// Retry makes jobs run again, now, whatever they came to: attempts and crashes begin anew. It
	// is refused while another job holds the unique key.
	Retry(ctx context.Context, ids []ID) (Changed, error)
	// Cancel ends jobs that may still run as CANCELLED. It ends the series of a recurring job.
	Cancel(ctx context.Context, ids []ID) (Changed, error)
	// Delete removes jobs with their unique keys, as though they had never been. It ends the
	// series of a recurring job that may still run.
	Delete(ctx context.Context, ids []ID) (Changed, error)
	// Edit changes jobs that may still run. Those that are READY are announced anew.
	Edit(ctx context.Context, ids []ID, e Edit) (Changed, error)
}

// RefusalSealed is why new args are not given to a job whose args are encrypted: they would be readable by
// everybody who reads the table, and its handler would not take them.
func RefusalSealed(id ID, state State) Refusal {
	return Refusal{ID: id, State: state, Reason: fmt.Sprintf("the args of job %d are encrypted: cancel it, and publish it again with other args", id)}
}

// RefusalFor words why an order leaves a job in this state alone.
func RefusalFor(id ID, state State, order string) Refusal {
	r := Refusal{ID: id, State: state}
	switch {
	case state == "":
		r.Reason = fmt.Sprintf("there is no job %d", id)
	case state == Processing:
		r.Reason = fmt.Sprintf("job %d is PROCESSING: wait for its attempt to end, or stop its consumer", id)
	case state.Final():
		r.Reason = fmt.Sprintf("job %d is %s, which is final: it cannot be %s", id, state, order)
	default:
		r.Reason = fmt.Sprintf("job %d is %s now and was not %s: another transaction has just changed it; try again", id, state, order)
	}
	return r
}
