package testenv_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/internal/testenv"
)

// without is this process's environment without some variables.
func without(names ...string) []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(names, name)
	})
}

// The command finds a server that works, its exit code comes through, and the server goes with it.
func TestWithServers(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs PostgreSQL: left out by -short")
	}
	program := filepath.Join(t.TempDir(), "with-servers")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/with-servers").CombinedOutput(); err != nil {
		t.Fatalf("build with-servers: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), program, "--", "/bin/sh", "-c", `echo "$`+testenv.EnvDatabaseURL+`"; read go; exit 7`)
	// A broker that is given is not started: this test is about one server.
	cmd.Env = append(without(testenv.EnvDatabaseURL, testenv.EnvAMQPURL), testenv.EnvAMQPURL+"=amqp://given")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 200)
	n, _ := out.Read(line) // nothing is seen as no URL below
	dsn := strings.TrimSpace(string(line[:n]))
	if conn, err := pgx.Connect(wait(t), dsn); err != nil {
		t.Errorf("connect to %q, which the command was given: %v\n%s", dsn, err, complaint.String())
	} else {
		_ = conn.Close(context.Background())
	}
	_ = in.Close()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("with-servers ended with %v; want the command's exit code 7\n%s", err, complaint.String())
	}
	if conn, err := pgx.Connect(wait(t), dsn); err == nil {
		_ = conn.Close(context.Background())
		t.Error("the server is still there after with-servers has ended")
	}
}

// A run that leaves server tests out says so, and in CI that is a failure.
func TestShortRunsSkipLoudly(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("is about -short, and runs itself with it")
	}
	for ci, want := range map[string]string{"": "--- SKIP", "true": "--- FAIL"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPostgresGivesEachTestItsOwnDatabase$", "-test.short", "-test.v")
		cmd.Env = append(without("CI"), "CI="+ci)
		out, err := cmd.CombinedOutput()
		if (err != nil) != (ci == "true") || !strings.Contains(string(out), want) || !strings.Contains(string(out), "-short") {
			t.Errorf("CI=%q: %v, want %q and a word about -short:\n%s", ci, err, want, out)
		}
	}
}
