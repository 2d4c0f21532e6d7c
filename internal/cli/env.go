package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/internal/terminal"
	"github.com/warrenq/warren/jobstore"
)

// Env is the world outside of a command, so that tests can give another.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Environ        func() []string
	// Second is closed by the second signal.
	Second chan struct{}
	// metrics makes what `consumer run --listen` serves as metrics; nil = probes only.
	metrics func(app.MetricsConfig) app.Metrics
}

// configFlags are the keys of the configuration that every command takes as flags. URLs are not
// among them: a command line is visible to everyone on the machine, and URLs hold passwords.
func configFlags() map[string]string {
	return map[string]string{
		"schema":       "schema of the database that holds Warren's tables",
		"queue-prefix": "prefix of queues and exchanges in the broker",
		"log-format":   "auto, json or console",
		"log-level":    "debug, info, warn or error",
	}
}

func addConfigFlags(root *cobra.Command) {
	root.PersistentFlags().String("config", "", "configuration file (default ./warren.yaml, else /etc/warren/warren.yaml)")
	for name, help := range configFlags() {
		root.PersistentFlags().String(name, "", help)
	}
}

// load reads the configuration. Flags that were typed outweigh everything else.
func (e *Env) load(cmd *cobra.Command) (*config.Config, error) {
	typed := map[string]string{}
	own := configFlags()
	cmd.Flags().Visit(func(f *pflag.Flag) {
		_, global := own[f.Name]
		if global || f.Annotations[configKey] != nil {
			typed[f.Name] = f.Value.String()
		}
	})
	path, err := cmd.Flags().GetString("config")
	if err != nil {
		return nil, err
	}
	cfg, err := config.Load(config.Sources{Flags: typed, ConfigPath: path, Environ: e.Environ()})
	if err != nil {
		return nil, usage(err)
	}
	return cfg, nil
}

// configKey marks a command's own flag as a key of the configuration.
const configKey = "warren_config_key"

// asConfig marks flags of cmd as keys of the configuration.
func asConfig(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.Flags().SetAnnotation(name, configKey, []string{name}); err != nil {
			panic(err) // a flag that this program did not define: a mistake in this file
		}
	}
}

// open loads the configuration and connects to the database, whose schema is made on first use.
func (e *Env) open(cmd *cobra.Command, role string) (*app.App, error) {
	cfg, err := e.load(cmd)
	if err != nil {
		return nil, err
	}
	a, err := app.Open(cmd.Context(), cfg, e.options(role))
	if errors.Is(err, app.ErrUsage) {
		return nil, usage(err)
	}
	return a, err
}

// answer makes what a command without arguments does: it opens the database, asks it, and prints in
// the format that was asked for.
func (e *Env) answer(ask func(ctx context.Context, f format, a *app.App) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		f, err := outputFormat(cmd)
		if err != nil {
			return err
		}
		a, err := e.open(cmd, "warren")
		if err != nil {
			return err
		}
		defer a.Close()
		return ask(cmd.Context(), f, a)
	}
}

func parseTime(s string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return at, usagef("time %q is not RFC 3339, such as 2026-11-21T20:00:00Z", s)
	}
	return at, nil
}

// parseID reads a job's number as strictly as a hint is read.
func parseID(s string) (jobstore.ID, error) {
	ids, err := broker.ParseBody([]byte(s))
	if err != nil || len(ids) != 1 {
		return 0, usagef("%q is not the number of a job: digits, not beginning with 0", s)
	}
	return jobstore.ID(ids[0]), nil
}

// parseIDs reads one number or a range of them: 17, 100-250.
func parseIDs(s string) (r [2]jobstore.ID, err error) {
	first, last, isRange := strings.Cut(strings.TrimSpace(s), "-")
	if r[0], err = parseID(first); err != nil {
		return r, err
	}
	if r[1] = r[0]; isRange {
		r[1], err = parseID(last)
	}
	if err == nil && r[1] < r[0] {
		err = usagef("%q is no range of numbers: it ends before it begins", s)
	}
	return r, err
}

// durationFlag is a flag that also takes days.
type durationFlag time.Duration

// String implements pflag.Value.
func (d *durationFlag) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

// Set implements pflag.Value.
func (d *durationFlag) Set(s string) error {
	v, err := config.ParseDuration(s)
	if err != nil {
		return err
	}
	if v < 0 {
		return fmt.Errorf("duration %s is negative", s)
	}
	*d = durationFlag(v)
	return nil
}

// Type implements pflag.Value.
func (d *durationFlag) Type() string { return "duration" }

// connect is open for commands that work on the schema itself.
func (e *Env) connect(cmd *cobra.Command) (*app.App, error) {
	cfg, err := e.load(cmd)
	if err != nil {
		return nil, err
	}
	a, err := app.Connect(cmd.Context(), cfg, e.options("warren"))
	if errors.Is(err, app.ErrUsage) {
		return nil, usage(err)
	}
	return a, err
}

func (e *Env) options(role string) app.Options {
	return app.Options{Role: role, Version: Version(), Stderr: e.Stderr, Terminal: terminal.Is(e.Stderr)}
}
