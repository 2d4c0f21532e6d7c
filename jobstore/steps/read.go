package steps

import (
	"context"
	"slices"

	"github.com/warrenq/warren/jobstore"
)

// need reads steps with their edges, and with those that hold them.
func (e *settling) need(ctx context.Context, ids ...jobstore.StepID) error {
	ids = missing(ids, e.full)
	if len(ids) == 0 {
		return nil
	}
	rows, targets, edges, err := e.tx.Load(ctx, ids)
	if err != nil {
		return err
	}
	for _, r := range rows {
		e.keep(r)
	}
	for _, edge := range edges {
		if !e.full[edge.From] {
			e.edges[edge.From] = append(e.edges[edge.From], edge)
		}
	}
	for _, r := range rows {
		e.full[r.ID] = true
	}
	for _, r := range targets {
		e.keep(r)
	}
	return nil
}

// needInner reads the steps in others, callbacks excepted.
func (e *settling) needInner(ctx context.Context, ids ...jobstore.StepID) error {
	ids = missing(ids, e.whole)
	if len(ids) == 0 {
		return nil
	}
	rows, err := e.tx.Children(ctx, ids)
	if err != nil {
		return err
	}
	for _, r := range rows {
		e.keep(r)
	}
	for _, id := range ids {
		e.whole[id] = true
	}
	return nil
}

// missing are the ids that are not here, in order and each once.
func missing(ids []jobstore.StepID, here map[jobstore.StepID]bool) []jobstore.StepID {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id jobstore.StepID) bool { return here[id] })
	slices.Sort(ids)
	return slices.Compact(ids)
}

// keep takes a row in, unless it is here already, perhaps with changes.
func (e *settling) keep(r *Row) {
	if e.rows[r.ID] != nil {
		return
	}
	e.rows[r.ID] = r
	if r.Role != jobstore.RoleCallback {
		e.held[r.Parent] = append(e.held[r.Parent], r)
	}
}

// children are the steps in r, in the order of their numbers, callbacks excepted.
func (e *settling) children(ctx context.Context, r *Row) ([]*Row, error) {
	if err := e.needInner(ctx, r.ID); err != nil {
		return nil, err
	}
	list := slices.Clone(e.held[r.ID])
	slices.SortFunc(list, func(a, b *Row) int { return int(a.ID - b.ID) })
	return list, nil
}

// ahead reads what is needed to settle steps, and what their ends release.
func (e *settling) ahead(ctx context.Context, level []*Row) error {
	var all, keeping []jobstore.StepID
	for _, r := range level {
		all = append(all, r.ID)
		if r.mayKeep() {
			keeping = append(keeping, r.ID)
		}
	}
	if err := e.need(ctx, all...); err != nil {
		return err
	}
	if err := e.needInner(ctx, keeping...); err != nil {
		return err
	}
	next := e.first(keeping)
	for _, r := range level {
		if r.Open > 0 {
			continue
		}
		passes := !r.Passed && r.result() == jobstore.StepFinished
		for _, edge := range e.edges[r.ID] {
			to := e.rows[edge.To]
			if to == nil || to.State != jobstore.StepWaiting || to.Waits > 1 {
				continue
			}
			if edge.On == jobstore.OnEnd || edge.On == jobstore.OnSuccess && passes {
				next = append(next, to)
			}
		}
	}
	return e.fetch(ctx, next)
}

// fetch reads what is needed to release steps: they and what goes with them, level by level.
func (e *settling) fetch(ctx context.Context, rows []*Row) error {
	for len(rows) > 0 {
		var all, holding []jobstore.StepID
		for _, r := range rows {
			all = append(all, r.ID)
			if r.holds() {
				holding = append(holding, r.ID)
			}
		}
		if err := e.need(ctx, all...); err != nil {
			return err
		}
		if err := e.needInner(ctx, holding...); err != nil {
			return err
		}
		rows = e.first(holding)
	}
	return nil
}

// first are the steps in others that wait for none.
func (e *settling) first(holding []jobstore.StepID) (rows []*Row) {
	for _, id := range holding {
		for _, r := range e.held[id] {
			if r.State == jobstore.StepWaiting && r.Waits == 0 {
				rows = append(rows, r)
			}
		}
	}
	return rows
}
