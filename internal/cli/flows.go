package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/jobstore"
)

func flowsCmd(env *Env) *cobra.Command {
	return group(&cobra.Command{
		Use:     "flows",
		Aliases: []string{"batches", "batch"},
		Short:   "Chains, batches and defined flows: list, show, graph, cancel, retry, prune",
		Long: `Chains, batches and defined flows: list, show, graph, cancel, retry, prune.

ID is the number of a flow, or of a step of one: a batch in a chain can be cancelled alone.`,
	}, flowsListCmd(env), flowsShowCmd(env), flowsGraphCmd(env), flowsCancelCmd(env), flowsRetryCmd(env), flowsPruneCmd(env))
}

func flowsListCmd(env *Env) *cobra.Command {
	var f jobstore.FlowFilter
	var states []string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List flows, the newest first",
		Args:  cobra.NoArgs,
		RunE: env.answer(func(ctx context.Context, out format, a *app.App) error {
			for _, s := range states {
				state := jobstore.StepState(s)
				if !slices.Contains([]jobstore.StepState{
					jobstore.StepRunning, jobstore.StepFinished, jobstore.StepFailed, jobstore.StepCancelled,
				}, state) {
					return usagef("state %q is not one of running, finished, failed, cancelled", s)
				}
				f.States = append(f.States, state)
			}
			if f.Limit < 1 {
				return usagef("limit %d is not a positive number", f.Limit)
			}
			list, err := a.Store.ListFlows(ctx, f)
			if err != nil {
				return err
			}
			return printList(env.Stdout, out, list, []string{"ID", "NAME", "VERSION", "STATE", "CREATED", "ENDED"}, flowCells)
		}),
	}
	cmd.Flags().StringVar(&f.Name, "name", "", "only flows of this name")
	cmd.Flags().StringArrayVar(&states, "state", nil, "only flows in this state: running, finished, failed, cancelled; may be repeated")
	cmd.Flags().IntVar(&f.Limit, "limit", 100, "list this many at most")
	addOutputFlag(cmd)
	return cmd
}

func flowCells(f jobstore.Flow) []string {
	version, ended := "-", "-"
	if f.Version > 0 {
		version = strconv.Itoa(f.Version)
	}
	if f.EndedAt != nil {
		ended = f.EndedAt.Local().Format(time.DateTime)
	}
	return []string{strconv.FormatInt(int64(f.ID), 10), f.Name, version, string(f.State), f.CreatedAt.Local().Format(time.DateTime), ended}
}

// flowStep is a step as it is printed.
type flowStep struct {
	jobstore.Step
	Progress int               `json:"progress"` // percent of its jobs and steps that have ended
	Jobs     []jobstore.ID     `json:"jobs,omitempty"`
	Choice   map[string]string `json:"choice,omitempty"` // why each of the steps behind it goes or does not
	depth    int
}

// flowsChanged is what an order about flows came to.
type flowsChanged struct {
	Verb  string          `json:"verb"`
	Flow  jobstore.StepID `json:"flow,omitempty"`
	Flows *int            `json:"flows,omitempty"`
	Jobs  *int            `json:"jobs,omitempty"`
}

// shownFlow is a flow with its steps.
type shownFlow struct {
	jobstore.Flow
	Steps []flowStep `json:"steps"`
}

func flowsShowCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a flow: its steps, how far each has come, and why it took the way that it took",
		Args:  cobra.ExactArgs(1),
		RunE: env.flow(func(ctx context.Context, out format, a *app.App, id jobstore.StepID) error {
			f, err := a.Flow(ctx, id)
			if err != nil {
				return err
			}
			shown := shownFlow{Flow: f}
			for i := range f.Steps {
				s := flowStep{Step: f.Steps[i], depth: depthOf(&f, f.Steps[i])}
				if s.Total > 0 {
					s.Progress = 100 * (s.Done + s.Failed + s.Cancelled) / s.Total
				}
				s.Jobs, s.Choice, err = a.StepDetails(ctx, &s.Step)
				if err != nil {
					return err
				}
				shown.Steps = append(shown.Steps, s)
			}
			if out != formatTable {
				return printValue(env.Stdout, out, shown)
			}
			return printFlow(env.Stdout, &shown)
		}),
	}
	addOutputFlag(cmd)
	return cmd
}

func depthOf(f *jobstore.Flow, s jobstore.Step) (depth int) {
	for s.Parent != 0 {
		i := slices.IndexFunc(f.Steps, func(p jobstore.Step) bool { return p.ID == s.Parent })
		if i < 0 {
			break
		}
		s = f.Steps[i]
		depth++
	}
	return depth
}

