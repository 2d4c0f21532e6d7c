package storetest

import (
	"context"
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/warrenq/warren/jobstore"
)

// flowProperty does random things to jobs of flows, as consumers, operators and the sweep do, and compares
// the counters of every step with the rows after each. At the end everything that can run has run: then
// nothing is open, and each callback is there as often as what it hears of has happened.
func flowProperty(w *world) {
	runs := 0
	rapid.Check(w.T, func(r *rapid.T) {
		if runs++; runs <= flowRuns {
			(&flowModel{world: w, r: r, by: w.consumer()}).play()
		}
	})
}

// flowRuns keeps the test at a few seconds: each run is a hundred statements and more.
const flowRuns = 25

type flowModel struct {
	*world
	r    *rapid.T
	by   jobstore.Claimant
	held []jobstore.Lease
	ids  []jobstore.StepID
}

func (m *flowModel) play() {
	m.by.Token = 1000
	for range rapid.IntRange(1, 2).Draw(m.r, "flows") {
		m.ids = append(m.ids, m.start(m.random()))
	}
	for range rapid.IntRange(4, 14).Draw(m.r, "steps") {
		switch rapid.IntRange(0, 9).Draw(m.r, "step") {
		case 0, 1, 2:
			m.claimSome()
		case 3, 4, 5:
			m.recordSome(rapid.SampledFrom([]jobstore.State{
				jobstore.Finished, jobstore.Finished, jobstore.PermanentlyFailed, jobstore.Cancelled, jobstore.TemporarilyFailed, jobstore.Ready,
			}).Draw(m.r, "state"))
		case 6:
			m.order("retry", m.store.Retry)
		case 7:
			m.order("cancel", m.store.Cancel)
		case 8:
			m.order("delete", m.store.Delete)
		case 9:
			if len(m.ids) > 0 && rapid.IntRange(0, 3).Draw(m.r, "call off") == 0 {
				_ = m.store.CancelStep(m.Context(), m.ids[0]) // it may have ended
			}
		}
		m.settleAll()
		m.audit()
	}
	m.finishAll()
	for _, id := range m.ids {
		f := m.flow(id)
		if f.State == jobstore.StepRunning || f.EndedAt == nil {
			m.Fatalf("flow %d is %s after everything has run: %+v", id, f.State, f.Steps)
		}
		m.told(&f)
	}
	m.retryAll()
	m.check("deregister", m.store.Deregister(m.Context(), m.by.Holder))
}

// random is a batch with a chain in it, or a chain with a batch, and callbacks.
func (m *flowModel) random() jobstore.NewFlow {
	n := rapid.IntRange(1, 4).Draw(m.r, "members")
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint("m", i)
	}
	f := batchOf(rapid.IntRange(-1, 1).Draw(m.r, "allow"), names...)
	if rapid.Bool().Draw(m.r, "chain around") {
		f = chainOf(slices.Concat(names, []string{"last"})...)
	} else {
		f.Steps = append(f.Steps, jobstore.NewStep{Name: "inner", Role: jobstore.RoleChain},
			jobstore.NewStep{Name: "p", Role: jobstore.RoleJob, Parent: 1, Jobs: []jobstore.NewJob{named("p")}},
			jobstore.NewStep{Name: "q", Role: jobstore.RoleJob, Parent: 1, Waits: 1, Jobs: []jobstore.NewJob{named("q")}})
		f.Edges = append(f.Edges, jobstore.NewEdge{From: 2, On: jobstore.OnSuccess, To: 3})
	}
	for _, on := range []jobstore.EdgeOn{jobstore.OnSuccess, jobstore.OnFailure, jobstore.OnEnd} {
		hears(&f, on)
	}
	return f
}

// jobs lists the flows' jobs, callbacks included.
func (m *flowModel) jobs(states ...jobstore.State) []jobstore.Job {
	var steps []jobstore.StepID
	for _, id := range m.ids {
		for _, s := range m.flow(id).Steps {
			steps = append(steps, s.ID)
		}
	}
	list, err := m.store.StepJobs(m.Context(), steps, states, 0, 10_000)
	m.check("jobs of steps", err)
	return list
}

func (m *flowModel) claimSome() {
	_, err := m.store.Due(m.Context(), 100)
	m.check("due", err)
	for _, j := range m.jobs(jobstore.Ready) {
		if rapid.Bool().Draw(m.r, "claimed") {
			m.by.Token++
			m.held = append(m.held, m.claim(m.by, j.ID)...)
		}
	}
}

func (m *flowModel) recordSome(state jobstore.State) {
	var done []jobstore.Outcome
	var rest []jobstore.Lease
	for _, l := range m.held {
		if rapid.IntRange(0, 2).Draw(m.r, "recorded") == 0 {
			rest = append(rest, l)
			continue
		}
		done = append(done, stepOutcome(l, state))
	}
	m.held = rest
	if len(done) == 0 {
		return
	}
	for range rapid.IntRange(1, 2).Draw(m.r, "times") { // a reply may be lost
		m.record(m.by, done...)
	}
}

