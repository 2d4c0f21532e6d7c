package docs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every defence of docs/security.md names tests, and they exist.
func TestDefencesHaveTests(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz)\\w*)(/[^`]+)?`")
	folders := map[string]sources{}
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 4 || strings.HasPrefix(line, "| |") {
			continue
		}
		rows++
		found := named.FindAllStringSubmatch(cells[3], -1)
		if len(found) == 0 || len(found) != strings.Count(cells[3], "`")/2 {
			t.Errorf("%s: what proves it? %s", cells[0], cells[3])
		}
		for _, f := range found {
			folder := filepath.Join("..", "..", filepath.FromSlash(f[1]))
			if _, read := folders[folder]; !read {
				folders[folder] = readSources(t, folder)
			}
			s, part := folders[folder], strings.TrimPrefix(f[3], "/")
			if !s.has(f[2], part) && (!s.tests[f[2]] || !inContract(t, part)) {
				t.Errorf("%s names %s, which does not exist", cells[0], f[0])
			}
		}
	}
	if rows < 20 {
		t.Errorf("%d rows were read; has the page another form?", rows)
	}
}

// inContract reports whether a test of package storetest has this name.
func inContract(t *testing.T, part string) bool {
	t.Helper()
	files, err := filepath.Glob("../../jobstore/storetest/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte(`{"`+part+`",`)) {
			return true
		}
	}
	return false
}

// mostModules may be linked into the programs. Who adds one says why it is worth being trusted. The last two
// were golang.org/x/crypto, of Go's authors, which encrypts args, and google/jsonschema-go, which has no
// dependencies and loads nothing by itself.
const mostModules = 35

// The programs are made of few modules, and each has the checksum that was written down.
func TestModulesHaveABudget(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}",
		"../../cmd/warren", "../../cmd/consumer", "../../cmd/producer")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := map[string]bool{}
	for path := range strings.FieldsSeq(string(out)) {
		modules[path] = true
	}
	if len(modules) < 5 || len(modules) > mostModules {
		t.Errorf("the programs are made of %d modules, the budget is %d: %v", len(modules), mostModules, modules)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "mod", "verify").CombinedOutput(); err != nil {
		t.Errorf("go mod verify: %v\n%s", err, out)
	}
}
