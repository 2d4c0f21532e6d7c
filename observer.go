package warren

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// EventKind says what an Event tells.
type EventKind string

// The events of a consumer.
const (
	// JobStarted: a handler is about to be called.
	JobStarted EventKind = "job.started"
	// JobEnded: an attempt came to an outcome, which is about to be recorded.
	JobEnded EventKind = "job.ended"
	// LeaseLost: an attempt ended without an outcome, because its lease did.
	LeaseLost EventKind = "lease.lost"
	// JobStuck: a handler did not return after its context had ended, and its goroutine was left behind. Err,
	// and the error in the row, say where it was.
	JobStuck EventKind = "job.stuck"
	// OutcomeFenced: outcomes changed nothing, because the lease was no longer theirs.
	OutcomeFenced EventKind = "outcome.fenced"
	// KindUnknown: jobs were offered that this consumer has no handler for.
	KindUnknown EventKind = "kind.unknown"
	// JobPublished: a job was written by this program. One that was published in a caller's
	// transaction is gone again when that does not commit.
	JobPublished EventKind = "job.published"
	// JobDuplicate: a publish made no job that runs, because Existing has its unique key; Job is what was
	// published, REDUNDANT, or Existing itself when that one took values over. A REDUNDANT one is told as
	// JobPublished, too.
	JobDuplicate EventKind = "job.duplicate"
	// JobQuarantined: a job took down too many consumer processes. Of Job only the ID is set.
	JobQuarantined EventKind = "job.quarantined"
	// JobsCrashed: jobs of consumers that died were handed back, or quarantined.
	JobsCrashed EventKind = "jobs.crashed"
	// ConsumersExpired: other consumers stopped renewing their lease, and were removed.
	ConsumersExpired EventKind = "consumers.expired"
	// HintsRefused: numbers came that there is nothing to do about: duplicates, jobs that have
	// ended meanwhile, or are not to run yet.
	HintsRefused EventKind = "hints.refused"
	// JobsClaimed: Count jobs were leased to this consumer, which begins them in a moment.
	JobsClaimed EventKind = "jobs.claimed"
	// ConsumerStarted: this consumer begins to take jobs.
	ConsumerStarted EventKind = "consumer.started"
	// ConsumerIdle: there was nothing to claim. A consumer that goes by rows tells it at each look.
	ConsumerIdle EventKind = "consumer.idle"
	// ConsumerScaled: it has opened or shut slots, and has Count of them open now.
	ConsumerScaled EventKind = "consumer.scaled"
	// ConsumerStopping: it takes nothing more, because of Reason. After a last job, or when nothing is
	// left, it is told together with ConsumerStopped.
	ConsumerStopping EventKind = "consumer.stopping"
	// ConsumerStopped: every outcome is recorded. Err is what Run returns.
	ConsumerStopped EventKind = "consumer.stopped"
	// SweepEnded: a part of the sweep, named by Part, was done, and took Took.
	SweepEnded EventKind = "sweep.ended"
	// ScheduleMissed: runs of a schedule, named by Schedule, did not happen in time.
	ScheduleMissed EventKind = "schedule.missed"
)

// Event is one thing that happened in a consumer.
type Event struct {
	Kind    EventKind
	Job     *jobstore.Job    // of one job; must not be changed
	Outcome jobstore.Outcome // of JobEnded
	Err     error            // what the handler said
	Count   int              // how many, for events without a job
	Part    string           // of SweepEnded
	Took    time.Duration    // of SweepEnded
	Reason  StopReason       // of ConsumerStopping and ConsumerStopped
	// Schedule is that of ScheduleMissed.
	Schedule string
	// Existing is, of JobDuplicate, the job that has the unique key.
	Existing jobstore.ID
}

// Observer is told what happens. Observe is called on the path of every job, by many goroutines, and
// must return at once. What an Event points to may be used again after Observe has returned, when
// it is a JobPublished or a JobDuplicate.
type Observer interface {
	Observe(ctx context.Context, e Event)
}

// Hooks are called around every attempt, whatever its kind. Each may be nil.
//
// Before runs first; its error is taken for the handler's, which is not called then. What it gives
// to SetMetadata is in the row before the handler is called. OnError may
// replace an attempt's error, and with it its class; returning nil makes the attempt a success.
// After sees how the attempt ended. None is called once the lease is lost.
type Hooks = worker.Hooks

func (c *Consumer) stuck(job *jobstore.Job, err *worker.StuckError) {
	c.observe(Event{Kind: JobStuck, Job: job, Err: err})
	if n := c.left.Add(1); c.cfg.MaxStuck > 0 && n >= int64(c.cfg.MaxStuck) {
		c.stopping(StopStuck)
	}
}

func (c *Consumer) started(job *jobstore.Job) {
	if c.cfg.MaxJobs > 0 {
		c.taken.Add(1)
	}
	c.observe(Event{Kind: JobStarted, Job: job})
}

// claimed tells of a claim that had n jobs for this consumer.
func (c *Consumer) claimed(n int) {
	if n == 0 {
		c.observe(Event{Kind: ConsumerIdle})
		return
	}
	c.observe(Event{Kind: JobsClaimed, Count: n})
}

func (c *Consumer) ended(e worker.Event) {
	kind := JobEnded
	if e.Dropped {
		kind = LeaseLost
	}
	c.handlerStops(e.Err)
	c.observe(Event{Kind: kind, Job: e.Job, Outcome: e.Outcome, Err: e.Err})
	if e.Err != nil && !e.Dropped {
		c.cfg.Log.Info("attempt ended", zap.Int64("job_id", int64(e.Job.ID)), zap.String("kind", e.Job.Kind),
			zap.Int("attempt", e.Job.Attempts), zap.String("state", string(e.Outcome.State)), zap.Error(e.Err))
	}
}

func (c *Consumer) observe(e Event) { c.client.observe(e) }

func (c *Client) observe(e Event) {
	if c.cfg.Observer != nil {
		c.cfg.Observer.Observe(context.Background(), e)
	}
}

// observePublished tells of jobs that were written, with one Job for all of them.
func (c *Client) observePublished(ctx context.Context, jobs []jobstore.NewJob, inserted []jobstore.Inserted) {
	if c.cfg.Observer == nil {
		return
	}
	var job jobstore.Job
	for i, in := range inserted {
		job.ID, job.State, job.Queue, job.Priority, job.Kind = in.ID, in.State, jobs[i].Queue, jobs[i].Priority, jobs[i].Kind
		if in.ID != in.Existing {
			c.cfg.Observer.Observe(ctx, Event{Kind: JobPublished, Job: &job})
		}
		if in.Existing != 0 {
			c.cfg.Observer.Observe(ctx, Event{Kind: JobDuplicate, Job: &job, Existing: in.Existing})
		}
	}
}

func (c *Client) rescued(r jobstore.Rescued) {
	if r.Crashed > 0 {
		c.observe(Event{Kind: JobsCrashed, Count: r.Crashed})
	}
	if r.Consumers > 0 {
		c.observe(Event{Kind: ConsumersExpired, Count: r.Consumers})
	}
	for _, id := range r.Quarantined {
		c.observe(Event{Kind: JobQuarantined, Job: &jobstore.Job{ID: id, State: jobstore.Quarantined}})
	}
}

func (c *Client) swept(part string, took time.Duration) {
	c.observe(Event{Kind: SweepEnded, Part: part, Took: took})
}

func (c *Client) missed(schedule string) { c.observe(Event{Kind: ScheduleMissed, Schedule: schedule}) }
