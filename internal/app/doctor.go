package app

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/jobstore"
)

// Doctor examines an installation: programs, database, broker, and what waits in both. It changes
// nothing. What cannot be reached is a finding; the error is about the configuration.
func Doctor(ctx context.Context, cfg *config.Config, opts Options) ([]jobstore.Finding, error) {
	out := []jobstore.Finding{{Check: "warren", Status: jobstore.StatusOK, Value: opts.Version}}
	var taken []jobstore.Band
	a, err := Connect(ctx, cfg, opts)
	switch {
	case isUsage(err):
		return nil, err
	case err != nil:
		out = append(out, jobstore.Finding{Check: "database", Status: jobstore.StatusFail, Value: err.Error(), Remedy: "start it, or correct DATABASE_URL"})
	default:
		defer a.Close()
		if e, ok := a.Store.(jobstore.Examiner); ok {
			out = append(out, e.Examine(ctx)...)
		}
		if taken, err = a.Store.LiveBands(ctx); err == nil {
			out = append(out, bandsFinding(Bands(cfg), taken))
		}
	}
	if cfg.AMQPURL == "" {
		return append(out, jobstore.Finding{Check: "broker", Status: jobstore.StatusOK, Value: "none is configured: consumers look into the database"}), nil
	}
	found, err := doctorBroker(ctx, cfg, opts)
	return append(out, found...), err
}

// bandsFinding names the configured bands that no living consumer takes.
func bandsFinding(want []broker.Band, taken []jobstore.Band) jobstore.Finding {
	f := jobstore.Finding{Check: "consumers", Status: jobstore.StatusOK, Value: fmt.Sprintf("every one of the %d configured bands is taken", len(want))}
	var lonely []string
	for _, b := range want {
		if !slices.Contains(taken, jobstore.Band(b)) {
			lonely = append(lonely, b.String())
		}
	}
	if len(lonely) > 0 {
		f.Status, f.Value = jobstore.StatusWarn, "no living consumer takes "+abbreviate(lonely)
		f.Remedy = "start 'consumer run' with these queues and priorities (-p), or without limits"
	}
	return f
}

// abbreviate joins names, the first few of many.
func abbreviate(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func doctorBroker(ctx context.Context, cfg *config.Config, opts Options) ([]jobstore.Finding, error) {
	rc := rabbitConfig(cfg, opts)
	layout, err := rc.Layout(Bands(cfg))
	if err != nil {
		return nil, usageError{err}
	}
	ctx, cancel := context.WithTimeout(ctx, 4*brokerPatience)
	defer cancel()
	failed := func(check string, err error, remedy string) jobstore.Finding {
		return jobstore.Finding{Check: check, Status: jobstore.StatusFail, Value: err.Error(), Remedy: remedy}
	}
	admin, err := rabbitmq.OpenAdmin(ctx, rc)
	if err != nil {
		return []jobstore.Finding{failed("broker", err, "start it, or correct AMQP_URL; jobs are kept meanwhile and announced later")}, nil
	}
	defer admin.Close()
	version := jobstore.Finding{Check: "RabbitMQ", Status: jobstore.StatusOK, Value: admin.Version()}
	if !rabbitmq.Supported(version.Value) {
		version.Status, version.Remedy = jobstore.StatusFail, "upgrade it to 3.8 or newer"
	}
	out := []jobstore.Finding{version}
	items, err := admin.Inspect(layout)
	if err != nil {
		return append(out, failed("topology", err, "read the broker's log")), nil
	}
	rights, err := admin.Rights(ctx, cfg.QueuePrefix, items)
	if err != nil {
		return append(out, failed("broker rights", err, "read the broker's log; an alarm (memory, disk) blocks publishers")), nil
	}
	return append(out, rightsFinding(rights), topologyFinding(items, rights), poisonFinding(items)), nil
}

func rightsFinding(r rabbitmq.Rights) jobstore.Finding {
	f := jobstore.Finding{Check: "broker rights", Status: jobstore.StatusOK}
	word := func(name string, may *bool, must bool) string {
		switch {
		case may == nil:
			return name + " not tried"
		case *may:
			return "may " + name
		case must:
			f.Status, f.Remedy = jobstore.StatusFail, "rabbitmqctl set_permissions, with the expressions of docs/operations.md"
		}
		return "may not " + name
	}
	words := []string{word("configure", r.Configure, false), word("write", r.Write, true), word("read", r.Read, false)}
	if f.Status == jobstore.StatusOK && r.Read != nil && !*r.Read {
		f.Status, f.Remedy = jobstore.StatusWarn, "enough for a producer; a consumer has to read its queues, see docs/operations.md"
	}
	f.Value = strings.Join(words, ", ")
	if r.Note != "" {
		f.Value += "; " + r.Note
	}
	return f
}

// topologyFinding is about what is missing. Programs make it when they need it, if they may.
func topologyFinding(items []rabbitmq.Item, r rabbitmq.Rights) jobstore.Finding {
	f := jobstore.Finding{Check: "topology", Status: jobstore.StatusOK, Value: "every exchange and queue of the configured bands exists"}
	var missing []string
	may := r.Configure != nil && *r.Configure
	for _, i := range items {
		if may && strings.HasSuffix(i.Name, ".poison") {
			continue // the first that arrives makes it
		}
		if i.Result != rabbitmq.Existed {
			missing = append(missing, fmt.Sprintf("%s %s is %s", i.What, i.Name, i.Result))
		}
	}
	if len(missing) == 0 {
		return f
	}
	f.Value = abbreviate(missing)
	if may {
		f.Status, f.Remedy = jobstore.StatusWarn, "'warren topology apply' makes it now; otherwise whoever needs it first does"
	} else {
		f.Status, f.Remedy = jobstore.StatusFail, "this user may not make it: load the output of 'warren topology export' as an administrator"
	}
	return f
}

func poisonFinding(items []rabbitmq.Item) jobstore.Finding {
	f := jobstore.Finding{Check: "poison", Status: jobstore.StatusOK, Value: "empty"}
	for _, i := range items {
		if strings.HasSuffix(i.Name, ".poison") && i.Messages > 0 {
			f.Status, f.Value = jobstore.StatusWarn, fmt.Sprintf("%d messages in %s were no hints of Warren", i.Messages, i.Name)
			f.Remedy = "find out who publishes into these queues; read one in the management UI, then purge"
		}
	}
	return f
}
