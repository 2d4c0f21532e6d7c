package check

import "time"

// member is a job of a serial group, as the audit tells its life.
type member struct {
	row       *Row
	confirmed time.Time
	final     bool
}

// groups: at most one member of a serial group is PROCESSING, and a claim never passes over an unfinished member with
// smaller (priority, number) whose commit its publisher had heard of before the claim's transaction began.
func (c *checker) groups() {
	confirmed := map[string]time.Time{}
	for _, p := range c.h.Published {
		if len(p.After) == 0 { // nobody is told when one that others release is there
			confirmed[p.Tag] = p.Confirmed
		}
	}
	members := map[int64]*member{}
	byGroup := map[string][]*member{}
	for i := range c.h.Rows {
		row := &c.h.Rows[i]
		if row.Group == "" {
			continue
		}
		m := &member{row: row, confirmed: confirmed[row.Tag]}
		members[row.ID] = m
		byGroup[row.Group] = append(byGroup[row.Group], m)
	}
	running := map[string]int64{}
	for _, change := range c.h.Changes {
		m := members[change.ID]
		if m == nil {
			continue
		}
		switch {
		case change.New == "PROCESSING" && change.Old != "PROCESSING":
			c.claimed(m, change, running, byGroup[m.row.Group])
		case change.Old == "PROCESSING" && change.New != "PROCESSING" || change.New != "" && Final(change.New):
			if running[m.row.Group] == change.ID {
				delete(running, m.row.Group)
			}
		}
		if Final(change.New) {
			m.final = true
		}
	}
}

func (c *checker) claimed(m *member, change Change, running map[string]int64, all []*member) {
	group := m.row.Group
	if other, busy := running[group]; busy {
		c.violate(GroupState, change.ID, "claimed while job %d of its group %s was PROCESSING", other, group)
	}
	running[group] = change.ID
	for _, before := range all {
		if before == m || before.final || !precedes(before.row, m.row) || before.confirmed.IsZero() {
			continue
		}
		if before.confirmed.Before(change.Began) {
			c.violate(GroupOrder, change.ID, "claimed before job %d of its group %s, which comes first and was committed %s earlier",
				before.row.ID, group, change.Began.Sub(before.confirmed).Round(time.Millisecond))
		}
	}
}

func precedes(a, b *Row) bool {
	if a.Priority != b.Priority {
		return a.Priority < b.Priority
	}
	return a.ID < b.ID
}
