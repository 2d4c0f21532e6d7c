package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// gates are the values of the constants Gate… of jobstore/why.go.
func gates(t *testing.T) map[string]bool {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), "../../jobstore/why.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	ast.Inspect(tree, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Gate") {
			return true
		}
		if len(spec.Names) != 1 || len(spec.Values) != 1 {
			t.Fatalf("%s is declared in a way that this test cannot read", spec.Names[0].Name)
		}
		value, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			t.Fatalf("%s is no plain text", spec.Names[0].Name)
		}
		name, err := strconv.Unquote(value.Value)
		if err != nil {
			t.Fatal(err)
		}
		found[name] = true
		return true
	})
	if len(found) < 10 {
		t.Fatalf("%d gates were read; are they declared elsewhere?", len(found))
	}
	return found
}

// The table of gates in docs/operations.md has every gate that 'warren why' may name, once, and no other.
func TestOperationsNameEveryGate(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "\n| gate | meaning |\n")
	if !ok {
		t.Fatal("docs/operations.md has no table of gates")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	missing, word := gates(t), regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(table) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		for _, m := range word.FindAllStringSubmatch(cell, -1) {
			if !missing[m[1]] {
				t.Errorf("%s is no gate, or is there twice", m[1])
			}
			delete(missing, m[1])
		}
	}
	for name := range missing {
		t.Errorf("the gate %s is missing", name)
	}
}
