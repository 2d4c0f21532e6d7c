package testenv

import (
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
)

// process is a running child. The zero value is none.
type process struct {
	name string
	pid  int
	done chan struct{} // closed when the child has been waited for
	err  error         // what Wait said; valid after done
}

// startProcess starts cmd in the given directory's care and returns when it runs.
func startProcess(ctx context.Context, home *dir, name string, cmd *exec.Cmd, as *syscall.Credential) (*process, error) {
	cmd.SysProcAttr = childAttr(as)
	p := &process{name: name, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The parent-death signal follows the thread that forked, not the process: the
		// thread must outlive the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s (%s): %w", name, cmd.Path, err)
	}
	p.pid = cmd.Process.Pid
	if err := home.remember(p.pid, name); err != nil {
		return nil, errors.Join(err, p.kill(context.WithoutCancel(ctx)))
	}
	return p, nil
}

// alive reports whether the process has not ended yet.
func (p *process) alive() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal sends sig. A process that has ended is an error.
func (p *process) signal(sig syscall.Signal) error {
	if !p.alive() {
		return fmt.Errorf("send %v to %s: it is not running", sig, p.label())
	}
	if err := syscall.Kill(p.pid, sig); err != nil {
		return fmt.Errorf("send %v to %s: %w", sig, p.label(), err)
	}
	return nil
}

// freeze stops the process without ending it, and returns when its last thread stands still: the
// signal is only sent when kill(2) returns, and a server with many threads still answers for a while.
func (p *process) freeze(ctx context.Context) error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return poll(ctx, p.done, func(context.Context) error { return standsStill(p.pid) })
}

// kill ends the process at once (SIGKILL, which a stopped one gets too) and waits until it is gone.
func (p *process) kill(ctx context.Context) error {
	if !p.alive() {
		return nil
	}
	_ = syscall.Kill(p.pid, syscall.SIGKILL) // an error means it has just ended
	return p.wait(ctx)
}

// end asks the process to stop with sig, waits for it, and kills it when ctx ends first.
func (p *process) end(ctx context.Context, sig syscall.Signal) error {
	if !p.alive() {
		return nil
	}
	_ = syscall.Kill(p.pid, sig) // an error means it has just ended
	if err := p.wait(ctx); err != nil {
		return errors.Join(err, p.kill(context.WithoutCancel(ctx)))
	}
	return nil
}

func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for %s to end: %w", p.label(), ctx.Err())
	}
}

func (p *process) label() string {
	if p == nil {
		return "a process that was never started"
	}
	return fmt.Sprintf("%s (pid %d)", p.name, p.pid)
}

// status is what /proc says about a process.
type status struct {
	pid, parent int
	state       string
	started     string // clock ticks since boot: with the pid, a process's identity
}

// readStatus reads /proc/PID/stat.
func readStatus(pid int) (status, error) {
	return parseStatus(pid, filepath.Join("/proc", strconv.Itoa(pid), "stat"))
}

// standsStill is an error while a thread of the process has not stopped.
func standsStill(pid int) error {
	threads, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "stat"))
	if err != nil || len(threads) == 0 {
		return errors.Join(fmt.Errorf("process %d has no threads in /proc", pid), err)
	}
	for _, thread := range threads {
		switch s, err := parseStatus(pid, thread); {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ESRCH):
			continue // that thread has ended
		case err != nil:
			return err
		case s.state != "T" && s.state != "Z":
			return fmt.Errorf("process %d has not stopped: %s says %s", pid, thread, s.state)
		}
	}
	return nil
}

// parseStatus reads a stat file of a process or of one of its threads.
func parseStatus(pid int, path string) (status, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return status{}, err
	}
	// The second field is the program's name in brackets and may hold anything: count from its end.
	_, rest, found := strings.Cut(string(text[max(0, strings.LastIndexByte(string(text), ')')):]), ") ")
	fields := strings.Fields(rest)
	const state, parent, started = 0, 1, 19
	if !found || len(fields) <= started {
		return status{}, fmt.Errorf("read the status of process %d: unexpected %q", pid, text)
	}
	ppid, err := strconv.Atoi(fields[parent])
	if err != nil {
		return status{}, fmt.Errorf("read the parent of process %d: %w", pid, err)
	}
	return status{pid: pid, parent: ppid, state: fields[state], started: fields[started]}, nil
}

// childrenOf lists the living children of a process.
func childrenOf(pid int) ([]status, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list the children of process %d: %w", pid, err)
	}
	var children []status
	for _, entry := range entries {
		number, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // not a process
		}
		if s, err := readStatus(number); err == nil && s.parent == pid && s.state != "Z" {
			children = append(children, s)
		}
	}
	return children, nil
}

// running reports whether the process still exists; a zombie does not.
func (s status) running() bool {
	now, err := readStatus(s.pid)
	return err == nil && now.started == s.started && now.state != "Z"
}
