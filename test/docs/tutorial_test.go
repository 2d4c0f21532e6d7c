package docs

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/testenv"
)

const tutorial = "../../docs/tutorial.md"

// What the tutorial shows is what its program has.
func TestTutorialShowsTheProgram(t *testing.T) {
	t.Parallel()
	program := read(t, "../../examples/tutorial/*.go")
	shown := 0
	for _, b := range blocks(t, tutorial) {
		if b.lang != "go" {
			continue
		}
		shown++
		if !strings.Contains(program, b.text) {
			t.Errorf("below %q: no file of examples/tutorial has\n%s", b.heading, b.text)
		}
	}
	if shown < 6 {
		t.Errorf("%d Go blocks, want at least one a step", shown)
	}
	for _, said := range []string{"http://127.0.0.1:8000", "sqlite:orders.db"} {
		if page := one(t, blocks(t, tutorial), "4. Run it", "console"); !strings.Contains(page, said) {
			t.Errorf("the page does not say %s", said)
		}
		if !strings.Contains(program, `"`+strings.TrimPrefix(said, "http://")+`"`) {
			t.Errorf("%s is not the program's default", said)
		}
	}
}

// The program of the tutorial does what its page says, with a file and with servers.
func TestTutorialRuns(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	run(t, "../..", nil, "go", "build", "-o", bin, "./examples/tutorial", "./cmd/warren")
	for name, addresses := range map[string]func(t *testing.T) []string{
		"SQLite": func(t *testing.T) []string {
			t.Helper()
			return []string{"DATABASE_URL=sqlite:orders.db", "AMQP_URL="} // as the page says, and as by default
		},
		"PostgreSQL": func(t *testing.T) []string {
			t.Helper()
			return []string{"DATABASE_URL=" + testenv.Postgres(t), "AMQP_URL="}
		},
		"PostgreSQL and RabbitMQ": func(t *testing.T) []string {
			t.Helper()
			return []string{"DATABASE_URL=" + testenv.Postgres(t), "AMQP_URL=" + testenv.RabbitMQ(t)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, env := t.TempDir(), addresses(t)
			shop := startShop(t, dir, append(env, "LISTEN=127.0.0.1:0"), filepath.Join(bin, "tutorial"))
			page := one(t, blocks(t, tutorial), "4. Run it", "console")
			for _, order := range regexp.MustCompile(`-d '([^']+)'`).FindAllStringSubmatch(page, -1) {
				shop.post(t, order[1])
			}
			shop.await(t, dir, env, filepath.Join(bin, "warren"), ended(t, page))
			if said := shop.stop(t); !strings.Contains(said, "mail to ada@example.com: ") {
				t.Errorf("it sent no mail:\n%s", said)
			}
		})
	}
}

// ended returns what the page's table says of each job: its number, kind, state and error.
func ended(t *testing.T, page string) (rows []*regexp.Regexp) {
	t.Helper()
	_, table, found := strings.Cut(page, "ERROR\n")
	table, _, end := strings.Cut(table, "\n$ ")
	if !found || !end {
		t.Fatalf("no table in\n%s", page)
	}
	row := regexp.MustCompile(`^(\d+) .* (order-placed) +([A-Z_]+) +1/25 +[0-9-]+ [0-9:]+ *(.*)$`)
	for line := range strings.Lines(table) {
		cells := row.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if cells == nil {
			t.Fatalf("cannot read the row %q", line)
		}
		for i := range cells {
			cells[i] = regexp.QuoteMeta(cells[i])
		}
		rows = append(rows, regexp.MustCompile(`(?m)^`+strings.Join(cells[1:4], ` .*\b`)+` .*`+cells[4]))
	}
	if len(rows) != 2 {
		t.Fatalf("%d rows in\n%s", len(rows), page)
	}
	return rows
}

// shop is the tutorial's program while it runs.
type shop struct {
	cmd    *exec.Cmd
	url    string
	said   strings.Builder // what it has logged, once done is closed
	done   chan struct{}
	client http.Client
}

// startShop starts the program and returns when it listens.
func startShop(t *testing.T, dir string, env []string, program string) *shop {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	s := &shop{cmd: exec.CommandContext(ctx, program), done: make(chan struct{}), client: http.Client{Timeout: time.Minute}}
	s.cmd.Dir, s.cmd.Env = dir, append(os.Environ(), env...)
	out, err := s.cmd.StderrPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	listening := make(chan string, 1)
	go func() {
		defer close(s.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.said.WriteString(lines.Text() + "\n")
			if _, url, found := strings.Cut(lines.Text(), "listening on "); found {
				listening <- url
			}
		}
	}()
	t.Cleanup(func() {
		cancel() // which kills it, when the test has ended too early to stop it
		<-s.done
		_ = s.cmd.Wait()
	})
	select {
	case s.url = <-listening:
	case <-s.done:
		t.Fatalf("it does not listen:\n%s", s.said.String())
	}
	return s
}

// post places an order.
func (s *shop) post(t *testing.T, order string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/orders", strings.NewReader(order))
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusCreated {
		t.Fatalf("%s: %s %s %v", order, response.Status, answer, err)
	}
}

// await looks at the jobs until they are as the page says.
func (s *shop) await(t *testing.T, dir string, env []string, warren string, rows []*regexp.Regexp) {
	t.Helper()
	limit := time.After(patience)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		table := run(t, dir, env, warren, "jobs", "list")
		found := 0
		for _, row := range rows {
			if row.MatchString(table) {
				found++
			}
		}
		if found == len(rows) {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("the jobs did not come to what the page says:\n%s\nwant %s", table, rows)
		}
	}
}

// stop asks the program to end and returns what it has said.
func (s *shop) stop(t *testing.T) string {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-s.done
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, s.said.String())
	}
	return s.said.String()
}
