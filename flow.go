package warren

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

// Flow is jobs that belong together: a ChainFlow, a BatchFlow, or one that package flow defines. What goes
// next is released in the transaction that ends what it waits for: exactly once, whatever crashes.
type Flow interface {
	// describe puts the flow below a step, -1 for none, and returns its own.
	describe(d *flowDraft, parent int, where string) int
}

// ChainFlow is steps that go one after the other. See Chain.
type ChainFlow struct {
	options   flowOptions
	steps     []any
	onFailure []any
}

// BatchFlow is jobs that go at once. See Batch.
type BatchFlow struct {
	options   flowOptions
	members   []any
	allow     int
	callbacks []callback
}

type callback struct {
	on   jobstore.EdgeOn
	args any
}

type flowOptions struct {
	name, queue string
	meta        map[string]any
}

// Chain makes steps go one after the other, each when the one before has ended well: FINISHED, skipped,
// redundant, or deleted by an operator. A step is an Args, an Item (a job with options; its Delay counts
// from its release), a *BatchFlow or another *ChainFlow. When a step fails for good or is cancelled the
// chain ends there; when an operator retries that job with success it goes on.
func Chain(steps ...any) *ChainFlow { return &ChainFlow{steps: steps} }

// Batch makes jobs go at once. Its members are Args, Items, *ChainFlows and other *BatchFlows; a flow in it
// counts as one member. The first member that fails for good cancels the others, those that run included,
// unless AllowFailures says otherwise. A member that an operator deletes counts as done.
//
// Callbacks are jobs, released once each by what becomes of the batch; see their methods. A batch that
// was retried releases those again that hear of every failure, and no other that has gone.
func Batch(name string, members ...any) *BatchFlow {
	return &BatchFlow{options: flowOptions{name: name}, members: members}
}

// OnFailure releases a job when a step of the chain has failed for good, once.
func (c *ChainFlow) OnFailure(job any) *ChainFlow {
	c.onFailure = append(c.onFailure, job)
	return c
}

// Name names the chain for people. Default "chain".
func (c *ChainFlow) Name(name string) *ChainFlow {
	c.options.name = name
	return c
}

// Queue is for the jobs of the chain that name none of their own; it goes before their kinds'.
func (c *ChainFlow) Queue(name string) *ChainFlow {
	c.options.queue = name
	return c
}

// Meta keeps a value with the flow. It is for the outermost one.
func (c *ChainFlow) Meta(key string, value any) *ChainFlow {
	c.options.keep(key, value)
	return c
}

// Add adds members.
func (b *BatchFlow) Add(members ...any) *BatchFlow {
	b.members = append(b.members, members...)
	return b
}

// AddChain adds a chain as one member.
func (b *BatchFlow) AddChain(steps ...any) *BatchFlow { return b.Add(Chain(steps...)) }

// OnStart releases a job together with the first members.
func (b *BatchFlow) OnStart(job any) *BatchFlow { return b.on(jobstore.OnStart, job) }

// OnProgress releases a job when another whole percent of the members has ended: 100 times at most. The
// job's metadata has it as warren.percent.
func (b *BatchFlow) OnProgress(job any) *BatchFlow { return b.on(jobstore.OnProgress, job) }

// OnSuccess releases a job when all members have ended with no more failures than are allowed.
func (b *BatchFlow) OnSuccess(job any) *BatchFlow { return b.on(jobstore.OnSuccess, job) }

// OnFirstFailure releases a job when the first member has failed for good, whether that is allowed or not.
func (b *BatchFlow) OnFirstFailure(job any) *BatchFlow { return b.on(jobstore.OnFailure, job) }

// OnEachFailure releases a job for every member that has failed for good. The job's metadata has the
// member's number as warren.failed_job.
func (b *BatchFlow) OnEachFailure(job any) *BatchFlow { return b.on(jobstore.OnEach, job) }

// OnFinish releases a job when all members have ended, whatever they came to.
func (b *BatchFlow) OnFinish(job any) *BatchFlow { return b.on(jobstore.OnEnd, job) }

func (b *BatchFlow) on(what jobstore.EdgeOn, job any) *BatchFlow {
	b.callbacks = append(b.callbacks, callback{what, job})
	return b
}

// AllowFailures lets members fail or be cancelled without the batch's being called off: up to so many, or any
// number when none is given.
func (b *BatchFlow) AllowFailures(most ...int) *BatchFlow {
	b.allow = jobstore.AllowAll
	if len(most) > 0 {
		b.allow = most[0]
		if b.allow < 0 {
			b.allow = badAllow
		}
	}
	return b
}

const badAllow = -2

// Queue is for the members that name none of their own; it goes before their kinds'.
func (b *BatchFlow) Queue(name string) *BatchFlow {
	b.options.queue = name
	return b
}

// Meta keeps a value with the flow. It is for the outermost one.
func (b *BatchFlow) Meta(key string, value any) *BatchFlow {
	b.options.keep(key, value)
	return b
}

func (o *flowOptions) keep(key string, value any) {
	if o.meta == nil {
		o.meta = map[string]any{}
	}
	o.meta[key] = value
}

