package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/config"
)

// unit is a unit file: its values by section and name.
type unit map[string]map[string][]string

func readUnit(t *testing.T, file string) unit {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("systemd", file))
	if err != nil {
		t.Fatal(err)
	}
	u, section := unit{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
			u[section] = map[string][]string{}
		default:
			name, value, ok := strings.Cut(line, "=")
			if !ok || section == "" {
				t.Fatalf("%s: %q", file, line)
			}
			u[section][name] = append(u[section][name], value)
		}
	}
	return u
}

func (u unit) service(t *testing.T, name string) string {
	t.Helper()
	values := u["Service"][name]
	if len(values) != 1 {
		t.Fatalf("%d values of %s in [Service]", len(values), name)
	}
	return values[0]
}

// The consumer's unit, as systemd would run it: READY, the watchdog, STOPPING, exit 0; it is killed
// later than it has drained.
func TestConsumerUnit(t *testing.T) {
	t.Parallel()
	u := readUnit(t, "warren-consumer@.service")
	if kind := u.service(t, "Type"); kind != "notify" {
		t.Errorf("Type=%s, but the program says when it is ready", kind)
	}
	// %I would make 10/20 of the instance 10-20.
	words := strings.Fields(strings.ReplaceAll(u.service(t, "ExecStart"), "%i", "10-20"))
	if strings.Contains(strings.Join(words, " "), "%") {
		t.Errorf("what is left of %v", words)
	}
	drain, err := config.ParseDuration(after(t, words, "--drain-timeout"))
	if err != nil {
		t.Fatal(err)
	}
	stop, err := time.ParseDuration(u.service(t, "TimeoutStopSec") + "s")
	if err != nil || stop <= drain {
		t.Errorf("killed after %s (%v), within the drain of %s", stop, err, drain)
	}
	watchdog, err := time.ParseDuration(u.service(t, "WatchdogSec") + "s")
	if err != nil || watchdog < 10*time.Second {
		t.Errorf("WatchdogSec: %s (%v)", watchdog, err)
	}
	p := newPlace(t)
	socket := filepath.Join(p.dir, "notify")
	conn := systemdSocket(t, socket)
	heard := func() string {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 100)
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		return string(buffer[:n])
	}
	p.env = append(p.env, "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC="+u.service(t, "WatchdogSec")+"000000")
	s := p.start(t, words)
	for _, want := range []string{"READY=1", "WATCHDOG=1"} {
		if got := heard(); got != want {
			t.Errorf("systemd heard %q, want %q", got, want)
		}
	}
	s.says(t, `"priorities":\[10,20\]`)
	s.stop(t)
	if got := heard(); got != "STOPPING=1" {
		t.Errorf("systemd heard %q at the end", got)
	}
}

func TestMigrateUnit(t *testing.T) {
	t.Parallel()
	u := readUnit(t, "warren-migrate.service")
	if kind := u.service(t, "Type"); kind != "oneshot" {
		t.Errorf("Type=%s", kind)
	}
	p := newPlace(t)
	p.run(t, strings.Fields(u.service(t, "ExecStart"))...)
	awaitNumber(t, connect(t, p.dsn), 0, "SELECT count(*) FROM warren.jobs")
}

// The pages that units name are among those that warren man writes.
func TestUnitsNamePages(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.run(t, installed+"warren", "man", "--dir", "man1")
	for _, file := range []string{"warren-consumer@.service", "warren-migrate.service"} {
		pages := regexp.MustCompile(`man:([a-z-]+)\((\d)\)`).FindAllStringSubmatch(strings.Join(readUnit(t, file)["Unit"]["Documentation"], " "), -1)
		if len(pages) == 0 {
			t.Errorf("%s names no page", file)
		}
		for _, page := range pages {
			if _, err := os.Stat(filepath.Join(p.dir, "man1", page[1]+"."+page[2])); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// systemd itself has nothing to say about the units, where it is installed.
func TestUnitsVerify(t *testing.T) {
	t.Parallel()
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not installed: only the other tests look at the units")
		return
	}
	dir := t.TempDir()
	files, err := filepath.Glob("systemd/*")
	if err != nil || len(files) != 2 {
		t.Fatalf("units: %v (%v)", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, strings.Replace(filepath.Base(file), "@", "@10-20", 1))
		if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(text), installed, bin+"/")), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), verify, "verify", "--man=no", "--recursive-errors=no", name).CombinedOutput()
		var ours []string
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, filepath.Base(name)) || strings.Contains(line, dir) {
				ours = append(ours, line)
			}
		}
		if len(ours) > 0 {
			t.Errorf("%s (%v):\n%s", file, err, strings.Join(ours, ""))
		}
	}
}

// instructions are the Dockerfile's lines, continued ones joined.
func instructions(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		if line = strings.Join(strings.Fields(line), " "); line != "" && line[0] != '#' {
			all = append(all, line)
		}
	}
	return all
}

// What the Dockerfile copies is there, what it builds is what there is to build, and nothing runs
// as root.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	all := instructions(t)
	text := strings.Join(all, "\n")
	programs, err := filepath.Glob("../cmd/*/main.go")
	if err != nil {
		t.Fatal(err)
	}
	var copied, built []string
	for _, line := range all {
		words := strings.Fields(line)
		switch {
		case words[0] == "COPY" && words[1] == "--from=build":
			copied = words[2 : len(words)-1]
			if to := words[len(words)-1]; to != installed {
				t.Errorf("the programs go to %s; the units and docker-compose.yml say %s", to, installed)
			}
		case words[0] == "COPY":
			for _, from := range words[1 : len(words)-1] {
				if _, err := os.Stat(filepath.Join("..", from)); err != nil {
					t.Errorf("%s: %v", line, err)
				}
			}
		case words[0] == "RUN" && strings.Contains(line, "go build"):
			built = regexp.MustCompile(`\./cmd/\S+`).FindAllString(line, -1)
			if !strings.Contains(line, "CGO_ENABLED=0") || !strings.Contains(line, "-o /out/") {
				t.Errorf("%s: not static, or not to /out/", line)
			}
		}
	}
	for _, main := range programs {
		name := filepath.Base(filepath.Dir(main))
		if !slices.Contains(built, "./cmd/"+name) || !slices.Contains(copied, "/out/"+name) {
			t.Errorf("%s is not in the image: built %v, copied %v", name, built, copied)
		}
	}
	if len(copied) != len(programs) {
		t.Errorf("copied %v, of %v", copied, programs)
	}
	for _, want := range []string{"USER nonroot:nonroot", `ENTRYPOINT ["/usr/local/bin/consumer"]`, "STOPSIGNAL SIGTERM", "WORKDIR /etc/warren"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	module, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(module))[1]
	if !strings.Contains(text, "FROM golang:"+version+"-") {
		t.Errorf("the image is not built with Go %s, which go.mod asks for", version)
	}
}
