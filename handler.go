package warren

import (
	"context"

	"github.com/warrenq/warren/jobstore"
)

// RawHandler runs one attempt of a job given as a row. nil means the job is done; see
// Permanent, Wait, RetryAfter, Skip and StopConsumer for what else an error can say. Any other
// error, and a panic, fails the attempt.
type RawHandler func(ctx context.Context, job *jobstore.Job) error
