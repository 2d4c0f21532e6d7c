package sqlite

import (
	"context"
	"fmt"
	"slices"

	"github.com/warrenq/warren/jobstore"
)

// crowd is some consumers that take the same bands and kinds.
type crowd struct {
	jobstore.ConsumerInfo // one of them
	queues                []string
	jobstore.Crowd
}

// aheadSQL lists claimable rows of a band that come before a job (?5, ?6).
const aheadSQL = `-- warren: explain band
SELECT id FROM jobs WHERE state = 'READY' AND serial_group IS NULL AND queue = ?1 AND priority = ?2 AND available_at <= ?3
  AND kind IN (SELECT value FROM json_each(?4)) AND (priority, id) < (?5, ?6) ORDER BY id LIMIT ?7`

// aheadDueSQL lists those that the sweep is about to make READY.
const aheadDueSQL = `-- warren: explain due
SELECT id FROM jobs WHERE ` + delayed + ` AND available_at <= ?1 AND serial_group IS NULL
  AND queue IN (SELECT value FROM json_each(?2)) AND priority IN (SELECT value FROM json_each(?3))
  AND kind IN (SELECT value FROM json_each(?4)) AND (priority, id) < (?5, ?6) LIMIT ?7`

// aheadHeadsSQL lists heads of groups that may go (?2: also those that the sweep is about to make READY).
const aheadHeadsSQL = `-- warren: explain heads
WITH RECURSIVE groups(name) AS (` + looseGroups + `)
SELECT h.id, h.queue, h.priority, h.kind FROM groups g CROSS JOIN jobs h ON h.id = ` + headOf + `
WHERE h.available_at <= ?1 AND (h.state = 'READY' OR ?2 AND h.state <> 'PROCESSING') AND (h.priority, h.id) < (?3, ?4)
  AND NOT EXISTS (SELECT 1 FROM jobs r WHERE r.serial_group = g.name AND r.state = 'PROCESSING')`

// explainCrowds counts the free slots of the consumers that may take the job, by what they take,
// and the claimable rows before it, which get those slots first. The last is about all of them
// together.
func (s *Store) explainCrowds(ctx context.Context, q session, f *jobstore.Facts, consumers []jobstore.ConsumerInfo) ([]jobstore.Crowd, error) {
	pauses, err := pausesIn(ctx, q, f.Now)
	if err != nil {
		return nil, err
	}
	crowds := gatherCrowds(consumers, &f.Job, namesOf(pauses, jobstore.PauseOfQueue), slices.Concat(namesOf(pauses, jobstore.PauseOfKind), namesOf(pauses, jobstore.PauseOfDisabled)))
	if len(crowds) == 0 {
		return nil, nil
	}
	total := jobstore.Crowd{Everybody: true}
	for _, c := range crowds {
		total.Free += c.Free
		total.Consumers += c.Consumers
	}
	heads, err := gather(ctx, q, aheadHeadsSQL, func(r row) (t jobstore.Target, err error) {
		err = r.Scan(&t.ID, &t.Queue, &t.Priority, &t.Kind)
		return t, err
	}, stamp(f.Now), f.Leader != "", f.Job.Priority, f.Job.ID)
	if err != nil {
		return nil, err
	}
	all := map[int64]bool{}
	out := make([]jobstore.Crowd, 0, len(crowds)+1)
	for _, c := range crowds {
		ahead, err := c.ahead(ctx, q, f, total.Free)
		if err != nil {
			return nil, err
		}
		for _, h := range heads {
			if slices.Contains(c.queues, h.Queue) && slices.Contains(c.Priorities, h.Priority) && slices.Contains(c.Kinds, h.Kind) {
				ahead = append(ahead, int64(h.ID))
			}
		}
		for _, id := range ahead {
			all[id] = true
		}
		c.Ahead = len(ahead)
		out = append(out, c.Crowd)
	}
	total.Ahead = len(all)
	return append(out, total), nil
}

// gatherCrowds puts the living consumers together that may take a job.
func gatherCrowds(consumers []jobstore.ConsumerInfo, j *jobstore.Job, paused, pausedKinds []string) []*crowd {
	var out []*crowd
	by := map[string]*crowd{}
	for _, info := range consumers {
		t := taker(&info, j)
		if !t.Alive || t.Restarting || !t.TakesBand || !t.KnowsKind {
			continue
		}
		key := fmt.Sprintf("%q %v %q", info.Queues, info.Priorities, info.Kinds)
		if by[key] == nil {
			without := func(list, gone []string) []string {
				return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(gone, s) })
			}
			info.Kinds = without(info.Kinds, pausedKinds)
			by[key] = &crowd{ConsumerInfo: info, queues: without(info.Queues, paused)}
			out = append(out, by[key])
		}
		by[key].Consumers++
		by[key].Free += max(0, info.Slots-info.Running)
	}
	return out
}

// ahead lists claimable rows without a group that the crowd takes before the job, at most limit a band.
func (c *crowd) ahead(ctx context.Context, q session, f *jobstore.Facts, limit int) (ids []int64, err error) {
	now, kinds := stamp(f.Now), list(c.Kinds)
	for _, queue := range sortedSet(c.queues) {
		for _, priority := range sortedSet(c.Priorities) {
			band, err := gather(ctx, q, aheadSQL, scanInt, queue, priority, now, kinds, f.Job.Priority, f.Job.ID, limit)
			if err != nil {
				return nil, err
			}
			ids = append(ids, band...)
		}
	}
	if f.Leader == "" {
		return ids, nil
	}
	due, err := gather(ctx, q, aheadDueSQL, scanInt, now, list(c.queues), list(c.Priorities), kinds, f.Job.Priority, f.Job.ID, limit)
	return append(ids, due...), err
}
