package warren_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/warrentest"
)

// A hook sees every job of the program, in bulk and in transactions too, may change or refuse it, and does not
// change what the caller holds.
func TestPublishHooks(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, quiet())
	no := errors.New("not on Sundays")
	client, err := warren.NewClient(warren.ClientConfig{Store: env.Store(), PublishHooks: []warren.PublishHook{
		func(_ context.Context, item *warren.Item) error {
			if item.Kind != "letter" {
				return no
			}
			item.Opts.Tags = append(item.Opts.Tags, "hooked")
			return item.AddMetadata("by", "ada")
		},
		func(_ context.Context, item *warren.Item) error { return item.AddMetadata("by", "grace") },
	}})
	if err != nil {
		t.Fatal(err)
	}
	items := []warren.Item{{Kind: "letter"}, {Kind: "letter", Opts: warren.PublishOpts{Metadata: map[string]int{"n": 1}}}}
	done, err := client.PublishMany(t.Context(), items)
	if err != nil {
		t.Fatal(err)
	}
	err = client.InTx(t.Context(), func(ctx context.Context, tx *warren.Tx) error {
		p, err := tx.Publish(ctx, letterArgs{})
		done = append(done, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{`{"by":"ada"}`, `{"by":"ada","n":1}`, `{"by":"ada"}`} {
		job := env.Job(done[i].ID)
		if string(job.Metadata) != want || len(job.Tags) != 1 {
			t.Errorf("job %d has metadata %s and tags %v, want %s", i, job.Metadata, job.Tags, want)
		}
	}
	if items[0].Opts.Tags != nil || items[0].Opts.Metadata != nil {
		t.Errorf("the caller's item is %+v", items[0])
	}
	_, err = client.PublishMany(t.Context(), []warren.Item{{Kind: "letter"}, {Kind: "other"}})
	if item, ok := errors.AsType[*warren.ItemError](err); !ok || item.Index != 1 || !errors.Is(err, no) || errors.Is(err, warren.ErrInvalidJob) {
		t.Errorf("refused: %v", err)
	}
	_, err = client.PublishRaw(t.Context(), "letter", nil, warren.PublishOpts{Metadata: "text"})
	if !errors.Is(err, warren.ErrInvalidJob) || !strings.Contains(err.Error(), "no JSON object") {
		t.Errorf("metadata that is no object: %v", err)
	}
	if found, err := env.List(t.Context(), jobstore.Filter{}); err != nil || len(found) != 3 {
		t.Errorf("%d jobs are there (%v), want 3", len(found), err)
	}
}

type letterArgs struct{}

func (letterArgs) Kind() string { return "letter" }

// propagator stands for a tracing library: the trace is a value of the context.
type propagator struct{}

type traceKey struct{}

func (propagator) Inject(ctx context.Context, carrier map[string]string) {
	if trace, ok := ctx.Value(traceKey{}).(string); ok {
		carrier["traceparent"], carrier["tracestate"] = trace, "a=b"
		carrier["baggage"] = "user=ada"
	}
}

func (propagator) Extract(ctx context.Context, carrier map[string]string) context.Context {
	return context.WithValue(ctx, traceKey{}, carrier["traceparent"]+" "+carrier["tracestate"])
}

// The trace of whoever publishes is that of the handler; a job of a producer that is older, or has no
// trace, or a bad one, runs without.
func TestTraceIsCarried(t *testing.T) {
	t.Parallel()
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	hook, middleware := warren.CarryTrace(propagator{})
	var got []any
	var r warren.Registry
	r.Raw("letter", func(ctx context.Context, _ *jobstore.Job) error { got = append(got, ctx.Value(traceKey{})); return nil })
	r.Use(middleware)
	env := warrentest.New(t, &r)
	client, err := warren.NewClient(warren.ClientConfig{Store: env.Store(), PublishHooks: []warren.PublishHook{hook}})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 600)
	for _, one := range []struct {
		trace, metadata any
	}{
		{parent, map[string]int{"n": 1}},
		{parent, map[string]string{"traceparent": "its own"}},
		{nil, nil},
		{long, nil},
		{nil, map[string]any{"traceparent": 5, "tracestate": long}},
		{parent, json.RawMessage(`[1]`)},
	} {
		if _, err := client.PublishRaw(context.WithValue(t.Context(), traceKey{}, one.trace), "letter", nil, warren.PublishOpts{Metadata: one.metadata}); err != nil {
			t.Fatal(err)
		}
	}
	env.Drain()
	want := []any{parent + " a=b", "its own ", nil, nil, nil, nil}
	if len(got) != len(want) {
		t.Fatalf("%d ran, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("job %d ran with trace %v, want %v", i+1, got[i], want[i])
		}
	}
	if job := env.Job(1); strings.Contains(string(job.Metadata), "ada") || !strings.Contains(string(job.Metadata), parent) {
		t.Errorf("metadata is %s", job.Metadata)
	}
}
