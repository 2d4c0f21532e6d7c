package sqlite

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// layout is how times are written: all of one width, so that comparing texts compares times.
const layout = "2006-01-02T15:04:05.000Z"

// forever is the last time that can be written, and never is before the first.
const (
	forever = "9999-12-31T23:59:59.999Z"
	never   = "0000-01-01T00:00:00.000Z"
)

// stamp writes a time, cut to milliseconds.
func stamp(t time.Time) string { return t.UTC().Format(layout) }

// later writes the time d after t, rounded up: nothing is due before its delay has passed. Without
// a delay it is t itself, which is due.
func later(t time.Time, d time.Duration) string {
	if d <= 0 {
		return stamp(t)
	}
	return stamp(roundUp(t.Add(d)))
}

func roundUp(t time.Time) time.Time {
	if cut := t.Truncate(time.Millisecond); cut.Before(t) {
		return cut.Add(time.Millisecond)
	}
	return t
}

// instant writes a time that a user named. It fails for one that the layout cannot hold.
func instant(t time.Time) (string, error) {
	if y := t.UTC().Year(); y < 1 || y > 9998 {
		return "", fmt.Errorf("%w: the time %s is outside of the years 1 to 9998", jobstore.ErrInvalid, t)
	}
	return stamp(roundUp(t)), nil
}

// read is the time that a text stands for. What somebody else wrote into the file may be no time:
// it is the zero time then, so that one odd row does not end a pass over many.
func read(text string) time.Time {
	t, err := time.Parse(layout, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

func readOptional(text sql.NullString) *time.Time {
	if !text.Valid {
		return nil
	}
	t := read(text.String)
	return &t
}

// millis is a duration for the table, NULL for none. What is shorter than a millisecond is one.
func millis(d time.Duration) *int64 {
	if d == 0 {
		return nil
	}
	ms := int64((d + time.Millisecond - 1) / time.Millisecond)
	return &ms
}

func duration(ms sql.NullInt64) time.Duration { return time.Duration(ms.Int64) * time.Millisecond }

// since is how long ago a text's time was, 0 without one.
func since(now time.Time, text sql.NullString) time.Duration {
	if !text.Valid {
		return 0
	}
	return max(0, now.Sub(read(text.String)))
}