func stepOutcome(l jobstore.Lease, state jobstore.State) jobstore.Outcome {
	o := outcome(l, state)
	o.Step, o.Uncount = l.Job.Step, state == jobstore.Ready
	return o
}

func (m *flowModel) order(name string, do func(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error)) {
	var states []jobstore.State
	if name == "delete" { // what is deleted after its end has counted, and is in no row any more
		states = []jobstore.State{jobstore.Ready, jobstore.TemporarilyFailed, jobstore.BackToBroker}
	}
	jobs := m.jobs(states...)
	if len(jobs) == 0 {
		return
	}
	j := rapid.SampledFrom(jobs).Draw(m.r, name)
	_, err := do(m.Context(), []jobstore.ID{j.ID})
	m.check(name, err)
}

// audit compares counters with rows. Jobs that were deleted are in no row any more, and count as done.
func (m *flowModel) audit() {
	jobs := m.jobs()
	for _, id := range m.ids {
		f := m.flow(id)
		for _, s := range f.Steps {
			open, failed, cancelled := 0, 0, 0
			for _, j := range jobs {
				switch {
				case j.Step != s.ID:
				case !j.State.Final():
					open++
				case j.State == jobstore.PermanentlyFailed || j.State == jobstore.Quarantined:
					failed++
				case j.State == jobstore.Cancelled:
					cancelled++
				}
			}
			waiting := 0
			for _, c := range f.Steps {
				if c.Parent != s.ID || c.Role == jobstore.RoleCallback {
					continue
				}
				switch c.State {
				case jobstore.StepRunning:
					open++
				case jobstore.StepFailed:
					failed++
				case jobstore.StepCancelled:
					cancelled++
				case jobstore.StepWaiting:
					waiting++
				case jobstore.StepFinished, jobstore.StepSkipped:
				}
			}
			if s.State == jobstore.StepWaiting {
				continue
			}
			if s.Open != open || s.Failed != failed || s.Cancelled != cancelled || s.Total != s.Open+s.Done+s.Failed+s.Cancelled+waiting {
				m.Fatalf("step %+v; its rows have open %d, failed %d, cancelled %d, waiting %d", s, open, failed, cancelled, waiting)
			}
			if (s.State == jobstore.StepRunning) != (s.Open > 0) {
				m.Fatalf("step %+v has %d open", s, s.Open)
			}
		}
	}
}

// finishAll runs what can run, as a consumer whose handlers succeed.
func (m *flowModel) finishAll() {
	for range 1000 {
		m.recordAll()
		m.settleAll()
		_, err := m.store.Due(m.Context(), 100)
		m.check("due", err)
		for _, j := range m.jobs(jobstore.Ready) {
			m.by.Token++
			m.held = append(m.held, m.claim(m.by, j.ID)...)
		}
		if len(m.held) == 0 {
			break
		}
	}
	m.audit()
}

// retryAll runs again what failed or was cancelled, with success: then nothing is left that has not run.
func (m *flowModel) retryAll() {
	for _, id := range m.ids {
		if ids := m.jobsOf(id, jobstore.PermanentlyFailed, jobstore.Quarantined, jobstore.Cancelled); len(ids) > 0 {
			_, err := m.store.Retry(m.Context(), ids)
			m.check("retry", err)
		}
		m.check("resume", m.store.ResumeFlow(m.Context(), id))
		m.audit()
	}
	m.finishAll()
	for _, id := range m.ids {
		f := m.flow(id)
		for _, s := range f.Steps {
			if s.Role != jobstore.RoleCallback && s.State != jobstore.StepFinished {
				m.Fatalf("everything was retried with success, and step %+v of %+v has not finished", s, f)
			}
		}
		m.told(&f)
	}
}

func (m *flowModel) recordAll() {
	done := make([]jobstore.Outcome, len(m.held))
	for i, l := range m.held {
		done[i] = stepOutcome(l, jobstore.Finished)
	}
	m.held = nil
	if len(done) > 0 {
		m.record(m.by, done...)
	}
}

// told looks whether callbacks have gone once, as what they hear of says.
func (m *flowModel) told(f *jobstore.Flow) {
	for _, s := range f.Steps {
		if s.Role != jobstore.RoleCallback {
			continue
		}
		switch {
		case s.Total > 1:
			m.Fatalf("callback %s has gone %d times", s.Name, s.Total)
		case s.Name == string(jobstore.OnEnd) && s.Total != 1:
			m.Fatalf("the end was not told: %+v", f)
		case s.Name == string(jobstore.OnSuccess) && f.State == jobstore.StepFinished && s.Total != 1:
			m.Fatalf("the success was not told: %+v", f)
		}
	}
}
