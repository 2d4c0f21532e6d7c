package web_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/jobstore"
)

// The server announces what it publishes: nobody else is there who could.
func TestPublishAnnounces(t *testing.T) {
	t.Parallel()
	r := serve(t, "AMQP_URL="+testenv.RabbitMQ(t))
	r.want(201, "POST", "/api/v1/jobs", `{"kind":"probe"}`)
	r.want(201, "POST", "/api/v1/jobs", `{"kind":"mail"}`, "Idempotency-Key: k")
	b, err := r.app.Broker()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, band := range []broker.Band{{Queue: "default", Priority: 10}, {Queue: "post", Priority: 20}} {
		for depth, err := b.Depth(ctx, band); depth != 1; depth, err = b.Depth(ctx, band) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("%d hints wait in %v, want 1: %v", depth, band, err)
			}
		}
	}
}

// The same API on a SQLite file: each route once.
func TestSQLite(t *testing.T) {
	t.Parallel()
	r := serveOn(t, "sqlite:"+filepath.Join(t.TempDir(), "warren.db"))
	const key = "Idempotency-Key: k"
	first := r.want(201, "POST", "/api/v1/jobs", `[{"kind":"probe"},{"kind":"mail","delay":"1h"}]`, key)
	if again := r.want(201, "POST", "/api/v1/jobs", `[{"kind":"probe"},{"kind":"mail","delay":"1h"}]`, key); string(again.body) != string(first.body) {
		t.Errorf("again: %s, first %s", again.body, first.body)
	}
	r.want(422, "POST", "/api/v1/jobs", `{"kind":"probe"}`, key)
	jobs := read[[]published](r, first)
	r.work()
	got := r.want(200, "GET", "/api/v1/jobs?state=FINISHED", "")
	r.conforms("Page", got)
	if list := read[listed](r, got); len(list.Jobs) != 1 || list.Jobs[0].ID != jobs[0].ID {
		t.Errorf("finished: %s", got.body)
	}
	later := jobs[1].ID
	r.conforms("Job", r.want(200, "PATCH", job(later), `{"tags":["x"]}`))
	r.conforms("Explanation", r.want(200, "GET", job(later, "/why"), ""))
	r.conforms("Logs", r.want(200, "GET", job(jobs[0].ID, "/logs"), ""))
	if state := read[jobstore.Job](r, r.want(200, "POST", job(later, "/cancel"), "")).State; state != jobstore.Cancelled {
		t.Errorf("cancelled: %s", state)
	}
	r.conforms("Job", r.want(200, "POST", job(later, "/retry"), ""))
	if got := r.want(200, "GET", job(jobs[0].ID, "/events"), ""); !strings.Contains(string(got.body), `"state":"FINISHED"`) {
		t.Errorf("events: %s", got.body)
	}
	r.want(204, "DELETE", job(later), "")
	for path, schema := range map[string]string{"stats": "Stats", "queues": "Queues", "consumers": "Consumers", "kinds": "Kinds"} {
		r.conforms(schema, r.want(200, "GET", "/api/v1/"+path, ""))
	}
}
