package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/testenv"
)

// A consumer that is told twice leaves at once, and nothing goes on of what its jobs have started: they run elsewhere.
func TestNothingOfAProgramIsLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Postgres(t), "none")
	const long = "kinds:\n  long: {command: {run: [sh, -c, \"trap '' TERM; sleep 1000 & echo $! > child.new; mv child.new child; wait\"], grace: 4s}}\n"
	if err := os.WriteFile(filepath.Join(w.dir, "warren.yaml"), []byte(long), 0o600); err != nil {
		t.Fatal(err)
	}
	d := w.start(t)
	id := w.must(t, "producer", "publish", "long")
	var child string
	await(t, "the program to have a child", func() bool {
		text, err := os.ReadFile(filepath.Join(w.dir, "child"))
		child = strings.TrimSpace(string(text))
		return err == nil
	})
	command := fmt.Sprintf("/proc/%s/cmdline", child) // empty once it has ended, whether or not somebody has noticed
	if text, err := os.ReadFile(command); err != nil || !bytes.HasPrefix(text, []byte("sleep")) {
		t.Fatalf("the child is %q, %v", text, err)
	}
	await(t, "the end of a consumer that is told again and again", func() bool {
		_ = d.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-d.done:
			return true
		default:
			return false
		}
	})
	if code := d.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	w.awaitCount(t, 1, "state = 'READY' AND attempts = 0 AND id = "+id)
	await(t, "the child to be gone", func() bool {
		text, err := os.ReadFile(command)
		return err != nil || len(text) == 0
	})
}

// No time to drain is none, and not the usual one.
func TestNoTimeToDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Postgres(t), "none")
	d := w.start(t, "--drain-timeout", "0s")
	id := w.must(t, "producer", "publish", "probe", "--args", `{"sleep":"1h"}`)
	w.running(t, id)
	began := time.Now()
	d.signal(t, syscall.SIGTERM)
	if code := d.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it drained for %s", took)
	}
	w.awaitCount(t, 1, "state = 'READY' AND attempts = 0 AND id = "+id)
}
