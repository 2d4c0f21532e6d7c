package jobstore

import (
	"context"
	"encoding/json"
	"time"
)

// StepID names one step of one running flow: a chain, a batch, a job of a chain, a callback. A flow has
// the number of its first step, which holds all others.
type StepID int64

// StepRole says what a step is.
type StepRole string

// The roles of steps.
const (
	// RoleChain holds steps that go one after the other.
	RoleChain StepRole = "chain"
	// RoleBatch holds jobs and steps that go at once.
	RoleBatch StepRole = "batch"
	// RoleFlow holds the steps of a defined flow.
	RoleFlow StepRole = "flow"
	// RoleJob holds the one job of a step, or those of a fan-out.
	RoleJob StepRole = "job"
	// RoleDecide holds a job whose output is a Choice: it says which of the steps behind it go.
	RoleDecide StepRole = "decide"
	// RoleCallback holds jobs that are released by what becomes of another step, and count for none.
	RoleCallback StepRole = "callback"
)

// StepState says where a step stands.
type StepState string

// The states of a step, and, but for StepWaiting and StepSkipped, of a flow.
const (
	StepWaiting   StepState = "waiting"   // for others to end; or it was kept when what holds it was called off
	StepRunning   StepState = "running"   // its jobs are released
	StepFinished  StepState = "finished"  // with no more failures than it allows
	StepFailed    StepState = "failed"    // a failed job that is retried makes it run again
	StepCancelled StepState = "cancelled" // a job of it was cancelled, or it was itself
	StepSkipped   StepState = "skipped"   // a choice went another way
)

// Ended reports whether nothing of the step runs any more.
func (s StepState) Ended() bool { return s != StepWaiting && s != StepRunning }

// EdgeOn is what lets the step at the end of an edge go.
type EdgeOn string

// What edges go by.
const (
	OnSuccess  EdgeOn = "success"  // it has finished; also: it was left out
	OnStart    EdgeOn = "start"    // its jobs are released
	OnProgress EdgeOn = "progress" // another whole percent of its jobs have ended
	OnFailure  EdgeOn = "failure"  // the first of its jobs has failed for good
	OnEach     EdgeOn = "each"     // another of its jobs has failed for good
	OnEnd      EdgeOn = "end"      // nothing of it runs any more, whatever it came to
)

// AllowAll as a NewStep.Allow lets any number of jobs fail.
const AllowAll = -1

// NewStep is a step to insert. Steps name each other by their places in NewFlow.Steps.
type NewStep struct {
	Name   string
	Role   StepRole
	Parent int // the step that holds it, which comes before it; -1 = none
	Waits  int // how many edges OnSuccess come in
	Allow  int // how many of its jobs and steps may fail or be cancelled; AllowAll
	// Jobs go when the step does. Those of a step that waits are kept with it until then.
	Jobs []NewJob
}

// NewEdge joins two steps.
type NewEdge struct {
	From int    `json:"from"`
	On   EdgeOn `json:"on"`
	To   int    `json:"to"`
}

// NewFlow is a flow to insert. Its first step holds all others, callbacks excepted.
type NewFlow struct {
	Name     string
	Version  int // of a defined flow; 0 = none
	Args     json.RawMessage
	Metadata json.RawMessage
	Steps    []NewStep
	Edges    []NewEdge
	Outbox   bool // as for NewJob: its first jobs are due for announcing by the sweep
}

