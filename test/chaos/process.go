package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/warrenq/warren/test/chaos/check"
)

// process is one life of a program that the suite started.
type process struct {
	name    string
	logPath string
	cmd     *exec.Cmd
	done    chan struct{}
	start   time.Time

	mu     sync.Mutex
	end    time.Time
	frozen []check.Span
}

// startProcess runs a program whose output goes to a file. It dies with the suite.
func startProcess(dir, name, path string, env []string, args ...string) (*process, error) {
	p := &process{name: name, done: make(chan struct{}), logPath: filepath.Join(dir, name+".log")}
	out, err := os.OpenFile(p.logPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() //nolint:errcheck // the child has its own descriptor
	p.cmd = exec.CommandContext(context.Background(), path, args...)
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = dir, env, out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The parent-death signal follows the thread that forked: it must outlive the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		p.start = time.Now()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = p.cmd.Wait() // how it ended is asked of ProcessState
		p.mu.Lock()
		p.end = time.Now()
		p.mu.Unlock()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends it at once and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error means that it has just ended
	<-p.done
}

// stop asks it to end, and kills it when it does not within patience. It reports whether it ended by itself,
// well.
func (p *process) stop(patience time.Duration) bool {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has just ended
	return p.ended(patience)
}

func (p *process) ended(patience time.Duration) bool {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode() == 0
	case <-time.After(patience):
		p.kill()
		return false
	}
}

// freeze stops it until thaw.
func (p *process) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = append(p.frozen, check.Span{From: time.Now()})
	_ = p.cmd.Process.Signal(syscall.SIGSTOP) // an error means that it has just ended
}

func (p *process) thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // an error means that it has just ended
	p.frozen[len(p.frozen)-1].To = time.Now()
}

// life is what the checker is told of it.
func (p *process) life() check.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return check.Process{PID: p.pid(), Start: p.start, End: p.end, Pauses: append([]check.Span(nil), p.frozen...)}
}

// log is what it has written so far.
func (p *process) log() string {
	text, err := os.ReadFile(p.logPath)
	if err != nil {
		return ""
	}
	return string(text)
}
