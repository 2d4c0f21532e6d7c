package jobstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Verb is what an order does to jobs.
type Verb string

// The verbs of Operator.
const (
	VerbRetry  Verb = "retry"
	VerbCancel Verb = "cancel"
	VerbDelete Verb = "delete"
	VerbEdit   Verb = "edit"
)

// Undoable reports whether what the verb did can be taken back. What was deleted is gone.
func (v Verb) Undoable() bool { return v != VerbDelete }

// Order is a verb with what it needs.
type Order struct {
	Verb Verb
	Edit Edit // of VerbEdit
}

// ChangeID is the number of a mass change.
type ChangeID int64

// ChangeState is how far a mass change has come.
type ChangeState string

// The states of a mass change.
const (
	ChangeRunning ChangeState = "running" // or broken off: nobody keeps its lease then
	ChangeDone    ChangeState = "done"
	ChangeStopped ChangeState = "stopped" // by its threshold, or by a person
	ChangeUndone  ChangeState = "undone"
)

// Change is an order about many jobs, carried out part by part. It is kept, with what each job was
// before, so that a change that was broken off can be finished or undone.
type Change struct {
	ID        ChangeID        `json:"id"`
	Verb      Verb            `json:"verb"`
	Spec      json.RawMessage `json:"spec"` // what was asked for; the same spec is the same change
	By        string          `json:"by"`
	State     ChangeState     `json:"state"`
	Through   ID              `json:"through"` // jobs up to this number have been dealt with
	Changed   int             `json:"changed"`
	Refused   int             `json:"refused"`
	Undone    int             `json:"undone"`
	Note      string          `json:"note,omitempty"`
	StartedAt time.Time       `json:"started_at"`
	EndedAt   *time.Time      `json:"ended_at,omitempty"`
}

// Followed is what has become of jobs since a change.
type Followed struct {
	Open     int `json:"open"` // not started since, or running
	Finished int `json:"finished"`
	Failed   int `json:"failed"` // for now or for good
	Other    int `json:"other"`  // waiting, cancelled, deleted and so on
}

// Jobs is how many jobs were looked at.
func (f Followed) Jobs() int { return f.Open + f.Finished + f.Failed + f.Other }

// ChangesKept is how long a mass change can be looked at and undone, at least.
const ChangesKept = 7 * 24 * time.Hour

// Changer carries out mass changes. Who works on one holds the lease "change N" (Elector), so that
// two do not; the verbs themselves are safe all the same.
type Changer interface {
	// BeginChange writes a change down, or returns the one that is RUNNING with the same verb and
	// spec and was begun within a day.
	BeginChange(ctx context.Context, verb Verb, spec json.RawMessage, by string) (Change, error)
	// Changes lists changes, the newest first; only one when id is not 0.
	Changes(ctx context.Context, id ChangeID, limit int) ([]Change, error)
	// ChangeNext carries the order out for some jobs, writes down what they were, and notes that the
	// change has come through a number: in one transaction. ErrRefused unless the change is running.
	ChangeNext(ctx context.Context, id ChangeID, o Order, ids []ID, through ID) (Changed, error)
	// EndChange notes how a change has ended.
	EndChange(ctx context.Context, id ChangeID, state ChangeState, note string) error
	// Follow looks at what has become of the last jobs of a change, at most limit.
	Follow(ctx context.Context, id ChangeID, limit int) (Followed, error)
	// UndoNext makes jobs what they were before the change, in one transaction: at most limit,
	// by number, from after on. Those that have started since, or were changed by somebody else, are
	// refused. next is where to go on; done means that it has come to the end.
	UndoNext(ctx context.Context, id ChangeID, after ID, limit int) (got Changed, next ID, done bool, err error)
	// ForgetChanges removes changes that were begun at least age ago, bit by bit: at most limit
	// rows. It returns how many went.
	ForgetChanges(ctx context.Context, age time.Duration, limit int) (int, error)
	// Conflicts tells which of the jobs a retry would leave alone because another job has their key.
	Conflicts(ctx context.Context, ids []ID) ([]Refusal, error)
}

// UndoRefusal words why a job is left alone by an undo.
func UndoRefusal(id ID, state State) Refusal {
	if state == "" {
		return RefusalFor(id, state, "undone")
	}
	return Refusal{ID: id, State: state, Reason: fmt.Sprintf("job %d is %s: it has started since the change, or somebody else has changed it", id, state)}
}
