package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/warrenq/warren/internal/testenv"
)

// servers are the private servers that contenders share. Those of one contender stand still while another's turn is.
type servers struct {
	tb       *fixtures
	pg       *testenv.PostgresServer
	rabbit   *testenv.RabbitServer
	redis    string // its address, "" when there is none
	versions string
	settings string
}

// postgresSettings are what a small server of today would have. Nothing here gives up durability.
func postgresSettings() [][2]string {
	return [][2]string{
		{"shared_buffers", "1GB"},
		{"max_wal_size", "8GB"},
		{"checkpoint_timeout", "15min"},
		{"fsync", "on"},
		{"synchronous_commit", "on"},
		{"full_page_writes", "on"},
	}
}

func startServers(ctx context.Context, withRedis bool) (*servers, error) {
	s := &servers{tb: &fixtures{ctx: ctx}}
	err := guarded(func() {
		s.pg = testenv.NewPostgres(s.tb)
		var list []string
		for _, kv := range postgresSettings() {
			s.pg.Conf(kv[0], kv[1])
			list = append(list, kv[0]+" = "+kv[1])
		}
		s.pg.Restart()
		s.rabbit = testenv.NewRabbitMQ(s.tb)
		s.settings = "PostgreSQL: " + strings.Join(list, ", ") + ". RabbitMQ: one scheduler, classic queues, persistent messages, confirms."
	})
	if err == nil && withRedis {
		err = s.startRedis(ctx)
	}
	if err == nil {
		err = s.ask(ctx)
	}
	if err != nil {
		s.tb.close()
		return nil, fmt.Errorf("start the servers: %w", err)
	}
	return s, nil
}

// startRedis starts a server that syncs every write, as PostgreSQL does.
func (s *servers) startRedis(ctx context.Context) error {
	return guarded(func() {
		program := testenv.Program(s.tb, "redis-server", "redis-server")
		addr := testenv.Addr(s.tb)
		dir, err := os.MkdirTemp("", "warren-bench-redis-")
		if err != nil {
			s.tb.Fatal(err)
		}
		s.tb.Cleanup(func() { _ = os.RemoveAll(dir) })
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			s.tb.Fatal(err)
		}
		cmd := exec.CommandContext(context.WithoutCancel(ctx), program, //nolint:gosec // the program that was just installed
			"--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", "always")
		// The kernel ends it with the thread that started it, so that thread must last.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		started, ended := make(chan error), make(chan struct{})
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			started <- cmd.Start()
			_ = cmd.Wait() // it was told to end, or did not start
			close(ended)
		}()
		if err := <-started; err != nil {
			s.tb.Fatal(err)
		}
		s.tb.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
			<-ended
		})
		if err := within(ctx, 20*time.Second, "wait for Redis", func(ctx context.Context) error {
			return until(ctx, func() (bool, error) {
				var d net.Dialer
				conn, err := d.DialContext(ctx, "tcp", addr)
				if err != nil {
					return false, nil //nolint:nilerr // it does not listen yet
				}
				return true, conn.Close()
			})
		}); err != nil {
			s.tb.Fatal(err)
		}
		s.redis = addr
		s.settings += " Redis: appendonly yes, appendfsync always."
	})
}

// ask finds out the servers' versions.
func (s *servers) ask(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.pg.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing is lost with it
	var version string
	if err := conn.QueryRow(ctx, "SELECT split_part(current_setting('server_version'), ' ', 1)").Scan(&version); err != nil {
		return err
	}
	link, err := amqp.Dial(s.rabbit.URL())
	if err != nil {
		return err
	}
	s.versions = fmt.Sprintf("PostgreSQL %s, RabbitMQ %v", version, link.Properties["version"])
	if s.redis != "" {
		s.versions += ", Redis"
	}
	return link.Close()
}

// until polls ok until it holds or ctx ends.
func until(ctx context.Context, ok func() (bool, error)) error {
	t := time.NewTicker(3 * time.Millisecond)
	defer t.Stop()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
