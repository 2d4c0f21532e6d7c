package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// The environment variables that name servers which somebody else started for the tests.
const (
	EnvDatabaseURL   = "WARREN_TEST_DATABASE_URL"        // a superuser's DSN
	EnvAMQPURL       = "WARREN_TEST_AMQP_URL"            // an administrator's AMQP URL
	EnvManagementURL = "WARREN_TEST_AMQP_MANAGEMENT_URL" // http://user:password@host:port
	EnvRabbitCtl     = "WARREN_TEST_RABBITMQCTL"         // the words of a command line
)

// servers are the servers that a process shares among its tests, each started when first asked for.
type servers struct {
	mu       sync.Mutex
	postgres *postgresCore
	rabbit   *rabbitCore
	// A server that did not start once does not start for the next test either; asking again would
	// only multiply the wait.
	postgresErr, rabbitErr error
}

var shared servers //nolint:gochecknoglobals // one of each per test process is the purpose

// Main runs a package's tests, stops the shared servers, checks that no goroutine is left, and
// exits. It is the whole body of a TestMain; options go to goleak.
func Main(m *testing.M, options ...goleak.Option) {
	goleak.VerifyTestMain(stopAfter{m}, options...)
}

//nolint:gochecknoglobals // what a TestMain leaves to be done when its tests have ended
var atExit []func()

// AtExit has Main call f when the tests have ended. It is for TestMain.
func AtExit(f func()) { atExit = append(atExit, f) }

// Run is Main for a TestMain that goes on afterwards: it returns the exit code, and does not look
// for goroutines that are left.
func Run(m *testing.M) int { return stopAfter{m}.Run() }

// stopAfter is a test run that ends with stopping the shared servers.
type stopAfter struct{ m *testing.M }

func (s stopAfter) Run() int {
	code := s.m.Run()
	for _, f := range atExit {
		f()
	}
	if err := shared.stop(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "testenv: stop the shared servers:", err)
		return max(code, 1)
	}
	return code
}

// StartShared starts the shared servers that the environment does not name already, for a program
// that runs tests in other processes. It returns the environment variables that have the tests use
// them. Stop must be called in any case.
func StartShared(ctx context.Context, progress io.Writer) (env []string, stop func() error, err error) {
	stop = shared.stop
	if os.Getenv(EnvDatabaseURL) == "" {
		_, _ = fmt.Fprintln(progress, "testenv: starting PostgreSQL")
		dsn, err := shared.databaseURL(ctx)
		if err != nil {
			return nil, stop, err
		}
		env = append(env, EnvDatabaseURL+"="+dsn)
	}
	if os.Getenv(EnvAMQPURL) == "" {
		_, _ = fmt.Fprintln(progress, "testenv: starting RabbitMQ")
		access, err := shared.broker(ctx)
		if err != nil {
			return nil, stop, err
		}
		env = append(env, EnvAMQPURL+"="+access.amqpURL, EnvManagementURL+"="+access.managementURL, EnvRabbitCtl+"="+access.ctl)
	}
	_, _ = fmt.Fprintln(progress, "testenv: servers are ready")
	return env, stop, nil
}

// databaseURL is the superuser's DSN of the shared PostgreSQL.
func (s *servers) databaseURL(ctx context.Context) (string, error) {
	if given := os.Getenv(EnvDatabaseURL); given != "" {
		return given, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.postgres == nil && s.postgresErr == nil {
		s.postgres, s.postgresErr = startPostgres(ctx, map[string]string{"fsync": "off", "full_page_writes": "off"})
	}
	if s.postgresErr != nil {
		return "", s.postgresErr
	}
	return s.postgres.url(postgresUser), nil
}

// access is how tests reach a broker. Without a managementURL there is only the amqpURL.
type access struct{ amqpURL, managementURL, ctl string }

// broker is the shared RabbitMQ.
func (s *servers) broker(ctx context.Context) (access, error) {
	if given := os.Getenv(EnvAMQPURL); given != "" {
		return access{amqpURL: given, managementURL: os.Getenv(EnvManagementURL), ctl: os.Getenv(EnvRabbitCtl)}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rabbit == nil && s.rabbitErr == nil {
		s.rabbit, s.rabbitErr = startRabbit(ctx)
	}
	if s.rabbitErr != nil {
		return access{}, s.rabbitErr
	}
	return s.rabbit.access(), nil
}

// stop ends what was started and removes its data.
func (s *servers) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	if s.postgres != nil {
		errs = append(errs, s.postgres.discard(context.Background()))
		s.postgres = nil
	}
	if s.rabbit != nil {
		errs = append(errs, s.rabbit.discard(context.Background()))
		s.rabbit = nil
	}
	return errors.Join(errs...)
}

// needServers skips a test of a -short run, and fails it where a skip would hide something.
func needServers(tb testing.TB, kind string) {
	tb.Helper()
	if !testing.Short() {
		return
	}
	if os.Getenv("CI") == "true" {
		tb.Fatalf("needs %s, and -short leaves that out: in CI a skipped test is a failure; run without -short", kind)
	}
	tb.Skipf("needs %s: left out by -short", kind)
}