// Step is a step as it stands. The counters are of its jobs and of the steps in it.
type Step struct {
	ID        StepID     `json:"id"`
	Flow      StepID     `json:"flow"`
	Parent    StepID     `json:"parent,omitempty"`
	Name      string     `json:"name,omitempty"`
	Role      StepRole   `json:"role"`
	State     StepState  `json:"state"`
	Total     int        `json:"total"`
	Open      int        `json:"open"` // released and not ended
	Done      int        `json:"done"`
	Failed    int        `json:"failed"`
	Cancelled int        `json:"cancelled"`
	Allow     int        `json:"allow"`
	Calling   bool       `json:"cancelling,omitempty"` // what still runs is being cancelled
	StartedAt *time.Time `json:"started_at,omitempty"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
}

// Edge joins two steps of a running flow.
type Edge struct {
	From StepID `json:"from"`
	On   EdgeOn `json:"on"`
	To   StepID `json:"to"`
}

// Flow is a running or ended flow.
type Flow struct {
	ID        StepID          `json:"id"`
	Name      string          `json:"name"`
	Version   int             `json:"version,omitempty"`
	State     StepState       `json:"state"`
	Args      json.RawMessage `json:"args,omitempty"`
	Metadata  json.RawMessage `json:"metadata,omitempty"`
	CreatedAt time.Time       `json:"created_at"`
	EndedAt   *time.Time      `json:"ended_at,omitempty"`
	// Steps and Edges are filled by Flows.Flow, the first step first.
	Steps []Step `json:"steps,omitempty"`
	Edges []Edge `json:"edges,omitempty"`
}

// Choice is the output of a job of a RoleDecide step.
type Choice struct {
	// Go are the names of the steps behind it that go; those that are not named are left out.
	Go []string `json:"go"`
	// Why says for each step how it was chosen.
	Why map[string]string `json:"why,omitempty"`
}

// FlowChange is what a finished attempt adds to its flow. It is recorded with the outcome, or not at all.
type FlowChange struct {
	Add     []NewJob // to the nearest batch around the job
	Prepend []NewJob // one after the other, right behind the step of the nearest chain that the job is part of
	Append  []NewJob // at the end of that chain
}

// FlowFilter selects flows. Empty fields select all.
type FlowFilter struct {
	Name   string
	States []StepState
	Before StepID // flows with smaller numbers, for paging
	Limit  int    // 0 = 100
}

// FlowAges says how old flows must be to be removed; 0 = never.
type FlowAges struct {
	Finished   time.Duration // since they ended, finished or failed
	Cancelled  time.Duration // since they ended as cancelled
	Unfinished time.Duration // since they were published and did not end
}

// Flows keeps the steps of chains, batches and defined flows. What a job's end releases is released in
// the transaction that ends it; what ends otherwise (by SQL, say) is settled by the sweep.
type Flows interface {
	// InsertFlow writes a flow and the jobs that go at once, or nothing.
	InsertFlow(ctx context.Context, f NewFlow) (id StepID, released []Ref, err error)
	// InsertFlowTx does it inside the caller's transaction.
	InsertFlowTx(ctx context.Context, tx Tx, f NewFlow) (StepID, error)
	// Flow reads a flow that has this step, with all steps and edges. ErrNotFound when none has.
	Flow(ctx context.Context, step StepID) (Flow, error)
	// ListFlows lists flows without their steps, the newest first.
	ListFlows(ctx context.Context, f FlowFilter) ([]Flow, error)
	// StepJobs lists the jobs of steps by number from after on, at most limit. No states = all.
	StepJobs(ctx context.Context, steps []StepID, states []State, after ID, limit int) ([]Job, error)
	// CancelStep lets nothing more of a step go. SettleFlows then cancels what still runs, part by part.
	// ErrNotFound when there is none, ErrRefused when it has ended.
	CancelStep(ctx context.Context, step StepID) error
	// ResumeFlow lets those steps of a flow go that a call off has kept, and what holds them run again: jobs of
	// others, which are to be retried, are not its matter. The sweep announces what goes. ErrNotFound when
	// there is no such step.
	ResumeFlow(ctx context.Context, step StepID) error
	// AddMembers adds jobs to a step that runs, in the order in which they are given: those from the
	// place first on that are not there yet. It returns how many the step has of them. A caller that
	// breaks off goes on with the same jobs and places.
	AddMembers(ctx context.Context, step StepID, first int, jobs []NewJob) (have int, released []Ref, err error)
	// SettleFlows releases what ends by others than Record left to go, and cancels jobs of steps that
	// are called off: at most limit of each. more means that there is more to do.
	SettleFlows(ctx context.Context, limit int) (released []Ref, more bool, err error)
	// PruneFlows removes flows with their steps, at most limit. Jobs are left to the retention.
	PruneFlows(ctx context.Context, ages FlowAges, limit int) (int, error)
}
