package jobstore

import (
	"context"
	"time"
)

// Guard is what is asked before a handler is called: rate limits, locks and breakers. Every verb is one
// statement, shared with calls that are made at the same moment. Keys and names have 1 to 255 bytes.
type Guard interface {
	// Admit answers in the order of what is asked. Of several for one key, each counts for the next.
	Admit(ctx context.Context, asked []Admission) ([]Admitted, error)
	// Lock reports which of the asked have their place now. A place is had until Unlock, or until the
	// lease has ended, however that came. To ask twice under one lease is the same as once.
	Lock(ctx context.Context, asked []Lock) ([]bool, error)
	// Unlock gives places back, and for each makes READY the first WAITING job that asked for its key in
	// vain under its last lease. It returns those, to be announced.
	Unlock(ctx context.Context, held []Lock) ([]Ref, error)
	// Enter asks a breaker whether a job may begin.
	Enter(ctx context.Context, name string, id ID, leaseNo int64) (Passage, error)
	// Report tells a breaker what an attempt came to. While it is open it listens only to the job that tries.
	Report(ctx context.Context, r Report) (Breaker, error)
}

// Admission asks whether a job may begin under a rate limit, which is a bucket that fills steadily.
type Admission struct {
	Key string
	// Step is what the job takes: how long the bucket needs to fill up by that much. Burst is a full
	// bucket, at least Step.
	Step, Burst time.Duration
	// Due says that the job has come at a moment that an earlier Admission for this key gave it. It goes
	// before those that come new, and counts once among what is planned.
	Due bool
	// Drop says that the job will not come back: no moment is set aside for it.
	Drop bool
}

// HoldOn is how long at most a job that is Due has to hold on before it begins, when several came at once.
const HoldOn = time.Second

// Admitted answers an Admission.
type Admitted struct {
	// Begin says that the job may begin after Wait, which is then at most HoldOn, and counts as begun.
	Begin bool
	// Wait is, when the job may not begin, until when it has to wait. Each waiting job of a key gets a
	// moment of its own.
	Wait time.Duration
}

// Lock asks for a place under a key on behalf of a lease.
type Lock struct {
	Key     string
	Places  int // how many leases may have one at a time; at least 1
	ID      ID
	LeaseNo int64
	// Wait says that the job waits for a place if it gets none: an Unlock makes it READY.
	Wait bool
}

// Passage is what a breaker says to a job that wants to begin.
type Passage struct {
	Wait  time.Duration // 0 = it may begin
	Probe bool          // it may begin, as the one that tries whether what failed works again
}

// Report is what an attempt tells a breaker.
type Report struct {
	Name    string
	ID      ID
	LeaseNo int64
	// Failed is the error's text; "" = it went well.
	Failed string
	// Threshold failures within Period open the breaker for Cooldown.
	Threshold        int
	Period, Cooldown time.Duration
}

// Breaker is what a Report has changed.
type Breaker struct {
	Opened, Closed bool
	Wait           time.Duration // how long it is open now
}
