//go:build unix

package command_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/handlers"
	"github.com/warrenq/warren/handlers/command"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

const canary = "S3CR3T-CANARY-3"

func TestMain(m *testing.M) {
	if os.Getenv("COMMAND_TEST_CONSUMER") != "" {
		beAConsumer()
		return
	}
	goleak.VerifyTestMain(m)
}

// attempt is one run of a shell script as a job, and what it left behind.
type attempt struct {
	err    error
	output string
	log    *observer.ObservedLogs
}

func script(text string, args ...string) command.Config {
	return command.Config{Run: append([]string{"/bin/sh", "-c", text, "sh"}, args...), Grace: 200 * time.Millisecond}
}

func run(ctx context.Context, t *testing.T, c command.Config, job *jobstore.Job) attempt {
	t.Helper()
	h, err := command.New(c)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	scope := worker.NewScope(job, zap.New(core))
	err = h(worker.WithScope(ctx, scope), job)
	output, _ := scope.Kept()
	return attempt{err: err, output: string(output), log: logs}
}

func job() *jobstore.Job {
	return &jobstore.Job{
		ID: 42, Kind: "resize", Args: json.RawMessage(`{"file":"a'b\"$(id).png"}`), Attempts: 3, LeaseNo: 7,
		Queue: "media", Priority: 30, Identifier: "pic-1", Metadata: json.RawMessage(`{"by":"me"}`),
	}
}

func texts(logs *observer.ObservedLogs) []string {
	var list []string
	for _, e := range logs.All() {
		list = append(list, e.Message)
	}
	return list
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		script string
		want   error
	}{
		"done":                 {`echo all well >&2`, nil},
		"done, nothing read":   {`exec 0<&-; exit 0`, nil},
		"failed for good":      {`echo no such file >&2; exit 65`, warren.Permanent(errors.New("exit status 65: no such file"))},
		"waits":                {`echo server is away >&2; exit 69`, warren.Wait(time.Minute, errors.New("exit status 69: server is away"))},
		"failed for now":       {`echo busy >&2; exit 75`, errors.New("exit status 75: busy")},
		"failed":               {`exit 1`, errors.New("exit status 1")},
		"failed, silent lines": {`printf 'Traceback\n  line 1\nValueError: \033[31mbad\033[0m\n\n \n' >&2; exit 2`, errors.New("exit status 2: ValueError: [31mbad [0m")},
		"no line break":        {`printf last >&2; exit 3`, errors.New("exit status 3: last")},
		"killed by a signal":   {`kill -9 $$`, errors.New("signal: killed")},
		"terminates itself":    {`kill -TERM $$`, errors.New("signal: terminated")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := run(t.Context(), t, script(tc.script), job()).err
			if fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			if wait := (*worker.WaitError)(nil); errors.As(tc.want, &wait) != errors.As(got, &wait) {
				t.Errorf("got %T, want %T", got, tc.want)
			}
		})
	}
}

