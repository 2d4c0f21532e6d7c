// Command with-servers starts one PostgreSQL and one RabbitMQ server for tests, runs a command
// that finds them in its environment, stops them, and exits with the command's code:
//
//	go run ./internal/testenv/cmd/with-servers -- go test ./...
//
// All packages of such a run share the two servers, where each would start its own otherwise.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/warrenq/warren/internal/testenv"
)

const usage = "usage: with-servers -- COMMAND [ARGUMENT...]"

func main() {
	os.Exit(run(os.Args[1:]))
}

// run returns the exit code.
func run(args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, usage)
		return 2
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	env, stop, err := testenv.StartShared(ctx, os.Stderr)
	code := 1
	if err == nil {
		code, err = command(ctx, args, env)
	}
	if err := errors.Join(err, stop()); err != nil {
		fmt.Fprintln(os.Stderr, "with-servers:", err)
		return max(code, 1)
	}
	return code
}

// command runs the command to its end. A signal to this process is handed on.
func command(ctx context.Context, args, env []string) (int, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // to run what it is given is its purpose
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, fmt.Errorf("%s: %w", cmd, err)
	}
	return 0, nil
}
