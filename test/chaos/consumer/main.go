// Command consumer is a consumer as a user would write it, over the public API, with short times, so
// that leases are lost and rescued many times in one run of the suite. Everything comes from
// the environment.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/jobstore/postgres"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "consumer:", err)
		os.Exit(1)
	}
}

// setting is a duration from the environment.
func setting(name string, otherwise time.Duration) time.Duration {
	d, err := time.ParseDuration(os.Getenv(name))
	if err != nil {
		return otherwise
	}
	return d
}

func run() error {
	conf := zap.NewProductionConfig()
	conf.Sampling = nil // the suite counts lines
	log, err := conf.Build()
	if err != nil {
		return err
	}
	go watchStalls(os.Getenv("CHAOS_STALLS"))
	warm()
	before := now()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err = consume(ctx, log)
	stop()
	return errors.Join(err, leftovers(before))
}

// consume runs the consumer until ctx ends.
func consume(ctx context.Context, log *zap.Logger) error {
	store, err := open(ctx, log)
	if err != nil || store == nil {
		return err
	}
	defer store.Close()
	broker, err := rabbitmq.Open(rabbitmq.Config{
		URL: os.Getenv("AMQP_URL"), Prefix: os.Getenv("CHAOS_PREFIX"), Name: fmt.Sprintf("chaos-consumer-%d", os.Getpid()),
		Heartbeat: 2 * time.Second, Log: log,
	})
	if err != nil {
		return err
	}
	registry, err := kinds()
	if err != nil {
		return err
	}
	slots, err := strconv.Atoi(os.Getenv("CHAOS_SLOTS"))
	if err != nil {
		slots = 4
	}
	ttl := setting("CHAOS_TTL", 4*time.Second)
	consumer, err := warren.NewConsumer(warren.ConsumerConfig{
		Store: store, Broker: broker, Registry: registry, Concurrency: slots, Log: log, Version: "chaos",
		Priorities: []int{10, 20, 30}, Heartbeat: warren.Heartbeat{TTL: ttl, Every: ttl / 4}, DrainTimeout: setting("CHAOS_DRAIN", 6*time.Second),
		Sweep: warren.Sweep{
			Tick: 500 * time.Millisecond, LostHints: setting("CHAOS_LOST_HINTS", 2*time.Second),
			Heads: setting("CHAOS_LOST_HINTS", 2*time.Second), Rescue: time.Second, LeaderTTL: 3 * time.Second,
		},
	})
	if err != nil {
		return err
	}
	return consumer.Run(ctx)
}

// open waits for the database: this program is also started while there is none. A nil store means
// that it was asked to stop meanwhile.
func open(ctx context.Context, log *zap.Logger) (*postgres.Store, error) {
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		store, err := postgres.Open(ctx, os.Getenv("DATABASE_URL"), postgres.Config{Log: log})
		if err == nil {
			return store, nil
		}
		log.Warn("no database yet", zap.Error(err))
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, nil //nolint:nilnil // no store and no mistake: it was asked to stop
		}
	}
}
