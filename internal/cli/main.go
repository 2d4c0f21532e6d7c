// Package cli is the command line: cobra trees for producer, consumer and warren.
//
// A command reads its flags, asks package app for what it needs, and prints. It decides nothing
// about jobs.
package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // schedules go by time zones, which a small image may not have

	"github.com/spf13/cobra"
)

// errSignal is the cause of a context that a signal ended.
var errSignal = errors.New("stopped by a signal")

// Main runs a program: signals become the end of a context, errors an exit code.
//
// The first SIGINT or SIGTERM ends the context; the second reaches the program as Second.
func Main(tree func(env *Env) *cobra.Command) {
	ctx, cancel := context.WithCancelCause(context.Background())
	env := &Env{Stdin: newConsole(ctx, os.Stdin), Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ, Second: make(chan struct{})}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel(errSignal)
		<-signals
		close(env.Second)
	}()
	code := Execute(ctx, tree(env), os.Args[1:], env.Stdout, env.Stderr)
	cancel(nil)
	os.Exit(code)
}
