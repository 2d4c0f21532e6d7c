package warren

import (
	"context"
	"encoding/json"

	"github.com/warrenq/warren/jobstore"
)

// Propagator writes the trace of a context into named texts, and reads it back. OpenTelemetry's
// TextMapPropagator is one with a propagation.MapCarrier(carrier) between.
type Propagator interface {
	Inject(ctx context.Context, carrier map[string]string)
	Extract(ctx context.Context, carrier map[string]string) context.Context
}

// The members of metadata that carry a trace, as W3C names them.
const (
	traceParent = "traceparent"
	traceState  = "tracestate"
)

// maxTraceMember is how many bytes of each are carried. W3C asks for 512.
const maxTraceMember = 512

// CarryTrace carries the publisher's trace in the metadata of its jobs (traceparent and tracestate), where producers in
// other languages may put theirs, into the context of their handlers. Give the hook to
// ClientConfig.PublishHooks and the middleware to Registry.Use: that one begins a span, if it wants.
// Each attempt of a job, and each job of a series, continues the same trace.
func CarryTrace(p Propagator) (PublishHook, Middleware) {
	hook := func(ctx context.Context, item *Item) error {
		carrier := map[string]string{}
		p.Inject(ctx, carrier)
		own, err := item.metadata()
		if err != nil || own[traceParent] != nil || carrier[traceParent] == "" {
			return nil //nolint:nilerr // such metadata have no room for a trace, and are no mistake
		}
		for _, name := range []string{traceParent, traceState} {
			if text := carrier[name]; text != "" && len(text) <= maxTraceMember {
				if err := item.AddMetadata(name, text); err != nil {
					return err
				}
			}
		}
		return nil
	}
	middleware := func(next RawHandler) RawHandler {
		return func(ctx context.Context, job *jobstore.Job) error {
			if carrier := traceOf(job.Metadata); carrier[traceParent] != "" {
				ctx = p.Extract(ctx, carrier)
			}
			return next(ctx, job)
		}
	}
	return hook, middleware
}

// traceOf reads the trace out of metadata, which is anybody's JSON.
func traceOf(metadata json.RawMessage) map[string]string {
	var members map[string]json.RawMessage
	if len(metadata) == 0 || json.Unmarshal(metadata, &members) != nil || members[traceParent] == nil {
		return nil
	}
	carrier := map[string]string{}
	for _, name := range []string{traceParent, traceState} {
		var text string
		if json.Unmarshal(members[name], &text) == nil && text != "" && len(text) <= maxTraceMember {
			carrier[name] = text
		}
	}
	return carrier
}
