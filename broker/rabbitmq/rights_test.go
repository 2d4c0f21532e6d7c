package rabbitmq_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/rabbitmq"
	"github.com/warrenq/warren/internal/testenv"
)

// observed is a log that a test can read.
func observed() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	return zap.New(core), logs
}

// withRights is a URL for a new user of the same vhost with the given rights.
func withRights(tb testing.TB, rawURL, configure, write, read string) string {
	tb.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		tb.Fatal(err)
	}
	vhost := strings.TrimPrefix(u.Path, "/")
	name := fmt.Sprintf("rights-%d", time.Now().UnixNano())
	testenv.RabbitCtl(tb, "add_user", name, "secret")
	tb.Cleanup(func() { testenv.RabbitCtl(tb, "delete_user", name) })
	testenv.RabbitCtl(tb, "set_permissions", "-p", vhost, name, configure, write, read)
	u.User = url.UserPassword(name, "secret")
	return u.String()
}

// applyTopology makes what a program without the right to configure expects.
func applyTopology(tb testing.TB, rawURL string, bands ...broker.Band) {
	tb.Helper()
	ch := raw(tb, rawURL)
	l := rabbitmq.Topology("warren", rabbitmq.Classic, bands)
	for _, e := range l.Exchanges {
		if err := ch.ExchangeDeclare(e.Name, e.Kind, true, false, false, false, e.Args); err != nil {
			tb.Fatal(err)
		}
	}
	for _, q := range l.Queues {
		if _, err := ch.QueueDeclare(q.Name, true, false, false, false, q.Args); err != nil {
			tb.Fatal(err)
		}
		if err := ch.QueueBind(q.Name, q.Name, q.Exchange, false, nil); err != nil {
			tb.Fatal(err)
		}
	}
}
