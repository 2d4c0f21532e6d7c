package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/jobstore"
)

// pauseFlags say what is paused or resumed, besides queues.
type pauseFlags struct {
	kinds, groups []string
	all           bool
}

// pausable is one thing that a command is about.
type pausable struct {
	of   jobstore.PauseOf
	name string
}

func (p pausable) String() string {
	switch p.of {
	case jobstore.PauseOfKind:
		return "kind " + p.name
	case jobstore.PauseOfGroup:
		return "serial group " + p.name
	case jobstore.PauseOfQueue:
		return "queue " + p.name
	case jobstore.PauseOfDisabled:
		return "disabled kind " + p.name
	case jobstore.PauseOfAll:
	}
	return "everything"
}

func (f *pauseFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.kinds, "kind", nil, "a kind; may be repeated")
	cmd.Flags().StringArrayVar(&f.groups, "group", nil, "a serial group; may be repeated")
	cmd.Flags().BoolVar(&f.all, "all", false, "everything: maintenance")
}

func (f *pauseFlags) list() (list []pausable, err error) {
	if f.all {
		list = append(list, pausable{of: jobstore.PauseOfAll})
	}
	for _, k := range f.kinds {
		list = append(list, pausable{jobstore.PauseOfKind, k})
	}
	for _, g := range f.groups {
		list = append(list, pausable{jobstore.PauseOfGroup, g})
	}
	for _, p := range list {
		switch {
		case p.of != jobstore.PauseOfAll && p.name == "":
			return nil, usagef("--%s is empty", p.of)
		case len(p.name) > 255:
			return nil, usagef("%s %.40q… has %d bytes; at most 255 are allowed", p.of, p.name, len(p.name))
		}
	}
	if len(list) == 0 {
		return nil, usagef("nothing is named: use --kind, --group or --all; for queues see 'warren queues'")
	}
	return list, nil
}

// eachPausable does one thing to everything that is named, and says what came of it.
func (e *Env) eachPausable(cmd *cobra.Command, list []pausable, do func(ctx context.Context, a *app.App, p pausable) (string, error)) error {
	return e.answer(func(ctx context.Context, out format, a *app.App) error {
		t := tally{w: e.Stdout, out: out}
		for _, p := range list {
			text, err := do(ctx, a, p)
			if err == nil {
				err = t.add(done{string(p.of), p.name, text})
			}
			if err != nil {
				return t.end(err)
			}
		}
		return t.end(nil)
	})(cmd, nil)
}

func pauseCmd(env *Env) *cobra.Command {
	var f pauseFlags
	var span durationFlag
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "Let nobody start jobs of a kind, of a serial group, or any jobs at all",
		Long: `Let nobody start jobs of a kind, of a serial group, or any jobs at all, until they are resumed or
--for is over. Jobs that run go on, and so does publishing. --all is for maintenance: a consumer that
was started with 'consumer run --force' does not mind it. 'warren why' names the pause.

To pause a queue, use 'warren queues pause'. It is the better choice for many thousands of jobs: claims
look past the waiting jobs of a paused kind one by one.`,
		Example: `  warren pause --kind mail --for 10m
  warren pause --all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := f.list()
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("for") && span == 0 {
				return usagef("--for 0s is no time; leave it out to pause until it is resumed")
			}
			return env.eachPausable(cmd, list, func(ctx context.Context, a *app.App, p pausable) (string, error) {
				until := "until it is resumed"
				if span > 0 {
					until = "for " + config.FormatDuration(time.Duration(span))
				}
				return p.String() + " is paused " + until, a.Store.PauseOf(ctx, p.of, p.name, time.Duration(span))
			})
		},
	}
	f.add(cmd)
	addOutputFlag(cmd)
	cmd.Flags().Var(&span, "for", "resume by itself after this time, such as 10m (default: not)")
	return cmd
}

func resumeCmd(env *Env) *cobra.Command {
	var f pauseFlags
	cmd := &cobra.Command{
		Use:     "resume",
		Short:   "Let what was paused start again",
		Example: `  warren resume --kind mail`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := f.list()
			if err != nil {
				return err
			}
			return env.eachPausable(cmd, list, func(ctx context.Context, a *app.App, p pausable) (string, error) {
				was, n, err := a.ResumeOf(ctx, p.of, p.name)
				text := p.String() + " was not paused"
				if was {
					text = p.String() + " goes on"
				}
				if n > 0 {
					text += ": " + count(n) + " announced again"
				}
				return text, err
			})
		},
	}
	f.add(cmd)
	addOutputFlag(cmd)
	return cmd
}

func pausesCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pauses",
		Short: "List what is paused, queues included",
		Args:  cobra.NoArgs,
		RunE: env.answer(func(ctx context.Context, f format, a *app.App) error {
			list, err := a.Store.Pauses(ctx)
			if err != nil {
				return err
			}
			return printList(env.Stdout, f, list, []string{"OF", "NAME", "SINCE", "UNTIL"}, func(p jobstore.Pause) []string {
				until := "resumed"
				if p.Until != nil {
					until = p.Until.Local().Format(time.DateTime)
				}
				return []string{string(p.Of), p.Name, p.At.Local().Format(time.DateTime), until}
			})
		}),
	}
	addOutputFlag(cmd)
	return cmd
}
