package storetest

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/warrenq/warren/jobstore"
)

func propertyTests() []test {
	return []test{{"random operations keep the invariants", func(w *world) {
		rapid.Check(w.T, func(r *rapid.T) { newModel(w, r).play() })
	}}}
}

// model drives a store with random operations and keeps a ledger of its own beside it:
//
//	I2 at most one accepted outcome for each lease, one final outcome for each job
//	I3 lease numbers of a job only grow, and no two claims share one
//	I4 final states stay
//	I6 at most one PROCESSING member in each group
//	I7 no claim passes over a live member with smaller (priority, number)
//
// The store is used for many runs, so that each run has groups, a queue and kinds of its own.
type model struct {
	*world
	r     *rapid.T
	queue string
	by    []jobstore.Claimant
	jobs  map[jobstore.ID]*fact
	held  []held // leases given and not settled, the lost ones included
}

// fact is what the ledger knows of a job.
type fact struct {
	job      jobstore.NewJob
	lease    int64
	settled  map[int64]jobstore.State // accepted outcome of each lease
	final    jobstore.State
	absorbed bool
}

type held struct {
	by    jobstore.Claimant
	lease jobstore.Lease
}

func newModel(w *world, r *rapid.T) *model {
	m := &model{world: w, r: r, jobs: map[jobstore.ID]*fact{}}
	m.queue = fmt.Sprintf("q%d", time.Now().UnixNano())
	for range 2 {
		by := w.consumer()
		by.Queues = []string{m.queue}
		m.by = append(m.by, by)
	}
	return m
}

func (m *model) play() {
	m.insert()
	for range rapid.IntRange(5, 30).Draw(m.r, "steps") {
		switch rapid.IntRange(0, 7).Draw(m.r, "step") {
		case 0:
			m.insert()
		case 1, 2:
			m.claimByNumber()
		case 3:
			m.claimNext()
		case 4, 5:
			m.settle()
		case 6:
			m.forge()
		case 7:
			m.sweep()
		}
		m.audit()
	}
	for _, by := range m.by {
		m.check("deregister", m.store.Deregister(m.Context(), by.Holder))
	}
	m.rescueAll(0, func(jobstore.Rescued) bool {
		left, err := m.store.Consumers(m.Context())
		m.check("consumers", err)
		return !slices.ContainsFunc(left, func(c jobstore.ConsumerInfo) bool {
			return c.ID == m.by[0].Holder || c.ID == m.by[1].Holder
		})
	})
	m.held = nil
	m.audit()
}

func (m *model) insert() {
	jobs := make([]jobstore.NewJob, rapid.IntRange(1, 6).Draw(m.r, "jobs"))
	for i := range jobs {
		j := plain()
		j.Queue = m.queue
		j.Priority = rapid.SampledFrom(priorities()).Draw(m.r, "priority")
		if rapid.Bool().Draw(m.r, "grouped") {
			j.SerialGroup = m.queue + rapid.SampledFrom([]string{"a", "b"}).Draw(m.r, "group")
			j.GroupSkip = rapid.IntRange(0, 3).Draw(m.r, "skip") == 0
			if rapid.IntRange(0, 5).Draw(m.r, "coalesces") == 0 {
				n := rapid.Int64Range(1, 3).Draw(m.r, "coalesce")
				j.Coalesce = &n
			}
		}
		jobs[i] = j
	}
	for i, id := range m.world.insert(jobs...) {
		m.jobs[id] = &fact{job: jobs[i], settled: map[int64]jobstore.State{}}
	}
}

