package app

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/dispatch"
	"github.com/warrenq/warren/internal/lifecycle"
	"github.com/warrenq/warren/jobstore"
)

// What Reconcile finds besides the faults of package jobstore.
const (
	ProblemNoHint    = "row-without-hint" // it could be claimed, and its number is in no message
	ProblemNoRow     = "hint-without-row" // the number in a message is that of no READY job of this band
	ProblemDuplicate = "duplicate-hint"   // a number that is in a queue more than once
)

// lookAgain is the time between two looks: longer than anything needs that is on its way, such as a
// hint between commit and confirm, or between a consumer that has no free slot and the queue.
const lookAgain = 2 * time.Second

// auditBatch is how many numbers one statement is about.
const auditBatch = 5000

// rescueAfter is how many crashes quarantine a job, as in the sweep.
const rescueAfter = 3

// Discrepancy is one problem in one band, with every job that has it.
type Discrepancy struct {
	Problem  string        `json:"problem"`
	Queue    string        `json:"queue,omitempty"`    // "" = it is about rows that belong to no band
	Priority *int          `json:"priority,omitempty"` // nil likewise
	Count    int           `json:"count"`
	Fixed    int           `json:"fixed"`
	IDs      []jobstore.ID `json:"ids"`
}

// Reconcile compares rows with each other and with the hints in the broker, and with fix it mends
// what does not fit. Each thing is looked at twice, and counts when both looks agree. Without a
// broker it is about rows only. What was found and mended before an error is returned with it.
func (a *App) Reconcile(ctx context.Context, fix bool) ([]Discrepancy, error) {
	r := &reconciler{store: a.Store, fix: fix, hintSize: a.Config.HintSize, found: map[place]*Discrepancy{}, known: map[jobstore.ID]bool{}}
	if a.Config.AMQPURL == "" {
		err := r.rows(ctx)
		if err == nil && fix {
			err = r.wake(ctx)
		}
		return r.report(), err
	}
	admin, err := rabbitmq.OpenAdmin(ctx, rabbitConfig(a.Config, a.opts))
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	r.admin, r.bands = admin, Bands(a.Config)
	if !fix {
		err = errors.Join(r.rows(ctx), r.hints(ctx))
		return r.report(), err
	}
	b, err := a.Broker() //nolint:contextcheck // it connects to nothing; its Run gets a context
	if err != nil {
		return nil, err
	}
	r.publisher = b
	var failed error
	err = lifecycle.Run(ctx, lifecycle.Part{Name: "broker", Run: b.Run}, lifecycle.Part{Name: "reconcile", Run: func(own context.Context) error {
		work, cancel := context.WithCancel(own)
		defer cancel()
		unhook := context.AfterFunc(ctx, cancel)
		defer unhook()
		if failed = r.rows(work); failed == nil {
			failed = r.hints(work)
		}
		if failed == nil {
			failed = r.emptyOutbox(work)
		}
		return nil
	}})
	return r.report(), errors.Join(failed, err)
}

// place is where a problem is.
type place struct {
	problem string
	band    jobstore.Band
}

type reconciler struct {
	store     jobstore.Store
	admin     *rabbitmq.Admin  // nil without a broker
	publisher broker.Publisher // nil unless something may be mended
	hintSize  int
	fix       bool
	bands     []broker.Band // that are configured
	found     map[place]*Discrepancy
	known     map[jobstore.ID]bool // overdue in the outbox, or made READY here: that these have no hint is no news
	overdue   []jobstore.Ref       // of the outbox, still
	woken     []jobstore.Ref       // made READY here, for consumers that look at rows
}

// add notes ids, of which fixed are mended.
func (r *reconciler) add(problem string, band jobstore.Band, ids []jobstore.ID, fixed int) {
	if len(ids) == 0 {
		return
	}
	d := r.found[place{problem, band}]
	if d == nil {
		d = &Discrepancy{Problem: problem, Queue: band.Queue}
		if band.Queue != "" {
			d.Priority = new(band.Priority)
		}
		r.found[place{problem, band}] = d
	}
	d.IDs = append(d.IDs, ids...)
	d.Count += len(ids)
	d.Fixed += fixed
}

