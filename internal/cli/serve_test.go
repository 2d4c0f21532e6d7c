package cli_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/testenv"
)

var listening = regexp.MustCompile(`listening on (http://127\.0\.0\.1:[0-9]+)`)

// serveFor starts 'producer serve', waits for the line that says where it listens, and returns that
// with what else it says.
func serveFor(t *testing.T, env []string, args ...string) (url string, cmd *exec.Cmd, rest <-chan string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, "producer", append([]string{"serve", "--listen", "0"}, args...)...)
	cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), env...)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	found := listening.FindStringSubmatch(first)
	if err != nil || found == nil {
		t.Fatalf("the first line is %q, %v", first, err)
	}
	said := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(lines) // the program's end ends it
		said <- first + string(text)
	}()
	return found[1], cmd, said
}

func post(t *testing.T, url, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/api/v1/jobs", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// The program serves, takes no more when it is told to stop, finishes what it has begun, and exits 0.
func TestServe(t *testing.T) {
	t.Parallel()
	url, cmd, rest := serveFor(t, []string{"DATABASE_URL=" + withPassword(testenv.Postgres(t)), "AMQP_URL=none", "WARREN_LOG_FORMAT=json"})
	if status, answer := post(t, url, `{"kind":"probe"}`); status != 201 || !strings.Contains(answer, `"state":"READY"`) {
		t.Errorf("%d %s", status, answer)
	}
	for _, probe := range []string{"/livez", "/readyz"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+probe, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", probe, res.Status)
		}
	}

	// A request whose body is still on its way when the signal comes.
	body, more := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/api/v1/jobs", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Expect", "100-continue") // so that what can be written is being read
	answered := make(chan string, 1)
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			answered <- err.Error()
			return
		}
		_ = res.Body.Close()
		answered <- res.Status
	}()
	if _, err := io.WriteString(more, `{"kind":`); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	refused(t, strings.TrimPrefix(url, "http://"))
	if _, err := io.WriteString(more, `"probe"}`); err != nil {
		t.Fatal(err)
	}
	_ = more.Close() // a pipe's cannot fail
	if status := <-answered; status != "201 Created" {
		t.Errorf("the request under way: %s", status)
	}
	text := <-rest
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
	if strings.Contains(text, canary) {
		t.Errorf("the password is in %s", text)
	}
	for line := range strings.Lines(text) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON, as --log-format says: %s", line)
		}
	}
}

// refused returns once nobody listens at an address any more.
func refused(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil && ctx.Err() == nil {
			return
		}
		if err == nil {
			_ = conn.Close() // only its coming about mattered
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s still takes connections", addr)
		}
	}
}
