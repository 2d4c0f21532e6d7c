package cli_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/internal/cli"
	"github.com/warrenq/warren/internal/testenv"
)

// With a broker the bench's hints go through queues of its own, which are gone afterwards; queues that are there are
// somebody's.
func TestBenchWithABroker(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	dsn := testenv.Postgres(t)
	p = p.with("DATABASE_URL="+dsn, "AMQP_URL="+testenv.RabbitMQ(t))
	var m map[string]any
	if err := json.Unmarshal([]byte(p.must(cli.Warren, "bench", "--jobs", "300", "-o", "json")), &m); err != nil {
		t.Fatal(err)
	}
	if m["broker"] != true || m["jobs"] != 300.0 {
		t.Errorf("measured %v", m)
	}
	made := p.must(cli.Warren, "topology", "apply", "--queue-prefix", "warren-bench", "-o", "json")
	if !strings.Contains(made, `"made"`) || strings.Contains(made, `"exists"`) {
		t.Errorf("the bench has left something in the broker:\n%s", made)
	}
	_, problems, code := p.run(t.Context(), cli.Warren, "bench", "--jobs", "10")
	if code != 4 || !strings.Contains(problems, "warren-bench.unroutable is in the broker already") {
		t.Errorf("exit code %d, want 4: %s", code, problems)
	}
}

// A bench that is broken off removes what it has made, too.
func TestBenchBrokenOff(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	p := newPerson(t).with("DATABASE_URL="+dsn, "AMQP_URL=none")
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	there := func() (n int) {
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_namespace WHERE nspname = 'warren_bench'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	ctx, breakOff := context.WithTimeout(t.Context(), time.Minute)
	defer breakOff()
	ended := make(chan int, 1)
	go func() {
		_, _, code := p.run(ctx, cli.Warren, "bench", "--jobs", "10000000")
		ended <- code
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for there() == 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the bench did not begin")
		}
	}
	breakOff()
	if code := <-ended; code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if there() != 0 {
		t.Error("the schema is left")
	}
}
