package worker

import (
	"context"
	"sync"

	"github.com/warrenq/warren/jobstore"
)

// current is the attempt of a slot, for whoever wants to end it from outside.
type current struct {
	mu     sync.Mutex
	id     jobstore.ID
	lease  int64
	cancel context.CancelCauseFunc // nil while the slot runs nothing
}

func (c *current) begin(job *jobstore.Job, cancel context.CancelCauseFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.id, c.lease, c.cancel = job.ID, job.LeaseNo, cancel
}

func (c *current) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel = nil
}

// Cancel ends the contexts of those of the attempts that run here, with ErrCancelled. It may be told
// of the same ones again.
func (p *Pool) Cancel(attempts map[jobstore.ID]int64) {
	for i := range p.current {
		c := &p.current[i]
		c.mu.Lock()
		if lease, asked := attempts[c.id]; asked && lease == c.lease && c.cancel != nil {
			c.cancel(ErrCancelled)
		}
		c.mu.Unlock()
	}
}
