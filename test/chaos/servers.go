package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/internal/testenv"
)

// servers are a private database server and a private broker, which stages may break.
type servers struct {
	tb     *fixtures
	pg     *testenv.PostgresServer
	rabbit *testenv.RabbitServer
}

func startServers(ctx context.Context, name string) (*servers, error) {
	s := &servers{tb: newFixtures(ctx, name)}
	err := guarded(func() error {
		s.pg = testenv.NewPostgres(s.tb)
		s.rabbit = testenv.NewRabbitMQ(s.tb)
		return nil
	})
	if err != nil {
		s.tb.close()
		return nil, err
	}
	return s, nil
}

// versions are those of the two servers.
func (s *servers) versions(ctx context.Context) string {
	version := "PostgreSQL ?"
	if conn, err := pgx.Connect(ctx, s.pg.URL("postgres")); err == nil {
		_ = conn.QueryRow(ctx, "SELECT 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1)").Scan(&version)
		_ = conn.Close(ctx)
	}
	if conn, err := amqp.Dial(s.rabbit.URL()); err == nil {
		version += fmt.Sprintf(", RabbitMQ %v", conn.Properties["version"])
		_ = conn.Close()
	}
	return version
}

// through is the URL of a server by way of a proxy.
func through(raw, addr string) string {
	u, err := url.Parse(raw)
	ensure(err)
	u.Host = addr
	return u.String()
}

// hostOf is the address in a URL.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	ensure(err)
	return u.Host
}

// until polls ok until it holds. It returns false when patience was not enough.
func until(ctx context.Context, patience time.Duration, ok func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ok()
		}
	}
	return true
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// short is a name as PostgreSQL takes it for a database.
func short(name string) string { return strings.ToLower(strings.ReplaceAll(name, " ", "_")) }
