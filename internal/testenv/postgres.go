package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// postgresUser is the operating system's user that the packages make for PostgreSQL, which refuses
// to run as root, and the name of the superuser inside.
const postgresUser = "postgres"

// PostgresServer is a PostgreSQL server of one test. Its methods fail the test when they cannot do
// what they say; they return only when it is done.
type PostgresServer struct {
	tb   testing.TB
	core *postgresCore
}

// NewPostgres starts a PostgreSQL server that keeps what it confirms (fsync is on), and stops it
// at the test's end.
func NewPostgres(tb testing.TB) *PostgresServer {
	tb.Helper()
	needServers(tb, "PostgreSQL")
	core, err := startPostgres(tb.Context(), map[string]string{"fsync": "on"})
	if err != nil {
		tb.Fatalf("start a PostgreSQL server: %v", err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the end of PostgreSQL's log:\n%s", tail(core.logFile()))
		}
		if err := core.discard(context.Background()); err != nil {
			tb.Errorf("stop PostgreSQL: %v", err)
		}
	})
	return &PostgresServer{tb: tb, core: core}
}

// URL is the address of a database of this server, for the superuser.
func (s *PostgresServer) URL(db string) string { return s.core.url(db) }

// Addr is where the server listens, as net.Dial takes it.
func (s *PostgresServer) Addr() string { return s.core.port.addr() }

// LogFile is the path of the server's log.
func (s *PostgresServer) LogFile() string { return s.core.logFile() }

// CreateDatabase makes an empty database and returns its URL. It goes with the server.
func (s *PostgresServer) CreateDatabase(tb testing.TB) string {
	tb.Helper()
	name := uniqueName(tb)
	if err := createDatabase(tb.Context(), s.URL(postgresUser), name); err != nil {
		tb.Fatal(err)
	}
	return s.URL(name)
}

// Kill ends the server as a crash of the machine would: SIGKILL to every process of it.
func (s *PostgresServer) Kill() { s.must("kill PostgreSQL", (*postgresCore).kill) }

// Start starts a server that was killed or stopped, on its old address with its old data, and
// returns when it takes connections.
func (s *PostgresServer) Start() { s.must("start PostgreSQL", (*postgresCore).start) }

// Stop ends the server in order: connections are closed, data is written.
func (s *PostgresServer) Stop() { s.must("stop PostgreSQL", (*postgresCore).stop) }

// Restart is Stop and Start.
func (s *PostgresServer) Restart() {
	s.tb.Helper()
	s.Stop()
	s.Start()
}

// Freeze stops every process of the server without ending it: connections stay open and silent.
func (s *PostgresServer) Freeze() { s.must("freeze PostgreSQL", (*postgresCore).freeze) }

// Thaw undoes Freeze.
func (s *PostgresServer) Thaw() { s.must("thaw PostgreSQL", (*postgresCore).thaw) }

// Conf changes a setting. New connections see it; a setting that PostgreSQL reads only at its
// start needs a Restart. On a server that is down it counts from the next Start.
func (s *PostgresServer) Conf(key, value string) {
	s.tb.Helper()
	s.must(fmt.Sprintf("set %s = %s", key, value), func(p *postgresCore, ctx context.Context) error {
		return p.configure(ctx, key, value)
	})
}

// must runs one step within the package's patience and fails the test if it does not work.
func (s *PostgresServer) must(what string, step func(*postgresCore, context.Context) error) {
	s.tb.Helper()
	// Cleanups stop and thaw servers too, and by then the test's own context has ended.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := step(s.core, ctx); err != nil {
		s.tb.Fatalf("%s: %v", what, err)
	}
}

// postgresCore is a server without a test: it returns errors. Not for concurrent use.
type postgresCore struct {
	bin    string // the directory of initdb and postgres
	home   *dir
	port   *port
	as     *syscall.Credential // whom the server runs as; nil is this process's user
	proc   *process
	frozen []status // the children that freeze stopped
}

