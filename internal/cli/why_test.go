package cli_test

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/internal/cli"
	"github.com/warrenq/warren/internal/testenv"
)

// With a broker a free slot is not enough: a message has to be there, too.
func TestWhyAsksTheBroker(t *testing.T) {
	t.Parallel()
	dsn, address := testenv.Postgres(t), testenv.RabbitMQ(t)
	p := person{t: t, config: newPerson(t).config}.with("DATABASE_URL="+dsn, "AMQP_URL="+address)
	id := strings.TrimSpace(p.must(cli.Producer, "publish", "probe"))
	p.sql(dsn,
		"INSERT INTO warren.leaders VALUES ('sweep', 'h:1', 1, now() + interval '1 h')",
		`INSERT INTO warren.consumers (host, pid, kinds, queues, priorities, slots, expires_at)
			VALUES ('h', 1, '{probe}', '{default}', '{10,20}', 2, now() + interval '1 h')`,
		"ALTER TABLE warren.jobs DISABLE TRIGGER USER",
		"UPDATE warren.jobs SET announce_at = NULL, created_at = now() - interval '1 min', available_at = now() - interval '1 min'",
	)
	why := func() (verdict string, gates []string) {
		var got struct {
			Verdict string
			Gates   []struct{ Gate string }
		}
		if err := json.Unmarshal([]byte(p.must(cli.Warren, "why", id, "-o", "json")), &got); err != nil {
			t.Fatal(err)
		}
		for _, g := range got.Gates {
			gates = append(gates, g.Gate)
		}
		return got.Verdict, gates
	}
	if verdict, gates := why(); verdict != "runnable" || len(gates) != 0 {
		t.Errorf("with its message in the queue: %s %v", verdict, gates)
	}
	conn, err := amqp.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := ch.QueuePurge("warren.default.p010", false); err != nil || n != 1 {
		t.Fatalf("purged %d, %v", n, err)
	}
	if verdict, gates := why(); verdict != "blocked" || strings.Join(gates, " ") != "hint_lost" {
		t.Errorf("without it: %s %v", verdict, gates)
	}
}

// A watch says what has changed, once each, until the job has ended: it is the last thing said.
func TestWhyWatches(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{"postgres and rabbitmq": testenv.RabbitMQ(t), "postgres only": "none"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := testenv.Postgres(t)
			p := person{t: t, config: newPerson(t).config}.with("DATABASE_URL="+dsn, "AMQP_URL="+address)
			id := strings.TrimSpace(p.must(cli.Producer, "publish", "probe", "--delay", "1h"))
			said := make(spoken, 100)
			done := make(chan int, 1)
			go func() { done <- p.types(t.Context(), said, io.Discard, cli.Warren, "why", id, "--watch") }()
			if first := said.next(t); !strings.Contains(first, " is SCHEDULED: blocked\n") || !strings.Contains(first, "not_due") {
				t.Errorf("first %q", first)
			}
			said.quiet(t, 3*time.Second) // the time until it is due has changed, and the answer has not
			p.sql(dsn, "INSERT INTO warren.paused_queues (queue) VALUES ('default')")
			if second := said.next(t); !strings.Contains(second, "paused") {
				t.Errorf("then %q", second)
			}
			p.sql(dsn, "UPDATE warren.jobs SET state = 'CANCELLED' WHERE id = "+id)
			if last := said.next(t); !strings.Contains(last, " is CANCELLED: final\n") {
				t.Errorf("last %q", last)
			}
			if code := <-done; code != 0 || len(said) != 0 {
				t.Errorf("exit code %d, %d answers more", code, len(said))
			}
		})
	}
}

// A signal ends a watch, and that is no error; a job that goes away is one.
func TestWhyStopsWatching(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	id := strings.TrimSpace(p.must(cli.Producer, "publish", "probe", "--delay", "1h"))
	said := make(spoken, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() { done <- p.types(ctx, said, io.Discard, cli.Warren, "why", id, "-w") }()
	said.next(t)
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit code %d after a signal", code)
	}
	go func() { done <- p.types(t.Context(), said, io.Discard, cli.Warren, "why", id, "--watch") }()
	said.next(t)
	p.must(cli.Warren, "jobs", "delete", id)
	if code := <-done; code != 3 {
		t.Errorf("exit code %d after the job was deleted", code)
	}
	if _, problems, code := p.run(t.Context(), cli.Warren, "why", id, "--watch", "-o", "json"); code != 2 || !strings.Contains(problems, "jsonl") {
		t.Errorf("exit code %d, %s", code, problems)
	}
}

// spoken is a terminal that hands over what is written to it, one write at a time.
type spoken chan string

func (s spoken) Write(b []byte) (int, error) { s <- string(b); return len(b), nil }

func (s spoken) next(t *testing.T) string {
	t.Helper()
	select {
	case text := <-s:
		return text
	case <-time.After(time.Minute):
		t.Fatal("nothing was said for a minute")
		return ""
	}
}

// quiet fails the test when something is said for a while.
func (s spoken) quiet(t *testing.T, while time.Duration) {
	t.Helper()
	select {
	case text := <-s:
		t.Errorf("said once more: %q", text)
	case <-time.After(while):
	}
}
