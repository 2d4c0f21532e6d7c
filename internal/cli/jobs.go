package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/internal/terminal"
	"github.com/warrenq/warren/jobstore"
)

func jobsCmd(env *Env) *cobra.Command {
	return group(&cobra.Command{Use: "jobs", Short: "Look at jobs and change what becomes of them"}, append(
		[]*cobra.Command{jobsListCmd(env), jobsShowCmd(env), jobsHistoryCmd(env), jobsDiffCmd(env), jobsLogsCmd(env), jobsFilesCmd(env), jobsFileCmd(env)}, orderCmds(env)...)...)
}

type filterFlags struct {
	states, queues, kinds, identifiers, groups, by, tags, where, ids []string
	priorities                                                       typedText
	older                                                            durationFlag
	limit                                                            int
	unlimited                                                        bool // 0, the default of limit, is no limit
}

// add gives cmd the flags of a filter, some under other names.
func (f *filterFlags) add(cmd *cobra.Command, rename map[string]string) {
	name := func(flag string) string { return cmp.Or(rename[flag], flag) }
	fl := cmd.Flags()
	fl.StringArrayVar(&f.states, "state", nil, "a state, such as READY; may be repeated")
	fl.StringArrayVar(&f.queues, name("queue"), nil, "a queue; may be repeated")
	fl.StringArrayVar(&f.kinds, "kind", nil, "a kind; may be repeated")
	fl.Var(&f.priorities, name("priority"), "priorities: 10, 20-40, 25-, -20, or several with commas")
	fl.StringArrayVar(&f.identifiers, "identifier", nil, "an identifier; may be repeated")
	fl.StringArrayVar(&f.groups, "serial-group", nil, "a serial group; may be repeated")
	fl.StringArrayVar(&f.by, "by", nil, "for whom it was published; may be repeated")
	fl.StringArrayVar(&f.tags, name("tag"), nil, "a tag that the job has; may be repeated")
	fl.StringArrayVar(&f.ids, "id", nil, "numbers of jobs: 17, 100-250, or several with commas; may be repeated")
	fl.StringArrayVar(&f.where, "where", nil, "a value inside the args: args.to=a@example.com; may be repeated")
	fl.Var(&f.older, "older", "published at least this long ago")
	if f.unlimited {
		fl.IntVar(&f.limit, "limit", 0, "at most so many jobs, in the order of their numbers (default: no limit)")
		return
	}
	fl.IntVar(&f.limit, "limit", 100, "at most so many jobs, in the order of their numbers")
}

// typedText knows an empty text from none: an empty variable of a script must not become a filter that lets everything through.
type typedText struct {
	text  string
	typed bool
}

func (t *typedText) String() string { return t.text }
func (t *typedText) Type() string   { return "string" }

func (t *typedText) Set(text string) error {
	t.text, t.typed = text, true
	return nil
}

// given reports whether anything but a limit was asked for.
func (f *filterFlags) given() bool {
	return len(f.states)+len(f.queues)+len(f.kinds)+len(f.identifiers)+len(f.groups)+len(f.by)+len(f.tags)+len(f.where)+len(f.ids) > 0 ||
		f.priorities.typed || f.older > 0
}

func (f *filterFlags) filter(cfg *config.Config) (jobstore.Filter, error) {
	out := jobstore.Filter{
		Queues: f.queues, Kinds: f.kinds, Identifiers: f.identifiers, SerialGroups: f.groups, CreatedBy: f.by, Tags: f.tags,
		OlderThan: time.Duration(f.older), Limit: f.limit,
	}
	if f.limit < 1 && (!f.unlimited || f.limit < 0) {
		return out, usagef("--limit %d is not positive", f.limit)
	}
	for _, s := range f.states {
		states, err := jobstore.ParseStates(s)
		if err != nil {
			return out, usage(err)
		}
		out.States = append(out.States, states...)
	}
	if f.priorities.typed {
		var err error
		if out.Priorities, err = config.ParseRange(f.priorities.text, cfg.Priorities); err != nil {
			return out, usage(err)
		}
	}
	for _, text := range f.ids {
		for part := range strings.SplitSeq(text, ",") {
			r, err := parseIDs(part)
			if err != nil {
				return out, err
			}
			out.Ranges = append(out.Ranges, r)
		}
	}
	for _, w := range f.where {
		match, err := jobstore.ParseArgsMatch(w)
		if err != nil {
			return out, usagef("--where %w", err)
		}
		out.Where = append(out.Where, match)
	}
	return out, nil
}

