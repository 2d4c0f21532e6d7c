package check

import "slices"

// life is what the audit says of one job so far.
type life struct {
	state    string
	lease    int64
	accepted int // outcomes that ended it
	history  bool
}

// moves: a lease number is given once and grows, a claim takes what is READY, what is final stays,
// and one outcome ends a job.
func (c *checker) moves() {
	lives := map[int64]*life{}
	for _, m := range c.h.Changes {
		l := lives[m.ID]
		if l == nil {
			l = &life{}
			lives[m.ID] = l
		}
		c.move(l, m)
	}
	for i := range c.h.Rows {
		row := &c.h.Rows[i]
		l := lives[row.ID]
		if l == nil {
			if len(c.h.Changes) > 0 {
				c.violate(BadMove, row.ID, "the audit never saw it")
			}
			continue
		}
		if Final(row.State) && l.accepted != 1 && len(c.h.Changes) > 0 {
			c.violate(Double, row.ID, "%s, and the audit saw %d outcomes that ended it", row.State, l.accepted)
		}
	}
}

func (c *checker) move(l *life, m Change) {
	switch {
	case m.New == "": // a row left a partition; what came of it is another line
		if Final(m.Old) {
			c.violate(Resurrected, m.ID, "deleted while %s", m.Old)
		}
		return
	case m.Old == "" && Final(m.New):
		if l.history {
			c.violate(Double, m.ID, "ended again, as %s with lease %d", m.New, m.Lease)
		}
		l.history = true
		l.accepted++
		if m.New == "FINISHED" && l.state != "PROCESSING" {
			c.violate(BadMove, m.ID, "FINISHED from %s", l.state)
		}
	case Final(m.Old) || l.history:
		c.violate(Resurrected, m.ID, "went from %s to %s after it had ended", m.Old, m.New)
	case m.New == "PROCESSING" && m.Old == "PROCESSING" && m.Lease == l.lease:
		return // a note about a running job
	case m.New == "PROCESSING":
		if m.Old != "READY" {
			c.violate(BadMove, m.ID, "claimed while %s (lease %d)", m.Old, m.Lease)
		}
		if m.Lease <= l.lease {
			c.violate(LeaseOrder, m.ID, "lease %d was given after lease %d", m.Lease, l.lease)
		}
		l.lease = max(l.lease, m.Lease)
	case m.Old == "PROCESSING":
		if m.Crashes > 0 && m.New == "READY" && c.crashed(m) {
			c.v.Counts.Rescued++
		} else if m.New == "READY" {
			c.v.Counts.HandedBack++
		}
	}
	l.state = m.New
}

// crashed reports whether the move counted a crash: a rescue, not a hand-back.
func (c *checker) crashed(m Change) bool { return m.Crashes > c.crashesBefore(m) }

func (c *checker) crashesBefore(m Change) int {
	i, _ := slices.BinarySearchFunc(c.h.Changes, m.Seq, func(x Change, seq int64) int { return int(x.Seq - seq) })
	for i--; i >= 0; i-- {
		if c.h.Changes[i].ID == m.ID {
			return c.h.Changes[i].Crashes
		}
	}
	return 0
}
