package check

import (
	"cmp"
	"slices"
	"time"
)

// thawed is how long a process that was frozen past its lease may go on after its thaw.
const thawed = 250 * time.Millisecond

// overlaps: no two executions of one job, or of one serial group, run at the same time, unless the
// elder's process was paused when the younger began, and the elder ended soon after.
func (c *checker) overlaps() {
	processes := map[int][]*Process{}
	for i := range c.h.Processes {
		p := &c.h.Processes[i]
		processes[p.PID] = append(processes[p.PID], p)
	}
	end := c.horizon()
	jobs, groups := map[int64][]Run{}, map[string][]Run{}
	for _, r := range c.h.Runs {
		if r.End.IsZero() {
			r.End = end
			if p := processAt(processes[r.PID], r.Start); p != nil && !p.End.IsZero() {
				r.End = p.End
			}
		}
		if r.Group != "" {
			groups[r.Group] = append(groups[r.Group], r)
		}
		jobs[r.ID] = append(jobs[r.ID], r)
	}
	for _, runs := range jobs {
		if runs[0].Group == "" { // else its group has them
			c.overlapsIn(runs, processes)
		}
	}
	for _, runs := range groups {
		c.overlapsIn(runs, processes)
	}
}

// horizon is after everything in the history.
func (c *checker) horizon() (end time.Time) {
	for _, r := range c.h.Runs {
		for _, t := range []time.Time{r.Start, r.End} {
			if t.After(end) {
				end = t
			}
		}
	}
	return end
}

func processAt(lives []*Process, at time.Time) *Process {
	for _, p := range lives {
		if !at.Before(p.Start) && (p.End.IsZero() || !at.After(p.End)) {
			return p
		}
	}
	return nil
}

func (c *checker) overlapsIn(runs []Run, processes map[int][]*Process) {
	slices.SortFunc(runs, func(a, b Run) int { return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Lease, b.Lease)) })
	for i, elder := range runs {
		for _, younger := range runs[i+1:] {
			if younger.Start.Before(elder.End) {
				c.overlap(elder, younger, processAt(processes[elder.PID], elder.Start), processAt(processes[younger.PID], younger.Start))
			}
		}
	}
}

func (c *checker) overlap(elder, younger Run, of, ofYounger *Process) {
	if c.stubborn(elder.ID) || c.stubborn(younger.ID) {
		c.v.Counts.Ignoring++
		return
	}
	if c.explains(of, elder, younger.Start) || c.explains(ofYounger, younger, elder.Start) {
		c.v.Counts.Explained++
		return
	}
	c.v.Counts.Unexplained++
	c.violate(Overlap, elder.ID, "lease %d of job %d (process %d) ran %s beside lease %d of job %d (process %d), and no pause explains it",
		elder.Lease, elder.ID, elder.PID, minTime(elder.End, younger.End).Sub(younger.Start).Round(time.Millisecond),
		younger.Lease, younger.ID, younger.PID)
}

func (c *checker) stubborn(id int64) bool {
	row := c.rows[id]
	return row != nil && c.h.Stubborn[row.Tag]
}

// explains reports whether a pause of p, long enough to cost it its lease, accounts for its run being
// there when the other began: the other began in the pause or just after it, and the run ended soon after.
func (c *checker) explains(p *Process, run Run, other time.Time) bool {
	if p == nil {
		return false
	}
	grace := thawed + c.h.Slack
	for _, s := range p.Pauses {
		to := s.To
		if to.IsZero() || !p.End.IsZero() && p.End.Before(to) {
			to = p.End // killed while it was frozen
		}
		if to.Sub(s.From) < c.h.MinPause || s.From.After(other) {
			continue
		}
		if latest := to.Add(grace); !other.After(latest) && !run.End.After(latest) {
			return true
		}
	}
	return false
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
