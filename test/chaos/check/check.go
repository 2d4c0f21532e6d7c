package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Verdict is what Check found.
type Verdict struct {
	Violations []Violation
	Counts     Counts
}

// Counts are the figures of a run.
type Counts struct {
	Jobs       int // committed for certain
	Maybe      int // commits whose reply was lost
	MaybeThere int // of those, the ones that did commit
	RolledBack int
	Runs       int // executions in the ledger
	Extra      int // of them, beyond one a job; failures that its args ask for are among them
	Rescued    int // rows taken from dead processes
	HandedBack int // rows given back by living ones
	// Overlaps that a pause of a process explains, those of handlers that ignore their context, and
	// the rest, which are violations.
	Explained, Ignoring, Unexplained int
	Quarantined                      int
}

// Check judges a history.
func Check(h *History) Verdict {
	c := &checker{h: h, rows: map[int64]*Row{}, tags: map[string]*Row{}}
	for i := range h.Rows {
		r := &h.Rows[i]
		c.rows[r.ID] = r
		c.tags[r.Tag] = r
	}
	c.existence()
	c.moves()
	c.ledger()
	c.releases()
	c.overlaps()
	c.groups()
	c.broker()
	c.outages()
	slices.SortStableFunc(c.v.Violations, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.ID, b.ID))
	})
	return c.v
}

type checker struct {
	h    *History
	rows map[int64]*Row
	tags map[string]*Row
	v    Verdict
}

func (c *checker) violate(class string, id int64, format string, args ...any) {
	c.v.Violations = append(c.v.Violations, Violation{Class: class, ID: id, Text: fmt.Sprintf(format, args...)})
}

// existence: every committed job is there and final, no rolled-back one is, and nothing else is.
func (c *checker) existence() {
	published := map[string]bool{}
	for _, p := range c.h.Published {
		published[p.Tag] = true
		row := c.tags[p.Tag]
		switch {
		case p.Fate == Committed && c.keptBack(p):
			c.v.Counts.Jobs++
		case p.Fate == Committed && row == nil:
			c.v.Counts.Jobs++
			c.violate(Lost, 0, "job %s was committed at %s and is not in the table", p.Tag, p.Confirmed.Format(time.StampMilli))
		case p.Fate == Committed:
			c.v.Counts.Jobs++
		case p.Fate == RolledBack:
			c.v.Counts.RolledBack++
			if row != nil {
				c.violate(Ghost, row.ID, "job %s was rolled back and is in the table as %s", p.Tag, row.State)
			}
		default:
			c.v.Counts.Maybe++
			switch {
			case row != nil:
				c.v.Counts.MaybeThere++
			case len(p.After) > 0 && !c.keptBack(p):
				c.violate(Lost, 0, "job %s was not released, though %v have ended", p.Tag, p.After)
			}
		}
	}
	for i := range c.h.Rows {
		row := &c.h.Rows[i]
		if !published[row.Tag] {
			c.violate(Stranger, row.ID, "nobody published the job %q", row.Tag)
		}
		c.ending(row)
	}
}

// ending judges the state in which a job was found at the end.
func (c *checker) ending(row *Row) {
	switch row.State {
	case "FINISHED":
	case "QUARANTINED":
		c.v.Counts.Quarantined++
		if row.Crashes < 3 {
			c.violate(Quarantine, row.ID, "QUARANTINED after %d crashes", row.Crashes)
		}
	case "PERMANENTLY_FAILED":
		if !c.h.MayFail[row.Tag] {
			c.violate(Failed, row.ID, "PERMANENTLY_FAILED, though nothing about it fails for good")
		}
	default:
		c.violate(Lost, row.ID, "still %s when the time for it to end was over", row.State)
	}
}

// ledger: what ended FINISHED has run to its end, under the lease of the outcome.
func (c *checker) ledger() {
	type key struct{ id, lease int64 }
	ended := map[key]bool{}
	for _, r := range c.h.Runs {
		c.v.Counts.Runs++
		if !r.End.IsZero() {
			ended[key{r.ID, r.Lease}] = true
		}
		if c.rows[r.ID] == nil {
			c.violate(Ghost, r.ID, "it ran (lease %d), and is not in the table", r.Lease)
		}
	}
	for i := range c.h.Rows {
		row := &c.h.Rows[i]
		if row.State == "FINISHED" && !ended[key{row.ID, row.OutcomeLease}] {
			c.violate(Unproved, row.ID, "FINISHED by lease %d, which no run in the ledger ended under", row.OutcomeLease)
		}
	}
	c.v.Counts.Extra = c.v.Counts.Runs - len(c.h.Rows)
}

// broker: nothing is left in its queues, and what was no hint is in the poison queue, once.
func (c *checker) broker() {
	if c.h.QueueDepth > 0 {
		c.violate(Leftover, 0, "%d messages are left in the broker's queues", c.h.QueueDepth)
	}
	if c.h.Poison > c.h.Injected || c.h.PoisonKept && c.h.Poison != c.h.Injected {
		c.violate(Poisoned, 0, "%d messages are in the poison queue; %d that are no hints were sent", c.h.Poison, c.h.Injected)
	}
}

// The most that a process may do while a server is away.
const (
	linesPerSecond = 5
	dialsPerSecond = 2
	// outageGrace is what the first moment of an outage may cost beyond the rates: every connection
	// that stood notices it once.
	outageGrace = 10
)

func (c *checker) outages() {
	for _, o := range c.h.Outages {
		s := o.For.Seconds()
		if most := linesPerSecond*s + outageGrace; float64(o.Lines) > most {
			c.violate(HotLoop, 0, "%s: process %d wrote %d lines in %.1f s; at most %.0f are allowed", o.What, o.PID, o.Lines, s, most)
		}
		if most := dialsPerSecond*s + outageGrace; float64(o.Dials) > most {
			c.violate(HotLoop, 0, "%s: process %d tried to connect %d times in %.1f s; at most %.0f are allowed", o.What, o.PID, o.Dials, s, most)
		}
	}
}
