package cli_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warrenq/warren/internal/cli"
)

// gen runs 'warren gen job' in this process.
func gen(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := cli.Warren(&cli.Env{Stdout: &out, Stderr: &out})
	cmd.SetArgs(append([]string{"gen", "job"}, args...))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// What is written compiles, and its test passes.
func TestAGeneratedHandlerCompilesAndPasses(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("testdata", "generated") //nolint:usetesting // it has to be inside of the module
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	out, err := gen(t, "ProcessPDFFile", "--dir", dir, "--package", "jobs")
	if want := filepath.Join(dir, "process_pdf_file.go") + "\n" + filepath.Join(dir, "process_pdf_file_test.go") + "\n"; err != nil || out != want {
		t.Fatalf("it said %q (%v), want %q", out, err, want)
	}
	text, err := os.ReadFile(filepath.Join(dir, "process_pdf_file.go"))
	if err != nil || !strings.Contains(string(text), `return "process-pdf-file"`) {
		t.Errorf("the handler is %s (%v)", text, err)
	}
	test := exec.CommandContext(t.Context(), "go", "test", "-v", "./"+filepath.ToSlash(dir))
	if said, err := test.CombinedOutput(); err != nil || !strings.Contains(string(said), "--- PASS: TestProcessPDFFile") {
		t.Errorf("go test: %v\n%s", err, said)
	}
	if _, err := gen(t, "ProcessPDFFile", "--dir", dir); err == nil || !strings.Contains(err.Error(), "exists; give another name, or --force") {
		t.Errorf("a second time the error is %v", err)
	}
	if _, err := gen(t, "ProcessPDFFile", "--dir", dir, "--package", "jobs", "--kind", "pdf", "--force"); err != nil {
		t.Errorf("with --force: %v", err)
	}
}

func TestBadNamesOfGeneratedHandlers(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		`"processPodcast" is not a name for a handler`:   {"processPodcast"},
		`"../Etc" is not a name for a handler`:           {"../Etc"},
		`"func" is not a name for a package`:             {"Mail", "--package", "func"},
		`kind "a b" is not a name: use 1 to 128 letters`: {"Mail", "--kind", "a b"},
		`kind "-a" is not a name: use 1 to 128 letters`:  {"Mail", "--kind", "-a"},
		"give a folder that is there with --dir":         {"Mail", "--dir", "testdata/nowhere"},
	} {
		if _, err := gen(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: the error is %v, want %q", args, err, want)
		}
	}
}
