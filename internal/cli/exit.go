package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/terminal"
	"github.com/warrenq/warren/jobstore"
)

// The exit codes, the same for every command.
const (
	exitOK        = 0
	exitError     = 1
	exitUsage     = 2
	exitNotFound  = 3
	exitRefused   = 4
	exitThreshold = 5
)

// codeError is an error with an exit code of its own.
type codeError struct {
	code int
	err  error
}

func (e *codeError) Error() string { return e.err.Error() }
func (e *codeError) Unwrap() error { return e.err }

// usage marks an error as the caller's: what was typed is wrong.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &codeError{code: exitUsage, err: err}
}

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// refusedf says that the state of things does not allow what was asked.
func refusedf(format string, args ...any) error {
	return &codeError{code: exitRefused, err: fmt.Errorf(format, args...)}
}

// exitCode finds the code that an error asks for.
func exitCode(err error) int {
	var own *codeError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &own):
		return own.code
	case errors.Is(err, jobstore.ErrNotFound):
		return exitNotFound
	case errors.Is(err, jobstore.ErrRefused):
		return exitRefused
	}
	return exitError
}

// Execute runs a command tree and returns the program's exit code. An error is printed once, on
// stderr, without a stack and with every secret masked.
func Execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w; see %s --help", err, cmd.CommandPath())
	})
	cmd, err := root.ExecuteContextC(jobstore.WithActor(ctx, whoami()))
	if err == nil {
		return exitOK
	}
	code := exitCode(err)
	if code == exitError && isCobraUsage(err) {
		code = exitUsage
		err = fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())
	}
	fmt.Fprintf(stderr, "%s: %s\n", root.Name(), terminal.Printable(err.Error()))
	return code
}

// group makes cmd a command that only has others below it: alone it explains itself, and what is
// none of them is wrong usage.
func group(cmd *cobra.Command, below ...*cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("unknown command %q; see %s --help", args[0], cmd.CommandPath())
		}
		return cmd.Help()
	}
	cmd.AddCommand(below...)
	return cmd
}
