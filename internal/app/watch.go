package app

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/internal/health"
	"github.com/warrenq/warren/internal/lifecycle"
	"github.com/warrenq/warren/internal/notice"
	"github.com/warrenq/warren/jobstore"
)

// Metrics counts what a consumer does. It is handed in, because what implements it takes as long to
// compile as all of Warren, and only one of the programs serves it.
type Metrics interface {
	warren.Observer
	// Broker returns the broker with its confirms timed.
	Broker(b broker.Broker) broker.Broker
	// Backlog adds what the store says of the jobs that wait in these queues and priorities.
	Backlog(store jobstore.Gauger, queues []string, priorities []int)
	// Dropped counts notices that were not sent.
	Dropped(n int)
	Handler() http.Handler
}

// MetricsConfig is what a Metrics is told.
type MetricsConfig struct {
	Version string
	// Slots is how many handlers run at a time.
	Slots int
	// BrokerUp says whether the broker is connected; nil = there is none.
	BrokerUp func() bool
}

// watch is everything around a consumer that tells others about it: probes, metrics, the watchdog
// of systemd, notices about failures.
type watch struct {
	app     *App
	opts    ConsumerOptions
	broker  broker.Broker
	metrics Metrics // nil when nobody listens, or the program has none
	notices *notice.Notices
}

func (a *App) watch(o ConsumerOptions, b broker.Broker) *watch {
	w := &watch{app: a, opts: o, broker: b}
	if o.Listen != "" && o.Metrics != nil {
		cfg := MetricsConfig{Version: a.opts.Version, Slots: a.slots(o)}
		if b != nil {
			cfg.BrokerUp = b.Up
		}
		w.metrics = o.Metrics(cfg)
		if b != nil {
			w.broker = w.metrics.Broker(b)
		}
	}
	w.notices = notice.New(notice.Config{
		Attempts: a.Config.Notify.Attempts, Webhook: string(a.Config.Notify.Webhook), Jobs: a.Store, Version: a.opts.Version,
		Dropped: w.dropped, Log: a.Log,
	})
	return w
}

func (w *watch) dropped(n int) {
	if w.metrics != nil {
		w.metrics.Dropped(n)
	}
}

// Observe implements warren.Observer.
func (w *watch) Observe(ctx context.Context, e warren.Event) {
	if w.metrics != nil {
		w.metrics.Observe(ctx, e)
	}
	w.notices.Observe(ctx, e)
	if w.opts.Observer != nil {
		w.opts.Observer.Observe(ctx, e)
	}
}

// run runs the consumer with its watchers around it: they start first and stop last, so that a probe
// is answered while the consumer drains, and its last failures are told.
func (w *watch) run(ctx context.Context, consumer *crew) error {
	parts := slices.Clone(w.opts.Before)
	if w.opts.Listen != "" {
		var page http.Handler
		if w.metrics != nil {
			w.metrics.Backlog(w.app.Store, consumer.Queues(), consumer.Priorities())
			page = w.metrics.Handler()
		}
		server, err := health.Listen(ctx, health.Config{
			Addr: w.opts.Listen, Profiles: w.opts.Profiles, Alive: consumer.Alive, Ready: consumer.Ready,
			Metrics: page, Log: w.app.Log,
		})
		if err != nil {
			return fmt.Errorf("--listen: %w", err)
		}
		w.app.Log.Info("serving probes and metrics", zap.String("listen", server.Addr()))
		parts = append(parts, lifecycle.Part{Name: "probes", Run: server.Run})
	}
	systemd := w.opts.Systemd
	stopping := sync.OnceFunc(func() { systemd.Say(ctx, "STOPPING=1", w.app.Log) })
	unhook := context.AfterFunc(ctx, stopping)
	defer unhook()
	if systemd.Active() {
		parts = append(parts, lifecycle.Part{Name: "watchdog", Run: func(ctx context.Context) error {
			return systemd.Run(ctx, consumer.Alive, w.app.Log)
		}})
	}
	var publishing []lifecycle.Part
	if w.opts.Publishing != nil {
		publishing = w.opts.Publishing(consumer.members[0].Client())
	}
	return w.around(ctx, parts, func(ctx context.Context) error {
		defer stopping()
		return consumer.Run(ctx)
	}, publishing...)
}

// around does what fn does while the notices and the parts run, and returns fn's own error. Parts
// after it start later and stop earlier.
func (w *watch) around(ctx context.Context, parts []lifecycle.Part, fn func(ctx context.Context) error, after ...lifecycle.Part) error {
	parts = append([]lifecycle.Part{{Name: "notices", Run: w.notices.Run}}, parts...)
	var failed error
	parts = append(parts, lifecycle.Part{Name: "work", Run: func(ctx context.Context) error {
		failed = fn(ctx)
		return nil
	}})
	err := lifecycle.Run(ctx, append(parts, after...)...)
	if failed != nil {
		return failed
	}
	return err
}
