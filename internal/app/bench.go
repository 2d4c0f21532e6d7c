package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// Measured is what a bench has found out about the servers.
type Measured struct {
	Database    string  `json:"database"` // postgres or sqlite
	Broker      bool    `json:"broker"`
	Jobs        int     `json:"jobs"`
	Concurrency int     `json:"concurrency"`
	Publish     float64 `json:"publish_per_second"` // until the last commit
	Work        float64 `json:"work_per_second"`    // from the first handler's start to the last one's
	P50         float64 `json:"latency_p50_ms"`     // from the call of publish to the handler's start
	P99         float64 `json:"latency_p99_ms"`
}

// Bench measures the configured servers with jobs that do nothing, in a schema and with a prefix of its own, which it
// makes and removes. An error wraps jobstore.ErrRefused when they are there already.
func Bench(ctx context.Context, cfg *config.Config, opts Options, jobs int) (m Measured, err error) {
	own, done, err := benchConfig(cfg)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, done()) }()
	a, err := Connect(ctx, own, opts)
	if err != nil {
		return m, err
	}
	defer a.Close()
	// Whatever happens from here on, what was made is removed: hence the context without an end.
	if err := a.benchBegin(ctx); err != nil {
		return m, err
	}
	defer func() {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, a.benchEnd(bye))
	}()
	if err := a.Migrate(ctx); err != nil {
		return m, err
	}
	if m, err = a.measure(ctx, jobs); err != nil {
		return m, err
	}
	m.Jobs, m.Concurrency, m.Broker, m.Database = jobs, own.Concurrency, own.AMQPURL != "", "postgres"
	if strings.HasPrefix(string(own.DatabaseURL), sqliteScheme) {
		m.Database = "sqlite"
	}
	return m, nil
}

// benchConfig is a configuration that has nothing in common with the given one but the servers. done removes the
// SQLite file, which lies beside the configured one: another disk would have another speed.
func benchConfig(cfg *config.Config) (own *config.Config, done func() error, err error) {
	c := *cfg
	c.Schema, c.QueuePrefix, c.Kinds, c.Migrate = cfg.Schema+"_bench", cfg.QueuePrefix+"-bench", nil, "auto"
	path, ok := strings.CutPrefix(string(cfg.DatabaseURL), sqliteScheme)
	if !ok || path == ":memory:" {
		return &c, func() error { return nil }, nil
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".warren-bench-")
	if err != nil {
		return nil, nil, fmt.Errorf("make a directory for the bench beside the database: %w", err)
	}
	c.DatabaseURL = config.Secret(sqliteScheme + filepath.Join(dir, "bench.db"))
	return &c, func() error { return os.RemoveAll(dir) }, nil
}

// benchBegin refuses what is there already: it may be somebody's, and would be removed in the end.
func (a *App) benchBegin(ctx context.Context) error {
	if s, ok := a.Store.(*postgres.Store); ok {
		there, err := s.Exists(ctx)
		if err != nil {
			return err
		}
		if there {
			return fmt.Errorf("%w: schema %s is there already: another bench runs, or was killed; when you know that it is nobody's, DROP SCHEMA %s CASCADE",
				jobstore.ErrRefused, a.Config.Schema, a.Config.Schema)
		}
	}
	return a.withBenchTopology(ctx, func(admin *rabbitmq.Admin, l rabbitmq.Layout) error {
		found, err := admin.Inspect(l)
		for _, item := range found {
			if item.Result != rabbitmq.Missing {
				return fmt.Errorf("%w: %s %s is in the broker already: another bench runs, or was killed; when you know that it is nobody's, delete what begins with %s",
					jobstore.ErrRefused, item.What, item.Name, a.Config.QueuePrefix)
			}
		}
		return err
	})
}

// benchEnd removes what the bench has made in the servers.
func (a *App) benchEnd(ctx context.Context) error {
	var failed error
	if s, ok := a.Store.(*postgres.Store); ok {
		failed = s.Remove(ctx)
	}
	return errors.Join(failed, a.withBenchTopology(ctx, (*rabbitmq.Admin).Remove))
}

// withBenchTopology runs fn with what is, or is to be, in the broker. Without a broker it does nothing.
func (a *App) withBenchTopology(ctx context.Context, fn func(*rabbitmq.Admin, rabbitmq.Layout) error) error {
	if a.Config.AMQPURL == "" {
		return nil
	}
	rc := rabbitConfig(a.Config, a.opts)
	layout, err := rc.Layout(Bands(a.Config))
	if err != nil {
		return usageError{err}
	}
	admin, err := rabbitmq.OpenAdmin(ctx, rc)
	if err != nil {
		return err
	}
	defer admin.Close()
	return fn(admin, layout)
}
