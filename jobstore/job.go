package jobstore

import (
	"encoding/json"
	"time"
)

// ID is a job's number, its key in the database and the only thing a hint carries. It is at least 1.
type ID int64

// HolderID names one registered life of a consumer process. A process that lost its lease gets a new one.
type HolderID int64

// Mode says how a job relates to others with its kind and identifier.
type Mode string

// The modes.
const (
	// Normal jobs are independent.
	Normal Mode = "normal"
	// Unique jobs become Redundant at insert while another holds their (kind, identifier).
	Unique Mode = "unique"
	// Recurring jobs are followed by a successor when they end, except by Cancelled or Redundant.
	Recurring Mode = "recurring"
)

// Band is one queue at one priority: the unit a consumer binds to. A broker has one queue a band.
type Band struct {
	Queue    string
	Priority int
}

// Ref is what it takes to announce a job: its number and its band.
type Ref struct {
	ID ID
	Band
}

// Forever as a NewJob.UniqueFor keeps the unique key taken after the job has ended, without end.
const Forever time.Duration = -1

// UntilStart as a NewJob.UniqueFor keeps the unique key until the job is claimed for the first time: while
// it runs another may wait.
const UntilStart time.Duration = -2

// Replace says what a job that has a unique key and may still start takes over from a new one with that
// key, which then gets no row of its own.
type Replace uint8

// What can be replaced; bits, to be combined.
const (
	// ReplaceArgs replaces args, metadata and tags.
	ReplaceArgs Replace = 1 << iota
	// ReplacePriority replaces queue and priority.
	ReplacePriority
	// ReplaceTime replaces the time at which the job is due.
	ReplaceTime
	// ReplaceAll replaces everything that can be.
	ReplaceAll = ReplaceArgs | ReplacePriority | ReplaceTime
)

// NewJob is a job to insert. Queue, Priority, Kind, Mode and MaxAttempts are final here: the
// client has applied every default.
type NewJob struct {
	Kind     string          `json:",omitzero"`
	Args     json.RawMessage `json:",omitzero"` // a JSON value, "{}" when empty
	Queue    string          `json:",omitzero"`
	Priority int             `json:",omitzero"`

	SerialGroup string        `json:",omitzero"` // "" = none
	GroupSkip   bool          `json:",omitzero"` // while this job backs off, waits or is not yet due, its serial group may pass it
	Coalesce    *int64        `json:",omitzero"`
	Identifier  string        `json:",omitzero"` // "" = none
	Mode        Mode          `json:",omitzero"`
	Every       time.Duration `json:",omitzero"` // Recurring only
	UniqueFor   time.Duration `json:",omitzero"` // Unique only; 0 = while not final; UntilStart; Forever; else a period from insert
	Replace     Replace       `json:",omitzero"` // Unique only; 0 = this job becomes Redundant while another has its key
	MaxWait     time.Duration `json:",omitzero"` // with ReplaceTime: never due later than so long after the first was published; 0 = no limit

	AvailableAt time.Time     `json:",omitzero"` // an instant the user named; zero = use Delay
	Delay       time.Duration `json:",omitzero"` // from the database's now(); 0 = at once

	MaxAttempts int             `json:",omitzero"` // 0 = no limit
	Timeout     time.Duration   `json:",omitzero"` // 0 = the kind's
	Metadata    json.RawMessage `json:",omitzero"`
	Tags        []string        `json:",omitzero"`

	// Outbox makes the row due for announcing by the sweep, because the caller
	// cannot announce it right after the commit.
	Outbox bool `json:",omitzero"`

	// Step is the step of a flow that the job is for; 0 = none.
	Step StepID `json:",omitzero"`
}

// Settled reports whether a job's key takes more than looking whether it is free: its holder may have to
// give it up, or to change.
func (j *NewJob) Settled() bool { return j.Replace != 0 || j.UniqueFor == UntilStart }

// Inserted is what became of a NewJob, in the order of insertion.
type Inserted struct {
	Ref
	// State is Ready, Scheduled or Redundant; when a job was replaced, what that one is now.
	State State
	// Existing is the job that holds the unique key, when the new one does not. It is ID itself when the
	// new one has replaced what that job had, instead of becoming Redundant.
	Existing ID
}

// AttemptError is one entry of a job's error history.
type AttemptError struct {
	At      time.Time `json:"at"`
	Attempt int       `json:"attempt"`
	Error   string    `json:"error"`
	State   State     `json:"state"`
}

