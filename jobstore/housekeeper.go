package jobstore

import (
	"context"
	"time"
)

// Backlog is what waits in one band.
type Backlog struct {
	Band
	Due    int           // jobs that could run now, those that the sweep has not made READY yet included
	Oldest time.Duration // how long the longest of them has been due
	Paused bool
}

// Housekeeper removes what has ended, and says how much waits.
type Housekeeper interface {
	// Clear removes jobs that ended in a final state at least age ago: at most limit, oldest
	// first, from an instant on (zero = the first). It returns how many went, and from where to
	// go on; fewer than limit means that it has come to the end.
	Clear(ctx context.Context, state State, age time.Duration, from time.Time, limit int) (gone int, next time.Time, err error)
	// Ended counts the jobs that ended in a state at least age ago.
	Ended(ctx context.Context, state State, age time.Duration) (int, error)
	// Compact returns the space of removed jobs to the operating system as far as that holds up
	// nobody. It reports false when this user may not, or when others would not let it for minutes.
	Compact(ctx context.Context) (bool, error)
	// Backlog lists every band that has something due.
	Backlog(ctx context.Context) ([]Backlog, error)
}
