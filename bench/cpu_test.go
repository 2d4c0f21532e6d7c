package main

import (
	"context"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func TestParseStatOfAnOddName(t *testing.T) {
	t.Parallel()
	s, err := parseStat("42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 100 1 1")
	if err != nil {
		t.Fatal(err)
	}
	if want := (stat{pid: 42, parent: 7, program: "a) b (c)", cpu: 100 * tick}); s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
	for _, bad := range []string{"", "42 nothing", "42 (x) S 7"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q was understood", bad)
		}
	}
}

// A child's time counts when it is named, with that of its own children.
func TestCPUTimeCountsNamedChildrenOnly(t *testing.T) { //nolint:paralleltest // other tests would use this process's CPU
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "sh -c 'while :; do :; done' & wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the whole group: the child's child too
		_ = cmd.Wait()                                      // it was killed
	})
	bare, err := cpuTime(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := within(t.Context(), time.Minute, "wait for the child to use its CPU", func(ctx context.Context) error {
		return until(ctx, func() (bool, error) {
			with, err := cpuTime([]string{"sh"})
			return with > bare+20*tick, err
		})
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := cpuTime([]string{"no-such-server"}); err == nil {
		t.Error("a server that does not run was counted")
	}
}
