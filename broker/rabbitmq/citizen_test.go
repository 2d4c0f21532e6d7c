package rabbitmq_test

import (
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/testenv"
)

// Whoever looks at a message in the management UI sees what it is and who sent it.
func TestMessagesExplainThemselves(t *testing.T) {
	t.Parallel()
	url := testenv.RabbitMQ(t)
	b := start(t, rabbitmq.Config{URL: url})
	publishEventually(t, b, hint(20, 1, 22, 333))
	m, ok, err := raw(t, url).Get("warren.q.p020", true)
	if err != nil || !ok {
		t.Fatalf("get: %t, %v", ok, err)
	}
	if m.ContentType != "text/plain" || m.Type != "warren.hint" || m.AppId != "warren" || m.DeliveryMode != amqp.Persistent || m.MessageId == "" {
		t.Errorf("properties: %+v", m)
	}
	if string(m.Body) != "1 22 333" || m.Exchange != "warren.jobs" || m.RoutingKey != "warren.q.p020" || len(m.Headers) != 0 {
		t.Errorf("message: %q by %s %s, headers %v", m.Body, m.Exchange, m.RoutingKey, m.Headers)
	}
	if age := time.Since(m.Timestamp); m.Timestamp.IsZero() || age > time.Hour {
		t.Errorf("timestamp %s", m.Timestamp)
	}
}
