package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/settings"
	"github.com/warrenq/warren/internal/terminal"
	"github.com/warrenq/warren/jobstore"
)

func kindsCmd(env *Env) *cobra.Command {
	return group(&cobra.Command{Use: "kinds", Short: "The kinds of jobs that consumers have registered"},
		kindsListCmd(env), kindsShowCmd(env), kindsSyncCmd(env), kindsPruneCmd(env), kindsDisableCmd(env), kindsEnableCmd(env),
		kindsSetCmd(env), kindsSettingsCmd(env))
}

func kindsListCmd(env *Env) *cobra.Command {
	var scopes []string
	var all bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List kinds, and who has a handler for them",
		Long: `List the kinds that consumers have registered when they started, and how many living consumers have a
handler for each now. Those that were hidden with 'warren kinds set' are left out without --all.`,
		Example: `  warren kinds list --scope product`,
		Args:    cobra.NoArgs,
		RunE: env.answer(func(ctx context.Context, f format, a *app.App) error {
			list, err := a.Store.Kinds(ctx)
			if err != nil {
				return err
			}
			list = slices.DeleteFunc(list, func(k jobstore.KindInfo) bool {
				return k.Hidden && !all || len(scopes) > 0 && !slices.Contains(scopes, k.Scope)
			})
			return printList(env.Stdout, f, list, []string{"KIND", "SCOPE", "STATE", "CONSUMERS", "VERSION", "LAST SEEN", "TITLE"}, kindCells)
		}),
	}
	cmd.Flags().StringArrayVar(&scopes, "scope", nil, "only kinds of this scope; may be repeated")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "hidden ones too")
	addOutputFlag(cmd)
	return cmd
}

func kindCells(k jobstore.KindInfo) []string {
	return []string{k.Kind, k.Scope, kindState(&k), strconv.Itoa(k.Consumers), k.Version, k.LastSeen.Local().Format(time.DateTime), k.Title}
}

func kindState(k *jobstore.KindInfo) string {
	switch {
	case k.DisabledAt != nil:
		return "disabled"
	case k.Consumers == 0:
		return "no consumer"
	}
	return "enabled"
}

func kindsShowCmd(env *Env) *cobra.Command {
	return oneKindCmd(env, &cobra.Command{Use: "show KIND", Short: "Show one kind"}, func(f format, k jobstore.KindInfo) error {
		switch f {
		case formatJSON:
			return printJSON(env.Stdout, k)
		case formatLines:
			return json.NewEncoder(env.Stdout).Encode(k)
		case formatTable:
		}
		showKind(env.Stdout, &k)
		return nil
	})
}

func showKind(w io.Writer, k *jobstore.KindInfo) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-13s %s\n", name, terminal.Printable(value))
		}
	}
	line("kind", k.Kind)
	line("title", k.Title)
	line("description", k.Description)
	line("scope", k.Scope)
	line("version", k.Version)
	line("queue", k.Queue)
	line("priority", strconv.Itoa(k.Priority))
	if k.DisabledAt != nil {
		line("disabled", strings.TrimSuffix("since "+k.DisabledAt.Local().Format(time.RFC3339)+": "+k.DisabledFor, ": "))
	}
	line("consumers", strconv.Itoa(k.Consumers))
	line("hosts", strings.Join(k.Hosts, ", "))
	line("versions", strings.Join(k.Versions, ", "))
	line("queues", strings.Join(k.Queues, ", "))
	line("first seen", k.FirstSeen.Local().Format(time.RFC3339))
	line("last seen", k.LastSeen.Local().Format(time.RFC3339))
	line("defaults", string(k.Defaults))
	line("settings", string(k.Settings))
	line("schema", string(k.Schema))
}

// oneKindCmd makes a command about one registered kind.
func oneKindCmd(env *Env, cmd *cobra.Command, do func(f format, k jobstore.KindInfo) error) *cobra.Command {
	cmd.Args = cobra.ExactArgs(1)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f, err := outputFormat(cmd)
		if err != nil {
			return err
		}
		return env.withKind(cmd, args[0], func(_ *app.App, k jobstore.KindInfo) error { return do(f, k) })
	}
	addOutputFlag(cmd)
	return cmd
}

