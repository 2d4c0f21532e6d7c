// Package docs runs what the documentation tells people to type: a page that has gone stale fails here.
package docs

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/internal/testenv"
)

// patience is how long a block may take; it builds programs on a machine that does other things too.
const patience = 10 * time.Minute

func TestMain(m *testing.M) { testenv.Main(m) }

const readme = "../../README.md"

// block is one fenced block of a page, and the heading above it.
type block struct{ heading, lang, text string }

func blocks(t *testing.T, page string) []block {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	var heading string
	var open *block
	for line := range strings.Lines(string(text)) {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && open == nil:
			open = &block{heading: heading, lang: fence}
		case isFence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
	}
	if open != nil {
		t.Fatalf("%s: the block below %q is not closed", page, open.heading)
	}
	return all
}

// one returns the only block of a language below a heading.
func one(t *testing.T, all []block, heading, lang string) string {
	t.Helper()
	var found []string
	for _, b := range all {
		if b.heading == heading && b.lang == lang {
			found = append(found, b.text)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d %s blocks below %q, want one", len(found), lang, heading)
	}
	return found[0]
}

// typed returns what a console block has people type: the lines with a prompt, and here documents.
func typed(t *testing.T, text string) []string {
	t.Helper()
	var lines []string
	end := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch command, prompt := strings.CutPrefix(line, "$ "); {
		case end != "":
			lines = append(lines, line)
			if line == end {
				end = ""
			}
		case prompt:
			lines = append(lines, command)
			if doc := regexp.MustCompile(`<<'?([A-Z]+)'?`).FindStringSubmatch(command); doc != nil {
				end = doc[1]
			}
		}
	}
	if end != "" || len(lines) == 0 {
		t.Fatalf("cannot follow this block:\n%s", text)
	}
	return lines
}

