package app_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/jobstore"
)

// Something that takes connections and says nothing is no reason to fail: the row is committed, and in the outbox.
func TestPublishingBesideABrokerThatHangs(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // the kernel takes connections for it
	cfg, err := config.Load(config.Sources{
		Environ:    []string{"DATABASE_URL=" + testenv.Postgres(t), "AMQP_URL=amqp://" + l.Addr().String()},
		ConfigPath: "warren.yaml", ReadFile: func(string) ([]byte, error) { return []byte("kinds: {probe: {probe: {}}}\n"), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Open(t.Context(), cfg, app.Options{Role: "producer", Stderr: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var id jobstore.ID
	err = a.Publishing(t.Context(), 100*time.Millisecond, func(ctx context.Context, client *warren.Client) error {
		p, err := client.PublishRaw(ctx, "probe", jsonText(`{}`))
		id = p.ID
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if j, err := a.Store.Get(t.Context(), id); err != nil || j.State != jobstore.Ready || j.AnnounceAt == nil {
		t.Errorf("job %d is %s, to be announced at %v, %v; want it READY and in the outbox", id, j.State, j.AnnounceAt, err)
	}
}
