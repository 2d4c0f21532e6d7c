package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

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
}

// apply changes at most batch jobs.
type apply func(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error)

func (o *order) addFlags(cmd *cobra.Command, rename map[string]string) {
	o.filter.unlimited = true
	o.filter.add(cmd, rename)
	cmd.Flags().BoolVar(&o.all, "all", false, "no filter: every job that the command is for")
	addMassFlags(cmd, &o.dryRun, &o.yes)
	addOutputFlag(cmd)
}

func addMassFlags(cmd *cobra.Command, dryRun, yes *bool) {
	cmd.Flags().BoolVar(dryRun, "dry-run", false, "say how many and which, and change nothing")
	cmd.Flags().BoolVar(yes, "yes", false, "do not ask")
}

// result is what an order came to.
type result struct {
	Verb    string             `json:"verb"`
	DryRun  bool               `json:"dry_run"`
	Jobs    int                `json:"jobs"`
	IDs     []jobstore.ID      `json:"ids"`
	Refused []jobstore.Refusal `json:"refused"`
	// LeftAlone counts the refused; the list keeps the first maxRefusals.
	LeftAlone int `json:"refused_count"`

	past    string
	missing int
}

// maxRefusals bounds what a mass change remembers of those it could not change.
const maxRefusals = 1000

func (r *result) add(c jobstore.Changed) {
	r.IDs = append(r.IDs, c.Done...)
	r.Jobs = len(r.IDs)
	for _, no := range c.Refused {
		r.LeftAlone++
		if no.Missing() {
			r.missing++
		}
		if len(r.Refused) < maxRefusals {
			r.Refused = append(r.Refused, no)
		}
	}
}

// run carries the order out and prints what came of it, also when it was broken off half-way.
func (o *order) run(env *Env, cmd *cobra.Command, args []string, do func(a *app.App) (apply, error)) error {
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
	a, err := env.open(cmd, "warren")
	if err != nil {
		return err
	}
	defer a.Close()
	change, err := do(a)
	if err != nil {
		return err
	}
	res := &result{Verb: o.verb, DryRun: o.dryRun, IDs: []jobstore.ID{}, Refused: []jobstore.Refusal{}, past: o.past}
	if len(ids) > 0 {
		err = o.byNumber(cmd.Context(), a.Store, ids, change, res)
	} else {
		err = o.byFilter(cmd.Context(), env, a.Store, f, change, res)
	}
	if err != nil && res.Jobs == 0 {
		return err
	}
	return errors.Join(err, res.print(env.Stdout, out), res.err())
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

func (o *order) byNumber(ctx context.Context, store jobstore.Store, ids []jobstore.ID, change apply, res *result) error {
	for part := range slices.Chunk(ids, batch) {
		if o.dryRun {
			got, err := store.Find(ctx, jobstore.Filter{IDs: part, Limit: len(part)})
			if err != nil {
				return err
			}
			res.add(o.foresee(part, got))
			continue
		}
		got, err := change(ctx, part)
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

// byFilter goes through what the filter selects by number, a batch at a time.
func (o *order) byFilter(ctx context.Context, env *Env, store jobstore.Store, f jobstore.Filter, change apply, res *result) error {
	if !o.dryRun && !o.yes {
		preview := &result{}
		if err := o.pages(ctx, store, f, nil, preview); err != nil {
			return err
		}
		if preview.Jobs > 0 && !env.confirm(fmt.Sprintf("%s %s?", o.verb, count(preview.Jobs))) {
			return refusedf("not confirmed; nothing was changed")
		}
	}
	if o.dryRun {
		change = nil
	}
	return o.pages(ctx, store, f, change, res)
}

// pages changes page by page, or only counts without a change. A limit counts jobs that are looked at.
func (o *order) pages(ctx context.Context, store jobstore.Store, f jobstore.Filter, change apply, res *result) error {
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
		plan := o.foresee(ids, found)
		if change != nil && len(plan.Done) > 0 {
			refused := plan.Refused
			if plan, err = change(ctx, plan.Done); err != nil {
				return err
			}
			plan.Refused = append(plan.Refused, refused...)
		}
		res.add(plan)
		if left -= len(found); f.Limit < batch || left == 0 {
			return nil
		}
	}
}

// print says what was done, on stdout.
func (r *result) print(w io.Writer, f format) error {
	switch f {
	case formatJSON:
		return printJSON(w, r)
	case formatLines:
		return r.printLines(w)
	case formatTable:
	}
	did := r.past
	if r.DryRun {
		did = "would " + r.Verb
	}
	_, err := fmt.Fprintf(w, "%s %s%s\n", did, count(r.Jobs), numbers(r.IDs))
	return err
}

func (r *result) printLines(w io.Writer) error {
	enc := json.NewEncoder(w)
	did := r.past
	if r.DryRun {
		did = "would be " + r.past
	}
	type line struct {
		ID     jobstore.ID    `json:"id"`
		Result string         `json:"result"`
		State  jobstore.State `json:"state,omitempty"`
		Reason string         `json:"reason,omitempty"`
	}
	for _, id := range r.IDs {
		if err := enc.Encode(line{ID: id, Result: did}); err != nil {
			return err
		}
	}
	for _, no := range r.Refused {
		if err := enc.Encode(line{no.ID, "refused", no.State, no.Reason}); err != nil {
			return err
		}
	}
	return nil
}

// err is what the order could not do; nil when it did everything.
func (r *result) err() error {
	if r.LeftAlone == 0 {
		return nil
	}
	const shown = 10
	var reasons []string
	for _, no := range r.Refused[:min(shown, len(r.Refused))] {
		reasons = append(reasons, no.Reason)
	}
	text := strings.Join(reasons, "\n")
	if all := r.Jobs + r.LeftAlone; all > 1 {
		left := "left alone"
		if r.DryRun {
			left = "to be left alone"
		}
		text = fmt.Sprintf("%s: %d of %s:\n%s", left, r.LeftAlone, count(all), text)
	}
	if more := r.LeftAlone - len(reasons); more > 0 {
		text += fmt.Sprintf("\n… and %d more", more)
	}
	if r.missing == r.LeftAlone {
		return fmt.Errorf("%w: %s", jobstore.ErrNotFound, text)
	}
	return refusedf("%s", text)
}

func count(n int) string {
	if n == 1 {
		return "1 job"
	}
	return strconv.Itoa(n) + " jobs"
}

// numbers lists the first jobs.
func numbers(ids []jobstore.ID) string {
	if len(ids) == 0 {
		return ""
	}
	const shown = 20
	var list []string
	for _, id := range ids[:min(shown, len(ids))] {
		list = append(list, strconv.FormatInt(int64(id), 10))
	}
	text := ": " + strings.Join(list, ", ")
	if more := len(ids) - len(list); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// interactive reports whether there is a person to ask.
func (e *Env) interactive() bool {
	f, ok := e.Stdin.(*os.File)
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
