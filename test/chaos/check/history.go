// Package check judges what happened to jobs under faults. It is pure: it reads a History, which others
// gathered from the publishers, from an independent ledger, and from the database, and names every
// violation of what Warren promises.
package check

import "time"

// Fate is what a publisher knows of a job.
type Fate string

// The fates of a job. Maybe is a commit whose reply was lost: the job may exist or not.
const (
	Committed  Fate = "committed"
	RolledBack Fate = "rolled back"
	Maybe      Fate = "maybe"
)

// Publish is one job as its publisher knows it. Tag names it before it has a number.
type Publish struct {
	Tag       string
	Fate      Fate
	Confirmed time.Time // when the publisher heard of the commit; zero = it did not
	// After are the tags of the jobs of its flow whose ends release it, none = it goes at once.
	After []string
}

// Row is a job as the database has it at the end.
type Row struct {
	ID           int64
	Tag          string
	State        string
	Group        string
	Priority     int
	OutcomeLease int64
	Crashes      int
}

// Change is one line of the audit, which a trigger of the test's own fills: a row that was inserted
// (Old is empty), moved, or deleted (New is empty).
type Change struct {
	Seq     int64
	At      time.Time // the clock of the database, when it happened
	Began   time.Time // when its transaction began: its snapshot is younger
	ID      int64
	Old     string
	New     string
	Lease   int64
	Crashes int
}

// Run is one execution of a handler by the ledger. A zero End means that its process died first.
type Run struct {
	ID, Lease int64
	PID       int
	Start     time.Time
	End       time.Time
	Group     string
}

// Span is a stretch of time.
type Span struct{ From, To time.Time }

// Process is one life of a consumer process.
type Process struct {
	PID   int
	Start time.Time
	End   time.Time // zero = it lives
	// Pauses are when it could not run: freezes, and stalls that it measured itself.
	Pauses []Span
}

// Outage is how a process behaved while a server was away.
type Outage struct {
	What  string
	PID   int
	For   time.Duration
	Lines int // in its log
	Dials int // attempts to connect
}

// History is everything that is known at the end of a run.
type History struct {
	Published []Publish
	Rows      []Row
	Changes   []Change // by Seq
	Runs      []Run
	Processes []Process
	Outages   []Outage
	// Stubborn are the tags of jobs whose handlers ignore their context.
	Stubborn map[string]bool
	// MayFail are the tags of jobs that may end PERMANENTLY_FAILED.
	MayFail map[string]bool
	// QueueDepth is what the broker's queues held when everything had been quiet for a while;
	// below 0 = there was no broker to ask.
	QueueDepth int
	// Poison is the depth of the poison queue and Injected how many messages that are no hints were
	// sent. PoisonKept says that nothing of it can have been lost.
	Poison, Injected int
	PoisonKept       bool
	// MinPause is the shortest pause that can cost a process its lease.
	MinPause time.Duration
	// Slack is added to what a thawed process may take to stop: how late timers were on this machine.
	Slack time.Duration
}

// Violation is a broken promise.
type Violation struct {
	Class string
	ID    int64 // 0 = no single job
	Text  string
}

// The classes of violations.
const (
	Lost        = "lost"
	Ghost       = "ghost"       // a rolled-back job exists
	Twice       = "twice"       // a job of a flow was released twice
	Early       = "early"       // a job of a flow ran before those that release it had ended
	Stranger    = "stranger"    // a row nobody published
	Double      = "double"      // more than one accepted outcome
	Unproved    = "unproved"    // FINISHED, but the ledger has no such run
	Resurrected = "resurrected" // a move out of a final state
	LeaseOrder  = "lease order"
	BadMove     = "bad move"
	Overlap     = "overlap"
	GroupState  = "group state"
	GroupOrder  = "group order"
	Quarantine  = "quarantine"
	Failed      = "failed"
	Leftover    = "leftover" // messages in the broker
	Poisoned    = "poison"
	HotLoop     = "hot loop"
)

// Final reports whether a state is final.
func Final(state string) bool {
	switch state {
	case "FINISHED", "PERMANENTLY_FAILED", "REDUNDANT", "CANCELLED", "QUARANTINED":
		return true
	}
	return false
}
