package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/config"
)

// Bands are the bands of a configuration: the queues of its kinds and the default one, at every
// configured priority.
func Bands(cfg *config.Config) []broker.Band {
	queues := []string{cfg.DefaultQueue}
	for _, k := range cfg.Kinds {
		queues = append(queues, cmp.Or(k.Queue, cfg.DefaultQueue))
	}
	slices.Sort(queues)
	var bands []broker.Band
	for _, q := range slices.Compact(queues) {
		for _, p := range slices.Sorted(slices.Values(cfg.Priorities)) {
			bands = append(bands, broker.Band{Queue: q, Priority: p})
		}
	}
	return bands
}

// TopologyItem is one exchange, queue or binding, and what was found or done.
type TopologyItem = rabbitmq.Item

// RefusedItem reports whether the broker has refused it.
func RefusedItem(i TopologyItem) bool { return i.Result == rabbitmq.Refused }

func rabbitConfig(cfg *config.Config, opts Options) rabbitmq.Config {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return rabbitmq.Config{
		URL: string(cfg.AMQPURL), Prefix: cfg.QueuePrefix, QueueType: cfg.QueueType,
		Name: fmt.Sprintf("warren-%s@%s:%d %s", opts.Role, host, os.Getpid(), opts.Version),
	}
}

// ApplyTopology makes what the broker lacks for the configured bands, and says what there was.
func ApplyTopology(ctx context.Context, cfg *config.Config, opts Options) ([]TopologyItem, error) {
	if cfg.AMQPURL == "" {
		return nil, usageError{errors.New("AMQP_URL is not set, so there is no broker to apply a topology to; give it an address such as amqp://user:password@127.0.0.1:5672/")}
	}
	rc := rabbitConfig(cfg, opts)
	layout, err := rc.Layout(Bands(cfg))
	if err != nil {
		return nil, usageError{err}
	}
	admin, err := rabbitmq.OpenAdmin(ctx, rc)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	return admin.Apply(layout)
}

// ExportTopology is the topology of the configured bands as definitions that RabbitMQ loads. An
// empty vhost means that of AMQP_URL, or else "/". It connects to nothing.
func ExportTopology(cfg *config.Config, vhost string) ([]byte, error) {
	if vhost == "" {
		vhost = "/"
		if cfg.AMQPURL != "" {
			var err error
			if vhost, err = rabbitmq.Vhost(string(cfg.AMQPURL)); err != nil {
				return nil, usageError{err}
			}
		}
	}
	layout, err := rabbitConfig(cfg, Options{}).Layout(Bands(cfg))
	if err != nil {
		return nil, usageError{err}
	}
	return layout.Definitions(vhost)
}

func isUsage(err error) bool { return errors.Is(err, ErrUsage) }
