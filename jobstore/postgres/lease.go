package postgres

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// leaseColumns, and one that says what the row is, are what leaseReader reads, in this order.
const leaseColumns = `j.id, j.queue, j.priority, j.kind, j.args, j.serial_group, j."coalesce", j.identifier, j.mode,
  (extract(epoch FROM j.every) * 1e6)::bigint, j.attempts, j.max_attempts, j.lease_no, j.crashes, j.created_at,
  j.available_at, j.attempted_at, (extract(epoch FROM j.timeout) * 1e6)::bigint, j.metadata, j.tags, j.step`

// leaseReader reads the rows of a claim. Every job comes through here, with 22 columns: they are read as they lie in the
// message, without Scan, which finds out for each what it is and where it goes.
type leaseReader struct {
	by jobstore.Claimant
	// Jobs of one claim are much alike: what the row before has said is not copied again.
	queue, kind, mode string
}

// read reads the current row of r.
func (lr *leaseReader) read(r pgx.Rows) (what int, l jobstore.Lease, err error) {
	c := columnsOf(r)
	j := &l.Job
	j.ID = jobstore.ID(c.int())
	lr.queue = c.same(lr.queue)
	j.Priority = int(c.int())
	lr.kind = c.same(lr.kind)
	j.Args = c.json()
	j.SerialGroup = string(c.text())
	j.Coalesce = c.optional()
	j.Identifier = string(c.text())
	lr.mode = c.same(lr.mode)
	j.Every = time.Duration(c.int()) * time.Microsecond
	j.Attempts, j.MaxAttempts = int(c.int()), int(c.int())
	j.LeaseNo = c.int()
	j.Crashes = int(c.int())
	j.CreatedAt, j.AvailableAt = c.time(), c.time()
	if at := c.time(); !at.IsZero() {
		j.AttemptedAt = new(at)
	}
	j.Timeout = time.Duration(c.int()) * time.Microsecond
	j.Metadata = c.json()
	if tags := c.take(); tags.value != nil {
		c.scan(tags, &j.Tags)
	}
	j.Step = jobstore.StepID(c.int())
	what = int(c.int())
	j.Queue, j.Kind, j.Mode = lr.queue, lr.kind, jobstore.Mode(lr.mode)
	j.State, j.Holder, j.Host, j.PID = jobstore.Processing, lr.by.Holder, lr.by.Host, lr.by.PID
	return what, l, c.err
}
