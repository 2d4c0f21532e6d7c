package cli_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/internal/cli"
	"github.com/warrenq/warren/internal/metrics"
	"github.com/warrenq/warren/internal/testenv"
)

// canary is the password in every URL of the scripts; it may appear in no output.
const canary = "S3CR3T-CANARY-7f1c"

// scripts lets testscript.Main run the tests and testenv.Main stop the servers.
type scripts struct{ m *testing.M }

func TestMain(m *testing.M) {
	// When this binary plays one of the programs, Main runs that and exits.
	testscript.Main(scripts{m}, map[string]func(){
		"producer": func() { cli.Main(cli.Producer) },
		"consumer": func() {
			cli.Main(cli.Measured(func(cfg app.MetricsConfig) app.Metrics { return metrics.New(metrics.Config(cfg)) }))
		},
		"warren": func() { cli.Main(cli.Warren) },
	})
}

// Run implements testscript.TestingM.
func (s scripts) Run() int { return testenv.Run(s.m) }

// Every script is a person at a terminal: what is typed, what is said, which exit code.
func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			dsn := testenv.Postgres(t)
			testscript.Run(t, testscript.Params{
				Files: []string{file},
				Setup: func(env *testscript.Env) error {
					env.Setenv("DATABASE_URL", withPassword(dsn))
					env.Setenv("PLAIN_URL", dsn)
					env.Setenv("CANARY", canary)
					env.Setenv("AMQP_URL", "none")
					server, err := url.Parse(dsn)
					env.Setenv("TAKEN", server.Host) // an address that somebody listens on
					return err
				},
				Cmds:          map[string]func(ts *testscript.TestScript, neg bool, args []string){"sql": sqlCmd(dsn), "exits": exitsCmd, "publishflow": flowCmd(dsn)},
				UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
			})
		})
	}
}

// exitsCmd is exec for a command that ends with an exit code of its own: exits 4 warren …
func exitsCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// withPassword adds the canary to a DSN; the test servers trust everybody.
func withPassword(dsn string) string {
	return strings.Replace(dsn, "postgres@", "postgres:"+canary+"@", 1)
}

// sqlCmd runs a statement, as an operator with psql would.
func sqlCmd(dsn string) func(ts *testscript.TestScript, neg bool, args []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, dsn)
		ts.Check(err)
		defer func() { _ = conn.Close(ctx) }()
		_, err = conn.Exec(ctx, strings.Join(args, " "))
		if neg && err == nil {
			ts.Fatalf("the statement was accepted")
		}
		if !neg {
			ts.Check(err)
		}
	}
}
