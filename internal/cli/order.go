package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/jobstore"
)

// batch is how many jobs one transaction changes: it holds their locks for milliseconds.
const batch = 500

// order is a verb that changes jobs, by their numbers or by a filter.
type order struct {
	verb, past string // cancel, cancelled
	// states are what a filter selects that names none.
	states []jobstore.State
	// takes are the states that the verb is for. The database has the last word.
	takes func(jobstore.State) bool

	filter           filterFlags
	all, dryRun, yes bool
	pace             paceFlags
	// contents are what flags such as --args-file stand for: a change is known by it, and keeps none of it.
	contents map[string]json.RawMessage
}

// make says what is to be done to the jobs.
type makeOrder func(a *app.App) (jobstore.Order, error)

// plain is an order that needs nothing but its verb.
func plain(verb jobstore.Verb) makeOrder {
	return func(*app.App) (jobstore.Order, error) { return jobstore.Order{Verb: verb}, nil }
}

func (o *order) addFlags(cmd *cobra.Command, rename map[string]string) {
	o.filter.unlimited = true
	o.filter.add(cmd, rename)
	cmd.Flags().BoolVar(&o.all, "all", false, "no filter: every job that the command is for")
	o.pace.add(cmd, o.verb)
	addMassFlags(cmd, &o.dryRun, &o.yes)
	addOutputFlag(cmd)
}

func addMassFlags(cmd *cobra.Command, dryRun, yes *bool) {
	cmd.Flags().BoolVar(dryRun, "dry-run", false, "say how many and which, and change nothing")
	cmd.Flags().BoolVar(yes, "yes", false, "do not ask")
}

// run carries the order out and prints what came of it, also when it was broken off half-way.
func (o *order) run(env *Env, cmd *cobra.Command, args []string, do makeOrder) error {
	out, err := outputFormat(cmd)
	if err != nil {
		return err
	}
	ids, err := o.check(env, args)
	if err != nil {
		return err
	}
	cfg, err := env.load(cmd)
	if err != nil {
		return err
	}
	f, err := o.filter.filter(cfg)
	if err != nil {
		return err
	}
	if len(f.States) == 0 {
		f.States = o.states
	}
	m := app.MassChange{Filter: f, By: whoami()}
	if m.Spec, err = specOf(cmd, args, o.contents); err == nil {
		err = o.pace.into(&m, len(ids) > 0 || o.dryRun)
	}
	if err != nil {
		return err
	}
	a, err := env.open(cmd, "warren")
	if err != nil {
		return err
	}
	defer a.Close()
	if m.Order, err = do(a); err != nil {
		return err
	}
	res := &result{Verb: o.verb, DryRun: o.dryRun, IDs: []jobstore.ID{}, Refused: []jobstore.Refusal{}, past: o.past}
	if len(ids) > 0 {
		err = o.byNumber(cmd.Context(), a.Store, ids, m.Order, res)
	} else {
		err = o.byFilter(cmd.Context(), env, a, m, res)
	}
	err = massError(err)
	if err != nil && res.Jobs == 0 {
		return err
	}
	printed := res.print(env.Stdout, out)
	res.hint(env.Stderr, out, m.Order.Verb)
	if err != nil { // it outweighs what was refused
		return errors.Join(err, printed)
	}
	return errors.Join(printed, res.err())
}

