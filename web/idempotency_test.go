package web_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/web"
)

// The same request publishes once: through two servers, and after a restart.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	one, two := serveOn(t, dsn), serveOn(t, dsn)
	const body = `[{"kind":"probe"},{"kind":"mail","delay":"1h"}]`
	const key = "Idempotency-Key: order 17"
	first := one.want(201, "POST", "/api/v1/jobs", body, key)
	for _, r := range []*rig{one, two} {
		if again := r.want(201, "POST", "/api/v1/jobs", body, key); string(again.body) != string(first.body) {
			t.Errorf("again: %s, first %s", again.body, first.body)
		}
	}
	one.stop()
	<-one.done
	three := serveOn(t, dsn)
	if again := three.want(201, "POST", "/api/v1/jobs", body, key); string(again.body) != string(first.body) {
		t.Errorf("after a restart: %s, first %s", again.body, first.body)
	}
	p := read[web.Problem](three, three.want(422, "POST", "/api/v1/jobs", `{"kind":"probe"}`, key))
	if p.Field != "Idempotency-Key" || !strings.Contains(p.Detail, "another request") {
		t.Errorf("another body: %+v", p)
	}
	if n := three.count(); n != 2 {
		t.Errorf("%d jobs were published, want 2", n)
	}
	other := three.want(201, "POST", "/api/v1/jobs", body, "Idempotency-Key: order 18")
	if string(other.body) == string(first.body) || three.count() != 4 {
		t.Errorf("another key: %s", other.body)
	}
	single := three.want(201, "POST", "/api/v1/jobs", `{"kind":"probe"}`, "Idempotency-Key: one")
	again := three.want(201, "POST", "/api/v1/jobs", `{"kind":"probe"}`, "Idempotency-Key: one")
	if string(single.body) != string(again.body) || single.Header.Get("Location") != again.Header.Get("Location") {
		t.Errorf("one job: %s, then %s", single.body, again.body)
	}
}

// Requests that race with one key over two servers publish once, and all get the same answer.
func TestIdempotencyRace(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	servers := []*rig{serveOn(t, dsn), serveOn(t, dsn)}
	answers := make([]string, 8)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			got := servers[i%2].ask("POST", "/api/v1/jobs", `{"kind":"probe"}`, "Idempotency-Key: k")
			answers[i] = got.Status + " " + string(got.body)
		})
	}
	wg.Wait()
	for i, got := range answers {
		if !strings.HasPrefix(got, "201") || got != answers[0] {
			t.Errorf("answer %d: %s, the first one: %s", i, got, answers[0])
		}
	}
	if n := servers[0].count(); n != 1 {
		t.Errorf("%d jobs were published", n)
	}
}

// What was refused leaves its key free; a key that is none is refused.
func TestIdempotencyMistakes(t *testing.T) {
	t.Parallel()
	r := serve(t)
	r.want(422, "POST", "/api/v1/jobs", `{"kind":"probe","priority":7}`, "Idempotency-Key: k")
	r.want(201, "POST", "/api/v1/jobs", `{"kind":"probe","priority":10}`, "Idempotency-Key: k")
	for _, key := range []string{"", strings.Repeat("k", 256), "ü"} {
		p := read[web.Problem](r, r.want(422, "POST", "/api/v1/jobs", `{"kind":"probe"}`, "Idempotency-Key: "+key))
		if p.Field != "Idempotency-Key" {
			t.Errorf("key %.10q: %+v", key, p)
		}
	}
	r.want(201, "POST", "/api/v1/jobs", `{"kind":"probe"}`, "Idempotency-Key: "+strings.Repeat("k", 255))
	if n := r.count(); n != 2 {
		t.Errorf("%d jobs were published, want 2", n)
	}
}
