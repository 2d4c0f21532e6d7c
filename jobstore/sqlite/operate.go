package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/warrenq/warren/jobstore"
)

// findLimit is how many jobs Find lists, and so how many an order is about, unless told otherwise.
const findLimit = 500

// Find implements jobstore.Operator.
func (s *Store) Find(ctx context.Context, f jobstore.Filter) ([]jobstore.Target, error) {
	where, args := s.filterSQL(f)
	limit := f.Limit
	if limit <= 0 {
		limit = findLimit
	}
	text := "-- warren: find\nSELECT j.id, j.queue, j.priority, j.kind, j.state, j.created_at FROM jobs j" + where + " ORDER BY j.id LIMIT ?"
	got, err := snapshot(ctx, s, func(ctx context.Context, q session) ([]jobstore.Target, error) {
		return gather(ctx, q, text, func(r row) (t jobstore.Target, err error) {
			var created string
			err = r.Scan(&t.ID, &t.Queue, &t.Priority, &t.Kind, &t.State, &created)
			t.CreatedAt = read(created)
			return t, err
		}, append(args, limit)...)
	})
	if err != nil {
		return nil, s.wrap("find jobs", err)
	}
	return got, nil
}

// subject is a job that an order is about.
type subject struct {
	id               jobstore.ID
	state            jobstore.State
	group            string
	mode             jobstore.Mode
	kind, identifier string
}

const subjectsSQL = `-- warren: subjects
SELECT j.id, j.state, coalesce(j.serial_group, ''), j.mode, j.kind, coalesce(j.identifier, '')
FROM json_each(?1) w CROSS JOIN jobs j ON j.id = w.value ORDER BY j.id`

func scanSubject(r row) (t subject, err error) {
	err = r.Scan(&t.id, &t.state, &t.group, &t.mode, &t.kind, &t.identifier)
	return t, err
}

// order is what a person wants done.
type order struct {
	past   string            // "cancelled"
	event  string            // what it is in the history, when not as past; "-" when do notes it
	change jobstore.ChangeID // that it is part of
	takes  func(jobstore.State) bool
	// do carries it out for one job, or refuses it with a reason.
	do func(ctx context.Context, q session, t *subject) (reason string, err error)
}

// noted as an order's event says that its do has noted it.
const noted = "-"

func notRunning(s jobstore.State) bool { return s != jobstore.Processing }

func mayStillRun(s jobstore.State) bool { return s != jobstore.Processing && !s.Final() }

// operate carries an order out in one transaction. What the order has set free is announced.
func (s *Store) operate(ctx context.Context, ids []jobstore.ID, o order) (jobstore.Changed, error) {
	if len(ids) == 0 {
		return jobstore.Changed{}, nil
	}
	ids = sortedSet(ids)
	changed, err := writing(ctx, s, func(ctx context.Context, q session) (jobstore.Changed, error) {
		return s.operateIn(ctx, q, ids, o)
	})
	if err != nil {
		return jobstore.Changed{}, s.wrap(fmt.Sprintf("%d jobs to be %s", len(ids), o.past), err)
	}
	return changed, nil
}

func (s *Store) operateIn(ctx context.Context, q session, ids []jobstore.ID, o order) (got jobstore.Changed, err error) {
	found, err := gather(ctx, q, subjectsSQL, scanSubject, list(ids))
	if err != nil {
		return got, err
	}
	var groups []string
	for _, id := range ids {
		i := slices.IndexFunc(found, func(t subject) bool { return t.id == id })
		if i < 0 {
			got.Refused = append(got.Refused, jobstore.RefusalFor(id, "", o.past))
			continue
		}
		t := &found[i]
		if !o.takes(t.state) {
			got.Refused = append(got.Refused, jobstore.RefusalFor(id, t.state, o.past))
			continue
		}
		reason, err := o.do(ctx, q, t)
		if err != nil {
			return got, err
		}
		if reason != "" {
			got.Refused = append(got.Refused, jobstore.Refusal{ID: id, State: t.state, Reason: reason})
			continue
		}
		got.Done = append(got.Done, id)
		if t.group != "" {
			groups = append(groups, t.group)
		}
	}
	if _, err := s.settleFlows(ctx, q, got.Done, nil, true); err != nil {
		return got, err
	}
	if len(got.Done) > 0 && o.event != noted {
		if _, err := q.exec(ctx, noteOrderSQL, list(got.Done), stamp(s.now()), cmp.Or(o.event, o.past), jobstore.Actor(ctx), o.change); err != nil {
			return got, err
		}
	}
	return got, s.announceHeads(ctx, q, groups)
}

// announceHeads puts those into the outbox who may go now in groups that an order has changed.
func (s *Store) announceHeads(ctx context.Context, q session, groups []string) error {
	heads, err := s.headsOf(ctx, q, groups)
	if err != nil || len(heads) == 0 {
		return err
	}
	ids := make([]jobstore.ID, len(heads))
	for i, h := range heads {
		ids[i] = h.ID
	}
	_, err = q.exec(ctx, tellSQL, stamp(s.now()), list(ids))
	return err
}
