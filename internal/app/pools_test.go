package app_test

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/config"
	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/jobstore"
)

func TestMain(m *testing.M) {
	flag.Parse()
	testenv.Main(m)
}

// patience is how long a test waits for what must happen soon.
const patience = time.Minute

// Two pools of a process run over one broker; the one that comes to its limit has the other drain, and what
// that ran is finished.
func TestPoolsShareABroker(t *testing.T) {
	t.Parallel()
	file := "kinds: {probe: {probe: {}}}\npools: {mail: {queues: [mail], max_jobs: 3}, media: {queues: [media]}}\n"
	cfg, err := config.Load(config.Sources{
		Environ:    []string{"DATABASE_URL=" + testenv.Postgres(t), "AMQP_URL=" + testenv.RabbitMQ(t)},
		ConfigPath: "warren.yaml", ReadFile: func(string) ([]byte, error) { return []byte(file), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Open(t.Context(), cfg, app.Options{Role: "consumer", Stderr: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	done := make(chan error, 1)
	go func() { done <- a.Consume(t.Context(), app.ConsumerOptions{}) }()

	media := publish(t, a, "media", `{}`)
	await(t, "a job of media to be FINISHED", func() bool { return state(t, a, media) == jobstore.Finished })
	slow := publish(t, a, "media", `{"sleep":"2s"}`)
	await(t, "a job of media to run", func() bool { return state(t, a, slow) == jobstore.Processing })
	var mails []jobstore.ID
	for range 3 {
		mails = append(mails, publish(t, a, "mail", `{}`))
	}
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("the process did not end when a pool had run its jobs")
	}
	for _, id := range append(mails, slow) {
		if got := state(t, a, id); got != jobstore.Finished {
			t.Errorf("job %d is %s", id, got)
		}
	}
	if left, err := a.Store.Consumers(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("registered are still %v (%v)", left, err)
	}
}

func publish(t *testing.T, a *app.App, queue, args string) (id jobstore.ID) {
	t.Helper()
	err := a.Publishing(t.Context(), patience, func(ctx context.Context, client *warren.Client) error {
		p, err := client.PublishRaw(ctx, "probe", jsonText(args), warren.PublishOpts{Queue: queue})
		id = p.ID
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// jsonText is JSON as it is.
type jsonText string

// MarshalJSON implements json.Marshaler.
func (j jsonText) MarshalJSON() ([]byte, error) { return []byte(j), nil }

func state(t *testing.T, a *app.App, id jobstore.ID) jobstore.State {
	t.Helper()
	job, err := a.Store.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return job.State
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %s for: %s", patience, what)
		}
	}
}
