package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// poolSize is how many connections pgbouncer keeps to one database: few enough that any state left
// in a session meets another client at once.
const poolSize = 4

// NewPgBouncer starts a pooler in transaction mode before the database of upstream, a DSN, and
// returns the DSN of the same database through it. It is as strict as pgbouncer comes: startup
// options are refused, statements cannot be prepared for a session. Only a database that was away is
// tried again after one second instead of 15. It is stopped at the test's end.
func NewPgBouncer(tb testing.TB, upstream string) string {
	tb.Helper()
	needServers(tb, "pgbouncer")
	pooler, dsn, err := startPooler(tb.Context(), upstream)
	if err != nil {
		tb.Fatalf("start pgbouncer: %v", err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the end of pgbouncer's log:\n%s", tail(pooler.home.join("log")))
		}
		if err := pooler.discard(context.Background()); err != nil {
			tb.Errorf("stop pgbouncer: %v", err)
		}
	})
	return dsn
}

// pooler is a running pgbouncer.
type pooler struct {
	home *dir
	port *port
	proc *process
}

func startPooler(ctx context.Context, upstream string) (*pooler, string, error) {
	target, err := pgx.ParseConfig(upstream)
	if err != nil {
		return nil, "", fmt.Errorf("the DSN to pool: %w", err)
	}
	bin, err := pgbouncerBinary(ctx) // may install packages, which has a patience of its own
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p := &pooler{}
	if p.home, err = newDir("pgbouncer"); err != nil {
		return nil, "", err
	}
	if err := p.start(ctx, bin, target); err != nil {
		return nil, "", errors.Join(err, p.discard(ctx))
	}
	dsn := fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", target.User, p.port.addr(), target.Database)
	err = poll(ctx, p.proc.done, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return execute(ctx, dsn+"&default_query_exec_mode=simple_protocol", "SELECT 1")
	})
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("wait for pgbouncer to take connections: %w\n%s", err, tail(p.home.join("log"))), p.discard(ctx))
	}
	return p, dsn, nil
}

// start writes the configuration and runs pgbouncer.
func (p *pooler) start(ctx context.Context, bin string, target *pgx.ConnConfig) error {
	as, err := serverUser()
	if err != nil {
		return err
	}
	if p.port, err = reservePort(); err != nil {
		return err
	}
	ini := fmt.Sprintf(`[databases]
* = host=%s port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
default_pool_size = %d
max_client_conn = 500
server_login_retry = 1
`, target.Host, target.Port, p.port.number, p.home.join("users"), poolSize)
	if err := errors.Join(
		p.home.write("pgbouncer.ini", ini, 0o600), own(p.home.join("pgbouncer.ini"), as),
		p.home.write("users", fmt.Sprintf("%q %q\n", target.User, target.Password), 0o600), own(p.home.join("users"), as),
	); err != nil {
		return err
	}
	log, err := os.OpenFile(p.home.join("log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor
	cmd := exec.CommandContext(context.WithoutCancel(ctx), bin, p.home.join("pgbouncer.ini"))
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", cleanEnv(), log, log
	p.proc, err = startProcess(ctx, p.home, "pgbouncer", cmd, as)
	return err
}

func (p *pooler) discard(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := p.proc.end(ctx, syscall.SIGTERM) // immediate shutdown
	p.port.release()
	return errors.Join(err, p.home.remove())
}