// PublishFlow writes a flow and the jobs of it that go at once, or nothing, and returns its number. Errors
// about what it asks for are ErrInvalidJob, and say where in the flow.
func (c *Client) PublishFlow(ctx context.Context, f Flow) (jobstore.StepID, error) {
	nf, err := c.draft(ctx, f)
	if err != nil {
		return 0, err
	}
	nf.Outbox = !c.relay.Running()
	id, released, err := c.cfg.Store.InsertFlow(ctx, nf)
	if err != nil {
		return 0, fmt.Errorf("publish a flow: %w", err)
	}
	c.relay.Add(released...)
	return id, nil
}

// PublishFlowTx is PublishFlow inside the caller's transaction. Its first jobs wait in the outbox, as those
// of PublishTx do.
func (c *Client) PublishFlowTx(ctx context.Context, tx jobstore.Tx, f Flow) (jobstore.StepID, error) {
	nf, err := c.draft(ctx, f)
	if err != nil {
		return 0, err
	}
	id, err := c.cfg.Store.InsertFlowTx(ctx, tx, nf)
	if err != nil {
		return 0, fmt.Errorf("publish a flow in a transaction: %w", err)
	}
	return id, nil
}

// FlowInfo reads a flow with its steps, by its number or by that of one of its steps.
func (c *Client) FlowInfo(ctx context.Context, id jobstore.StepID) (jobstore.Flow, error) {
	return c.cfg.Store.Flow(ctx, id)
}

// CancelFlow calls a flow, a batch or a chain off: nothing more of it is released, jobs that wait become
// CANCELLED within about a second, and the contexts of those that run end with ErrCancelled. Callbacks are
// no part of it. jobstore.ErrRefused when it has ended, jobstore.ErrNotFound when there is none.
func (c *Client) CancelFlow(ctx context.Context, id jobstore.StepID) error {
	return c.cfg.Store.CancelStep(ctx, id)
}

// RetryFlow runs those jobs of a flow again that failed for good, were quarantined or cancelled, and returns
// how many. What they kept from going goes when they finish; what only the call off kept from going goes
// now. store is the same database.
func (c *Client) RetryFlow(ctx context.Context, store jobstore.Operator, id jobstore.StepID) (int, error) {
	f, err := c.cfg.Store.Flow(ctx, id)
	if err != nil {
		return 0, err
	}
	var steps []jobstore.StepID
	for _, s := range f.Steps {
		if s.Role != jobstore.RoleCallback {
			steps = append(steps, s.ID)
		}
	}
	ended := []jobstore.State{jobstore.PermanentlyFailed, jobstore.Quarantined, jobstore.Cancelled}
	retried := 0
	for after := jobstore.ID(0); ; {
		jobs, err := c.cfg.Store.StepJobs(ctx, steps, ended, after, 500)
		if err != nil {
			return retried, err
		}
		if len(jobs) == 0 {
			return retried, c.cfg.Store.ResumeFlow(ctx, id)
		}
		ids := make([]jobstore.ID, len(jobs))
		for i := range jobs {
			ids[i] = jobs[i].ID
		}
		after = ids[len(ids)-1]
		changed, err := store.Retry(ctx, ids)
		if err != nil {
			return retried, err
		}
		retried += len(changed.Done)
	}
}

// BatchInfo is how far a batch has come.
type BatchInfo struct {
	jobstore.Step
	Metadata json.RawMessage `json:"metadata,omitempty"` // of its flow
}

// Pending is how many members have not ended.
func (b *BatchInfo) Pending() int { return b.Total - b.Processed() }

// Processed is how many members have ended.
func (b *BatchInfo) Processed() int { return b.Done + b.Failed + b.Cancelled }

// Progress is how much of it has ended, in percent.
func (b *BatchInfo) Progress() int {
	if b.Total == 0 {
		return 100
	}
	return 100 * b.Processed() / b.Total
}

// MarshalJSON adds what is computed.
func (b BatchInfo) MarshalJSON() ([]byte, error) {
	type info BatchInfo // without this method
	return json.Marshal(struct {
		info
		Pending   int `json:"pending"`
		Processed int `json:"processed"`
		Progress  int `json:"progress"`
	}{info(b), b.Pending(), b.Processed(), b.Progress()})
}

// Batch tells how far a batch has come, by its number: that of its flow when it is the outermost.
// jobstore.ErrNotFound when no batch has it.
func (c *Client) Batch(ctx context.Context, id jobstore.StepID) (BatchInfo, error) {
	f, err := c.cfg.Store.Flow(ctx, id)
	if err != nil {
		return BatchInfo{}, err
	}
	for _, s := range f.Steps {
		if s.ID == id && s.Role == jobstore.RoleBatch {
			return BatchInfo{Step: s, Metadata: f.Metadata}, nil
		}
	}
	return BatchInfo{}, fmt.Errorf("step %d is no batch: %w", id, jobstore.ErrNotFound)
}

var errNoFlow = errors.New("this job is part of no flow")
