package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Every promise of docs/contract-tests.md names tests, and they exist.
func TestPromisesHaveTests(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/contract-tests.md")
	if err != nil {
		t.Fatal(err)
	}
	named := namedTest()
	folders := map[string]sources{}
	promises := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 3 || strings.HasSuffix(line, "| without a broker |\n") {
			continue
		}
		promises++
		for _, column := range cells[1:] {
			found := named.FindAllStringSubmatch(column, -1)
			if what := strings.TrimSuffix(column, " |"); len(found) == 0 && what != "the same" && what != "–" {
				t.Errorf("%s names no test in %q", cells[0], column)
			}
			for _, f := range found {
				folder := filepath.Join("..", "..", filepath.FromSlash(f[1]))
				if _, read := folders[folder]; !read {
					folders[folder] = readSources(t, folder)
				}
				if !folders[folder].has(f[2], strings.TrimPrefix(f[3], "/")) {
					t.Errorf("%s names %s, which does not exist", cells[0], f[0])
				}
			}
		}
		if !named.MatchString(cells[1]) && !named.MatchString(cells[2]) {
			t.Errorf("nothing proves %s", cells[0])
		}
	}
	if promises < 80 {
		t.Errorf("%d promises were read; has the page another form?", promises)
	}
}

// namedTest finds a test as pages name it: its folder, its name, and a part of it.
func namedTest() *regexp.Regexp {
	return regexp.MustCompile("`(?:([a-z0-9/]+)\\.)?((?:Test|Fuzz|Example)\\w*)(/[^`]+)?`")
}

// sources are the names of a folder's tests, and what may be a part of one: the texts in its code, and its scripts.
type sources struct{ tests, parts map[string]bool }

func (s sources) has(test, part string) bool { return s.tests[test] && (part == "" || s.parts[part]) }

func readSources(t *testing.T, folder string) sources {
	t.Helper()
	s := sources{tests: map[string]bool{}, parts: map[string]bool{}}
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../../jobstore/storetest/storetest.go") { // the parts of a store's contract
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil {
					s.tests[n.Name.Name] = true
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
					s.parts[text] = true
				}
			}
			return true
		})
	}
	scripts, err := filepath.Glob(filepath.Join(folder, "testdata", "script", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		s.parts[strings.TrimSuffix(filepath.Base(script), ".txtar")] = true
	}
	return s
}