func (m *model) ids() []jobstore.ID {
	ids := make([]jobstore.ID, 0, len(m.jobs))
	for id := range m.jobs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (m *model) claimant() jobstore.Claimant {
	i := rapid.IntRange(0, len(m.by)-1).Draw(m.r, "claimant")
	m.by[i].Token++
	return m.by[i]
}

func (m *model) claimByNumber() {
	ids := rapid.SliceOfN(rapid.SampledFrom(m.ids()), 1, 8).Draw(m.r, "ids")
	by := m.claimant()
	before := m.rows()
	got := m.claim(by, ids...)
	if rapid.IntRange(0, 3).Draw(m.r, "lost") == 0 {
		by.Again = true
		again := m.claim(by, ids...)
		if len(again) < len(got) {
			m.Fatalf("a repeated claim returned %v after %v (I14)", idsOf(again), idsOf(got))
		}
		got = again
	}
	m.granted(by, before, got)
}

func (m *model) claimNext() {
	by := m.claimant()
	before := m.rows()
	m.granted(by, before, m.next(by, rapid.IntRange(1, 5).Draw(m.r, "n")))
}

// granted checks what a claim took against the rows before it.
func (m *model) granted(by jobstore.Claimant, before map[jobstore.ID]jobstore.Job, got []jobstore.Lease) {
	for _, l := range got {
		f, was := m.jobs[l.Job.ID], before[l.Job.ID]
		if l.Job.LeaseNo <= f.lease {
			m.Fatalf("job %d: lease %d follows %d (I3)", l.Job.ID, l.Job.LeaseNo, f.lease)
		}
		if was.State != jobstore.Ready {
			m.Fatalf("job %d was claimed while %s", l.Job.ID, was.State)
		}
		f.lease = l.Job.LeaseNo
		for id, o := range before {
			passable := f.job.SerialGroup == "" || o.SerialGroup != f.job.SerialGroup || o.State.Final() ||
				m.jobs[id].job.GroupSkip && (o.State == jobstore.TemporarilyFailed || o.State == jobstore.Waiting)
			if !passable && (o.Priority < was.Priority || o.Priority == was.Priority && id < was.ID) {
				m.Fatalf("the claim of job %d passed over job %d, which is %s (I7)", l.Job.ID, id, o.State)
			}
		}
		m.held = append(m.held, held{by, l})
	}
}

func (m *model) rows() map[jobstore.ID]jobstore.Job {
	list, err := m.store.List(m.Context(), jobstore.Filter{Queues: []string{m.queue}, Limit: 10_000})
	m.check("list", err)
	rows := make(map[jobstore.ID]jobstore.Job, len(list))
	for _, j := range list {
		rows[j.ID] = j
	}
	return rows
}

// settle records an outcome for a lease that was given, sometimes twice.
func (m *model) settle() {
	if len(m.held) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.held)-1).Draw(m.r, "which")
	h := m.held[i]
	m.held = slices.Delete(m.held, i, i+1)
	o := outcome(h.lease, rapid.SampledFrom([]jobstore.State{
		jobstore.Finished, jobstore.Finished, jobstore.PermanentlyFailed, jobstore.TemporarilyFailed,
		jobstore.Waiting, jobstore.Cancelled, jobstore.Ready,
	}).Draw(m.r, "outcome"))
	o.Uncount = o.State == jobstore.Ready || o.State == jobstore.Waiting
	if o.State == jobstore.TemporarilyFailed {
		o.Delay = rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(m.r, "delay")
	}
	for range rapid.IntRange(1, 2).Draw(m.r, "times") {
		m.recorded(h.by, o)
	}
	f := m.jobs[o.ID]
	f.settled[o.LeaseNo] = o.State
	if o.State.Final() {
		if f.final != "" {
			m.Fatalf("job %d was %s and has ended again (I2)", o.ID, f.final)
		}
		f.final = o.State
	}
}

// forge records what nobody may: another holder's lease, an older lease, a job that has ended.
func (m *model) forge() {
	id := rapid.SampledFrom(m.ids()).Draw(m.r, "forged")
	f := m.jobs[id]
	by := m.claimant()
	o := jobstore.Outcome{ID: id, LeaseNo: rapid.Int64Range(0, f.lease+1).Draw(m.r, "lease"), State: jobstore.PermanentlyFailed}
	for _, h := range m.held {
		if h.lease.Job.ID == id && h.by.Holder == by.Holder && h.lease.Job.LeaseNo == o.LeaseNo {
			return // that one would be right
		}
	}
	rec := m.record(by, o)
	if state, done := f.settled[o.LeaseNo]; len(rec.Fenced) == 0 && (!done || state != o.State) {
		m.Fatalf("a forged outcome of job %d under lease %d was accepted (I2)", id, o.LeaseNo)
	}
}

func (m *model) sweep() {
	_, err := m.store.Due(m.Context(), 10)
	m.check("due", err)
	_, err = m.store.Rescue(m.Context(), 10, 0)
	m.check("rescue", err)
	_, err = m.store.Heads(m.Context(), 10)
	m.check("heads", err)
}

// audit compares every row with the ledger.
func (m *model) audit() {
	running := map[string]jobstore.ID{}
	for id, j := range m.rows() {
		f := m.jobs[id]
		switch {
		case f.final != "" && j.State != f.final:
			m.Fatalf("job %d was %s and is %s (I4)", id, f.final, j.State)
		case f.absorbed && j.State != jobstore.Redundant:
			m.Fatalf("job %d was absorbed and is %s (I4)", id, j.State)
		case f.final == "" && j.State.Final() && (j.State != jobstore.Redundant || f.job.Coalesce == nil || j.LeaseNo != 0):
			m.Fatalf("job %d became %s, and nobody recorded that (I2)", id, j.State)
		case j.LeaseNo < f.lease:
			m.Fatalf("job %d: its lease number went from %d to %d (I3)", id, f.lease, j.LeaseNo)
		}
		f.absorbed = f.absorbed || f.final == "" && j.State == jobstore.Redundant
		if j.State != jobstore.Processing || j.SerialGroup == "" {
			continue
		}
		if other, two := running[j.SerialGroup]; two {
			m.Fatalf("jobs %d and %d of group %s both run (I6)", other, id, j.SerialGroup)
		}
		running[j.SerialGroup] = id
	}
}
