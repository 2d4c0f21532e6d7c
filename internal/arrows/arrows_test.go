package arrows_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/warrenq/warren"

// node is a package of the import graph, under its short name.
type node struct {
	standard bool
	imports  []string
	deps     []string // direct and indirect
}

func TestImportArrows(t *testing.T) {
	t.Parallel()
	graph := load(t)
	if _, ok := graph["."]; !ok || len(graph) < 10 {
		t.Fatalf("the import graph has %d packages and no root: is the test run inside the module?", len(graph))
	}
	for _, complaint := range violations(graph, rules()) {
		t.Error(complaint)
	}
}

// violations are the imports that the rules forbid, in words.
func violations(graph map[string]node, rules []rule) []string {
	var complaints []string
	for _, name := range slices.Sorted(maps.Keys(graph)) {
		if name != "." && !strings.HasPrefix(name, "./") {
			continue // not ours
		}
		for _, r := range rules {
			if !is(name, false, r.of) || is(name, false, r.except) {
				continue
			}
			reached := graph[name].imports
			if r.deep {
				reached = graph[name].deps
			}
			for _, target := range reached {
				standard := graph[target].standard
				if target != name && is(target, standard, r.deny) && !is(target, standard, r.allow) {
					complaints = append(complaints, fmt.Sprintf("%s imports %s: %s", name, trail(graph, name, target), r.why))
				}
			}
		}
	}
	return complaints
}

// trail is a shortest way from one package to another, for the reader of a complaint.
func trail(graph map[string]node, from, to string) string {
	back := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		for _, next := range graph[queue[0]].imports {
			if _, seen := back[next]; seen {
				continue
			}
			back[next] = queue[0]
			queue = append(queue, next)
		}
	}
	words := to
	for at := back[to]; at != "" && at != from; at = back[at] {
		words = at + " → " + words
	}
	return words
}

// load asks the go command for the import graph of the module, without its tests.
func load(t *testing.T) map[string]node {
	t.Helper()
	root := filepath.Join("..", "..")
	noteSources(t, root)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Standard,Imports,Deps", "./...")
	cmd.Dir = root
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, complaint.String())
	}
	graph := map[string]node{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath    string
			Standard      bool
			Imports, Deps []string
		}
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return graph
		}
		if err != nil {
			t.Fatalf("read what %s said: %v", cmd, err)
		}
		graph[short(p.ImportPath)] = node{standard: p.Standard, imports: shorten(p.Imports), deps: shorten(p.Deps)}
	}
}

// noteSources lists the module's directories. The go command notes what a test looks at and runs it
// again when that has changed; what a child process reads it does not see.
func noteSources(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		if path != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "bin") {
			return filepath.SkipDir
		}
		_, err = os.ReadDir(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// short writes a package of this module as a path from its root.
func short(importPath string) string {
	if importPath == module {
		return "."
	}
	if below, ok := strings.CutPrefix(importPath, module+"/"); ok {
		return "./" + below
	}
	return importPath
}

func shorten(importPaths []string) []string {
	names := make([]string, len(importPaths))
	for i, p := range importPaths {
		names[i] = short(p)
	}
	return names
}

// Each forbidden import is drawn once, so that a rule that no longer catches anything is noticed.
func TestRulesCatch(t *testing.T) {
	t.Parallel()
	for _, forbidden := range []struct{ from, to string }{
		{"./jobstore", "go.uber.org/zap"},
		{"./broker", "./jobstore"},
		{"./jobstore/postgres", "."},
		{"./jobstore/postgres", "./broker"},
		{"./jobstore/postgres", "./jobstore/sqlite"},
		{"./jobstore/sqlite", "github.com/jackc/pgx/v5"},
		{"./broker/rabbitmq", "./jobstore"},
		{"./internal/app", "github.com/jackc/pgx/v5"},
		{"./internal/app", "github.com/rabbitmq/amqp091-go"},
		{"./internal/app", "modernc.org/sqlite"},
		{"./internal/app", "./internal/cli"},
		{"./internal/worker", "github.com/prometheus/client_golang/prometheus"},
		{"./internal/worker", "."},
		{"./internal/dispatch", "./broker/rabbitmq"},
		{".", "./jobstore/postgres"},
		{".", "github.com/spf13/cobra"},
		{".", "./internal/cli"},
		{"./handlers/webhook", "./internal/worker"},
		{"./handlers", "./jobstore/postgres"},
		{"./web", "./internal/app"},
		{"./web", "./broker"},
		{"./warrentest", "./broker"},
		{"./warrentest", "github.com/jackc/pgx/v5"},
		{"./jobstore/sqlite", "github.com/rabbitmq/amqp091-go"},
		{"./examples/tutorial", "./internal/app"},
		{"./examples/tutorial", "./warrentest"},
		{"./examples/tutorial", "github.com/jackc/pgx/v5"},
		{"./internal/cli", "./jobstore/postgres"},
		{"./cmd/warren", "."},
		{"./cmd/warren", "go.uber.org/zap"},
		{"./internal/app", "testing"},
		{"./internal/app", "./jobstore/storetest"},
		{"./internal/cli", "./internal/testenv"},
		{"./internal/cli", "github.com/google/go-cmp/cmp"},
	} {
		graph := map[string]node{forbidden.from: {imports: []string{forbidden.to}, deps: []string{forbidden.to}}}
		if len(violations(graph, rules())) == 0 {
			t.Errorf("no rule forbids %s to import %s", forbidden.from, forbidden.to)
		}
	}
}

// What must stay possible, drawn in the same way.
func TestRulesAllow(t *testing.T) {
	t.Parallel()
	for _, wanted := range []struct{ from, to string }{
		{"./jobstore", "context"},
		{"./jobstore/postgres", "github.com/jackc/pgx/v5"},
		{"./jobstore/postgres", "./jobstore"},
		{"./jobstore/storetest", "testing"},
		{"./broker/rabbitmq", "github.com/rabbitmq/amqp091-go"},
		{".", "./internal/worker"},
		{"./internal/worker", "./jobstore"},
		{"./handlers/probe", "."},
		{"./warrentest", "./jobstore/sqlite"},
		{"./internal/app", "./jobstore/postgres"},
		{"./internal/app", "./handlers/probe"},
		{"./internal/cli", "github.com/spf13/cobra"},
		{"./cmd/warren", "./internal/cli"},
		{"./examples/tutorial", "./jobstore/postgres"},
		{"./examples/tutorial", "./broker/rabbitmq"},
		{"./internal/testenv", "github.com/jackc/pgx/v5"},
		{"./internal/testenv/cmd/with-servers", "./internal/testenv"},
	} {
		graph := map[string]node{
			wanted.from: {imports: []string{wanted.to}, deps: []string{wanted.to}},
			wanted.to:   {standard: wanted.to == "context" || wanted.to == "testing"},
		}
		for _, complaint := range violations(graph, rules()) {
			t.Error(complaint)
		}
	}
}

// A complaint about an import through others names the way.
func TestViolationNamesTheWay(t *testing.T) {
	t.Parallel()
	graph := map[string]node{
		".":                 {imports: []string{"./internal/relay"}, deps: []string{"./internal/relay", "./broker/rabbitmq"}},
		"./internal/relay":  {imports: []string{"./broker/rabbitmq"}, deps: []string{"./broker/rabbitmq"}},
		"./broker/rabbitmq": {},
	}
	complaints := strings.Join(violations(graph, rules()), "\n")
	if want := ". imports ./internal/relay → ./broker/rabbitmq"; !strings.Contains(complaints, want) {
		t.Errorf("complaints:\n%s\nwant one with %q", complaints, want)
	}
}
