package cli

import (
	"context"
	"errors"
	"math"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/internal/sdnotify"
)

// Measured is Consumer with metrics. They are handed in, so that the other programs do not link them.
func Measured(metrics func(app.MetricsConfig) app.Metrics) func(env *Env) *cobra.Command {
	return func(env *Env) *cobra.Command {
		env.metrics = metrics
		return Consumer(env)
	}
}

// Consumer is the command tree of the program that runs jobs.
func Consumer(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "consumer",
		Short: "Run background jobs",
		Long: `Run background jobs with the handlers that the configuration gives their kinds.

DATABASE_URL names the database, AMQP_URL the broker (unset or "none" = no broker).`,
		Version: Version(),
	}
	addConfigFlags(root)
	return group(root, runCmd(env), processCmd(env), healthCmd(env))
}

type runFlags struct {
	queues     []string
	ranges     string
	jobs       int
	once       bool
	untilEmpty bool
	emptyFor   durationFlag
	force      bool
	maxTime    durationFlag
	maxMemory  string
	maxStuck   int
	listen     string
	pprof      bool
	pools      []string
}

func runCmd(env *Env) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run jobs until stopped",
		Long: `Run jobs until stopped.

SIGTERM or SIGINT drains: nothing more is taken, running handlers get --drain-timeout, what
still runs then is handed back. A second signal hands back at once.`,
		Example: `  consumer run
  consumer run -p 20-40 -c 16 --queue media
  consumer run --stop-when-empty`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return env.run(cmd, &f) },
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&f.queues, "queue", nil, "a queue to take; may be repeated (default: every queue that the kinds use)")
	fl.StringArrayVar(&f.pools, "pool", nil, "a pool of the configuration to run, also a paused one; may be repeated (default: all that are not paused)")
	fl.String("name", "", "what people call this consumer, in 'warren consumers list' and 'warren why'")
	fl.StringVarP(&f.ranges, "priorities", "p", "", "priorities to take: 10, 20-40, 25-, -20, or several with commas (default: all)")
	fl.IntP("concurrency", "c", 10, "handlers that run at a time")
	fl.String("order", "strict", "how queues and priorities are served: strict (the best priority first), weighted or fair (in turn)")
	fl.String("weights", "", "with --order weighted, such as '{priorities: {10: 6, 20: 3}, queues: {mail: 2}}' (default: of n priorities the best has n, the next n - 1, …)")
	fl.String("poll-interval", "1s", "without a broker, how often to look for jobs that nobody told of, from 50ms to 30s")
	fl.IntVarP(&f.jobs, "jobs", "j", 0, "exit after so many jobs (0 = no limit)")
	fl.BoolVar(&f.once, "once", false, "run one job, or none when nothing is due, and exit")
	fl.BoolVar(&f.untilEmpty, "stop-when-empty", false, "exit when nothing is due any more")
	fl.Var(&f.emptyFor, "stop-when-empty-for", "exit when nothing has been due for this long")
	fl.BoolVar(&f.force, "force", false, "go on while everything is paused by 'warren pause --all'")
	fl.Var(&f.maxTime, "max-time", "exit after this time")
	fl.StringVar(&f.maxMemory, "max-memory", "", "exit when the process is larger, such as 512MiB; garbage is collected from nine tenths of it on, or from GOMEMLIMIT")
	fl.IntVar(&f.maxStuck, "max-stuck", 0, "exit when so many handlers did not return after their time was up (0 = never)")
	fl.StringVar(&f.listen, "listen", "", "serve /livez, /readyz and /metrics there; a port alone is one of 127.0.0.1")
	fl.BoolVar(&f.pprof, "pprof", false, "serve /debug/pprof/ too; only on a loopback address")
	fl.String("drain-timeout", "25s", "how long running handlers may take when the consumer stops")
	asConfig(cmd, "concurrency", "drain-timeout", "name", "order", "weights", "poll-interval")
	return cmd
}

func (e *Env) run(cmd *cobra.Command, f *runFlags) error {
	cfg, err := e.load(cmd)
	if err != nil {
		return err
	}
	o := app.ConsumerOptions{
		Pools: f.pools, Queues: f.queues, MaxJobs: f.jobs, UntilEmpty: f.untilEmpty || f.once || f.emptyFor > 0, EmptyFor: time.Duration(f.emptyFor), Force: f.force, MaxTime: time.Duration(f.maxTime), MaxStuck: f.maxStuck, Second: e.Second,
		Metrics: e.metrics,
	}
	if f.jobs < 0 {
		return usagef("--jobs %d is negative; 0 means no limit", f.jobs)
	}
	if f.maxStuck < 0 {
		return usagef("--max-stuck %d is negative; 0 means never", f.maxStuck)
	}
	if f.once {
		o.MaxJobs = 1
	}
	if f.ranges != "" || cmd.Flags().Changed("priorities") {
		if o.Take, err = config.ParseRange(f.ranges, cfg.Priorities); err != nil {
			return usage(err)
		}
	}
	if f.maxMemory != "" {
		if o.MaxMemory, err = config.ParseSize(f.maxMemory); err != nil {
			return usage(err)
		}
		collectEarlier(o.MaxMemory)
	}
	if err := f.listening(&o); err != nil {
		return usage(err)
	}
	o.Systemd = sdnotify.From(e.Environ(), os.Getpid())
	a, err := e.open(cmd, "consumer")
	if err != nil {
		return err
	}
	defer a.Close()
	err = a.Consume(cmd.Context(), o)
	if errors.Is(err, app.ErrUsage) {
		return usage(err)
	}
	return err
}

// collectEarlier has the garbage collector work harder before a process outgrows its limit. GOMEMLIMIT
// outweighs it.
func collectEarlier(limit int64) {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 && limit > 0 {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

func processCmd(env *Env) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "process",
		Short: "One pass, for cron",
		Long: `One pass, for cron: without a broker everything that is due runs, best priority first;
with a broker one sweep offers what is due to the consumers. While one pass is under way,
another exits with code 4.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usagef("--limit %d is negative; 0 means no limit", limit)
			}
			a, err := env.open(cmd, "consumer")
			if err != nil {
				return err
			}
			defer a.Close()
			err = a.Exclusively(cmd.Context(), "process", func(ctx context.Context) error {
				return a.Process(ctx, limit, env.Second)
			})
			if _, held := errors.AsType[*app.HeldError](err); held {
				return refusedf("%w", err)
			}
			if errors.Is(err, app.ErrUsage) {
				return usage(err)
			}
			return err
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "run at most so many jobs (0 = no limit)")
	cmd.Flags().IntP("concurrency", "c", 10, "handlers that run at a time")
	asConfig(cmd, "concurrency")
	return cmd
}
