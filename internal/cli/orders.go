package cli

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/jobstore"
)

func orderCmds(env *Env) []*cobra.Command {
	return []*cobra.Command{retryCmd(env), cancelCmd(env), deleteCmd(env), editCmd(env)}
}

func idle(s jobstore.State) bool    { return s != jobstore.Processing }
func pending(s jobstore.State) bool { return !s.Final() && s != jobstore.Processing }

// liveStates are those of jobs that may still run. PROCESSING is among them, so that an order
// says which jobs it could not reach.
func liveStates() (list []jobstore.State) {
	for _, s := range jobstore.States() {
		if !s.Final() {
			list = append(list, s)
		}
	}
	return list
}

func simpleOrder(env *Env, cmd *cobra.Command, o *order) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return o.run(env, cmd, args, plain(jobstore.Verb(o.verb)))
	}
	o.addFlags(cmd, nil)
	return cmd
}

func retryCmd(env *Env) *cobra.Command {
	return simpleOrder(env, &cobra.Command{
		Use:   "retry [ID]…",
		Short: "Run jobs again, now",
		Long: `Run jobs again, now: whatever they came to, attempts and crashes are counted anew.

A filter without --state selects what has failed: TEMPORARILY_FAILED, PERMANENTLY_FAILED and
QUARANTINED. A job that is PROCESSING, or whose unique key another job holds, is left alone (exit
code 4).

A change by a filter is written down: 'warren changes undo N' takes it back for jobs that have not
started. When the command is killed, the same one goes on where it has come to.

--canary changes a few jobs first and waits for them to end. When more of them fail again than
--stop-if allows, nothing else is changed (exit code 5); afterwards it goes by the jobs that end.`,
		Example: `  warren jobs retry 17 18
  warren jobs retry --id 100-250 --yes
  warren jobs retry --kind mail --older 1h --dry-run
  warren jobs retry --kind mail --yes --canary 100 --stop-if 'failed>10%' --rate 50`,
	}, &order{
		verb: "retry", past: "retried", takes: idle,
		states: []jobstore.State{jobstore.TemporarilyFailed, jobstore.PermanentlyFailed, jobstore.Quarantined},
	})
}

func cancelCmd(env *Env) *cobra.Command {
	var running bool
	wait := durationFlag(30 * time.Second)
	o := &order{verb: "cancel", past: "cancelled", takes: pending, states: liveStates()}
	cmd := simpleOrder(env, &cobra.Command{
		Use:   "cancel [ID]…",
		Short: "Call off jobs",
		Long: `Call off jobs that have not started: they become CANCELLED and stay in the history. The series of
a recurring job ends. A job that is PROCESSING is left alone (exit code 4), unless --running asks its
consumer to end it: the context of its handler ends within seconds. The command waits for that; what
still runs after --wait is named (exit code 4), and becomes CANCELLED when its handler returns.`,
		Example: `  warren jobs cancel 17
  warren jobs cancel 17 --running
  warren jobs cancel --queue media --tag import-7 --yes`,
	}, o)
	byDefault := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !running {
			return byDefault(cmd, args)
		}
		return env.cancelRunning(cmd, o, args, time.Duration(wait))
	}
	cmd.Flags().BoolVar(&running, "running", false, "end jobs that run too; only with numbers")
	cmd.Flags().Var(&wait, "wait", "how long to wait for those")
	return cmd
}

func (e *Env) cancelRunning(cmd *cobra.Command, o *order, args []string, wait time.Duration) error {
	out, err := outputFormat(cmd)
	if err != nil {
		return err
	}
	if len(args) == 0 || o.dryRun {
		return usagef("--running needs the numbers of jobs, and no --dry-run")
	}
	ids, err := o.check(e, args)
	if err != nil {
		return err
	}
	a, err := e.open(cmd, "warren")
	if err != nil {
		return err
	}
	defer a.Close()
	got, err := a.CancelRunning(cmd.Context(), ids, wait)
	if err != nil {
		return err
	}
	res := &result{Verb: o.verb, IDs: []jobstore.ID{}, Refused: []jobstore.Refusal{}, past: o.past}
	res.add(got)
	return errors.Join(res.print(e.Stdout, out), res.err())
}

func deleteCmd(env *Env) *cobra.Command {
	return simpleOrder(env, &cobra.Command{
		Use:   "delete [ID]…",
		Short: "Remove jobs, finished or not",
		Long: `Remove jobs, finished or not, as though they had never been: their unique keys are free, and the
series of a recurring job that has not started ends. To keep a trace, cancel them. A job that is
PROCESSING is left alone (exit code 4).`,
		Example: `  warren jobs delete 17
  warren jobs delete --state CANCELLED --older 30d --yes`,
	}, &order{verb: "delete", past: "deleted", takes: idle, states: jobstore.States()})
}

