package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

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
