package warrentest_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"testing"
)

// Whatever a user can name has a comment and an example that is run.
func TestEverythingHasAnExample(t *testing.T) {
	t.Parallel()
	files := token.NewFileSet()
	var all []*ast.File
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sources {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(files, name, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, file)
	}
	p, err := doc.NewFromFiles(files, all, "warrentest")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	check := func(name, comment string, examples []*doc.Example) {
		seen++
		if comment == "" || len(examples) == 0 {
			t.Errorf("%s has the comment %q and %d examples", name, comment, len(examples))
		}
		for _, e := range examples {
			if e.Output == "" && !e.EmptyOutput {
				t.Errorf("the example %s of %s is not run: it has no output", e.Name, name)
			}
		}
	}
	functions := func(all []*doc.Func) {
		for _, f := range all {
			check(f.Name, f.Doc, f.Examples)
		}
	}
	functions(p.Funcs)
	for _, typ := range p.Types {
		functions(typ.Funcs)
		functions(typ.Methods)
		if typ.Name != "Env" { // its examples are those of its methods
			check(typ.Name, typ.Doc, typ.Examples)
		}
	}
	if seen < 15 {
		t.Errorf("only %d names were looked at", seen)
	}
}
