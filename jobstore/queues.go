package jobstore

import (
	"context"
	"time"
)

// BandInfo is what one queue holds at one priority.
type BandInfo struct {
	Priority   int `json:"priority"`
	Ready      int `json:"ready"`
	Scheduled  int `json:"scheduled"`
	Waiting    int `json:"waiting"`
	Retrying   int `json:"temporarily_failed"`
	Processing int `json:"processing"`
	Failed     int `json:"failed"` // PERMANENTLY_FAILED and QUARANTINED
	// Oldest is how long the longest of the READY jobs has been due; 0 without one.
	Oldest    time.Duration `json:"-"`
	Consumers int           `json:"consumers"` // living ones that take the band
}

// QueueInfo is a queue as operators see it: one that has jobs or a consumer, or is paused.
type QueueInfo struct {
	Queue  string `json:"queue"`
	Paused bool   `json:"paused"`
	// Until is when the pause ends by itself; nil = when it is resumed.
	Until *time.Time `json:"paused_until,omitempty"`
	Bands []BandInfo `json:"priorities"`
}

// Position is how far Reannounce has come. The zero value is the beginning.
type Position struct {
	Priority int
	ID       ID
	Group    string // "" while jobs without a group are gone through
	InGroups bool
}

// Queues are a person's orders about whole queues and their consumers.
type Queues interface {
	// Queues lists every queue. It counts rows: about a second for a few million.
	Queues(ctx context.Context) ([]QueueInfo, error)
	// Pause keeps the jobs of a queue from being claimed by claims that begin after it, for d,
	// or until Resume when d is 0. It reports whether anybody has jobs in the queue or takes it.
	Pause(ctx context.Context, queue string, d time.Duration) (known bool, err error)
	// Resume ends a pause and reports whether there was one, over already or not. Reannounce does
	// the rest; after a pause that is over by itself, the sweep for lost hints does it, more slowly.
	Resume(ctx context.Context, queue string) (bool, error)
	// Reannounce puts at most limit jobs of the queue that may run now into the outbox: their
	// hints came while nobody could claim them. more is false at the end.
	Reannounce(ctx context.Context, queue string, from Position, limit int) (n int, next Position, more bool, err error)
	// Restart orders exactly n of the living consumers that take the queue to drain and exit 0,
	// the oldest first. When there are fewer than n, not counting those that were told before, it
	// changes nothing and returns ErrRefused.
	Restart(ctx context.Context, queue string, n int) ([]HolderID, error)
}