// withKind opens the database and finds a kind.
func (e *Env) withKind(cmd *cobra.Command, name string, do func(a *app.App, k jobstore.KindInfo) error) error {
	a, err := e.open(cmd, "warren")
	if err != nil {
		return err
	}
	defer a.Close()
	k, err := a.Kind(cmd.Context(), name)
	if err != nil {
		return err
	}
	return do(a, k)
}

// changeKind does something to a registered kind, and says what came of it.
func (e *Env) changeKind(cmd *cobra.Command, name string, do func(a *app.App, k jobstore.KindInfo) (string, error)) error {
	out, err := outputFormat(cmd)
	if err != nil {
		return err
	}
	return e.withKind(cmd, name, func(a *app.App, k jobstore.KindInfo) error {
		text, err := do(a, k)
		if err != nil {
			return err
		}
		return say(e.Stdout, out, done{"kind", k.Kind, text}, "%s", text)
	})
}

func kindsSyncCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Register the kinds of the configuration now",
		Long: `Register the kinds of the configuration now, as a consumer does when it starts: what they are called,
their args' schema, their settings. Kinds of Go programs are registered by those.`,
		Args: cobra.NoArgs,
		RunE: env.answer(func(ctx context.Context, out format, a *app.App) error {
			fresh, err := a.SyncKinds(ctx)
			if err != nil {
				return err
			}
			if out == formatTable {
				for _, kind := range fresh {
					fmt.Fprintln(env.Stdout, "new: "+kind)
				}
			}
			return say(env.Stdout, out, struct {
				Kinds int      `json:"kinds"`
				New   []string `json:"new"`
			}{len(a.Config.Kinds), append([]string{}, fresh...)}, "%d kinds are registered, %d of them new", len(a.Config.Kinds), len(fresh))
		}),
	}
	addOutputFlag(cmd)
	return cmd
}

func kindsPruneCmd(env *Env) *cobra.Command {
	unseen := durationFlag(time.Hour)
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Forget kinds that nobody has and no job needs",
		Long: `Forget kinds that no living consumer has, that have no job which may still run, that are not disabled,
and that nobody has registered for --unseen. Jobs in the history keep their kind's name. A consumer that has
the kind registers it again when it starts; what operators have set of it is gone then. On a terminal it asks first;
for cron, it does not.`,
		Args: cobra.NoArgs,
		RunE: env.answer(func(ctx context.Context, out format, a *app.App) error {
			gone, err := a.Store.PruneKinds(ctx, time.Duration(unseen), dryRun || !yes && env.interactive())
			if err == nil && !dryRun && !yes && env.interactive() && len(gone) > 0 {
				if !env.confirm("forget " + terminal.OneLine(strings.Join(gone, ", ")) + "?") {
					return refusedf("not confirmed; nothing was changed")
				}
				gone, err = a.Store.PruneKinds(ctx, time.Duration(unseen), false)
			}
			if err != nil {
				return err
			}
			if out != formatTable {
				return printValue(env.Stdout, out, struct {
					Verb   string   `json:"verb"`
					DryRun bool     `json:"dry_run"`
					Kinds  []string `json:"kinds"`
				}{"prune", dryRun, append([]string{}, gone...)})
			}
			what := "forgotten: "
			if dryRun {
				what = "would be forgotten: "
			}
			for _, kind := range gone {
				fmt.Fprintln(env.Stdout, what+terminal.OneLine(kind))
			}
			if len(gone) == 0 {
				fmt.Fprintln(env.Stdout, "every kind is in use, or was until lately")
			}
			return nil
		}),
	}
	addOutputFlag(cmd)
	cmd.Flags().Var(&unseen, "unseen", "how long nobody has registered it")
	addMassFlags(cmd, &dryRun, &yes)
	return cmd
}