// checkout copies the module, so that what is run leaves nothing behind in it.
func checkout(t *testing.T) string {
	t.Helper()
	root, dir := filepath.Join("..", ".."), t.TempDir()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || rel == "." {
			return err
		}
		if strings.HasPrefix(entry.Name(), ".") || rel == "bin" || strings.HasSuffix(rel, ".test") {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if entry.IsDir() {
			return os.Mkdir(filepath.Join(dir, rel), 0o750)
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, rel), text, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// run runs a program in dir and returns what it said.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	// A group of its own, so that nothing that a script has started outlives it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// count returns the number that a query comes to.
func count(t *testing.T, dsn, query string) int {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var n int
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// Every line that README has people type with servers of their own works, in this order.
func TestReadmeWithYourOwnServers(t *testing.T) {
	t.Parallel()
	dsn, amqp := testenv.Postgres(t), testenv.RabbitMQ(t)
	lines := typed(t, one(t, blocks(t, readme), "With your own servers", "console"))
	replaced := 0
	for i, line := range lines {
		for name, value := range map[string]string{"DATABASE_URL": dsn, "AMQP_URL": amqp} {
			if strings.HasPrefix(line, "export "+name+"=") {
				lines[i] = fmt.Sprintf("export %s='%s'", name, value)
				replaced++
			}
		}
	}
	if replaced != 2 {
		t.Fatalf("%d addresses in\n%s", replaced, strings.Join(lines, "\n"))
	}
	out := run(t, checkout(t), nil, "bash", "-euo", "pipefail", "-c", strings.Join(lines, "\n"))
	if !strings.Contains(out, "FINISHED") {
		t.Errorf("the job did not run:\n%s", out)
	}
	if n := count(t, dsn, "SELECT count(*) FROM warren.jobs WHERE state = 'FINISHED' AND priority = 20"); n != 1 {
		t.Errorf("%d jobs of priority 20 are FINISHED, want the one that was published", n)
	}
	// The same page's SQL, on the schema that its commands have made.
	for _, b := range blocks(t, readme) {
		if b.lang == "sql" {
			count(t, dsn, b.text)
		}
	}
}

// The Go blocks of README compile: what is declared stays outside, the rest goes into a function,
// with what a reader must bring along.
func TestReadmeGo(t *testing.T) {
	t.Parallel()
	const prelude = `package main

import (
	"context"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore/postgres"
)

func send(context.Context, string) error { return nil }

func main() {}

`
	dir := checkout(t)
	n := 0
	for _, b := range blocks(t, readme) {
		if b.lang != "go" {
			continue
		}
		n++
		outside, inside := split(b.text)
		text := prelude + outside + "\nfunc example(ctx context.Context, databaseURL string) error {\n" + inside + "\nreturn err\n}\n\nvar _ = example\n"
		home := filepath.Join(dir, "examples", fmt.Sprintf("readme%d", n))
		if err := os.MkdirAll(home, 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, "main.go"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		run(t, dir, nil, "go", "build", "-o", os.DevNull, "./examples/"+filepath.Base(home))
	}
	if n == 0 {
		t.Error("README has no Go block")
	}
}

// split takes the types and functions at the beginning of a block from the statements after them.
func split(text string) (declarations, statements string) {
	var outside, inside strings.Builder
	depth := 0
	for line := range strings.Lines(text) {
		if inside.Len() == 0 && (depth > 0 || strings.HasPrefix(line, "type ") || strings.HasPrefix(line, "func ")) {
			outside.WriteString(line)
			depth += strings.Count(line, "{") - strings.Count(line, "}")
		} else if inside.Len() > 0 || strings.TrimSpace(line) != "" {
			inside.WriteString(line)
		}
	}
	return outside.String(), inside.String()
}

// make demo, as README promises: samples come to every outcome without a server, the command that it
// suggests works from a second terminal, and an interrupt ends it well.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := checkout(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "make", "demo")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "DATABASE_URL=", "AMQP_URL=", "NO_COLOR=1", "WARREN_CONFIG=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	tried := false
	for scan := bufio.NewScanner(pipe); scan.Scan(); {
		line := scan.Text()
		out.WriteString(line + "\n")
		if _, counts, ok := strings.Cut(line, "a second; "); ok && !tried && strings.Contains(counts, "PERMANENTLY_FAILED") && strings.Contains(counts, "FINISHED") {
			tried = true
			if id := run(t, dir, []string{"DATABASE_URL=sqlite:" + dir + "/.warren/warren.db"}, "bin/producer", "publish", "probe"); strings.TrimSpace(id) == "" {
				t.Error("publish beside the demo printed no number")
			}
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
				t.Error(err)
			}
		}
	}
	_ = cmd.Wait() // make ends by the signal too, and says so
	if !tried || !strings.Contains(out.String(), "\ndrained. ") {
		t.Errorf("make demo did not get to its end:\n%s", out.String())
	}
}

// The main job on private servers ends well; the servers are those of the tests.
func TestDemoServers(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	env := []string{
		testenv.EnvDatabaseURL + "=" + dsn, testenv.EnvAMQPURL + "=" + testenv.RabbitMQ(t),
		"DATABASE_URL=", "AMQP_URL=", "NO_COLOR=1",
	}
	out := run(t, checkout(t), env, "make", "demo-servers")
	if n := count(t, dsn, "SELECT count(*) FROM warren_demo.jobs WHERE state = 'FINISHED'"); n != 400 {
		t.Errorf("%d of 400 jobs are FINISHED:\n%s", n, out)
	}
}

// What README has people type without servers works.
func TestReadmeWithoutServers(t *testing.T) {
	t.Parallel()
	page := blocks(t, readme)
	lines := []string{`make build && export PATH="$PWD/bin:$PATH"`}
	for _, line := range typed(t, one(t, page, "With your own servers", "console")) {
		if strings.HasPrefix(line, "cat > warren.yaml") || len(lines) > 1 && lines[len(lines)-1] != "YAML" {
			lines = append(lines, line)
		}
	}
	lines = append(lines, typed(t, one(t, page, "Without servers, for good", "console"))...)
	out := run(t, checkout(t), nil, "bash", "-euo", "pipefail", "-c", strings.Join(lines, "\n"))
	if !regexp.MustCompile(`(?m)^FINISHED +1$|FINISHED.* 1\b`).MatchString(out) {
		t.Errorf("the job did not run:\n%s", out)
	}
}

// The targets that pages name exist.
func TestMakeTargets(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"../../README.md", "../../CONTRIBUTING.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile("(?m)(?:`|\\$ )make ([a-z-]+)").FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(string(makefile), "\n"+found[1]+":") {
				t.Errorf("%s: there is no make %s", page, found[1])
			}
		}
	}
}

// Links between pages lead somewhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	var pages []string
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		prose := regexp.MustCompile("(?s)```.*?```|`[^`\n]*`").ReplaceAll(text, nil) // F[T](x) is code
		for _, found := range regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`).FindAllStringSubmatch(string(prose), -1) {
			if strings.Contains(found[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), found[1])); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", page, found[1])
			}
		}
	}
}

// What pages show in Go is in an example, and so compiled and run.
func TestPagesShowExamples(t *testing.T) {
	t.Parallel()
	examples := read(t, "../../*_test.go") + read(t, "../../flow/*_test.go")
	for _, page := range []string{"flows.md", "kinds.md", "progress.md"} {
		shown := 0
		for _, b := range blocks(t, "../../docs/"+page) {
			if b.lang != "go" {
				continue
			}
			shown++
			if !strings.Contains(examples, b.text) {
				t.Errorf("%s, below %q: no example has\n%s", page, b.heading, b.text)
			}
		}
		if shown == 0 {
			t.Errorf("%s shows no Go", page)
		}
	}
}

// read returns the text of all files of a pattern.
func read(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	var all strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
