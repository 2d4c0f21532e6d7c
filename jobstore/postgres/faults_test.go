package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

func job() jobstore.NewJob {
	return jobstore.NewJob{Kind: "k", Queue: "default", Priority: 10, MaxAttempts: 25}
}

// A password is never part of an error, however the address is wrong.
func TestNoPasswordInErrors(t *testing.T) {
	t.Parallel()
	const secret = "S3CR3T-CANARY"
	for _, address := range []string{
		"postgres://u:" + secret + "@127.0.0.1:1/db",
		"postgres://u:" + secret + "@host:notaport/db",
		"postgres://u:" + secret + "%zz@host/db",
		"postgres://u:" + secret + "@[::1/db",
		"postgres://u:" + secret + "@host/db?sslmode=odd",
		"postgres://u:" + secret + "@host/db?pool_max_conns=x&connect_timeout=x",
		"host=127.0.0.1 port=x password=" + secret,
		"host=127.0.0.1 port=1 password='" + secret + "' user=u",
		"mysql://u:" + secret + "@host/db",
		secret,
	} {
		s, err := postgres.Open(t.Context(), address, postgres.Config{})
		if err == nil {
			s.Close()
			t.Errorf("%s was opened", address)
			continue
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), secret) {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

// After the server was killed and is back, the same store goes on; what was committed is there.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	server := testenv.NewPostgres(t)
	s := open(t, server.CreateDatabase(t), postgres.Config{})
	migrate(t, s)
	var wg sync.WaitGroup
	var mu sync.Mutex
	committed := 0
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := s.Insert(t.Context(), []jobstore.NewJob{job()})
				if err == nil {
					mu.Lock()
					committed += len(got)
					mu.Unlock()
				}
			}
		})
	}
	for range 2 {
		server.Kill()
		server.Start()
		before := func() int { mu.Lock(); defer mu.Unlock(); return committed }()
		for {
			if n := func() int { mu.Lock(); defer mu.Unlock(); return committed }(); n > before+20 {
				break
			}
			if _, err := s.Look(t.Context()); err != nil && t.Context().Err() != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	wg.Wait()
	st, err := s.Stats(t.Context())
	if err != nil || st.Total[jobstore.Ready] < int64(committed) {
		t.Errorf("%d jobs were committed, %d are there, %v", committed, st.Total[jobstore.Ready], err)
	}
}

// A server that has become read-only, as after a failover to a standby, is an error that the
// caller sees, and the next call uses new connections.
func TestReadOnlyServer(t *testing.T) {
	t.Parallel()
	server := testenv.NewPostgres(t)
	s := open(t, server.CreateDatabase(t), postgres.Config{})
	migrate(t, s)
	server.Conf("default_transaction_read_only", "on")
	server.Restart()
	for {
		_, err := s.Insert(t.Context(), []jobstore.NewJob{job()})
		if err != nil && strings.Contains(err.Error(), "25006") {
			break
		}
		if t.Context().Err() != nil {
			t.Fatalf("insert into a read-only server: %v", err)
		}
	}
	server.Conf("default_transaction_read_only", "off")
	server.Restart()
	for {
		if _, err := s.Insert(t.Context(), []jobstore.NewJob{job()}); err == nil {
			break
		} else if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

// An ended context ends a call that waits for a connection, and the store goes on.
func TestCancelledCalls(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	s := open(t, dsn, postgres.Config{MaxConns: 1})
	migrate(t, s)
	err := s.InTx(t.Context(), func(ctx context.Context, _ jobstore.Tx) error {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err := s.Look(ended)
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a call without a free connection: %v", err)
	}
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		_, _ = s.Look(ctx) // whatever comes of it
	}
	if _, err := s.Look(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestForeignTransaction(t *testing.T) {
	t.Parallel()
	if _, err := postgres.From(jobstore.Tx{Handle: 5}); !errors.Is(err, jobstore.ErrInvalid) {
		t.Errorf("a transaction of something else: %v", err)
	}
	if _, err := postgres.From(jobstore.Tx{}); !errors.Is(err, jobstore.ErrInvalid) {
		t.Errorf("no transaction: %v", err)
	}
}

// Behind a pooler without a direct address there is nothing to listen to, and Listen says so.
func TestListenBehindPooler(t *testing.T) {
	t.Parallel()
	s := open(t, testenv.NewPgBouncer(t, testenv.Postgres(t)), postgres.Config{})
	if err := s.Listen(t.Context(), func() {}); err == nil || !strings.Contains(err.Error(), "DirectURL") {
		t.Errorf("listen: %v", err)
	}
}

// Data that can never be stored is ErrInvalid, so that nobody tries again.
func TestBadData(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	for name, change := range map[string]func(*jobstore.NewJob){
		"NUL in args":      func(j *jobstore.NewJob) { j.Args = []byte(`{"a": "\u0000"}`) },
		"NUL in kind":      func(j *jobstore.NewJob) { j.Kind = "a\x00b" },
		"bad UTF-8":        func(j *jobstore.NewJob) { j.Identifier = "\xff\xfe" },
		"deep args":        func(j *jobstore.NewJob) { j.Args = []byte(strings.Repeat("[", 100_000)) },
		"huge number":      func(j *jobstore.NewJob) { j.Args = []byte(`1e999999`) },
		"no kind":          func(j *jobstore.NewJob) { j.Kind = "" },
		"no queue":         func(j *jobstore.NewJob) { j.Queue = "" },
		"long group":       func(j *jobstore.NewJob) { j.SerialGroup = strings.Repeat("x", 256) },
		"priority":         func(j *jobstore.NewJob) { j.Priority = 1000 },
		"negative":         func(j *jobstore.NewJob) { j.Priority = -1 },
		"huge priority":    func(j *jobstore.NewJob) { j.Priority = 1 << 40 },
		"unique, no key":   func(j *jobstore.NewJob) { j.Mode = jobstore.Unique },
		"recurring, never": func(j *jobstore.NewJob) { j.Mode, j.Identifier = jobstore.Recurring, "x" },
		"coalesce alone":   func(j *jobstore.NewJob) { j.Coalesce = new(int64) },
		"unknown mode":     func(j *jobstore.NewJob) { j.Mode = "odd" },
		"bad metadata":     func(j *jobstore.NewJob) { j.Metadata = []byte("{") },
	} {
		j := job()
		change(&j)
		if _, err := s.Insert(t.Context(), []jobstore.NewJob{j}); !errors.Is(err, jobstore.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if got, err := s.Insert(t.Context(), []jobstore.NewJob{job()}); err != nil || len(got) != 1 {
		t.Errorf("after all that: %v, %v", got, err)
	}
}
