package check

import (
	"slices"
	"time"
)

// keptBack reports whether a job of a flow is missing because one that releases it is, which is judged where
// it belongs, or was quarantined because it took consumers down.
func (c *checker) keptBack(p Publish) bool {
	return c.tags[p.Tag] == nil && slices.ContainsFunc(p.After, func(tag string) bool {
		row := c.tags[tag]
		return row == nil || row.State == "QUARANTINED"
	})
}

// releases: what the ends of others release goes once, and not before those ends.
func (c *checker) releases() {
	rows := map[string]int64{}
	for _, row := range c.h.Rows {
		if first, there := rows[row.Tag]; there {
			c.violate(Twice, row.ID, "it is the job %s, which is job %d as well", row.Tag, first)
		}
		rows[row.Tag] = row.ID
	}
	began, ended := c.begun(), c.outcomes()
	for _, p := range c.h.Published {
		row := c.tags[p.Tag]
		if row == nil || began[row.ID].IsZero() {
			continue
		}
		for _, tag := range p.After {
			before := c.tags[tag]
			if before == nil || before.State != "FINISHED" {
				continue
			}
			if end := ended[before.ID]; began[row.ID].Before(end) {
				c.violate(Early, row.ID, "%s began %s before %s had ended", p.Tag, end.Sub(began[row.ID]), tag)
			}
		}
	}
}

// begun is when each job first ran.
func (c *checker) begun() map[int64]time.Time {
	first := map[int64]time.Time{}
	for _, r := range c.h.Runs {
		if at, there := first[r.ID]; !there || r.Start.Before(at) {
			first[r.ID] = r.Start
		}
	}
	return first
}

// outcomes is when the run ended whose outcome was recorded.
func (c *checker) outcomes() map[int64]time.Time {
	ended := map[int64]time.Time{}
	for _, r := range c.h.Runs {
		if row := c.rows[r.ID]; row != nil && row.OutcomeLease == r.Lease {
			ended[r.ID] = r.End
		}
	}
	return ended
}
