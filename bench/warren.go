package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/jobstore/postgres"
)

// ours is Warren in one of its modes.
type ours struct {
	mode   string
	alone  bool   // on tables of its own, which nothing crowds: what the same work costs there
	amqp   string // "" without a broker
	store  *postgres.Store
	pool   *pgxpool.Pool // for what the harness asks
	client *warren.Client
	slots  int
	stop   func() error // ends the client
}

// newOurs starts a client of a mode over a store.
func newOurs(ctx context.Context, mode, amqpURL string, store *postgres.Store, pool *pgxpool.Pool, slots int) (*ours, error) {
	w := &ours{mode: mode, amqp: amqpURL, store: store, pool: pool, slots: slots}
	b, err := w.broker()
	if err != nil {
		return nil, err
	}
	if w.client, err = warren.NewClient(warren.ClientConfig{Store: store, Broker: b}); err != nil {
		return nil, err
	}
	w.stop = background(ctx, w.client.Run)
	return w, w.client.AwaitRun(ctx)
}

func (w *ours) broker() (broker.Broker, error) {
	if w.amqp == "" {
		return nil, nil //nolint:nilnil // no broker is a mode like the other
	}
	return rabbitmq.Open(rabbitmq.Config{URL: w.amqp})
}

// background runs a long-lived part. stop ends it, waits for it and returns its error.
func background(ctx context.Context, run func(context.Context) error) (stop func() error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}

func (w *ours) name() string {
	if w.alone {
		return "warren-" + w.mode + "-alone"
	}
	return "warren-" + w.mode
}

func (w *ours) database() string {
	if w.alone {
		return "warren-alone"
	}
	return "warren"
}

// crowds are the tests in which Warren is measured on tables that are crowded and on others, in the same rounds.
func crowds() []string { return []string{"history", "pending"} }

func (w *ours) plays(test string) bool { return !w.alone || slices.Contains(crowds(), test) }

func (w *ours) programs() []string {
	if w.amqp == "" {
		return []string{"postgres"}
	}
	return []string{"postgres", "beam.smp"}
}

func (w *ours) settings(string) []setting { return []setting{{Workers: w.slots}} }

func (w *ours) use(context.Context, setting) error { return nil }

// reset empties the queue too: its numbers are those of jobs that are gone.
func (w *ours) reset(ctx context.Context, finished int) error {
	if w.amqp != "" {
		if err := w.purge(); err != nil {
			return fmt.Errorf("purge the hints: %w", err)
		}
	}
	_, err := w.pool.Exec(ctx, "TRUNCATE warren.jobs, warren.job_groups, warren.job_keys")
	if err != nil {
		return err
	}
	_, err = w.pool.Exec(ctx, `INSERT INTO warren.jobs
		(priority, state, queue, kind, args, attempts, lease_no, outcome_lease, created_at, attempted_at, finished_at, duration_ms)
		SELECT 10, 'FINISHED', 'default', $1, $2, 1, 1, 1, at, at, at, 1
		FROM generate_series(1, $3::int) n, LATERAL (SELECT now() - n * interval '0.1 s') AS t (at)`, kind, newArgs(), finished)
	if err != nil {
		return err
	}
	return w.settle(ctx)
}

func (w *ours) purge() error {
	conn, err := amqp.Dial(w.amqp)
	if err != nil {
		return err
	}
	ch, err := conn.Channel()
	if err == nil {
		_, err = ch.QueuePurge("warren.default.p010", false)
	}
	var reply *amqp.Error
	if errors.As(err, &reply) && reply.Code == amqp.NotFound {
		err = nil // nothing was announced yet
	}
	return errors.Join(err, conn.Close())
}

func (w *ours) settle(ctx context.Context) error {
	_, err := w.pool.Exec(ctx, "VACUUM (ANALYZE) warren.jobs_live, warren.jobs_history")
	if err == nil {
		_, err = w.pool.Exec(ctx, "CHECKPOINT")
	}
	return err
}

func (w *ours) insert(ctx context.Context, a args) error {
	_, err := w.client.Publish(ctx, a)
	return err
}

func (w *ours) insertMany(ctx context.Context, n int, _ bool) error {
	items := make([]warren.Item, n)
	a := newArgs()
	for i := range items {
		items[i].Args, items[i].Kind = a, kind
	}
	_, err := w.client.PublishMany(ctx, items)
	return err
}

func (w *ours) flushed(ctx context.Context) error { return w.client.Drain(ctx) }

func (w *ours) work(ctx context.Context, handle func(args)) (func() error, error) {
	var registry warren.Registry
	warren.RegisterFunc(&registry, func(_ context.Context, job *warren.Job[args]) error {
		handle(job.Args)
		return nil
	})
	b, err := w.broker()
	if err != nil {
		return nil, err
	}
	consumer, err := warren.NewConsumer(warren.ConsumerConfig{Store: w.store, Broker: b, Registry: &registry, Concurrency: w.slots})
	if err != nil {
		return nil, err
	}
	stop := background(ctx, consumer.Run)
	err = until(ctx, func() (bool, error) { return consumer.Ready(ctx) == nil, nil })
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

func (w *ours) unfinished(ctx context.Context) (left bool, err error) {
	err = w.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM warren.jobs_live)").Scan(&left)
	return left, err
}

func (w *ours) close() {
	if err := w.stop(); err != nil {
		fmt.Println("stop the client of", w.name()+":", err)
	}
}

func (w *ours) statements(ctx context.Context) (float64, error) { return statements(ctx, w.pool) }