// startPostgres makes a cluster and starts it.
func startPostgres(ctx context.Context, settings map[string]string) (*postgresCore, error) {
	bin, err := postgresBinaries(ctx) // may install packages, which has a patience of its own
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	as, err := serverUser()
	if err != nil {
		return nil, err
	}
	p := &postgresCore{bin: bin, as: as}
	if p.home, err = newDir("postgres"); err != nil {
		return nil, err
	}
	if err := p.initialize(ctx, settings); err != nil {
		return nil, errors.Join(err, p.discard(ctx))
	}
	if err := p.start(ctx); err != nil {
		return nil, errors.Join(err, p.discard(ctx))
	}
	return p, nil
}

// serverUser is whom PostgreSQL and pgbouncer run as: they refuse root.
func serverUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nobody else is a valid answer
	}
	u, err := user.Lookup(postgresUser)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL refuses to run as root, and there is no other user for it "+
			"(install the package postgresql, or run the tests as another user): %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s has the id %q: %w", postgresUser, u.Uid, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("user %s has the group %q: %w", postgresUser, u.Gid, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// own makes a path belong to the user the servers run as.
func own(path string, as *syscall.Credential) error {
	if as == nil {
		return nil
	}
	return os.Chown(path, int(as.Uid), int(as.Gid))
}

// initialize makes the cluster: initdb and the settings.
func (p *postgresCore) initialize(ctx context.Context, settings map[string]string) error {
	var err error
	if p.port, err = reservePort(); err != nil {
		return err
	}
	if err := os.Mkdir(p.data(), 0o700); err != nil {
		return err
	}
	if err := own(p.data(), p.as); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, "initdb"), "-D", p.data(), "-U", postgresUser,
		"--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
	cmd.Dir, cmd.Env = "/", cleanEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	for _, s := range []struct{ key, value string }{
		{"listen_addresses", "127.0.0.1"},
		{"port", strconv.Itoa(p.port.number)},
		{"unix_socket_directories", ""},
		{"shared_preload_libraries", "pg_stat_statements"},
		{"max_connections", "200"},
		{"log_line_prefix", "%m [%p] %q%a %d: "},
		// A killed server that is never started again would leave POSIX segments in /dev/shm.
		{"dynamic_shared_memory_type", "mmap"},
	} {
		if err := p.appendSetting(s.key, s.value); err != nil {
			return err
		}
	}
	for key, value := range settings {
		if err := p.appendSetting(key, value); err != nil {
			return err
		}
	}
	return nil
}

func (p *postgresCore) data() string    { return p.home.join("data") }
func (p *postgresCore) logFile() string { return p.home.join("log") }