// Job is a whole row.
type Job struct {
	ID          ID              `json:"id"`
	Queue       string          `json:"queue"`
	Priority    int             `json:"priority"`
	Kind        string          `json:"kind"`
	Args        json.RawMessage `json:"args"`
	State       State           `json:"state"`
	SerialGroup string          `json:"serial_group,omitempty"`
	Coalesce    *int64          `json:"coalesce,omitempty"`
	Identifier  string          `json:"identifier,omitempty"`
	Mode        Mode            `json:"mode"`
	Every       time.Duration   `json:"-"`
	Attempts    int             `json:"attempts"`
	MaxAttempts int             `json:"max_attempts"`
	LeaseNo     int64           `json:"lease_no"`
	Crashes     int             `json:"crashes"`
	Holder      HolderID        `json:"holder,omitempty"`
	AvailableAt time.Time       `json:"available_at"`
	AnnounceAt  *time.Time      `json:"announce_at,omitempty"`
	CreatedAt   time.Time       `json:"created_at"`
	AttemptedAt *time.Time      `json:"attempted_at,omitempty"`
	FinishedAt  *time.Time      `json:"finished_at,omitempty"`
	DurationMS  *int64          `json:"duration_ms,omitempty"`
	Timeout     time.Duration   `json:"-"`
	Error       string          `json:"error,omitempty"`
	Errors      []AttemptError  `json:"errors,omitempty"`
	Metadata    json.RawMessage `json:"metadata,omitempty"`
	Tags        []string        `json:"tags,omitempty"`
	Output      json.RawMessage `json:"output,omitempty"`
	PID         int             `json:"pid,omitempty"`
	Host        string          `json:"host,omitempty"`
	Memory      json.RawMessage `json:"memory,omitempty"`
	Step        StepID          `json:"step,omitempty"` // of the flow that it is part of; 0 = none
	// Progress is how far it has come, for jobs that say so.
	Progress *Progress `json:"progress,omitempty"`
}

// MarshalJSON writes the row, with durations as people write them.
func (j Job) MarshalJSON() ([]byte, error) {
	type row Job // without this method
	v := struct {
		row
		Every   string `json:"every,omitempty"`
		Timeout string `json:"timeout,omitempty"`
	}{row: row(j)}
	if j.Every > 0 {
		v.Every = j.Every.String()
	}
	if j.Timeout > 0 {
		v.Timeout = j.Timeout.String()
	}
	return json.Marshal(v)
}

// Ref returns what it takes to announce the job.
func (j *Job) Ref() Ref { return Ref{ID: j.ID, Band: Band{Queue: j.Queue, Priority: j.Priority}} }

// Lease is the right to run a job once, fenced by Job.LeaseNo. Of the row it carries what a
// handler and the decision need; history and times other than CreatedAt, AvailableAt and AttemptedAt
// may be zero.
type Lease struct {
	Job Job
}

// Outcome is what one attempt came to, to be recorded under its lease.
type Outcome struct {
	ID      ID
	LeaseNo int64
	// State is where the row goes: Finished, PermanentlyFailed, TemporarilyFailed,
	// Waiting, Cancelled, or Ready for a job that is handed back.
	State State
	// Delay is when a TemporarilyFailed, Waiting or Ready row is due again, from the database's now().
	Delay time.Duration
	// Uncount gives the attempt back: waiting and handed-back jobs used none. A Ready job without a delay then is
	// due since when it was.
	Uncount bool
	// Error is the text for the row: valid UTF-8 without NUL, at most 8 KiB. A failure appends it
	// to the history. For a Finished job it is the reason it was skipped.
	Error    string
	Output   json.RawMessage
	Metadata json.RawMessage // merged over the row's; nil = unchanged
	Duration time.Duration
	Memory   json.RawMessage
	// Noted has a plain success in the job's history too.
	Noted bool

	// SerialGroup, Mode and Step repeat the lease's, so that plain jobs pay nothing for the others.
	SerialGroup string
	Mode        Mode
	Step        StepID
	// Flow is what a Finished attempt adds to its flow; nil = nothing.
	Flow *FlowChange
}

// Note is what an attempt says of its job before its handler runs, under its lease.
type Note struct {
	ID       ID
	LeaseNo  int64
	Metadata json.RawMessage // a JSON object, merged over the row's
}

// Recorded is what came of a batch of outcomes.
type Recorded struct {
	// Fenced are the outcomes that changed nothing because the lease was no longer theirs.
	Fenced []ID
	// Released are jobs that may go because others ended: heads of serial groups, successors.
	Released []Ref
}

// Claimant is who claims and what it may take.
type Claimant struct {
	Holder HolderID
	Host   string
	PID    int
	// Queues, Priorities and Kinds limit what a number may stand for: a forged one changes nothing.
	Queues     []string
	Priorities []int
	Kinds      []string
	// Token names one claim. When the reply of a claim was lost, the same token with Again set
	// returns what the lost one granted, waiting for it to end if it is still running.
	Token int64
	Again bool
	// Turns, when there are any, are the order of ClaimNext, and the only bands that it looks at.
	Turns []Turn
	// Whole has ClaimNext look at every job, whatever that takes: no leases then means that there are none, and
	// not merely none where it has reason to look.
	Whole bool
}

// Claimed is what a claim came to. Numbers in none of the lists are duplicates, finished, held,
// blocked or unknown: there is nothing to do about them.
type Claimed struct {
	Leases []Lease
	// UnknownKind were refused because this consumer has no handler for them. The claim has
	// put them into the outbox, due in 1 s growing to 30 s.
	UnknownKind []ID
	// Busy could be claimed, but for somebody who has locked their rows at this moment: the sweep, a
	// person, or another claim. Asking again soon tells which it was.
	Busy []ID
}
