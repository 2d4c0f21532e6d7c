package testenv_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/testenv"
)

// envVictim has the re-executed test binary start a server and wait to be killed.
const envVictim = "WARREN_TESTENV_VICTIM"

func TestVictim(t *testing.T) { //nolint:paralleltest // it only ever runs alone, in a process of its own
	if os.Getenv(envVictim) == "" {
		t.Skip("runs only as another test's child")
	}
	server := testenv.NewPostgres(t)
	fmt.Println("\nserver", server.Addr(), filepath.Dir(server.LogFile()))
	<-t.Context().Done()
}

// A killed test process takes its servers along, and the next one removes their data.
func TestNothingOutlivesAKilledProcess(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs PostgreSQL: left out by -short")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$", "-test.v")
	cmd.Env = append(os.Environ(), envVictim+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	var addr, data string
	for lines := bufio.NewScanner(out); addr == "" && lines.Scan(); {
		said = append(said, lines.Text())
		if rest, ok := strings.CutPrefix(lines.Text(), "server "); ok {
			addr, data, _ = strings.Cut(rest, " ")
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if addr == "" {
		t.Fatalf("the child started no server:\n%s", strings.Join(said, "\n"))
	}
	listed, err := os.ReadFile(filepath.Join(data, "processes"))
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.Fields(string(listed))[0]
	eventually(t, "the server of a killed process runs on", func() bool {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
	eventually(t, "the directory of a killed process stays", func() bool {
		testenv.Reap("/tmp")
		_, err := os.Stat(data)
		return os.IsNotExist(err)
	})
}

func TestReapLeavesTheLivingAndEndsTheRest(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	living, dead := filepath.Join(root, testenv.DirPrefix+"a"), filepath.Join(root, testenv.DirPrefix+"b")
	for _, path := range []string{living, dead} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := os.Open(living)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close() //nolint:errcheck // only read
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	left := exec.CommandContext(t.Context(), "sleep", "600")
	if err := left.Start(); err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", left.Process.Pid))
	if err != nil {
		t.Skip("no /proc here")
	}
	started := strings.Fields(string(stat))[21]
	// The second line has the test's own pid with another start time: a pid that was used again.
	list := fmt.Sprintf("%d %s sleep\n%d 1 reused\n", left.Process.Pid, started, os.Getpid())
	if err := os.WriteFile(filepath.Join(dead, "processes"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	testenv.Reap(root)
	if err := left.Wait(); err == nil || left.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the left-over process ended with %v; want a kill", err)
	}
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("the dead directory is still there (%v)", err)
	}
	if _, err := os.Stat(living); err != nil {
		t.Errorf("the living directory is gone: %v", err)
	}
}

func TestForbidServicesKeepsAPolicyThatWasThere(t *testing.T) {
	t.Parallel()
	policy := filepath.Join(t.TempDir(), "policy-rc.d")
	during := func() {
		t.Helper()
		err := exec.CommandContext(t.Context(), policy).Run()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 101 { //nolint:errorlint // straight from Run
			t.Errorf("the policy answers %v; want exit code 101", err)
		}
	}
	restore, err := testenv.ForbidServices(policy)
	if err != nil {
		t.Fatal(err)
	}
	during()
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(policy); !os.IsNotExist(err) {
		t.Errorf("a policy that was not there before stays (%v)", err)
	}

	const own = "#!/bin/sh\nexit 0\n"
	if err := os.WriteFile(policy, []byte(own), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := testenv.ForbidServices(policy); err != nil { // this run is killed before it restores
		t.Fatal(err)
	}
	restore, err = testenv.ForbidServices(policy)
	if err != nil {
		t.Fatal(err)
	}
	during()
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(policy); err != nil || string(text) != own {
		t.Errorf("the policy afterwards is %q, %v; want the one from before", text, err)
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, complaint string, holds func() bool) {
	t.Helper()
	ctx := wait(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatal(complaint)
		case <-tick.C:
		}
	}
}
