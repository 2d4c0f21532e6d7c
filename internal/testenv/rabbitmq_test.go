package testenv_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/internal/testenv"
)

func dial(t *testing.T, address string) (*amqp.Connection, *amqp.Channel) {
	t.Helper()
	conn, err := amqp.DialConfig(address, amqp.Config{Dial: amqp.DefaultDial(patience)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseDeadline(time.Now().Add(time.Second)) })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return conn, ch
}

func declare(t *testing.T, ch *amqp.Channel, queue string, passive bool) (amqp.Queue, error) {
	t.Helper()
	if passive {
		return ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	}
	return ch.QueueDeclare(queue, true, false, false, false, nil)
}

// put sends a durable message and waits until the broker has it.
func put(t *testing.T, ch *amqp.Channel, queue string) {
	t.Helper()
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	confirmed, err := ch.PublishWithDeferredConfirmWithContext(wait(t), "", queue, true, false,
		amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("1")})
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := confirmed.WaitContext(wait(t)); err != nil || !ok {
		t.Fatalf("confirmed: %v, %v", ok, err)
	}
}

func TestRabbitMQGivesEachTestItsOwnVhost(t *testing.T) {
	t.Parallel()
	first, second := testenv.RabbitMQ(t), testenv.RabbitMQ(t)
	_, a := dial(t, first)
	_, b := dial(t, second)
	if _, err := declare(t, a, "mine", false); err != nil {
		t.Fatal(err)
	}
	if _, err := declare(t, b, "mine", true); err == nil {
		t.Error("one test's queue shows in another's vhost")
	}
	u, err := url.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	if out := testenv.RabbitCtl(t, "list_queues", "-q", "-p", strings.TrimPrefix(u.Path, "/")); !strings.Contains(out, "mine") {
		t.Errorf("rabbitmqctl does not list the queue:\n%s", out)
	}
	if out := testenv.RabbitCtl(t, "list_users", "-q"); !strings.Contains(out, u.User.Username()+"\t[management]") {
		t.Errorf("the vhost's user has no management tag:\n%s", out)
	}
}

func TestRabbitServerFaults(t *testing.T) {
	t.Parallel()
	server := testenv.NewRabbitMQ(t)
	conn, ch := dial(t, server.URL())
	if _, err := declare(t, ch, "kept", false); err != nil {
		t.Fatal(err)
	}
	put(t, ch, "kept")

	ended := conn.NotifyClose(make(chan *amqp.Error, 1))
	server.Kill()
	select {
	case reason := <-ended:
		t.Logf("the connection ended: %v", reason)
	case <-wait(t).Done():
		t.Fatal("a connection survived the kill of its server")
	}
	server.Start()
	_, ch = dial(t, server.URL())
	if q, err := declare(t, ch, "kept", true); err != nil || q.Messages != 1 {
		t.Errorf("after kill and start: %d messages, %v; want 1", q.Messages, err)
	}

	server.Wipe()
	_, ch = dial(t, server.URL())
	if _, err := declare(t, ch, "kept", true); err == nil {
		t.Error("a queue survived the wipe")
	}
	if out := server.Ctl("status", "--formatter", "json"); !strings.Contains(out, "rabbitmq_management") {
		t.Errorf("the management plugin is not on:\n%s", out)
	}
}

func TestRabbitServerFreezesAndRestarts(t *testing.T) {
	t.Parallel()
	server := testenv.NewRabbitMQ(t)
	_, ch := dial(t, server.URL())
	if _, err := declare(t, ch, "q", false); err != nil {
		t.Fatal(err)
	}
	server.Freeze()
	answered := make(chan error, 1)
	go func() {
		_, err := ch.QueueDeclarePassive("q", true, false, false, false, nil)
		answered <- err
	}()
	quiet := time.NewTimer(300 * time.Millisecond)
	defer quiet.Stop()
	select {
	case err := <-answered:
		t.Fatalf("a frozen server answered (%v)", err)
	case <-quiet.C:
	}
	server.Thaw()
	select {
	case err := <-answered:
		if err != nil {
			t.Errorf("after the thaw: %v", err)
		}
	case <-wait(t).Done():
		t.Error("no answer after the thaw")
	}
	server.Restart()
	_, ch = dial(t, server.URL())
	if _, err := declare(t, ch, "q", true); err != nil {
		t.Errorf("a durable queue is gone after a restart: %v", err)
	}
}
