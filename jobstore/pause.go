package jobstore

import (
	"context"
	"time"
)

// PauseOf says what a pause is about.
type PauseOf string

// What can be paused. Queues have verbs of their own, in interface Queues.
const (
	PauseOfAll   PauseOf = "all" // maintenance: a consumer that was started with force goes on
	PauseOfQueue PauseOf = "queue"
	PauseOfKind  PauseOf = "kind"
	PauseOfGroup PauseOf = "group" // a serial group
	// PauseOfDisabled is a kind that was disabled: see Kinds.
	PauseOfDisabled PauseOf = "disabled"
)

// Pause keeps jobs from being claimed.
type Pause struct {
	Of   PauseOf   `json:"of"`
	Name string    `json:"name"` // "" of everything
	At   time.Time `json:"paused_at"`
	// Until is when it ends by itself; nil = when it is resumed.
	Until *time.Time `json:"paused_until,omitempty"`
	// Reason is a person's, of a kind that was disabled.
	Reason string `json:"reason,omitempty"`
}

// Pauser pauses what is no queue. What runs goes on.
type Pauser interface {
	// PauseOf keeps jobs of a kind, of a serial group, or all of them, from being claimed by claims
	// that begin after it, for d, or until ResumeOf when d is 0.
	PauseOf(ctx context.Context, of PauseOf, name string, d time.Duration) error
	// ResumeOf ends a pause and reports whether there was one, over already or not.
	ResumeOf(ctx context.Context, of PauseOf, name string) (bool, error)
	// Pauses lists what is paused, queues included.
	Pauses(ctx context.Context) ([]Pause, error)
}
