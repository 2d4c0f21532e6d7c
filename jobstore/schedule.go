package jobstore

import (
	"context"
	"encoding/json"
	"time"
)

// Schedule is one row of job_schedules: jobs that are published at set times.
type Schedule struct {
	Name string `json:"name"`
	// Version grows with every change; whoever changes the row says which one was read.
	Version int64 `json:"version"`
	// Definition says when, and which job. Only package schedule reads it.
	Definition json.RawMessage `json:"definition"`
	// Declared is a digest of what code or configuration said last; "" = an operator made it.
	Declared string `json:"declared,omitempty"`
	Paused   bool   `json:"paused"`
	// Tick, Job and JobState are of the row that waits for its time. Zero: none does. JobState is ""
	// when the row is gone.
	Tick     time.Time `json:"tick,omitzero"`
	Job      ID        `json:"job,omitempty"`
	JobState State     `json:"job_state,omitempty"`
	// LookAt is when the sweep looks at it next; zero = not by itself.
	LookAt time.Time `json:"look_at,omitzero"`
	// MissedAt is when ticks were last found that did not run in time; zero = never.
	MissedAt   time.Time `json:"missed_at,omitzero"`
	CreatedAt  time.Time `json:"created_at"`
	ChangedAt  time.Time `json:"changed_at"`
	DeclaredAt time.Time `json:"declared_at,omitzero"` // when a program last said that it has it
}

// ScheduleMove is what becomes of one schedule, in full or not at all.
type ScheduleMove struct {
	Name string
	// Version is the one that was read; 0 = the schedule is made, and must not exist yet. A move of
	// another version is not carried out.
	Version int64
	Delete  bool // with its row that waits and the list of its runs; jobs that were let go stay

	// What the row becomes.
	Definition json.RawMessage
	Declared   string
	Paused     bool
	Tick       time.Time
	Job        ID // unless one of Plant is Next, which then is the job
	LookAt     time.Time
	Missed     bool // ticks were missed: MissedAt becomes now
	Seen       bool // a program declares it: DeclaredAt becomes now

	// Withdraw is the job of WithdrawTick. It becomes CANCELLED for Reason, if it is still SCHEDULED, and
	// its tick may be planted again.
	Withdraw     ID
	WithdrawTick time.Time
	Reason       string
	Plant        []Planting
}

// Planting is a row to insert for a tick. A tick of a schedule that has a row gets no second one.
type Planting struct {
	Tick   time.Time
	Manual bool // somebody asked for it: it takes no tick's place
	Next   bool // it is the row that waits
	Job    NewJob
}

// ScheduleRun is one run of a schedule.
type ScheduleRun struct {
	Tick   time.Time `json:"tick"`
	Manual bool      `json:"manual,omitempty"`
	Job    ID        `json:"job"`
	State  State     `json:"state,omitempty"` // "" when the job's row has been removed
}

// RunsKept is how many runs of a schedule are remembered at least.
const RunsKept = 100

// Scheduler keeps schedules. What is due and what is late go by the database's clock, which the verbs
// that read return with the rows.
type Scheduler interface {
	// Schedules lists the schedules with these names, or all, by name. A name that none has is left out.
	Schedules(ctx context.Context, names ...string) (list []Schedule, now time.Time, err error)
	// DueSchedules lists at most limit schedules whose LookAt has passed, the longest due first.
	DueSchedules(ctx context.Context, limit int) (list []Schedule, now time.Time, err error)
	// MoveSchedules carries out moves of different schedules in one transaction, those that fit the
	// versions, and returns their names. Rows that are due at once are in the outbox.
	MoveSchedules(ctx context.Context, moves []ScheduleMove) (moved []string, err error)
	// SeeSchedules notes that a program still declares these, which is no change of them.
	SeeSchedules(ctx context.Context, names []string) error
	// ScheduleRuns lists the runs of a schedule, the row that waits included, the latest first.
	ScheduleRuns(ctx context.Context, name string, limit int) ([]ScheduleRun, error)
}
