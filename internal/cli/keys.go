package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/app"
)

func keysCmd(env *Env) *cobra.Command {
	return group(&cobra.Command{Use: "keys", Short: "The keys that encrypt the args of jobs"}, keysGenerateCmd(env), keysRotateCmd(env))
}

func keysGenerateCmd(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "generate [NAME]",
		Short: "Print a new key, which is a secret",
		Long: `Print a new key, NAME:BASE64, which is a secret. The default name is today's date.

Put it first into WARREN_KEYS (or the file of WARREN_KEYS_FILE) of every program, with the keys
before it after a comma: the first encrypts, all decrypt.`,
		Example: `  (umask 077; warren keys generate 2026a > keys)
  WARREN_KEYS_FILE=keys consumer run`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			name := time.Now().UTC().Format("2006-01-02")
			if len(args) > 0 {
				name = args[0]
			}
			key, err := warren.GenerateKey(name)
			if err != nil {
				return usage(err)
			}
			_, err = fmt.Fprintln(env.Stdout, key)
			return err
		},
	}
}

func keysRotateCmd(env *Env) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Encrypt stored args anew with the first key",
		Long: `Encrypt stored args anew with the first key, those of ended jobs too, because they may be retried.

It goes on beside consumers and publishers, and where it was broken off when it is run again. When
it finds nothing to change, and no program has an old key first, old keys can go. Exit 5 when there
are args that none of the keys opens; their jobs are listed.`,
		Args: cobra.NoArgs,
		RunE: env.answer(func(ctx context.Context, f format, a *app.App) error {
			done, err := a.RotateKeys(ctx, dryRun)
			if err != nil {
				return err
			}
			if f != formatTable {
				err = printValue(env.Stdout, f, done)
			} else {
				err = printRotated(env, done, dryRun)
			}
			if err == nil && len(done.Failed) > 0 {
				err = &codeError{code: exitThreshold, err: fmt.Errorf("%d jobs have args that none of the keys opens, the first is job %d; configure their key too, or delete them",
					len(done.Failed), done.Failed[0])}
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, and say what would be changed")
	addOutputFlag(cmd)
	return cmd
}

func printRotated(env *Env, done warren.Rotated, dryRun bool) error {
	for _, key := range slices.Sorted(maps.Keys(done.Keys)) {
		fmt.Fprintf(env.Stdout, "key %s: %s jobs\n", strconv.Quote(key), strconv.Itoa(done.Keys[key]))
	}
	verb := "were"
	if dryRun {
		verb = "would be"
	}
	_, err := fmt.Fprintf(env.Stdout, "%d %s encrypted anew, %d had the first key already\n", done.Changed, verb, done.Current)
	return err
}
