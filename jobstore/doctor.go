package jobstore

import (
	"context"
	"fmt"
	"time"
)

// The results of an examination.
const (
	StatusOK   = "ok"
	StatusWarn = "warn" // it works, and something will hurt sooner or later
	StatusFail = "fail" // something does not work
)

// Finding is what an examination found about one thing.
type Finding struct {
	Check  string `json:"check"`
	Status string `json:"status"` // StatusOK, StatusWarn or StatusFail
	Value  string `json:"value"`
	Remedy string `json:"remedy,omitempty"` // "" when there is nothing to do
}

// Examiner looks for what is wrong with a database. A check that cannot be made is a finding.
type Examiner interface {
	Examine(ctx context.Context) []Finding
}

// MostSkew is how far the clocks of a host and its database may differ unnoticed.
const MostSkew = time.Second

// ClockFinding judges the difference between the database's clock and this host's. It matters to
// people who compare times, and to no decision of Warren.
func ClockFinding(skew time.Duration) Finding {
	f := Finding{Check: "clock", Status: StatusOK, Value: fmt.Sprintf("this host differs by %s from the database", skew.Abs().Round(time.Millisecond))}
	if skew.Abs() > MostSkew {
		f.Status, f.Remedy = StatusWarn, "synchronise both hosts (NTP); logs are hard to compare until then, jobs go by the database's clock only"
	}
	return f
}

// OutboxFinding judges the age of the oldest job whose announcement is due.
func OutboxFinding(jobs int64, oldest time.Duration) Finding {
	f := Finding{Check: "outbox", Status: StatusOK, Value: "empty"}
	if jobs > 0 {
		f.Value = fmt.Sprintf("%d jobs wait to be announced, the oldest for %s", jobs, oldest.Round(time.Second))
	}
	switch {
	case jobs == 0 || oldest < 10*time.Second:
	case oldest < time.Minute:
		f.Status, f.Remedy = StatusWarn, "see whether the broker and a consumer, which sweeps, are there"
	default:
		f.Status, f.Remedy = StatusFail, "nothing announces them: start a consumer, and see whether the broker accepts messages"
	}
	return f
}

// BacklogFinding judges the age of the oldest READY job.
func BacklogFinding(jobs int64, oldest time.Duration) Finding {
	f := Finding{Check: "oldest READY job", Status: StatusOK, Value: "none waits"}
	if jobs > 0 {
		f.Value = fmt.Sprintf("%d jobs are READY, the oldest for %s", jobs, oldest.Round(time.Second))
	}
	if jobs > 0 && oldest > 5*time.Minute {
		f.Status, f.Remedy = StatusWarn, "'warren why ID' of one says why; a backlog needs more consumers"
	}
	return f
}