func printFlow(w io.Writer, f *shownFlow) error {
	if _, err := fmt.Fprintf(w, "flow %d %q is %s, published %s\n", f.ID, f.Name, f.State, f.CreatedAt.Local().Format(time.DateTime)); err != nil {
		return err
	}
	header := []string{"STEP", "NAME", "ROLE", "STATE", "DONE", "FAILED", "CANCELLED", "OPEN", "TOTAL", "WHY"}
	return printList(w, formatTable, f.Steps, header, func(s flowStep) []string {
		why := "-"
		for name, reason := range s.Choice {
			why = name + ": " + reason
		}
		indent := fmt.Sprintf("%*s", 2*s.depth, "")
		return []string{
			indent + strconv.FormatInt(int64(s.ID), 10), s.Name, string(s.Role), string(s.State), strconv.Itoa(s.Done), strconv.Itoa(s.Failed),
			strconv.Itoa(s.Cancelled), strconv.Itoa(s.Open), strconv.Itoa(s.Total), why,
		}
	})
}

func flowsGraphCmd(env *Env) *cobra.Command {
	var kind string
	cmd := &cobra.Command{
		Use:   "graph ID|NAME",
		Short: "Draw a flow with the state of its steps; of a name, the flow that was published last",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if kind != "mermaid" {
				return usagef("output %q is not mermaid", kind)
			}
			a, err := env.open(cmd, "warren")
			if err != nil {
				return err
			}
			defer a.Close()
			text, err := a.FlowGraph(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			_, err = io.WriteString(env.Stdout, text)
			return err
		},
	}
	cmd.Flags().StringVarP(&kind, "output", "o", "mermaid", "how it is drawn: mermaid")
	return cmd
}

func flowsCancelCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cancel ID",
		Short: "Cancel a flow, or a step of one: nothing more goes, and what runs is asked to end",
		Args:  cobra.ExactArgs(1),
		RunE: env.flow(func(ctx context.Context, out format, a *app.App, id jobstore.StepID) error {
			if err := a.Store.CancelStep(ctx, id); err != nil {
				return err
			}
			for range 1000 { // a consumer's sweep goes on with it if this ends early
				if _, more, err := a.Store.SettleFlows(ctx, 500); err != nil || !more {
					break
				}
			}
			return say(env.Stdout, out, flowsChanged{Verb: "cancel", Flow: id}, "flow %d is being cancelled", id)
		}),
	}
	addOutputFlag(cmd)
	return cmd
}

func flowsRetryCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry ID",
		Short: "Run the jobs of a flow again that failed for good, were quarantined or cancelled",
		Args:  cobra.ExactArgs(1),
		RunE: env.flow(func(ctx context.Context, out format, a *app.App, id jobstore.StepID) error {
			client, err := a.FlowClient()
			if err != nil {
				return err
			}
			n, err := client.RetryFlow(ctx, a.Store, id)
			if err != nil {
				return err
			}
			return say(env.Stdout, out, flowsChanged{Verb: "retry", Flow: id, Jobs: &n}, "%d jobs of flow %d run again", n, id)
		}),
	}
	addOutputFlag(cmd)
	return cmd
}

func flowsPruneCmd(env *Env) *cobra.Command {
	var older, cancelled, unfinished string
	var yes bool
	cmd := &cobra.Command{
		Use:   "prune [--older D] [--cancelled D] [--unfinished D] --yes",
		Short: "Remove flows that ended, or did not end, long ago; their jobs are left to the retention",
		Args:  cobra.NoArgs,
		RunE: env.answer(func(ctx context.Context, out format, a *app.App) error {
			var ages jobstore.FlowAges
			for _, o := range []struct {
				flag, text string
				into       *time.Duration
			}{{"older", older, &ages.Finished}, {"cancelled", cancelled, &ages.Cancelled}, {"unfinished", unfinished, &ages.Unfinished}} {
				if o.text == "" {
					continue
				}
				d, err := warren.ParseDuration(o.text)
				if err != nil || d <= 0 {
					return usagef("--%s %s is no time; give one such as 48h or 3d", o.flag, o.text)
				}
				*o.into = d
			}
			if ages == (jobstore.FlowAges{}) {
				return usagef("nothing to remove is given: use --older, --cancelled or --unfinished")
			}
			if !yes {
				return usagef("pruning cannot be undone and needs --yes")
			}
			total := 0
			for {
				n, err := a.Store.PruneFlows(ctx, ages, 500)
				total += n
				if err != nil {
					return err
				}
				if n < 500 {
					break
				}
			}
			return say(env.Stdout, out, flowsChanged{Verb: "prune", Flows: &total}, "%d flows removed", total)
		}),
	}
	cmd.Flags().StringVar(&older, "older", "", "those that finished or failed at least this long ago")
	cmd.Flags().StringVar(&cancelled, "cancelled", "", "those that were cancelled at least this long ago")
	cmd.Flags().StringVar(&unfinished, "unfinished", "", "those that were published at least this long ago and have not ended")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	addOutputFlag(cmd)
	return cmd
}

// flow is answer for a command whose argument is the number of a flow.
func (e *Env) flow(do func(ctx context.Context, out format, a *app.App, id jobstore.StepID) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		n, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || n < 1 {
			return usagef("flow %q is no number; 'warren flows list' shows them", args[0])
		}
		return e.answer(func(ctx context.Context, out format, a *app.App) error {
			return do(ctx, out, a, jobstore.StepID(n))
		})(cmd, nil)
	}
}
