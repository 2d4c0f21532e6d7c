package metrics

import (
	"context"
	"time"

	"github.com/warrenq/warren/broker"
)

// timed is a broker whose publishing is timed.
type timed struct {
	broker.Broker
	took func(time.Duration)
}

// Broker returns b with its publishing timed.
func (m *Metrics) Broker(b broker.Broker) broker.Broker {
	return timed{Broker: b, took: func(d time.Duration) { m.confirm.Observe(d.Seconds()) }}
}

// Publish implements broker.Publisher. What was not confirmed is left out: it measures a timeout.
func (t timed) Publish(ctx context.Context, hints []broker.Hint) []error {
	began := time.Now()
	errs := t.Broker.Publish(ctx, hints)
	if errs == nil {
		t.took(time.Since(began))
	}
	return errs
}
