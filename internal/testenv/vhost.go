package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"
)

// RabbitMQ returns the AMQP URL of a fresh vhost on the shared server, for a user of its own who
// may do everything there and use the management API for it. Both are deleted at the test's end.
//
// Where the environment names a server but no management API, the URL is returned as it was given.
func RabbitMQ(tb testing.TB) string {
	tb.Helper()
	needServers(tb, "RabbitMQ")
	broker, err := shared.broker(tb.Context())
	if err != nil {
		tb.Fatalf("a RabbitMQ server for tests: %v", err)
	}
	if broker.managementURL == "" {
		return broker.amqpURL
	}
	api, err := newManagement(broker.managementURL)
	if err != nil {
		tb.Fatal(err)
	}
	name := uniqueName(tb)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(
			api.call(ctx, http.MethodDelete, nil, "vhosts", name),
			api.call(ctx, http.MethodDelete, nil, "users", name),
		); err != nil {
			tb.Errorf("remove the test's vhost: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	if err := api.makeVhost(ctx, name); err != nil {
		tb.Fatalf("make a vhost for the test: %v", err)
	}
	address, err := vhostURL(broker.amqpURL, name, name, name)
	if err != nil {
		tb.Fatal(err)
	}
	return address
}

// RabbitCtl runs rabbitmqctl against the shared server and returns what it printed.
func RabbitCtl(tb testing.TB, args ...string) string {
	tb.Helper()
	needServers(tb, "RabbitMQ")
	broker, err := shared.broker(tb.Context())
	if err != nil {
		tb.Fatalf("a RabbitMQ server for tests: %v", err)
	}
	// Cleanups undo alarms and the like, and by then the test's own context has ended.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := runCtl(ctx, broker.ctl, args)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// management is RabbitMQ's HTTP API: a request takes milliseconds, a rabbitmqctl seconds.
type management struct {
	base   *url.URL
	client *http.Client
}

func newManagement(base string) (*management, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("the management API's address (%s): %w", EnvManagementURL, err)
	}
	// Connections are not kept: their goroutines would look like leaks of the test.
	return &management{base: u, client: &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second,
	}}, nil
}

// makeVhost makes a vhost, and a user of the same name and password with all rights in it.
func (m *management) makeVhost(ctx context.Context, name string) error {
	if err := m.call(ctx, http.MethodPut, nil, "vhosts", name); err != nil {
		return err
	}
	if err := m.call(ctx, http.MethodPut, map[string]string{"password": name, "tags": "management"}, "users", name); err != nil {
		return err
	}
	rights := map[string]string{"configure": ".*", "write": ".*", "read": ".*"}
	return m.call(ctx, http.MethodPut, rights, "permissions", name, name)
}

// call makes one request to /api/ELEMENTS and wants a status of the 200s.
func (m *management) call(ctx context.Context, method string, body any, elements ...string) error {
	target := m.base.JoinPath("api")
	for _, e := range elements {
		target = target.JoinPath(url.PathEscape(e))
	}
	password, _ := target.User.Password()
	name := target.User.Username()
	target.User = nil

	payload, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if body == nil {
		payload = nil
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(payload))
	if err != nil {
		return err
	}
	request.SetBasicAuth(name, password)
	request.Header.Set("Content-Type", "application/json")
	answer, err := m.client.Do(request)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, target, answer.Status, text)
	}
	return nil
}