func jobsListCmd(env *Env) *cobra.Command {
	var f filterFlags
	var unfinished, noProcessing bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List jobs",
		Example: `  warren jobs list --state READY --priority 20-40 --where args.to=a@example.com
  warren jobs list --identifier invoice-7 --unfinished --exclude-processing`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := outputFormat(cmd)
			if err != nil {
				return err
			}
			cfg, err := env.load(cmd)
			if err != nil {
				return err
			}
			filter, err := f.filter(cfg)
			if err != nil {
				return err
			}
			narrow(&filter, unfinished, noProcessing)
			a, err := env.open(cmd, "warren")
			if err != nil {
				return err
			}
			defer a.Close()
			jobs, err := a.Store.List(cmd.Context(), filter)
			if err != nil {
				return err
			}
			header := []string{"ID", "QUEUE", "PRIORITY", "KIND", "STATE", "ATTEMPTS", "AVAILABLE", "ERROR"}
			return printList(env.Stdout, out, jobs, header, func(j jobstore.Job) []string {
				return []string{
					strconv.FormatInt(int64(j.ID), 10), j.Queue, strconv.Itoa(j.Priority), j.Kind, string(j.State),
					attemptsText(&j), j.AvailableAt.Local().Format(time.DateTime), shorten(j.Error, 60),
				}
			})
		},
	}
	f.add(cmd, nil)
	cmd.Flags().BoolVar(&unfinished, "unfinished", false, "only jobs that are not done: those that may still run, and PERMANENTLY_FAILED ones")
	cmd.Flags().BoolVar(&noProcessing, "exclude-processing", false, "without jobs that are PROCESSING")
	addOutputFlag(cmd)
	return cmd
}

// narrow leaves states out, as Unfinished does.
func narrow(f *jobstore.Filter, unfinished, noProcessing bool) {
	if !unfinished && !noProcessing {
		return
	}
	if len(f.States) == 0 {
		f.States = jobstore.States()
	}
	f.States = slices.DeleteFunc(f.States, func(s jobstore.State) bool {
		return noProcessing && s == jobstore.Processing || unfinished && s.Final() && s != jobstore.PermanentlyFailed
	})
	if len(f.States) == 0 {
		f.States = []jobstore.State{""} // nothing is left: a state that no job has
	}
}

// showJob prints a row as people read it: what is empty is left out.
func showJob(w io.Writer, j *jobstore.Job) error {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-13s %s\n", name, terminal.Printable(value))
		}
	}
	at := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return t.Local().Format(time.RFC3339)
	}
	line("id", strconv.FormatInt(int64(j.ID), 10))
	line("kind", j.Kind)
	line("state", string(j.State))
	line("queue", j.Queue)
	line("priority", strconv.Itoa(j.Priority))
	line("attempts", attemptsText(j))
	if j.Crashes > 0 {
		line("crashes", strconv.Itoa(j.Crashes))
	}
	line("mode", modeText(j))
	line("identifier", j.Identifier)
	line("serial group", j.SerialGroup)
	if j.Coalesce != nil {
		line("coalesce", strconv.FormatInt(*j.Coalesce, 10))
	}
	line("tags", strings.Join(j.Tags, ", "))
	line("created", at(&j.CreatedAt))
	line("available", at(&j.AvailableAt))
	line("attempted", at(j.AttemptedAt))
	line("finished", at(j.FinishedAt))
	if j.DurationMS != nil {
		line("duration", (time.Duration(*j.DurationMS) * time.Millisecond).String())
	}
	if j.Timeout > 0 {
		line("timeout", j.Timeout.String())
	}
	if j.Host != "" {
		line("ran on", fmt.Sprintf("%s, pid %d", j.Host, j.PID))
	}
	if j.Progress != nil {
		line("progress", progressText(j.Progress))
	}
	line("args", string(j.Args))
	line("metadata", string(ownMetadata(j)))
	line("output", string(j.Output))
	line("memory", string(j.Memory))
	line("error", j.Error)
	for _, e := range j.Errors {
		line("", fmt.Sprintf("attempt %d, %s: %s", e.Attempt, e.At.Local().Format(time.RFC3339), shorten(e.Error, 200)))
	}
	return nil
}

// ownMetadata leaves out what is shown as progress.
func ownMetadata(j *jobstore.Job) json.RawMessage {
	var members map[string]json.RawMessage
	if j.Progress == nil || json.Unmarshal(j.Metadata, &members) != nil {
		return j.Metadata
	}
	delete(members, jobstore.ProgressKey)
	if len(members) == 0 {
		return nil
	}
	text, err := json.Marshal(members)
	if err != nil {
		return j.Metadata
	}
	return text
}

func modeText(j *jobstore.Job) string {
	switch j.Mode {
	case jobstore.Normal:
		return ""
	case jobstore.Unique:
		return "unique"
	case jobstore.Recurring:
		return "recurring, every " + j.Every.String()
	}
	return string(j.Mode)
}

func attemptsText(j *jobstore.Job) string {
	if j.MaxAttempts == 0 {
		return strconv.Itoa(j.Attempts)
	}
	return fmt.Sprintf("%d/%d", j.Attempts, j.MaxAttempts)
}

func shorten(s string, n int) string {
	s, _, _ = strings.Cut(s, "\n")
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
