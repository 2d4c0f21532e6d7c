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

// inTime ends a job as CANCELLED that starts for the first time too late after it was due. Both times are the
// database's. A later attempt is in time: the job has started before.
func inTime(next RawHandler) RawHandler {
	return func(ctx context.Context, job *jobstore.Job) error {
		if job.LeaseNo != 1 || job.AttemptedAt == nil || !bytes.Contains(job.Metadata, []byte(expireMember)) {
			return next(ctx, job)
		}
		var said struct {
			After string `json:"warren_expire_after"`
		}
		if json.Unmarshal(job.Metadata, &said) != nil {
			return next(ctx, job)
		}
		after, err := time.ParseDuration(said.After)
		late := job.AttemptedAt.Sub(job.AvailableAt)
		if err != nil || late <= after {
			return next(ctx, job)
		}
		return &worker.ExpiredError{Late: late, After: after}
	}
}
