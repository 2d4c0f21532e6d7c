// Package e2e runs the shipped programs as processes, against real servers that are killed, frozen
// and wiped, and checks what a user was promised.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/internal/testenv"
)

// patience is how long a test waits for what must happen. Recovery goals are checked with their own
// figures where the protocol names one.
const patience = 120 * time.Second

// bin is where the programs are.
var bin string //nolint:gochecknoglobals // built once for the package by TestMain

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "warren-e2e-")
	if err != nil {
		panic(err)
	}
	args := []string{"build", "-o", dir}
	if raceEnabled {
		args = append(args, "-race", "-gcflags=modernc.org/...=-race=false") // as the Makefile says
	}
	build := exec.CommandContext(context.Background(), "go", append(args, "../../cmd/producer", "../../cmd/consumer", "../../cmd/warren")...)
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build the programs: %v\n%s", err, out))
	}
	bin = dir
	testenv.AtExit(func() { _ = os.RemoveAll(dir) })
	testenv.Main(m)
}

// world is one installation: its database, its broker, its configuration.
type world struct {
	dir  string
	env  []string
	dsn  string
	conn *pgx.Conn
}

// kinds is the configuration of every test: the probe under several names.
const kinds = `
priorities: [10, 20, 30, 40, 50]
kinds:
  probe: {probe: {}}
  quick: {probe: {}, backoff: [200ms], max_attempts: 3}
  once: {probe: {}, max_attempts: 1}
  media: {probe: {}, queue: media, priority: 30}
`

func newWorld(t *testing.T, dsn, amqp string) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), dsn: dsn}
	if err := os.WriteFile(filepath.Join(w.dir, "warren.yaml"), []byte(kinds), 0o600); err != nil {
		t.Fatal(err)
	}
	w.env = []string{"DATABASE_URL=" + dsn, "AMQP_URL=" + amqp, "PATH=" + os.Getenv("PATH"), "HOME=" + w.dir}
	return w
}

// sql runs a statement on a connection of the test's own and returns the first column of the
// first row as text. A connection that broke, because the test restarted the server, is made anew.
func (w *world) sql(t *testing.T, query string, args ...any) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		out, err := w.trySQL(ctx, t, query, args...)
		if err == nil {
			return out
		}
		if w.conn != nil && !w.conn.IsClosed() {
			t.Fatalf("%s: %v", query, err)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s: %v", query, err)
		}
	}
}

func (w *world) trySQL(ctx context.Context, t *testing.T, query string, args ...any) (string, error) {
	t.Helper()
	if w.conn == nil || w.conn.IsClosed() {
		conn, err := pgx.Connect(ctx, w.dsn)
		if err != nil {
			return "", err
		}
		w.conn = conn
		t.Cleanup(func() { _ = conn.Close(context.Background()) }) //nolint:contextcheck // the test's has ended by then
	}
	rows, err := w.conn.Query(ctx, query, args...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	out := ""
	if rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return "", err
		}
		if len(values) > 0 && values[0] != nil {
			out = fmt.Sprint(values[0])
		}
	}
	rows.Close()
	return out, rows.Err()
}

// result is what a finished command said.
type result struct {
	code           int
	stdout, stderr string
}

// command prepares one of the programs.
func (w *world) command(program string, args ...string) *exec.Cmd {
	// Not the test's context: a cleanup still needs to stop what it has started.
	cmd := exec.CommandContext(context.Background(), filepath.Join(bin, program), args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	return cmd
}

// run runs a program to its end.
func (w *world) run(t *testing.T, program string, args ...string) result {
	t.Helper()
	return w.runIn(t, "", program, args...)
}

func (w *world) runIn(t *testing.T, stdin, program string, args ...string) result {
	t.Helper()
	cmd := w.command(program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must runs a program that has to succeed, and returns what it printed.
func (w *world) must(t *testing.T, program string, args ...string) string {
	t.Helper()
	r := w.run(t, program, args...)
	if r.code != 0 {
		t.Fatalf("%s %s: exit %d\n%s", program, strings.Join(args, " "), r.code, r.stderr)
	}
	return strings.TrimSpace(r.stdout)
}

// daemon is a program that runs until it is stopped.
type daemon struct {
	cmd  *exec.Cmd
	log  *lockedBuffer
	done chan struct{}
}

// start starts `consumer run`.
func (w *world) start(t *testing.T, args ...string) *daemon {
	t.Helper()
	return w.daemon(t, "consumer", append([]string{"run"}, args...)...)
}

// daemon starts a program.
func (w *world) daemon(t *testing.T, program string, args ...string) *daemon {
	t.Helper()
	d := &daemon{cmd: w.command(program, args...), log: &lockedBuffer{}, done: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	// A test that dies takes its children along.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = d.cmd.Wait(); close(d.done) }()
	t.Cleanup(func() {
		_ = d.cmd.Process.Signal(syscall.SIGCONT)
		_ = d.cmd.Process.Kill()
		<-d.done
		if t.Failed() {
			t.Logf("%s %s said:\n%s", program, strings.Join(args, " "), d.log.tail(8000))
		}
	})
	return d
}

func (d *daemon) pid() int { return d.cmd.Process.Pid }

func (d *daemon) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// exit waits for the program's end and returns its exit code.
func (d *daemon) exit(t *testing.T) int {
	t.Helper()
	select {
	case <-d.done:
		return d.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatal("the program did not exit")
		return 0
	}
}

// await polls until ok holds and returns how long that took.
func await(t *testing.T, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(began) > patience {
			t.Fatalf("waited %s for: %s", patience, what)
		}
		<-tick.C
	}
	return time.Since(began)
}

func (w *world) count(t *testing.T, where string) string {
	t.Helper()
	return w.sql(t, "SELECT count(*) FROM warren.jobs WHERE "+where)
}

func (w *world) awaitCount(t *testing.T, want int, where string) time.Duration {
	t.Helper()
	return await(t, fmt.Sprintf("%d jobs with %s", want, where), func() bool { return w.count(t, where) == strconv.Itoa(want) })
}