type editFlags struct {
	order
	args, argsFile, queue, at, metadata string
	priority, maxAttempts               int
	delay, timeout                      durationFlag
	tags                                []string
	noTags                              bool
}

func editCmd(env *Env) *cobra.Command {
	f := editFlags{order: order{verb: "edit", past: "edited", takes: pending, states: liveStates()}}
	cmd := &cobra.Command{
		Use:   "edit [ID]…",
		Short: "Change jobs that have not started",
		Long: `Change jobs that have not started. What is not named stays as it is; the rules are those of
publishing, but that args are not held against the schema of a kind. A job that is PROCESSING or has ended is left alone (exit code 4).

--queue, --priority and --tag are the new values. To select by them, use --in-queue, --of-priority
and --with-tag.`,
		Example: `  warren jobs edit 17 --priority 10
  warren jobs edit --in-queue media --state SCHEDULED --delay 0s --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.opts(env, cmd)
			if err != nil {
				return err
			}
			return f.run(env, cmd, args, func(a *app.App) (jobstore.Order, error) { return editOrder(a, o) })
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.args, "args", "", "new args, a JSON value")
	fl.StringVar(&f.argsFile, "args-file", "", "read the new args from a file; - is standard input")
	fl.StringVar(&f.queue, "queue", "", "move to this queue")
	fl.IntVar(&f.priority, "priority", 0, "new priority, one of the configured ones")
	fl.Var(&f.delay, "delay", "start this long from now; 0s = at once")
	fl.StringVar(&f.at, "at", "", "start at this time, as RFC 3339: 2026-11-21T20:00:00Z")
	fl.IntVar(&f.maxAttempts, "max-attempts", 0, "attempts before the job fails for good; 0 = no limit")
	fl.Var(&f.timeout, "timeout", "how long one attempt may take; 0s = the kind's")
	fl.StringVar(&f.metadata, "metadata", "", "new metadata, a JSON value; replaces all of it")
	fl.StringArrayVar(&f.tags, "tag", nil, "new tags, which replace all; may be repeated")
	fl.BoolVar(&f.noTags, "no-tags", false, "take all tags away")
	cmd.MarkFlagsMutuallyExclusive("args", "args-file")
	cmd.MarkFlagsMutuallyExclusive("delay", "at")
	cmd.MarkFlagsMutuallyExclusive("tag", "no-tags")
	f.addFlags(cmd, map[string]string{"queue": "in-queue", "priority": "of-priority", "tag": "with-tag"})
	return cmd
}

func editOrder(a *app.App, o warren.EditOpts) (jobstore.Order, error) {
	e, err := a.CheckEdit(o)
	return jobstore.Order{Verb: jobstore.VerbEdit, Edit: e}, usage(err)
}

// opts turns what was typed into a change.
func (f *editFlags) opts(env *Env, cmd *cobra.Command) (o warren.EditOpts, err error) {
	typed := cmd.Flags().Changed
	if typed("args") || typed("args-file") {
		args, err := env.readArgs(cmd, &publishFlags{args: f.args, argsFile: f.argsFile})
		if err != nil {
			return o, err
		}
		f.contents = map[string]json.RawMessage{"args": args, "args-file": args}
		o.Args = args
	}
	if typed("queue") {
		if o.Queue = f.queue; f.queue == "" {
			return o, usagef("--queue is empty; leave it out to keep the queue")
		}
	}
	if typed("priority") {
		o.Priority = &f.priority
	}
	if typed("delay") {
		o.Delay = new(time.Duration(f.delay))
	}
	if typed("at") {
		if o.At, err = parseTime(f.at); err != nil {
			return o, err
		}
	}
	if typed("max-attempts") {
		if f.maxAttempts < 0 {
			return o, usagef("max attempts %d is negative; 0 means no limit", f.maxAttempts)
		}
		o.MaxAttempts = unlimited(&f.maxAttempts)
	}
	if typed("timeout") {
		o.Timeout = new(time.Duration(f.timeout))
	}
	if typed("metadata") {
		o.Metadata = json.RawMessage(f.metadata)
		if f.metadata == "" {
			return o, usagef("--metadata is empty, which is not JSON; give {} for none")
		}
	}
	if typed("tag") || f.noTags {
		o.Tags = &f.tags
	}
	if !typed("args") && !typed("args-file") && o.Queue == "" && o.Priority == nil && o.Delay == nil && o.At.IsZero() &&
		o.MaxAttempts == 0 && o.Timeout == nil && o.Metadata == nil && o.Tags == nil {
		return o, usagef("nothing to change is given; see %s --help", cmd.CommandPath())
	}
	return o, nil
}
