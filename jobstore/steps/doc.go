// Package steps decides what the end of a job releases in its flow. It is the same for every store: a
// store gives it the rows of the flow, which it has locked, and writes what comes back, all in the
// transaction that ends the job.
//
//	ends of jobs ── counters of their steps ── a step with nothing open has ended ── edges release others
//	                                              └─ counts in the step that holds it, and so on up
//
// Non-obvious:
//   - Whoever ends a job, a trigger of the store writes the end down. What is settled is what was
//     written down, each end once, so that nothing is forgotten and nothing counts twice.
//   - A step ends when nothing of it is open, not when everything has run: what a failure keeps from
//     going stays waiting, and goes when the failed job is retried with success.
//   - What a step that is called off would let go stays waiting, too, and goes when that step runs again:
//     it has no job that somebody could retry.
//   - Deeper steps are settled before those that hold them: a successor is released before its
//     predecessor's end could end the whole.
//   - What is needed is read a level at a time, for all of it: a transaction that ends or releases a
//     thousand chains sends as many statements as one for two, and is done before its time is over.
package steps

import (
	"context"
	"encoding/json"

	"github.com/warrenq/warren/jobstore"
)

// Deleted as End.State means that the job's row was removed before it ended. It counts as done: the
// flow goes on.
const Deleted jobstore.State = "DELETED"

// End is the end of a job, or its return from one.
type End struct {
	Seq   int64
	Job   jobstore.ID
	Step  jobstore.StepID
	Was   jobstore.State // the final state that it came back from; "" = it has ended
	State jobstore.State // what it ended as
}

// Row is a step with what is needed to settle it.
type Row struct {
	jobstore.Step
	Waits   int               // edges that have yet to come in
	Came    int               // those that came from a step that was not left out
	Percent int               // up to where its progress was told
	Filled  int               // how many jobs AddMembers has added
	Passed  bool              // its edges OnSuccess have gone out; each does so once
	Jobs    []jobstore.NewJob // released with it; callbacks keep theirs

	changed bool
	worse   bool // failures have come since it was last looked at whether it has too many
}

// Tx is a store's transaction, with the flows that it is about locked.
type Tx interface {
	NewIDs(ctx context.Context, n int) ([]jobstore.StepID, error)
	NewFlow(ctx context.Context, id jobstore.StepID, f *jobstore.NewFlow) error
	// Ends takes what was written down about jobs, so that nobody else counts it.
	Ends(ctx context.Context, jobs []jobstore.ID) ([]End, error)
	// Load reads steps and those that hold them, the edges that go out from all of these, and the steps
	// at the ends of those. It lists the first apart.
	Load(ctx context.Context, ids []jobstore.StepID) (rows, targets []*Row, edges []jobstore.Edge, err error)
	// Children reads the steps that are held by these, callbacks excepted.
	Children(ctx context.Context, parents []jobstore.StepID) ([]*Row, error)
	Output(ctx context.Context, job jobstore.ID) (json.RawMessage, error)
	Insert(ctx context.Context, jobs []jobstore.NewJob) ([]jobstore.Inserted, error)
	Write(ctx context.Context, rows []*Row) error
	WriteEdges(ctx context.Context, add, remove []jobstore.Edge) error
	WriteFlow(ctx context.Context, id jobstore.StepID, state jobstore.StepState) error
}
