package jobstore

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ProgressKey is where the metadata of a job says how far its last attempt came: a Progress.
const ProgressKey = "warren.progress"

// Progress is how far an attempt has come, as it said last.
type Progress struct {
	Job     ID    `json:"job_id"` // a successor begins with its predecessor's metadata
	LeaseNo int64 `json:"lease_no"`
	Attempt int   `json:"attempt"`
	Done    int64 `json:"done"`
	Total   int64 `json:"total,omitempty"` // 0 = not known
	// Percent is how much of the whole job is done, all of its stages counted, 0 to 100; nil = not known.
	Percent *float64 `json:"percent,omitempty"`
	Stage   string   `json:"stage,omitempty"`
	Message string   `json:"message,omitempty"`
	// Rate is how much of Done came in a second lately, 0 = not known.
	Rate float64 `json:"rate,omitempty"`
	// ETA is how many milliseconds the rest of the job takes, at the pace of lately; nil = not known.
	ETA *int64    `json:"eta_ms,omitempty"`
	At  time.Time `json:"at"` // by the clock of whoever ran it
	// Cursors say where the next attempt goes on.
	Cursors map[string]int64 `json:"cursors,omitempty"`
}

// Left is how long the rest of the job takes, as far as that is known.
func (p *Progress) Left() (left time.Duration, known bool) {
	if p.ETA == nil {
		return 0, false
	}
	return time.Duration(*p.ETA) * time.Millisecond, true
}

// LatestProgress is the last that any attempt of a job has said: in its metadata, which came with an outcome, or in
// told, which was written while it ran. nil when none has said anything.
func LatestProgress(j *Job, told []byte) *Progress {
	var notes map[string]json.RawMessage
	var noted *Progress
	if json.Unmarshal(j.Metadata, &notes) == nil {
		noted = readProgress(j.ID, notes[ProgressKey])
	}
	live := readProgress(j.ID, told)
	if noted == nil || live != nil && live.LeaseNo > noted.LeaseNo {
		return live
	}
	return noted // an outcome says what the attempt said last
}

// ProgressOf is what to show of a job: of one that runs, what this attempt has said.
func ProgressOf(j *Job, told []byte) *Progress {
	p := LatestProgress(j, told)
	if p != nil && j.State == Processing && p.LeaseNo != j.LeaseNo {
		return nil
	}
	return p
}

// readProgress is nil for what somebody else wrote there.
func readProgress(id ID, text []byte) *Progress {
	var p Progress
	if len(text) == 0 || json.Unmarshal(text, &p) != nil || p.Job != id {
		return nil
	}
	return &p
}

// Level is how much a line of a job's log matters.
type Level string

// The levels, from the least.
const (
	LevelDebug Level = "debug"
	LevelInfo  Level = "info"
	LevelWarn  Level = "warn"
	LevelError Level = "error"
)

// Levels are those from one on; none for a level that there is not.
func Levels(from Level) []Level {
	all := []Level{LevelDebug, LevelInfo, LevelWarn, LevelError}
	if i := slices.Index(all, from); i >= 0 {
		return all[i:]
	}
	return nil
}

// Line is one line of a job's log.
type Line struct {
	Job     ID              `json:"job_id"`
	LeaseNo int64           `json:"lease_no"` // of the attempt, and
	No      int             `json:"no"`       // its place in there, from 1
	At      time.Time       `json:"at"`       // by the clock of whoever ran it
	Attempt int             `json:"attempt"`
	Level   Level           `json:"level"`
	Text    string          `json:"text"`
	Fields  json.RawMessage `json:"fields,omitempty"` // a JSON object
}

// Size is how many bytes a line counts for.
func (l *Line) Size() int { return len(l.Text) + len(l.Fields) }

// Plain is the line as text, for files: its time in UTC, its level, its attempt, what it says, and its fields.
func (l *Line) Plain() string {
	text := l.At.UTC().Format("2006-01-02T15:04:05.000Z") + " " + strings.ToUpper(string(l.Level)) + " [" + strconv.Itoa(l.Attempt) + "] " + l.Text
	if len(l.Fields) > 0 {
		text += " " + string(l.Fields)
	}
	return text
}

// Told is a Progress and who has the lease under which it was said.
type Told struct {
	By HolderID
	Progress
}

// Telling is what the attempts of a process have said since the last time.
type Telling struct {
	Progress []Told // at most one a job
	Lines    []Line
	// Ended are attempts whose outcome tells their progress, by the numbers of their leases; none is in Progress.
	Ended map[ID]int64
	// Logged asks how many bytes of lines these jobs had before.
	Logged []ID
}

// LineFilter selects lines of one job's log.
type LineFilter struct {
	Job     ID
	Attempt int     // 0 = all
	Levels  []Level // none = all
	After   LineMark
	Last    int // so many of the end; 0 = from the beginning
	Limit   int // at most so many lines; 0 = 1000
}

// Most is how many lines a filter selects at most, where it does not ask for the last ones.
func (f *LineFilter) Most() int {
	if f.Limit <= 0 {
		return 1000
	}
	return f.Limit
}

// LineMark is a place in a job's log: after this line.
type LineMark struct {
	LeaseNo int64
	No      int
}

// Mark is the place after the line.
func (l *Line) Mark() LineMark { return LineMark{LeaseNo: l.LeaseNo, No: l.No} }

// Teller takes what attempts say while they run.
type Teller interface {
	// Tell writes a telling in one statement. Progress is fenced by holder and lease number, as an outcome is;
	// what is refused is no error. A line that is there already stays as it is, and one of a job that is gone is
	// left out. It returns the bytes that were asked for with Logged, of jobs that have any.
	Tell(ctx context.Context, t Telling) (logged map[ID]int64, err error)
	// Told is what Tell has written of a job's progress, a Progress as JSON, until the job has ended and was swept
	// up; nil when there is nothing.
	Told(ctx context.Context, id ID) ([]byte, error)
}

// LogKeeper reads and shortens the logs of jobs. A log goes with its job.
type LogKeeper interface {
	// Lines returns lines in the order in which they were said.
	Lines(ctx context.Context, f LineFilter) ([]Line, error)
	// ClearLines removes the log of a job and returns how many lines that were.
	ClearLines(ctx context.Context, id ID) (int, error)
	// PruneLines removes at most limit lines that were said at least age ago, of whatever jobs, the oldest first.
	PruneLines(ctx context.Context, age time.Duration, limit int) (int, error)
}