// check looks at what was typed, before anything is opened.
func (o *order) check(env *Env, args []string) ([]jobstore.ID, error) {
	var ids []jobstore.ID
	for _, arg := range args {
		id, err := parseID(arg)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	filtered := o.filter.given()
	switch {
	case len(ids) > 0 && (filtered || o.all || o.filter.limit != 0):
		return nil, usagef("both numbers of jobs and a filter are given; use one")
	case len(ids) > 0:
		return ids, nil
	case filtered && o.all:
		return nil, usagef("both --all and a filter are given; use one")
	case !filtered && !o.all:
		return nil, usagef("no job is named: give numbers, a filter such as --state or --queue, or --all")
	case !o.dryRun && !o.yes && !env.interactive():
		return nil, o.needsYes()
	}
	return nil, nil
}

func (o *order) needsYes() error {
	return usagef("to %s jobs by a filter without a terminal to ask on needs --yes; --dry-run says which they are", o.verb)
}

func (o *order) byNumber(ctx context.Context, store jobstore.Store, ids []jobstore.ID, do jobstore.Order, res *result) error {
	for part := range slices.Chunk(ids, batch) {
		if o.dryRun {
			got, err := store.Find(ctx, jobstore.Filter{IDs: part, Limit: len(part)})
			if err != nil {
				return err
			}
			plan, err := o.conflicts(ctx, store, o.foresee(part, got))
			if err != nil {
				return err
			}
			res.see(got)
			res.add(plan)
			continue
		}
		got, err := app.Carry(ctx, store, do, part)
		if err != nil {
			return err
		}
		res.add(got)
	}
	return nil
}

// foresee tells what an order about ids would come to, as far as states tell.
func (o *order) foresee(ids []jobstore.ID, found []jobstore.Target) (c jobstore.Changed) {
	states := make(map[jobstore.ID]jobstore.State, len(found))
	for _, t := range found {
		states[t.ID] = t.State
	}
	for _, id := range ids {
		if s := states[id]; s != "" && o.takes(s) {
			c.Done = append(c.Done, id)
		} else {
			c.Refused = append(c.Refused, jobstore.RefusalFor(id, s, o.past))
		}
	}
	return c
}

// conflicts moves those that another job keeps from their key to the refused ones.
func (o *order) conflicts(ctx context.Context, store jobstore.Store, plan jobstore.Changed) (jobstore.Changed, error) {
	if o.verb != string(jobstore.VerbRetry) || len(plan.Done) == 0 {
		return plan, nil
	}
	list, err := store.Conflicts(ctx, plan.Done)
	for _, no := range list {
		plan.Done = slices.DeleteFunc(plan.Done, func(id jobstore.ID) bool { return id == no.ID })
	}
	plan.Refused = append(plan.Refused, list...)
	return plan, err
}

// byFilter carries a mass change out, or looks what it would be about.
func (o *order) byFilter(ctx context.Context, env *Env, a *app.App, m app.MassChange, res *result) error {
	if o.dryRun {
		return o.look(ctx, a.Store, m.Filter, res)
	}
	if !o.yes {
		preview := &result{}
		if err := o.look(ctx, a.Store, m.Filter, preview); err != nil {
			return err
		}
		if preview.Jobs > 0 && !env.confirm(fmt.Sprintf("%s %s?", o.verb, count(preview.Jobs))) {
			return refusedf("not confirmed; nothing was changed")
		}
	}
	return a.Change(ctx, m, func(c jobstore.Change) {
		res.Change = c.ID
		if c.Through > 0 {
			fmt.Fprintf(env.Stderr, "note: going on with change %d of %s, which was broken off after job %d; %s %s\n",
				c.ID, c.StartedAt.Local().Format(time.DateTime), c.Through, count(c.Changed), o.past)
		}
	}, res.add)
}

// look goes through what a filter selects, page by page. A limit counts jobs that are looked at.
func (o *order) look(ctx context.Context, store jobstore.Store, f jobstore.Filter, res *result) error {
	left := f.Limit
	for {
		f.Limit = batch
		if left > 0 {
			f.Limit = min(batch, left)
		}
		found, err := store.Find(ctx, f)
		if err != nil || len(found) == 0 {
			return err
		}
		f.After = found[len(found)-1].ID
		ids := make([]jobstore.ID, len(found))
		for i, t := range found {
			ids[i] = t.ID
		}
		plan, err := o.conflicts(ctx, store, o.foresee(ids, found))
		if err != nil {
			return err
		}
		res.see(found)
		res.add(plan)
		if left -= len(found); f.Limit < batch || left == 0 {
			return nil
		}
	}
}

// interactive reports whether there is a person to ask.
func (e *Env) interactive() bool {
	f, ok := e.Stdin.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(f.Fd()))
}

// confirm asks on the terminal. Anything but a yes is a no.
func (e *Env) confirm(question string) bool {
	fmt.Fprintf(e.Stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(e.Stdin).ReadString('\n')
	if err != nil && answer == "" {
		return false
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