func kindsDisableCmd(env *Env) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "disable KIND",
		Short: "Let nobody start jobs of a kind until it is enabled",
		Long: `Let nobody start jobs of a kind until it is enabled. They wait, with that reason ('warren why'), and
publishing goes on; jobs that run go on. Other than a pause it does not end by itself, and 'warren resume'
does not end it.`,
		Example: `  warren kinds disable product.import --reason 'supplier changes its format'`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(reason) > 500 || !utf8.ValidString(reason) || strings.ContainsRune(reason, 0) {
				return usagef("--reason has %d bytes; at most 500 bytes of UTF-8 are allowed", len(reason))
			}
			return env.changeKind(cmd, args[0], func(a *app.App, k jobstore.KindInfo) (string, error) {
				return "kind " + k.Kind + " is disabled; its jobs wait", a.Store.DisableKind(cmd.Context(), k.Kind, reason)
			})
		},
	}
	addOutputFlag(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for whoever asks")
	return cmd
}

func kindsEnableCmd(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "enable KIND",
		Short: "Let jobs of a disabled kind start again",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return env.changeKind(cmd, args[0], func(a *app.App, k jobstore.KindInfo) (string, error) {
				was, n, err := a.ResumeOf(cmd.Context(), jobstore.PauseOfDisabled, k.Kind)
				text := "kind " + k.Kind + " was not disabled"
				if was {
					text = "kind " + k.Kind + " is enabled"
				}
				if n > 0 {
					text += ": " + count(n) + " announced again"
				}
				return text, err
			})
		},
	}
	addOutputFlag(cmd)
	return cmd
}

func kindsSetCmd(env *Env) *cobra.Command {
	var hidden bool
	var position int
	cmd := &cobra.Command{
		Use:     "set KIND",
		Short:   "Change how a kind is shown",
		Example: `  warren kinds set product.import --position -1 --hidden=false`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var e jobstore.KindEdit
			if cmd.Flags().Changed("hidden") {
				e.Hidden = &hidden
			}
			if cmd.Flags().Changed("position") {
				if position < -1_000_000 || position > 1_000_000 {
					return usagef("--position %d is outside of -1000000 to 1000000", position)
				}
				e.Position = &position
			}
			if e == (jobstore.KindEdit{}) {
				return usagef("nothing to change is given: use --hidden or --position")
			}
			return env.changeKind(cmd, args[0], func(a *app.App, k jobstore.KindInfo) (string, error) {
				return "kind " + k.Kind + " is changed", a.Store.EditKind(cmd.Context(), k.Kind, e)
			})
		},
	}
	addOutputFlag(cmd)
	cmd.Flags().BoolVar(&hidden, "hidden", false, "leave it out of lists")
	cmd.Flags().IntVar(&position, "position", 0, "its place in lists: smaller ones come first, then by name")
	return cmd
}

func kindsSettingsCmd(env *Env) *cobra.Command {
	var set, unset []string
	cmd := &cobra.Command{
		Use:   "settings KIND",
		Short: "Show or change the settings of a kind",
		Long: `Show or change the settings of a kind: what its program has, with what was set on top. --set takes a key,
with dots for keys inside of objects, and a JSON value or a text; --unset brings the program's own value back.
The result is checked before it is stored, unknown keys included. Consumers follow within one heartbeat,
5 seconds by default, without a restart. Settings are no place for secrets.`,
		Example: `  warren kinds settings product.import --set feed.batch=500 --set feed.url=https://example.com/feed
  warren kinds settings product.import --unset feed.batch`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := outputFormat(cmd)
			if err != nil {
				return err
			}
			a, err := env.open(cmd, "warren")
			if err != nil {
				return err
			}
			defer a.Close()
			if len(set)+len(unset) > 0 {
				err := a.EditSettings(cmd.Context(), args[0], set, unset)
				if errors.Is(err, app.ErrUsage) {
					return usage(err)
				}
				if err != nil {
					return err
				}
			}
			k, err := a.Kind(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			all, err := settings.Merge(k.Defaults, k.Settings)
			if err != nil {
				return fmt.Errorf("settings of kind %s: %w", k.Kind, err)
			}
			if out == formatTable {
				out = formatJSON // settings are an object, whoever reads them
			}
			return printValue(env.Stdout, out, all)
		},
	}
	addOutputFlag(cmd)
	cmd.Flags().StringArrayVar(&set, "set", nil, "key=value; may be repeated")
	cmd.Flags().StringArrayVar(&unset, "unset", nil, "a key that gets the program's own value back; may be repeated")
	return cmd
}
