package steps

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/warrenq/warren/jobstore"
)

// insertBatch is how many jobs one statement inserts.
const insertBatch = 1000

// Settle counts the ends of jobs and releases what goes next. changes are what attempts that have
// just been recorded add to their flows, by job.
func Settle(ctx context.Context, tx Tx, jobs []jobstore.ID, changes []Change) ([]jobstore.Ref, error) {
	e := newSettling(tx)
	ends, err := tx.Ends(ctx, jobs)
	if err != nil || len(ends) == 0 && len(changes) == 0 {
		return nil, err
	}
	var ids []jobstore.StepID
	for _, c := range changes {
		ids = append(ids, c.Step)
	}
	if err := e.count(ctx, ends, ids); err != nil {
		return nil, err
	}
	for _, c := range changes {
		if err := e.change(ctx, c); err != nil {
			return nil, err
		}
	}
	return e.finish(ctx)
}

// settling is one transaction's work on flows.
type settling struct {
	tx    Tx
	rows  map[jobstore.StepID]*Row
	full  map[jobstore.StepID]bool // its edges and those that hold it are here
	edges map[jobstore.StepID][]jobstore.Edge

	held    map[jobstore.StepID][]*Row        // what is here of the steps in one, callbacks excepted
	whole   map[jobstore.StepID]bool          // that is all of them
	touched []map[jobstore.StepID]bool        // by how many others hold them
	failed  map[jobstore.StepID][]jobstore.ID // jobs of a step, and of steps in it, that have just failed
	last    map[jobstore.StepID]jobstore.ID   // the job of a step that has just finished
	flows   map[jobstore.StepID]jobstore.StepState
	jobs    []jobstore.NewJob // to insert
	add     []jobstore.Edge
	remove  []jobstore.Edge
	refs    []jobstore.Ref
}

func newSettling(tx Tx) *settling {
	return &settling{
		tx: tx, rows: map[jobstore.StepID]*Row{}, full: map[jobstore.StepID]bool{}, edges: map[jobstore.StepID][]jobstore.Edge{},
		held: map[jobstore.StepID][]*Row{}, whole: map[jobstore.StepID]bool{}, failed: map[jobstore.StepID][]jobstore.ID{},
		last: map[jobstore.StepID]jobstore.ID{}, flows: map[jobstore.StepID]jobstore.StepState{},
	}
}

// count applies ends to the counters of their steps. A step that is gone was pruned.
func (e *settling) count(ctx context.Context, ends []End, also []jobstore.StepID) error {
	slices.SortFunc(ends, func(a, b End) int { return cmp.Compare(a.Seq, b.Seq) })
	ids := slices.Clone(also)
	for _, end := range ends {
		ids = append(ids, end.Step)
	}
	if err := e.need(ctx, ids...); err != nil {
		return err
	}
	for _, end := range ends {
		r := e.rows[end.Step]
		if r == nil {
			continue
		}
		e.touch(r)
		if end.Was != "" {
			*r.counter(end.Was)--
			r.Open++
			e.reopen(r)
			continue
		}
		n := r.counter(end.State)
		*n++
		r.Open--
		e.last[r.ID] = end.Job
		if n == &r.Failed {
			r.worse = true
			for s := r; s != nil; s = e.holder(s) {
				e.failed[s.ID] = append(e.failed[s.ID], end.Job)
				e.mark(s)
			}
		}
	}
	return nil
}

// counter is what a final state counts in.
func (r *Row) counter(s jobstore.State) *int {
	switch s { //nolint:exhaustive // all others count as done, Deleted included
	case jobstore.PermanentlyFailed, jobstore.Quarantined:
		return &r.Failed
	case jobstore.Cancelled:
		return &r.Cancelled
	default:
		return &r.Done
	}
}

// stepCounter is what the end of a step counts in, in the step that holds it.
func (r *Row) stepCounter(s jobstore.StepState) *int {
	switch s { //nolint:exhaustive // only the ends of steps count
	case jobstore.StepFailed:
		return &r.Failed
	case jobstore.StepCancelled:
		return &r.Cancelled
	default:
		return &r.Done
	}
}

func (e *settling) touch(r *Row) {
	r.changed = true
	e.mark(r)
}