func (p *postgresCore) url(db string) string {
	u := url.URL{
		Scheme: "postgres", User: url.User(postgresUser), Host: p.port.addr(), Path: "/" + db,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// start runs the server and waits until it takes connections.
func (p *postgresCore) start(ctx context.Context) error {
	if p.proc.alive() {
		return fmt.Errorf("%s is running already", p.proc.label())
	}
	log, err := os.OpenFile(p.logFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // a log to be read
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the child has its own descriptor
	cmd := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(p.bin, "postgres"), "-D", p.data())
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", cleanEnv(), log, log
	if p.proc, err = startProcess(ctx, p.home, "postgres", cmd, p.as); err != nil {
		return err
	}
	if err := poll(ctx, p.proc.done, p.ping); err != nil {
		return fmt.Errorf("wait for %s to take connections: %w\nthe end of its log:\n%s", p.proc.label(), err, tail(p.logFile()))
	}
	return nil
}

// ping connects once.
func (p *postgresCore) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return withConn(ctx, p.url(postgresUser), func(conn *pgx.Conn) error { return conn.Ping(ctx) })
}

// kill ends the postmaster first, so that it does not restart anything, and then its children:
// those in the middle of a statement would otherwise go on to its end, and a new server refuses
// to start beside them.
func (p *postgresCore) kill(ctx context.Context) error {
	if !p.proc.alive() {
		return fmt.Errorf("%s is not running", p.proc.label())
	}
	if err := p.proc.freeze(ctx); err != nil { // no new children from here on
		return err
	}
	children, err := childrenOf(p.proc.pid)
	if err != nil {
		return err
	}
	if err := p.proc.kill(ctx); err != nil {
		return err
	}
	p.frozen = nil
	return poll(ctx, nil, func(context.Context) error {
		for _, child := range children {
			if child.running() {
				_ = syscall.Kill(child.pid, syscall.SIGKILL) // an error means it has just ended
				return fmt.Errorf("process %d of PostgreSQL still runs", child.pid)
			}
		}
		return nil
	})
}

// stop is PostgreSQL's fast shutdown.
func (p *postgresCore) stop(ctx context.Context) error {
	if !p.proc.alive() {
		return fmt.Errorf("%s is not running", p.proc.label())
	}
	return p.proc.end(ctx, syscall.SIGINT)
}

// freeze stops the postmaster first, so that no child is missed.
func (p *postgresCore) freeze(ctx context.Context) error {
	if err := p.proc.freeze(ctx); err != nil {
		return err
	}
	children, err := childrenOf(p.proc.pid)
	if err != nil {
		return err
	}
	p.frozen = children
	for _, child := range children {
		_ = syscall.Kill(child.pid, syscall.SIGSTOP) // an error means it has just ended
	}
	return poll(ctx, p.proc.done, func(context.Context) error {
		for _, child := range children {
			if !child.running() {
				continue
			}
			if err := standsStill(child.pid); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *postgresCore) thaw(context.Context) error {
	for _, child := range p.frozen {
		if child.running() {
			_ = syscall.Kill(child.pid, syscall.SIGCONT) // an error means it has just ended
		}
	}
	p.frozen = nil
	return p.proc.signal(syscall.SIGCONT)
}

// configure writes a setting and has a running server read it.
func (p *postgresCore) configure(ctx context.Context, key, value string) error {
	if !p.proc.alive() {
		return p.appendSetting(key, value)
	}
	return withConn(ctx, p.url(postgresUser), func(conn *pgx.Conn) error {
		loaded := func() (at time.Time, err error) {
			err = conn.QueryRow(ctx, "SELECT pg_conf_load_time()").Scan(&at)
			return at, err
		}
		before, err := loaded()
		if err != nil {
			return err
		}
		if err := errors.Join(p.appendSetting(key, value), p.proc.signal(syscall.SIGHUP)); err != nil {
			return err
		}
		return poll(ctx, p.proc.done, func(context.Context) error {
			if now, err := loaded(); err != nil || !now.After(before) {
				return errors.Join(errors.New("PostgreSQL has not read its settings yet"), err)
			}
			return nil
		})
	})
}

// appendSetting adds a line; the last of a key counts.
func (p *postgresCore) appendSetting(key, value string) error {
	f, err := os.OpenFile(filepath.Join(p.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s = '%s'\n", key, strings.ReplaceAll(value, "'", "''"))
	return errors.Join(err, f.Close())
}

// discard ends the server by the shortest way that leaves nothing behind, and removes its data, even
// when ctx has ended.
func (p *postgresCore) discard(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	var errs []error
	if p.proc.alive() {
		_ = p.thaw(ctx)                                       // a frozen one would not hear
		errs = append(errs, p.proc.end(ctx, syscall.SIGQUIT)) // immediate: no checkpoint
	}
	releaseSharedMemory(p.data())
	p.port.release()
	return errors.Join(append(errs, p.home.remove())...)
}

// cleanEnv is what a server needs of the environment, and nothing that would change how it acts.
func cleanEnv(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}, more...)
}

// tail is the end of a log file, for error messages.
func tail(path string) string {
	const length = 4000
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close() //nolint:errcheck // only read
	if info, err := f.Stat(); err == nil && info.Size() > length {
		_, _ = f.Seek(-length, io.SeekEnd) // without it the log is shown whole
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
