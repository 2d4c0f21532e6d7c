package warren

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// expireMember is the member of metadata that says how late a job may start. It is kept there because few
// jobs have it, and because metadata go along with a schedule's jobs and with what replaces a waiting one.
const expireMember = "warren_expire_after"

// expires notes down how late the job may start.
func (i *Item) expires() error {
	switch after := i.Opts.ExpireAfter; {
	case after == 0:
		return nil
	case after < 0:
		return inField("expire_after", fmt.Errorf("expire-after %s is negative", after))
	case i.Opts.Mode == jobstore.Recurring:
		return inField("expire_after", fmt.Errorf("expire-after %s does not go with mode recurring: a job that is CANCELLED ends its series", after))
	default:
		return i.AddMetadata(expireMember, after.String())
	}
}

// unstartedMember is the member of metadata that a job which may expire gets when it is handed back before its handler began:
// the lease tells whether it has begun since, and when it was due is not lost with the hand-back.
const unstartedMember = "warren_unstarted"

type unstarted struct {
	Lease int64     `json:"lease"`
	Due   time.Time `json:"due"`
}

// expiry reads how late a job may start and when it was due. It reports false for a job that may start however late,
// as one that has started before.
func expiry(job *jobstore.Job) (after time.Duration, due time.Time, may bool) {
	if !bytes.Contains(job.Metadata, []byte(expireMember)) {
		return 0, due, false
	}
	var said struct {
		After     string    `json:"warren_expire_after"`
		Unstarted unstarted `json:"warren_unstarted"`
	}
	if json.Unmarshal(job.Metadata, &said) != nil {
		return 0, due, false
	}
	after, err := time.ParseDuration(said.After)
	switch {
	case err != nil:
		return 0, due, false
	case job.LeaseNo == 1:
		return after, job.AvailableAt, true
	case said.Unstarted.Lease == job.LeaseNo-1:
		return after, said.Unstarted.Due, true
	}
	return 0, due, false
}

// stillUnstarted is what the metadata of a job say when it is handed back unstarted; nil for one that cannot expire.
func stillUnstarted(job *jobstore.Job) json.RawMessage {
	_, due, may := expiry(job)
	if !may {
		return nil
	}
	note, err := json.Marshal(map[string]unstarted{unstartedMember: {Lease: job.LeaseNo, Due: due}})
	if err != nil {
		return nil // of a time beyond the year 9999, which no job has
	}
	return note
}

// inTime ends a job as CANCELLED that starts for the first time too late after it was due. Both times are the
// database's. A later attempt is in time: the job has started before.
func inTime(next RawHandler) RawHandler {
	return func(ctx context.Context, job *jobstore.Job) error {
		after, due, may := expiry(job)
		if !may || job.AttemptedAt == nil {
			return next(ctx, job)
		}
		if late := job.AttemptedAt.Sub(due); late > after {
			return &worker.ExpiredError{Late: late, After: after}
		}
		return next(ctx, job)
	}
}
