package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/internal/live"
	"github.com/warrenq/warren/internal/terminal"
	"github.com/warrenq/warren/jobstore"
)

// devDir is where `warren dev` keeps its data unless told otherwise.
const devDir = ".warren"

func devCmd(env *Env) *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Everything in one process, on an embedded database: consumer, HTTP API, sample jobs",
		Long: `Everything in one process: a consumer, the HTTP API and sample jobs, on a SQLite file
DIR/warren.db. On a terminal a live view shows what becomes of them, elsewhere plain lines.

--no-demo is the mode for a small server: no samples, no view, a log. Its kinds are those of the
configuration. Without --data, DATABASE_URL and AMQP_URL are used if they are set: the same program
on PostgreSQL, or on PostgreSQL and RabbitMQ.

SIGTERM or SIGINT (Ctrl-C) drains; a second one hands back at once what still runs.`,
		Example: `  warren dev
  warren dev --no-demo --data /var/lib/warren --listen 127.0.0.1:8080`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return env.dev(cmd, &f) },
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.noDemo, "no-demo", false, "no sample jobs and no view: a small server")
	fl.StringVar(&f.listen, "listen", defaultListen, "HOST:PORT of the HTTP API; a port alone is one of 127.0.0.1 (default: another port when it is taken)")
	fl.StringVar(&f.data, "data", devDir, "directory of the database file, made if need be")
	fl.StringVar(&f.tokenFile, "token-file", "", "file with the token that requests must bring (default: the configuration's api_token)")
	fl.IntP("concurrency", "c", 10, "handlers that run at a time")
	fl.String("drain-timeout", "25s", "how long running handlers may take at the end")
	asConfig(cmd, "concurrency", "drain-timeout")
	return cmd
}

type devFlags struct {
	noDemo                  bool
	listen, data, tokenFile string
}

func (e *Env) dev(cmd *cobra.Command, f *devFlags) error {
	cfg, err := e.load(cmd)
	if err != nil {
		return err
	}
	addr, err := e.apiAddress(cmd, cfg, f.listen, f.tokenFile)
	if err != nil {
		return err
	}
	if cmd.Flags().Changed("data") || cfg.DatabaseURL == "" {
		if err := embed(cfg, f.data); err != nil {
			return err
		}
	}
	opts := e.options("consumer")
	dev := app.DevOptions{Listen: addr, AnyPort: !cmd.Flags().Changed("listen"), Second: e.Second}
	if f.noDemo {
		app.ProbeIfNothing(cfg)
	} else {
		app.Samples(cfg)
		// The view says what becomes of jobs; the log is for what goes wrong with Warren.
		if !cmd.Flags().Changed("log-level") && cfg.LogLevel == "info" {
			cfg.LogLevel = "warn"
		}
		seen := terminal.Is(e.Stdout)
		dev.Screen = &live.Screen{Out: e.Stdout, Terminal: seen, Colour: seen && os.Getenv("NO_COLOR") == ""}
		dev.Try = func(api string) []string { return tryCommands(cfg, api) }
		if seen && opts.Terminal {
			opts.Stderr = dev.Screen
		}
	}
	a, err := app.Open(cmd.Context(), cfg, opts)
	if errors.Is(err, app.ErrUsage) {
		return usage(err)
	}
	if err != nil {
		return err
	}
	defer a.Close()
	ended, err := a.Dev(cmd.Context(), dev)
	switch {
	case errors.Is(err, app.ErrUsage):
		return usage(err)
	case err != nil:
		return err
	}
	if dev.Screen != nil {
		return e.summary(cmd, a, ended)
	}
	return nil
}

// embed makes the database a file in dir. There is no broker then: it would carry numbers that
// nobody else can look up.
func embed(cfg *config.Config, dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("--data: %w; give a directory that can be written", err)
	}
	path, err := filepath.Abs(filepath.Join(dir, "warren.db"))
	if err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	cfg.DatabaseURL, cfg.AMQPURL = config.Secret("sqlite:"+path), ""
	return nil
}

// tryCommands are for a second terminal.
func tryCommands(cfg *config.Config, api string) []string {
	bin := "bin/"
	if own, err := os.Executable(); err == nil && filepath.Base(filepath.Dir(own)) != "bin" {
		bin = ""
	}
	var list []string
	if url := string(cfg.DatabaseURL); strings.HasPrefix(url, "sqlite:") {
		list = append(list, "export DATABASE_URL="+url)
	}
	return append(list,
		bin+`producer publish probe --priority 10 --args '{"sleep":"5s"}'`,
		`curl --json '{"kind":"mail"}' `+api+`/api/v1/jobs`,
		bin+"warren jobs list --state PERMANENTLY_FAILED",
		bin+"warren stats",
	)
}

// summary is the last word.
func (e *Env) summary(cmd *cobra.Command, a *app.App, ended map[jobstore.State]int) error {
	var parts []string
	for _, state := range jobstore.States() {
		if n := ended[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if parts == nil {
		parts = []string{"none"}
	}
	left, err := a.Left(cmd.Context())
	if err != nil {
		return err
	}
	fmt.Fprintf(e.Stdout, "\ndrained. Attempts in this run: %s. %d jobs are left; the next run goes on with them.\n", strings.Join(parts, ", "), left)
	return nil
}