func TestWhatTheProgramGets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := script(`cat > doc; printf '%s|' "$#" "$1" "$WARREN_JOB_ID" "$WARREN_ATTEMPT" "$WARREN_LEASE" "$EXTRA" "$PWD" > env`, "$(touch pwned)")
	c.Dir, c.Env = dir, map[string]handlers.Secret{"EXTRA": "a b"}
	if got := run(t.Context(), t, c, job()); got.err != nil {
		t.Fatal(got.err)
	}
	want, err := handlers.Document(job())
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir, "doc"); got != string(want)+"\n" {
		t.Errorf("the program read %q, want %q and a line break", got, want)
	}
	if got, want := read(t, dir, "env"), "1|$(touch pwned)|42|3|7|a b|"+dir+"|"; got != want {
		t.Errorf("arguments and variables are %q, want %q", got, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "pwned")); err == nil {
		t.Error("an argument went through a shell")
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	b, err := root.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWarrensSecretsStayHere(t *testing.T) {
	for _, name := range []string{
		"DATABASE_URL", "AMQP_URL", "DATABASE_URL_FILE", "AMQP_URL_FILE", "WARREN_NOTIFY_WEBHOOK", "WARREN_ANYTHING",
		"PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE", "PGSSLKEY", "PGSSLPASSWORD", "PGUSER", "PGOPTIONS", "PGHOST",
	} {
		t.Setenv(name, canary)
	}
	t.Setenv("COMMAND_TEST_OTHER", "passed on")
	t.Setenv("COMMAND_TEST_BOTH", "from the consumer")
	c := script(`env`)
	c.Env = map[string]handlers.Secret{"COMMAND_TEST_BOTH": "from the configuration", "DATABASE_URL": "postgres://mine", "PGHOST": "mine"}
	got := run(t.Context(), t, c, job())
	if got.err != nil || strings.Contains(got.output, canary) {
		t.Errorf("the program sees %v %s", got.err, got.output)
	}
	for _, want := range []string{"COMMAND_TEST_OTHER=passed on", "COMMAND_TEST_BOTH=from the configuration", "DATABASE_URL=postgres://mine", "PGHOST=mine", "WARREN_JOB_ID=42"} {
		if !strings.Contains(got.output, want) {
			t.Errorf("the program does not see %s in %s", want, got.output)
		}
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ script, want string }{
		"nothing":         {`true`, ``},
		"blank":           {`echo; echo`, ``},
		"json":            {`echo '{"width": 10}'`, `{"width":10}`},
		"a number":        {`echo 12`, `12`},
		"text":            {`echo '<done> "well"'; echo twice`, `"\u003cdone\u003e \"well\"\ntwice"`},
		"two values":      {`echo 1; echo 2`, `"1\n2"`},
		"latin-1 and NUL": {`printf 'M\374ller\000'`, `"M` + "\ufffd" + `ller` + "\ufffd" + `"`},
		"failed":          {`echo '{"a":1}'; exit 1`, ``},
		"just fits":       {`head -c 65536 /dev/zero | tr '\0' x`, `"` + strings.Repeat("x", 65536) + `"`},
		"too much":        {`head -c 300000 /dev/zero | tr '\0' x`, `"` + strings.Repeat("x", 65536) + `"`},
		"json, too much":  {`echo '['; head -c 65534 /dev/zero | tr '\0' ' '; echo ']'`, `"["`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := run(t.Context(), t, script(tc.script), job()).output; got != tc.want {
				t.Errorf("kept %d bytes %.80q, want %d bytes %.80q", len(got), got, len(tc.want), tc.want)
			}
		})
	}
}

func TestStandardErrorIsTheLog(t *testing.T) {
	t.Parallel()
	got := run(t.Context(), t, script(`printf 'one\n\n two \033[0m\n' >&2; echo not this; printf three >&2`), job())
	if lines := strings.Join(texts(got.log), "|"); lines != "one|two [0m|three" {
		t.Errorf("logged %q", lines)
	}
	for _, e := range got.log.All() {
		if e.Level != zapcore.InfoLevel || e.ContextMap()["stream"] != "stderr" {
			t.Errorf("%q has the level %s and the fields %v", e.Message, e.Level, e.ContextMap())
		}
	}
}

func TestTheLogIsCapped(t *testing.T) {
	t.Parallel()
	got := run(t.Context(), t, script(`i=0; while [ $i -lt 3000 ]; do echo "line $i of a program that talks too much" >&2; i=$((i+1)); done; exit 4`), job())
	lines := texts(got.log)
	total := 0
	for _, l := range lines {
		total += len(l)
	}
	dropped := got.log.FilterField(zap.Int("dropped_lines", 3000-(len(lines)-1)))
	if total > 66<<10 || len(lines) < 1000 || dropped.Len() != 1 {
		t.Errorf("%d lines of %d bytes were logged, the last is %q", len(lines), total, lines[len(lines)-1])
	}
	if want := "exit status 4: line 2999 of a program that talks too much"; got.err == nil || got.err.Error() != want {
		t.Errorf("got %v, want the last line although it was not logged", got.err)
	}

	long := run(t.Context(), t, script(`head -c 300000 /dev/zero | tr '\0' x >&2; echo >&2; echo end >&2; head -c 3000 /dev/zero | tr '\0' y >&2; exit 4`), job())
	if l := texts(long.log); len(l) != 3 || len(l[0]) != 4096 || l[1] != "end" || len(long.err.Error()) > 1100 {
		t.Errorf("logged %d lines, error of %d bytes", len(l), len(long.err.Error()))
	}
}

