package cli_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/internal/testenv"
)

// A program that reads standard input ends when it is told to, although nobody closes that.
func TestASignalEndsTheReadOfStdin(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "producer", "import", "-", "--bulk-size", "1")
	cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "DATABASE_URL="+dsn, "AMQP_URL=none")
	var said bytes.Buffer
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, `{"kind":"probe"}`+"\n"); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for published := false; !published; {
		_ = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM warren.jobs)").Scan(&published) // the table is being made
		if ctx.Err() != nil {
			t.Fatal(ctx.Err())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait() // which would close the pipe only afterwards
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(said.String(), "stopped by a signal (1 jobs were published before)") {
		t.Errorf("exit %d (%v): %s", code, err, said.String())
	}
}
