package jobstore

import (
	"context"
	"time"
)

// Gauges are what has not ended.
type Gauges struct {
	Bands []BandCount
	// Outbox is how many READY rows wait to be announced, and OutboxAge for how long the first has.
	Outbox    int64
	OutboxAge time.Duration
}

// BandCount is how many jobs of a band are in one live state.
type BandCount struct {
	Band
	State State
	Jobs  int64
	// Age is for how long the oldest READY job outside of serial groups has been due.
	Age time.Duration
}

// Gauger counts what has not ended, in bounded time however much there is.
type Gauger interface {
	// Gauges looks at no more than limit rows of a band, of all serial groups, of all that is
	// delayed, running or in the outbox: a count that has reached limit means "at least". Only bands
	// with jobs are listed, and no more than MaxBands of them.
	Gauges(ctx context.Context, limit int) (Gauges, error)
}

// MaxBands is how many bands Gauges lists at most.
const MaxBands = 500
