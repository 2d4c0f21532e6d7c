package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
	"github.com/warrenq/warren/jobstore/sqlite"
)

// Database is where jobs and orders are.
type Database interface {
	warren.ConsumerStore
	Migrate(ctx context.Context) error
	Close()
}

// openDatabase takes sqlite:PATH or postgres://…
func openDatabase(ctx context.Context, url string) (Database, Exec, error) {
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		store, err := sqlite.Open(ctx, path, sqlite.Config{})
		return store, execSQLite, err
	}
	store, err := postgres.Open(ctx, url, postgres.Config{})
	return store, execPostgres, err
}

// openBroker takes amqp://…, or nothing: then consumers look into the database.
func openBroker(url string) (broker.Broker, error) {
	if url == "" {
		return nil, nil
	}
	return rabbitmq.Open(rabbitmq.Config{URL: url})
}

func execSQLite(ctx context.Context, tx jobstore.Tx, query string, args ...any) error {
	own, err := sqlite.From(tx)
	if err != nil {
		return err
	}
	_, err = own.ExecContext(ctx, query, args...)
	return wrap(err)
}

func execPostgres(ctx context.Context, tx jobstore.Tx, query string, args ...any) error {
	own, err := postgres.From(tx)
	if err != nil {
		return err
	}
	_, err = own.Exec(ctx, query, args...)
	return wrap(err)
}

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("statement of the shop: %w", err)
	}
	return nil
}
