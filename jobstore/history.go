package jobstore

import (
	"context"
	"encoding/json"
	"time"
)

// The events of a job's history. What is plain is not noted: that a job was published, claimed and FINISHED.
const (
	EventFailed      = "failed" // an attempt; the text is among the job's Errors
	EventWaited      = "waited"
	EventReleased    = "released" // an attempt that was handed back: its consumer stopped
	EventFinished    = "finished" // of a kind that notes its successes
	EventRedundant   = "redundant"
	EventCancelled   = "cancelled" // by a person, or by its handler
	EventAskedCancel = "asked to cancel"
	EventRescued     = "rescued" // its consumer died
	EventQuarantined = "quarantined"
	EventRetried     = "retried"
	EventEdited      = "edited"
	EventDeleted     = "deleted"
	EventUndone      = "undone" // a mass change was taken back
	EventPaused      = "paused"
	EventResumed     = "resumed"
	EventDisabled    = "disabled"
	EventEnabled     = "enabled"
	EventSettings    = "settings changed"
)

// JobEvent is one line of a history.
type JobEvent struct {
	At    time.Time `json:"at"`
	Event string    `json:"event"`
	// Subject is what it is about when that is not one job: "kind mail".
	Subject    string `json:"subject,omitempty"`
	Attempt    int    `json:"attempt,omitempty"`
	By         string `json:"by,omitempty"`
	Host       string `json:"host,omitempty"`
	Build      string `json:"build,omitempty"` // the version of the consumer
	DurationMS *int64 `json:"duration_ms,omitempty"`
	Note       string `json:"note,omitempty"`
	// Change is the mass change that it was part of.
	Change ChangeID `json:"change,omitempty"`
	// Was are values that an edit replaced, by column.
	Was json.RawMessage `json:"was,omitempty"`
}

// HistoryKept is for how long events are kept, at least; Sweeper.Retain removes older ones.
const HistoryKept = 90 * 24 * time.Hour

// Historian tells what has happened to jobs. Every event is written in the transaction of what it tells of. Of waits
// and hand-backs, the first 20 of a job are noted and then every hundredth.
type Historian interface {
	// History lists at most limit events of a job, the last ones, in the order in which they happened: its own, and those
	// of its kind, queue and serial group and of everything while it was there and had not ended. A job that was deleted, given by
	// its ID alone, still has its own.
	History(ctx context.Context, j *Job, limit int) ([]JobEvent, error)
}

// Until is when the job ended; the end of all days while it has not.
func (j *Job) Until() time.Time {
	if j.FinishedAt != nil {
		return *j.FinishedAt
	}
	return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
}

// Subjects are those of events that are about more than this job.
func (j *Job) Subjects() []string {
	list := []string{Subject(PauseOfAll, ""), Subject(PauseOfKind, j.Kind), Subject(PauseOfQueue, j.Queue)}
	if j.SerialGroup != "" {
		list = append(list, Subject(PauseOfGroup, j.SerialGroup))
	}
	return list
}

// Subject names what a pause is about, in a history.
func Subject(of PauseOf, name string) string {
	if of == PauseOfDisabled {
		of = PauseOfKind
	}
	return string(of) + " " + name
}

// PausedEvents are what the begin and the end of a pause are called in a history.
func PausedEvents(of PauseOf) (begin, end string) {
	if of == PauseOfDisabled {
		return EventDisabled, EventEnabled
	}
	return EventPaused, EventResumed
}

type actorKey struct{}

// WithActor says in whose name the calls with a context are made: it is noted with what they change. At most 255
// bytes of it are kept.
func WithActor(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, actorKey{}, who[:min(len(who), 255)])
}

// Actor is who WithActor named; "" = nobody.
func Actor(ctx context.Context) string {
	who, _ := ctx.Value(actorKey{}).(string)
	return who
}
