package jobstore

import "context"

// Canceller asks for the end of jobs that run.
type Canceller interface {
	// AskCancel asks the consumers that run the jobs to end them as CANCELLED. They learn of it with
	// their next heartbeat; the handlers' contexts end then. It is about the attempt that runs: Done
	// are the jobs that are PROCESSING, every other one is refused. Twice is the same as once.
	AskCancel(ctx context.Context, ids []ID) (Changed, error)
}