// TestALargeDocumentThatNobodyReads must not block, nor fail the job.
func TestALargeDocumentThatNobodyReads(t *testing.T) {
	t.Parallel()
	j := job()
	j.Args = json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	if got := run(t.Context(), t, script(`exit 0`), j); got.err != nil {
		t.Errorf("got %v", got.err)
	}
	if got := run(t.Context(), t, script(`wc -c`), j); !regexp.MustCompile(`^10486\d\d$`).MatchString(got.output) {
		t.Errorf("the program read %s bytes (%v)", got.output, got.err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain.txt")
	if err := os.WriteFile(plain, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		config command.Config
		want   string
	}{
		"nothing":        {command.Config{}, `command: run names no program; want a list such as ["/usr/bin/python3", "resize.py"]`},
		"empty":          {command.Config{Run: []string{""}}, `run names no program`},
		"not in PATH":    {command.Config{Run: []string{"no-such-program-here"}}, `command: program "no-such-program-here" cannot be run here: executable file not found in $PATH; install it, or correct the first item of run`},
		"a command line": {command.Config{Run: []string{"curl -H " + canary}}, `command: program "curl" with what follows it (not shown: it may be a secret) cannot be run here: executable file not found in $PATH; make each argument an item of run`},
		"not there":      {command.Config{Run: []string{"/no/such/program"}}, `program "/no/such/program" cannot be run here: no such file or directory`},
		"not executable": {command.Config{Run: []string{plain}}, `cannot be run here: permission denied`},
		"a folder":       {command.Config{Run: []string{dir}}, `cannot be run here`},
		"not in Dir":     {command.Config{Run: []string{"./plain.sh"}, Dir: dir}, `program "./plain.sh" cannot be run here`},
		"NUL":            {command.Config{Run: []string{"sh", "a\x00"}}, `NUL in item 1 (not shown: it may be a secret)`},
		"grace":          {command.Config{Run: []string{"sh"}, Grace: -1}, `grace -1ns is negative; want 0 for 1.5s, or a duration such as 10s`},
		"env NAME=VALUE": {command.Config{Run: []string{"sh"}, Env: map[string]handlers.Secret{"A=" + canary: "x"}}, `env "A" has an = in its name; write it as NAME: VALUE`},
		"env NUL":        {command.Config{Run: []string{"sh"}, Env: map[string]handlers.Secret{"A": canary + "\x00"}}, `env "A" is not a variable`},
		"env of ours":    {command.Config{Run: []string{"sh"}, Env: map[string]handlers.Secret{"WARREN_JOB_ID": "1"}}, `env "WARREN_JOB_ID" begins with WARREN_`},
		"two complaints": {command.Config{Grace: -1}, "\ngrace"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := command.New(tc.config)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), canary) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// TestTheProgramIsFound by name, and relative to Dir; that it vanished later is for now only.
func TestTheProgramIsFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "here.sh")
	if err := os.WriteFile(file, []byte("#!/bin/sh\necho $0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := run(t.Context(), t, command.Config{Run: []string{"sh", "-c", "echo by name"}}, job()); got.output != `"by name"` {
		t.Errorf("got %s, %v", got.output, got.err)
	}
	c := command.Config{Run: []string{"./here.sh"}, Dir: dir}
	if got := run(t.Context(), t, c, job()); got.output != strconv.Quote(file) {
		t.Errorf("got %s, %v", got.output, got.err)
	}
	h, err := command.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := h(t.Context(), job()); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), `program "./here.sh" did not run: `) {
		t.Errorf("got %v", err)
	}
}