// mark has a step settled.
func (e *settling) mark(r *Row) {
	depth := 0
	for p := e.rows[r.Parent]; p != nil; p = e.rows[p.Parent] {
		depth++
	}
	for len(e.touched) <= depth {
		e.touched = append(e.touched, map[jobstore.StepID]bool{})
	}
	e.touched[depth][r.ID] = true
}

// holder is the step that r counts in; nil for the first of a flow and for callbacks.
func (e *settling) holder(r *Row) *Row {
	if r.Role == jobstore.RoleCallback {
		return nil
	}
	return e.rows[r.Parent]
}

// reopen makes a step run again because a job of it does, and with it those that hold it. Nobody who
// retries a job wants it cancelled by what was called off before, nor by failures that it had before.
func (e *settling) reopen(r *Row) {
	e.touch(r)
	r.Calling, r.worse = false, false
	p := e.holder(r)
	if r.State.Ended() {
		if p != nil {
			*p.stepCounter(r.State)--
			p.Open++
		}
		r.State = jobstore.StepRunning
		if r.ID == r.Flow {
			e.flows[r.ID] = r.State
		}
	}
	if p != nil {
		e.reopen(p)
	}
}

// finish settles what was touched, inserts what is released and writes everything. A job that is
// redundant when it is inserted has ended, which may release more.
func (e *settling) finish(ctx context.Context) ([]jobstore.Ref, error) {
	for {
		if err := e.settle(ctx); err != nil {
			return nil, err
		}
		redundant, err := e.insert(ctx)
		if err != nil {
			return nil, err
		}
		if len(redundant) == 0 {
			break
		}
		ends, err := e.tx.Ends(ctx, redundant)
		if err == nil {
			err = e.count(ctx, ends, nil)
		}
		if err != nil {
			return nil, err
		}
	}
	var rows []*Row
	for _, id := range slices.Sorted(maps.Keys(e.rows)) {
		if e.rows[id].changed {
			rows = append(rows, e.rows[id])
		}
	}
	if err := e.tx.Write(ctx, rows); err != nil {
		return nil, err
	}
	if len(e.add)+len(e.remove) > 0 {
		if err := e.tx.WriteEdges(ctx, e.add, e.remove); err != nil {
			return nil, err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(e.flows)) {
		if err := e.tx.WriteFlow(ctx, id, e.flows[id]); err != nil {
			return nil, err
		}
	}
	return e.refs, nil
}

// insert writes the released jobs. A step's rows are written after them in the same transaction.
func (e *settling) insert(ctx context.Context) (redundant []jobstore.ID, err error) {
	for batch := range slices.Chunk(e.jobs, insertBatch) {
		inserted, err := e.tx.Insert(ctx, batch)
		if err != nil {
			return nil, err
		}
		for _, in := range inserted {
			switch in.State {
			case jobstore.Ready:
				e.refs = append(e.refs, in.Ref)
			case jobstore.Redundant:
				redundant = append(redundant, in.ID)
			case jobstore.Scheduled, jobstore.Processing, jobstore.Waiting, jobstore.TemporarilyFailed, jobstore.BrokerFailed,
				jobstore.BackToBroker, jobstore.Finished, jobstore.PermanentlyFailed, jobstore.Cancelled, jobstore.Quarantined:
			}
		}
	}
	e.jobs = nil
	return redundant, nil
}

// deepest takes those of the touched steps that are held by the most others.
func (e *settling) deepest() (level []*Row) {
	for _, touched := range slices.Backward(e.touched) {
		if len(touched) == 0 {
			continue
		}
		for _, id := range slices.Sorted(maps.Keys(touched)) {
			if r := e.rows[id]; r.State == jobstore.StepRunning {
				level = append(level, r)
			}
		}
		clear(touched)
		if len(level) > 0 {
			return level
		}
	}
	return nil
}

func (e *settling) settle(ctx context.Context) error {
	for level := e.deepest(); len(level) > 0; level = e.deepest() {
		if err := e.ahead(ctx, level); err != nil {
			return err
		}
		for _, r := range level {
			if err := e.settleStep(ctx, r); err != nil {
				return fmt.Errorf("step %d: %w", r.ID, err)
			}
		}
	}
	return nil
}

func (e *settling) settleStep(ctx context.Context, r *Row) error {
	if r.State != jobstore.StepRunning {
		return nil
	}
	if err := e.told(ctx, r); err != nil {
		return err
	}
	if err := e.kept(ctx, r); err != nil || r.Open > 0 {
		return err
	}
	return e.end(ctx, r)
}