func (r *reconciler) report() []Discrepancy {
	out := make([]Discrepancy, 0, len(r.found))
	for _, d := range r.found {
		slices.Sort(d.IDs)
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b Discrepancy) int {
		return cmp.Or(cmp.Compare(a.Problem, b.Problem), cmp.Compare(a.Queue, b.Queue), cmp.Compare(deref(a.Priority), deref(b.Priority)))
	})
	return out
}

func deref(n *int) int {
	if n == nil {
		return -1
	}
	return *n
}

// pause waits between two looks.
func pause(ctx context.Context) error {
	timer := time.NewTimer(lookAgain)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// rows looks at rows alone, and mends all but the outbox: that needs to know what is in the broker.
func (r *reconciler) rows(ctx context.Context) error {
	before, err := r.store.Faults(ctx)
	if err != nil || len(before) == 0 {
		return err
	}
	if err := pause(ctx); err != nil {
		return err
	}
	now, err := r.store.Faults(ctx)
	if err != nil {
		return err
	}
	agreed := common(before, now)
	if r.fix {
		if err = r.mend(ctx, agreed); err == nil {
			now, err = r.store.Faults(ctx)
		}
	}
	left := setOf(now)
	for _, f := range agreed {
		fixed := 1
		if left[f] {
			fixed = 0
		}
		r.add(f.Fault, f.Band, []jobstore.ID{f.ID}, fixed)
		if f.Fault != jobstore.FaultOutbox {
			continue
		}
		r.known[f.ID] = true
		if left[f] {
			r.overdue = append(r.overdue, f.Ref)
		}
	}
	return err
}

// common is what two looks have seen.
func common(a, b []jobstore.Fault) []jobstore.Fault {
	seen := setOf(b)
	return slices.DeleteFunc(slices.Clone(a), func(f jobstore.Fault) bool { return !seen[f] })
}

func setOf(faults []jobstore.Fault) map[jobstore.Fault]bool {
	set := make(map[jobstore.Fault]bool, len(faults))
	for _, f := range faults {
		set[f] = true
	}
	return set
}

// mend does what the sweep would do, and what it cannot. What it makes READY is announced by the
// comparison with the broker that follows; should this process die before, by the lost-hint sweep.
func (r *reconciler) mend(ctx context.Context, faults []jobstore.Fault) error {
	if err := r.store.Mend(ctx, faults); err != nil {
		return err
	}
	has := func(fault string) bool {
		return slices.ContainsFunc(faults, func(f jobstore.Fault) bool { return f.Fault == fault })
	}
	for more := has(jobstore.FaultOrphan); more; {
		done, err := r.store.Rescue(ctx, auditBatch, rescueAfter)
		if err != nil {
			return err
		}
		r.ready(done.Released)
		more = done.Crashed > 0 || done.Consumers > 0
	}
	for more := has(jobstore.FaultDue); more; {
		refs, err := r.store.Due(ctx, auditBatch)
		if err != nil {
			return err
		}
		r.ready(refs)
		more = len(refs) > 0
	}
	return nil
}

func (r *reconciler) ready(refs []jobstore.Ref) {
	r.woken = append(r.woken, refs...)
	for _, ref := range refs {
		r.known[ref.ID] = true
	}
}

// wake is how consumers without a broker learn of jobs. The outbox has no meaning for them.
func (r *reconciler) wake(ctx context.Context) error {
	refs := slices.Concat(r.woken, r.overdue)
	if len(refs) == 0 {
		return nil
	}
	if _, err := dispatch.NewPolled(r.store, nil).Announce(ctx, refs); err != nil {
		return err
	}
	return r.emptyOutbox(ctx)
}

// emptyOutbox takes those rows out that have been announced by now, or whose hint was there.
func (r *reconciler) emptyOutbox(ctx context.Context) error {
	for part := range slices.Chunk(r.overdue, auditBatch) {
		ids := make([]jobstore.ID, len(part))
		for i, ref := range part {
			ids[i] = ref.ID
		}
		if err := r.store.Announced(ctx, ids); err != nil {
			return err
		}
		for _, ref := range part {
			r.found[place{jobstore.FaultOutbox, ref.Band}].Fixed++
		}
	}
	return nil
}
