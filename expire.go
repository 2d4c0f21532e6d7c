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
// the number of that lease. So the next one tells whether it has begun since. A hand-back leaves alone when the job was due.
const unstartedMember = "warren_unstarted"

// expiry reads how late a job may start. It reports false for a job that may start however late, as one that has started before.
func expiry(job *jobstore.Job) (after time.Duration, may bool) {
	if !bytes.Contains(job.Metadata, []byte(expireMember)) {
		return 0, false
	}
	var said struct {
		After     string `json:"warren_expire_after"`
		Unstarted int64  `json:"warren_unstarted"`
	}
	if json.Unmarshal(job.Metadata, &said) != nil {
		return 0, false
	}
	after, err := time.ParseDuration(said.After)
	return after, err == nil && said.Unstarted == job.LeaseNo-1
}

// stillUnstarted is what the metadata of a job say when it is handed back unstarted; nil for one that cannot expire.
func stillUnstarted(job *jobstore.Job) json.RawMessage {
	if _, may := expiry(job); !may {
		return nil
	}
	return fmt.Appendf(nil, `{%q: %d}`, unstartedMember, job.LeaseNo)
}

// inTime ends a job as CANCELLED that starts for the first time too late after it was due. Both times are the
// database's. A later attempt is in time: the job has started before.
func inTime(next RawHandler) RawHandler {
	return func(ctx context.Context, job *jobstore.Job) error {
		after, may := expiry(job)
		if !may || job.AttemptedAt == nil {
			return next(ctx, job)
		}
		if late := job.AttemptedAt.Sub(job.AvailableAt); late > after {
			return &worker.ExpiredError{Late: late, After: after}
		}
		return next(ctx, job)
	}
}
