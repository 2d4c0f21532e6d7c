package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

// findLimit is how many jobs Find lists, and so how many an order is about, unless told otherwise.
const findLimit = 500

// Find implements jobstore.Operator.
func (s *Store) Find(ctx context.Context, f jobstore.Filter) ([]jobstore.Target, error) {
	where, args := filterSQL(f)
	limit := f.Limit
	if limit <= 0 {
		limit = findLimit
	}
	args = append(args, limit)
	text := s.withSchema("-- warren: find\nSELECT j.id, j.queue, j.priority, j.kind, j.state, j.created_at FROM @schema@.jobs j" + where +
		fmt.Sprintf(" ORDER BY j.id LIMIT $%d", len(args)))
	var out []jobstore.Target
	err := s.inTx(ctx, true, func(ctx context.Context, tx pgx.Tx) (err error) {
		out, err = gatherIn(ctx, txSession{tx}, text, func(r pgx.Rows) (t jobstore.Target, err error) {
			err = r.Scan(&t.ID, &t.Queue, &t.Priority, &t.Kind, &t.State, &t.CreatedAt)
			return t, err
		}, args...)
		return err
	})
	if err != nil {
		return nil, wrap("find jobs", err)
	}
	return out, nil
}

// touched is what the statements of an order did: to which jobs, in which serial groups.
type touched struct {
	done    []jobstore.ID
	groups  []string
	refused []jobstore.Refusal
	event   string            // what it is in the history, when not as the order is called
	change  jobstore.ChangeID // that the order is part of
	noted   bool              // the step itself has noted it
}

// orderStep carries an order out inside of a transaction.
type orderStep func(ctx context.Context, q session, ids []jobstore.ID) (touched, error)

// statesSQL looks up where the jobs stand that an order did not touch.
const statesSQL = `-- warren: states
SELECT w.id, s.state FROM unnest($1::bigint[]) AS w(id) CROSS JOIN LATERAL (
  SELECT j.state FROM @schema@.jobs_live j WHERE j.id = w.id
  UNION ALL SELECT j.state FROM @schema@.jobs_history j WHERE j.id = w.id LIMIT 1
) s`

// operate runs an order in a transaction of its own. Whatever step does not report as done was
// refused by its conditions; the state says why. What the order has set free goes at once.
func (s *Store) operate(ctx context.Context, order string, ids []jobstore.ID, step orderStep) (jobstore.Changed, error) {
	if len(ids) == 0 {
		return jobstore.Changed{}, nil
	}
	ids = slices.Clone(ids)
	slices.Sort(ids) // everybody who locks several jobs does it in the order of their numbers
	ids = slices.Compact(ids)
	var got touched
	err := retried(ctx, func() error {
		return s.inTx(ctx, false, func(ctx context.Context, tx pgx.Tx) (err error) {
			got, err = step(ctx, txSession{tx}, ids)
			if err == nil {
				_, err = s.settleFlows(ctx, txSession{tx}, got.done, nil, true)
			}
			if err == nil && len(got.done) > 0 && !got.noted {
				err = txSession{tx}.run(ctx, s.sql[noteOrderSQL], []any{got.done, cmp.Or(got.event, order), jobstore.Actor(ctx), got.change}, nil)
			}
			if err != nil {
				return err
			}
			return s.explain(ctx, txSession{tx}, order, ids, &got)
		})
	})
	if err != nil {
		return jobstore.Changed{}, wrap(fmt.Sprintf("%d jobs to be %s", len(ids), order), err)
	}
	s.announceHeads(ctx, got.groups)
	slices.Sort(got.done)
	return jobstore.Changed{Done: got.done, Refused: got.refused}, nil
}

// explain adds a refusal for each job that was not touched.
func (s *Store) explain(ctx context.Context, q session, order string, ids []jobstore.ID, got *touched) error {
	known := make(map[jobstore.ID]bool, len(ids))
	for _, id := range got.done {
		known[id] = true
	}
	for _, r := range got.refused {
		known[r.ID] = true
	}
	rest := slices.DeleteFunc(slices.Clone(ids), func(id jobstore.ID) bool { return known[id] })
	if len(rest) == 0 {
		return nil
	}
	states := make(map[jobstore.ID]jobstore.State, len(rest))
	err := q.run(ctx, s.sql[statesSQL], []any{rest}, func(r pgx.Rows) error {
		var id jobstore.ID
		var state jobstore.State
		err := r.Scan(&id, &state)
		states[id] = state
		return err
	})
	for _, id := range rest {
		got.refused = append(got.refused, jobstore.RefusalFor(id, states[id], order))
	}
	slices.SortFunc(got.refused, func(a, b jobstore.Refusal) int { return int(a.ID - b.ID) })
	return err
}

// announceHeads puts those into the outbox who may go now in groups that an order has changed.
func (s *Store) announceHeads(ctx context.Context, groups []string) {
	if len(groups) == 0 {
		return
	}
	heads, err := s.headsOf(ctx, groups)
	if err == nil && len(heads) > 0 {
		ids := make([]jobstore.ID, len(heads))
		for i, h := range heads {
			ids[i] = h.ID
		}
		err = s.Unannounced(ctx, ids)
	}
	if err != nil { // the order is committed, and the sweep finds the heads too, only later
		s.log.Debug("heads of changed groups are left to the sweep", zap.Error(err))
	}
}

// scan reads id, serial_group.
func (t *touched) scan(r pgx.Rows) error {
	var id jobstore.ID
	var group *string
	if err := r.Scan(&id, &group); err != nil {
		return err
	}
	t.done = append(t.done, id)
	if group != nil {
		t.groups = append(t.groups, *group)
	}
	return nil
}

// orderedLive locks the jobs of an order that may still run and do not. A claim that is under way
// is waited for, and decides.
const orderedLive = `
  SELECT l.id FROM unnest($1::bigint[]) AS w(id) CROSS JOIN LATERAL (
    SELECT j.id FROM @schema@.jobs_live j WHERE j.id = w.id AND j.state || '' <> 'PROCESSING' LIMIT 1 FOR UPDATE OF j
  ) l`

// orderedHistory locks the jobs of an order that have ended.
const orderedHistory = `
  SELECT l.id FROM unnest($1::bigint[]) AS w(id) CROSS JOIN LATERAL (
    SELECT j.id FROM @schema@.jobs_history j WHERE j.id = w.id LIMIT 1 FOR UPDATE OF j
  ) l`
