// Package deploy_test checks what is in this folder, and docker-compose.yml, without Docker: it parses
// the files and starts the same commands as processes, against private servers.
package deploy_test

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/internal/testenv"
)

// patience is how long a test waits for what must happen.
const patience = 120 * time.Second

// bin has the programs, built as the Dockerfile builds them.
var bin string //nolint:gochecknoglobals // built once for the package by TestMain

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "warren-deploy-")
	if err != nil {
		panic(err)
	}
	build := exec.CommandContext(context.Background(), "go", "build", "-trimpath",
		"-ldflags", "-s -w -X github.com/warrenq/warren/internal/cli.version=v9.9.9", "-o", dir, "./cmd/producer", "./cmd/consumer", "./cmd/warren")
	build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build the programs: %v\n%s", err, out))
	}
	bin = dir
	testenv.AtExit(func() { _ = os.RemoveAll(dir) })
	testenv.Main(m)
}

// installed is where the image and the units have the programs.
const installed = "/usr/local/bin/"

// place is a host, or a container: a directory with deploy/warren.yaml, and the addresses of servers.
type place struct {
	dir, dsn string
	env      []string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{dir: t.TempDir(), dsn: testenv.Postgres(t)}
	text, err := os.ReadFile("warren.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "warren.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	p.env = []string{"DATABASE_URL=" + p.dsn, "AMQP_URL=" + testenv.RabbitMQ(t), "PATH=/nonexistent"}
	return p
}

// command prepares an installed program.
func (p *place) command(t *testing.T, words []string) *exec.Cmd {
	t.Helper()
	name, ok := strings.CutPrefix(words[0], installed)
	if !ok {
		t.Fatalf("%s is not in %s", words[0], installed)
	}
	// Not the test's context: a cleanup stops what runs.
	cmd := exec.CommandContext(context.Background(), filepath.Join(bin, name), words[1:]...)
	cmd.Dir, cmd.Env = p.dir, p.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run runs a program to its end, which must be a good one.
func (p *place) run(t *testing.T, words ...string) string {
	t.Helper()
	cmd := p.command(t, words)
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// service is a program that runs until it is stopped.
type service struct {
	cmd   *exec.Cmd
	words []string
	said  chan string // its lines, to whoever waits for one
	log   *bytes.Buffer
	mu    sync.Mutex
	done  chan struct{}
}

func (p *place) start(t *testing.T, words []string) *service {
	t.Helper()
	s := &service{cmd: p.command(t, words), words: words, said: make(chan string, 1000), log: &bytes.Buffer{}, done: make(chan struct{})}
	r, w := io.Pipe()
	s.cmd.Stdout, s.cmd.Stderr = w, w
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			s.mu.Lock()
			s.log.WriteString(lines.Text() + "\n")
			s.mu.Unlock()
			select {
			case s.said <- lines.Text():
			default:
			}
		}
	})
	go func() {
		_ = s.cmd.Wait() // its exit code is looked at by stop
		_ = w.Close()
		reading.Wait()
		close(s.done)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.done
		if t.Failed() {
			t.Logf("%s said:\n%s", strings.Join(words, " "), s.log)
		}
	})
	return s
}

// says waits for a line, and returns the first group of the pattern.
func (s *service) says(t *testing.T, pattern string) string {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case line := <-s.said:
			if found := regexp.MustCompile(pattern).FindStringSubmatch(line); found != nil {
				return found[len(found)-1]
			}
		case <-s.done:
			t.Fatalf("%s ended without a line like %s", strings.Join(s.words, " "), pattern)
		case <-late:
			t.Fatalf("%s said nothing like %s", strings.Join(s.words, " "), pattern)
		}
	}
}

// stop is what docker stop and systemctl stop do first.
func (s *service) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.done:
	case <-time.After(patience):
		t.Fatalf("%s did not end", strings.Join(s.words, " "))
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("%s: exit code %d after SIGTERM", strings.Join(s.words, " "), code)
	}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// awaitNumber polls until a query returns n.
func awaitNumber(t *testing.T, conn *pgx.Conn, n int, query string, args ...any) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		var got int
		if err := conn.QueryRow(t.Context(), query, args...).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got == n {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: %d, want %d", query, got, n)
		}
	}
}

// The programs are static: the image that they go into has no libraries.
func TestProgramsAreStatic(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"producer", "consumer", "warren"} {
		f, err := elf.Open(filepath.Join(bin, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("%s has a %s segment", name, p.Type)
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		out, err := exec.CommandContext(t.Context(), filepath.Join(bin, name), "--version").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "v9.9.9") {
			t.Errorf("%s --version: %s (%v): the Dockerfile's -X has no effect", name, out, err)
		}
	}
}

// systemdSocket is what NOTIFY_SOCKET names.
func systemdSocket(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
