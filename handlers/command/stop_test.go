//go:build unix

package command_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/handlers/command"
)

// eventually waits until ok, generously.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.After(time.Minute); !ok(); {
		select {
		case <-deadline:
			t.Fatalf("never came: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// pids reads the process numbers that a script has written to a file, one a line.
func pids(t *testing.T, file string, n int) []int {
	t.Helper()
	var list []int
	eventually(t, "the script's process numbers", func() bool {
		list = nil
		b, err := os.ReadFile(filepath.Clean(file))
		for line := range strings.Lines(string(b)) {
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && strings.HasSuffix(line, "\n") {
				list = append(list, pid)
			}
		}
		return err == nil && len(list) >= n
	})
	return list
}

// gone reports whether a process has ended; nobody may have collected it yet.
func gone(pid int) bool {
	if b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil {
		_, state, _ := bytes.Cut(b, []byte(") "))
		return bytes.HasPrefix(state, []byte("Z")) || bytes.HasPrefix(state, []byte("X"))
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

func wantGone(t *testing.T, list []int) {
	t.Helper()
	for _, pid := range list {
		eventually(t, fmt.Sprintf("the end of process %d", pid), func() bool { return gone(pid) })
	}
}

func TestACancelledJobTerminatesTheGroup(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		script string
		grace  time.Duration
		log    string
	}{
		// The long grace shows that nobody waits for its end.
		"ends on SIGTERM":           {`trap 'echo bye >&2; exit 0' TERM; sleep 1000 & echo $! >> $1; echo $$ >> $1; wait`, time.Hour, "bye"},
		"says it was permanent":     {`trap 'exit 65' TERM; sleep 1000 & echo $! >> $1; echo $$ >> $1; wait`, time.Hour, ""},
		"ignores SIGTERM":           {`trap '' TERM; sleep 1000 & echo $! >> $1; echo $$ >> $1; wait`, 100 * time.Millisecond, ""},
		"leaves one that ignores":   {`(trap '' TERM; sleep 1000) & echo $! >> $1; echo $$ >> $1; wait`, time.Hour, ""},
		"does not even set a trap":  {`sleep 1000 & echo $! >> $1; echo $$ >> $1; wait`, time.Hour, ""},
		"a child that holds stderr": {`(trap '' TERM; exec sleep 1000 >/dev/null) & echo $! >> $1; echo $$ >> $1; exit 0`, time.Hour, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pids")
			c := script(tc.script, file)
			c.Grace = tc.grace
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			result := make(chan attempt, 1)
			go func() { result <- run(ctx, t, c, job()) }()
			running := pids(t, file, 2)
			cancel(warren.ErrShutdown)
			got := <-result
			if name == "a child that holds stderr" {
				if got.err != nil && !errors.Is(got.err, warren.ErrShutdown) {
					t.Errorf("got %v", got.err)
				}
			} else if !errors.Is(got.err, warren.ErrShutdown) || strings.HasPrefix(got.err.Error(), "permanent") {
				t.Errorf("got %v, want the cause of the cancellation", got.err)
			}
			if lines := strings.Join(texts(got.log), "|"); lines != tc.log {
				t.Errorf("logged %q, want %q", lines, tc.log)
			}
			if got.output != "" {
				t.Errorf("kept the output %s", got.output)
			}
			wantGone(t, running)
		})
	}
}

// TestTheWholeGroupGetsSIGTERM: a child has the chance to clean up, not only the program. The
// program itself only waits for it, so that without the signal the child would be killed unheard.
func TestTheWholeGroupGetsSIGTERM(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pids")
	c := script(`trap : TERM
		(trap 'echo the child cleans up >&2; exit 0' TERM; sleep 1000 & echo $! >> $1; wait) &
		echo $! >> $1
		wait; wait`, file)
	c.Grace = 10 * time.Second
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	result := make(chan attempt, 1)
	go func() { result <- run(ctx, t, c, job()) }()
	running := pids(t, file, 2)
	cancel(warren.ErrShutdown)
	got := <-result
	if lines := strings.Join(texts(got.log), "|"); lines != "the child cleans up" {
		t.Errorf("logged %q, want the child's last words", lines)
	}
	wantGone(t, running)
}

func TestAJobThatIsCancelledBeforeItStarts(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ran")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(warren.ErrLeaseLost)
	if got := run(ctx, t, script(`touch $1`, file), job()); !errors.Is(got.err, warren.ErrLeaseLost) {
		t.Errorf("got %v", got.err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the program was started")
	}
}

// TestWhatIsLeftBehindDoesNotOutliveTheJob, nor does it hold it up: the grace is an hour.
func TestWhatIsLeftBehindDoesNotOutliveTheJob(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"holds the pipes":    `sleep 1000 & echo $! >> $1; echo done`,
		"ignores SIGTERM":    `(trap '' TERM; sleep 1000) & echo $! >> $1; echo done`,
		"a whole pipeline":   `sleep 1000 | cat & echo $! >> $1; echo done`,
		"holds stdin open":   `sleep 1000 <&0 & echo $! >> $1; echo done`,
		"is not read either": `exec 3<&0; sleep 1000 <&3 & echo $! >> $1; echo done`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pids")
			c := script(text, file)
			c.Grace = time.Hour
			got := run(t.Context(), t, c, job())
			if got.err != nil || got.output != `"done"` {
				t.Errorf("got %v, output %s", got.err, got.output)
			}
			wantGone(t, pids(t, file, 1))
		})
	}
}

// TestADaemonThatEscapesDoesNotHoldTheJobUp: it has left the group and holds the pipes.
func TestADaemonThatEscapesDoesNotHoldTheJobUp(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip("setsid is not installed")
	}
	file := filepath.Join(t.TempDir(), "pids")
	got := run(t.Context(), t, script(`setsid sh -c 'echo $$ >> "$0"; exec sleep 1000' "$1" & while ! [ -s "$1" ]; do :; done; echo done`, file), job())
	if got.err != nil || got.output != `"done"` {
		t.Errorf("got %v, output %s", got.err, got.output)
	}
	for _, pid := range pids(t, file, 1) {
		if gone(pid) {
			t.Errorf("the daemon %d was killed, although it left the group", pid)
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// beAConsumer runs one job that sleeps, in a process that the test kills.
func beAConsumer() {
	h, err := command.New(command.Config{Run: []string{"/bin/sh", "-c", `echo $$ > "$0"; exec sleep 1000`, os.Getenv("COMMAND_TEST_CONSUMER")}})
	if err == nil {
		err = h(context.Background(), job())
	}
	fmt.Println(err)
}

func TestAKilledConsumerTakesItsProgramsAlong(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux can do this")
	}
	file := filepath.Join(t.TempDir(), "pid")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	consumer := exec.CommandContext(t.Context(), self)
	consumer.Env = append(os.Environ(), "COMMAND_TEST_CONSUMER="+file)
	out, err := consumer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := consumer.Start(); err != nil {
		t.Fatal(err)
	}
	programs := pids(t, file, 1)
	if gone(programs[0]) {
		t.Error("the program is not running")
	}
	_ = consumer.Process.Kill()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		t.Errorf("the consumer said %s", lines.Text())
	}
	_ = consumer.Wait()
	wantGone(t, programs)
}
