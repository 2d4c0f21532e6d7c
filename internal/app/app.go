// Package app is the assembly: it makes the parts that a configuration asks for and joins them.
//
// It is the only place that knows which database and which broker there are. It knows neither
// flags nor signals, so that tests and other programs can use it.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/internal/lifecycle"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
	"github.com/warrenq/warren/jobstore/sqlite"
)

// ErrUsage marks errors about what a person configured.
var ErrUsage = errors.New("wrong configuration")

// usageError has ErrUsage's mark and its own words only.
type usageError struct{ error }

func (e usageError) Is(target error) bool { return target == ErrUsage }
func (e usageError) Unwrap() error        { return e.error }

// Options are what a program adds to the configuration.
type Options struct {
	Role     string // "producer", "consumer" or "warren", shown to operators
	Version  string
	Stderr   io.Writer // for logs
	Terminal bool      // Stderr is looked at by a person
}

// App is an open database and what is needed to build the rest.
type App struct {
	Config *config.Config
	Store  jobstore.Store
	Log    *zap.Logger

	opts     Options
	observer warren.Observer // of the clients that are made; nil = none
}

// Open connects to the database and makes its schema on first use. A schema that is there and does
// not fit is an error that says what to do.
func Open(ctx context.Context, cfg *config.Config, opts Options) (*App, error) {
	a, err := Connect(ctx, cfg, opts)
	if err != nil {
		return nil, err
	}
	if err := a.firstUse(ctx); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// Connect connects to the database, whatever the state of its schema.
func Connect(ctx context.Context, cfg *config.Config, opts Options) (*App, error) {
	log, err := newLogger(cfg, opts)
	if err != nil {
		return nil, err
	}
	a := &App{Config: cfg, Log: log, opts: opts}
	url := string(cfg.DatabaseURL)
	switch {
	case url == "":
		return nil, usageError{errors.New("DATABASE_URL is not set; give it the address of a database, such as postgres://user:password@127.0.0.1:5432/app or sqlite:/var/lib/warren/warren.db")}
	case strings.HasPrefix(url, "postgres://"), strings.HasPrefix(url, "postgresql://"):
		store, err := postgres.Open(ctx, url, postgres.Config{Schema: cfg.Schema, Log: a.serverLog()})
		if errors.Is(err, jobstore.ErrInvalid) {
			return nil, usageError{err}
		}
		if err != nil {
			return nil, err
		}
		a.Store = store
	case strings.HasPrefix(url, sqliteScheme):
		store, err := sqlite.Open(ctx, strings.TrimPrefix(url, sqliteScheme), sqlite.Config{Log: a.serverLog()})
		if err != nil {
			return nil, err
		}
		a.Store = store
	default:
		scheme, _, _ := strings.Cut(url, ":")
		return nil, usageError{fmt.Errorf("DATABASE_URL begins with %.20q; it must be postgres://user:password@host:port/database or sqlite:PATH", scheme)}
	}
	return a, nil
}

const sqliteScheme = "sqlite:"

// serverLog gets warnings about the database's settings. Only consumers pass them on: a command that
// a person types would repeat them every time.
func (a *App) serverLog() *zap.Logger {
	if a.opts.Role != "consumer" {
		return zap.NewNop()
	}
	return a.Log
}

// firstUse makes the schema where there is none, and otherwise checks that it fits.
func (a *App) firstUse(ctx context.Context) error {
	list, err := a.Store.Migrations(ctx)
	if err != nil {
		return err
	}
	for _, m := range list {
		if m.Applied {
			return a.Store.Check(ctx)
		}
	}
	if a.Config.Migrate == "never" {
		return a.Store.Check(ctx)
	}
	return a.Migrate(ctx)
}

// Migrate brings the schema up to this program's and stores what SQL producers need to know.
func (a *App) Migrate(ctx context.Context) error {
	if err := a.Store.Migrate(ctx); err != nil {
		return err
	}
	settings, err := a.settings()
	if err != nil {
		return err
	}
	return a.Store.Configure(ctx, settings)
}

func (a *App) settings() (jobstore.Settings, error) {
	registry, err := a.Registry()
	if err != nil {
		return jobstore.Settings{}, err
	}
	client, err := warren.NewClient(a.clientConfig(registry, nil))
	if err != nil {
		return jobstore.Settings{}, usageError{err}
	}
	s := client.Settings()
	s.Version = a.opts.Version
	return s, nil
}

// WriteMigrations prints the migrations as SQL, for people who run them with their own tools.
func WriteMigrations(w io.Writer, cfg *config.Config) error {
	list := func() (string, error) { return postgres.MigrationSQL(cfg.Schema) }
	if strings.HasPrefix(string(cfg.DatabaseURL), sqliteScheme) {
		list = sqlite.MigrationSQL
	}
	text, err := list()
	if err != nil {
		return usageError{err}
	}
	_, err = io.WriteString(w, text)
	return err
}

// Close ends the connection to the database and writes out the log.
func (a *App) Close() {
	a.Store.Close()
	_ = a.Log.Sync() // a terminal cannot be synced, and there is nobody left to tell
}

// Broker makes the broker that the configuration names, nil for none. It connects to nothing yet.
func (a *App) Broker() (broker.Broker, error) {
	url := string(a.Config.AMQPURL)
	if url == "" {
		return nil, nil //nolint:nilnil // no broker is a configuration like any other
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	b, err := rabbitmq.Open(rabbitmq.Config{
		URL: url, Prefix: a.Config.QueuePrefix, QueueType: a.Config.QueueType, Log: a.Log,
		Name: fmt.Sprintf("warren-%s@%s:%d %s", a.opts.Role, host, os.Getpid(), a.opts.Version),
	})
	if err != nil {
		return nil, usageError{err}
	}
	return b, nil
}

func (a *App) clientConfig(registry *warren.Registry, b broker.Broker) warren.ClientConfig {
	return warren.ClientConfig{
		Store: a.Store, Broker: b, Registry: registry, Priorities: a.Config.Priorities,
		DefaultQueue: a.Config.DefaultQueue, MaxArgs: a.Config.MaxArgs, HintSize: a.Config.HintSize,
		Keys: a.keys(), Observer: a.observer, Log: a.Log,
	}
}

// keys are those that encrypt args, nil for none. The configuration has checked them.
func (a *App) keys() *warren.KeyRing {
	if a.Config.Keys == "" {
		return nil
	}
	ring, err := warren.ParseKeys(string(a.Config.Keys))
	if err != nil {
		return nil
	}
	return ring
}

// Publishing runs fn with a client whose jobs are announced in the background. When fn is done it
// waits at most patience for what is not announced yet: the rows are committed, so what is left
// then is announced by the consumers' sweep.
func (a *App) Publishing(ctx context.Context, patience time.Duration, fn func(ctx context.Context, client *warren.Client) error) error {
	registry, err := a.Registry()
	if err != nil {
		return err
	}
	b, err := a.Broker() //nolint:contextcheck // it connects to nothing; its Run gets a context
	if err != nil {
		return err
	}
	client, err := warren.NewClient(a.clientConfig(registry, b))
	if err != nil {
		return usageError{err}
	}
	var failed error // fn's own error, in its own words
	err = lifecycle.Run(ctx,
		lifecycle.Part{Name: "client", Run: client.Run},
		lifecycle.Part{Name: "publishing", Run: func(own context.Context) error {
			// A signal ends fn, and not the announcing of what it has published.
			work, cancel := context.WithCancel(own)
			defer cancel()
			unhook := context.AfterFunc(ctx, cancel)
			defer unhook()
			if err := client.AwaitRun(work); err != nil {
				return err
			}
			failed = fn(work, client)
			wait, stop := context.WithTimeout(own, patience)
			defer stop()
			if late := client.Drain(wait); late != nil {
				a.Log.Debug("not everything is announced yet; the sweep does the rest", zap.Error(late))
			}
			return nil
		}},
	)
	return errors.Join(failed, err)
}
