package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/handlers"
	"github.com/warrenq/warren/jobstore"
)

// Exit statuses that say more than "failed", from sysexits.h.
const (
	exitPermanent = 65 // EX_DATAERR
	exitWait      = 69 // EX_UNAVAILABLE
)

// waitFor is how long a job waits whose program exited with exitWait.
const waitFor = time.Minute

// maxOutput is how many bytes of the standard output are kept.
const maxOutput = 64 << 10

// New returns the handler. It fails when the configuration is not valid or the program cannot be
// found: a consumer that cannot run its jobs should not take them.
func New(c Config) (warren.RawHandler, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	path, err := c.program()
	if err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	h := handler{Config: c, path: path, environ: environ(c)}
	return h.run, nil
}

type handler struct {
	Config
	path    string
	environ []string
}

// environ is the part of the environment that is the same for all jobs. Of a variable that is in
// it twice the last one counts.
func environ(c Config) []string {
	list := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return private(name)
	})
	if c.Dir != "" {
		list = append(list, "PWD="+c.Dir)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		list = append(list, name+"="+string(c.Env[name]))
	}
	return list
}

// private are variables with Warren's own passwords, or the way to them. The PostgreSQL driver reads what libpq does, and each
// release adds to that: the whole prefix goes, so that none is forgotten.
func private(name string) bool {
	return strings.HasPrefix(name, "WARREN_") || strings.HasPrefix(name, "PG") ||
		slices.Contains([]string{"DATABASE_URL", "DATABASE_URL_FILE", "AMQP_URL", "AMQP_URL_FILE"}, name)
}

func (h handler) run(ctx context.Context, job *jobstore.Job) error {
	doc, err := handlers.Document(job)
	if err != nil {
		return warren.Permanent(err)
	}
	stdout := capped{limit: maxOutput}
	stderr := lines{log: warren.Logger(ctx)}
	cmd, called := h.command(ctx, job)
	cmd.Stdin = bytes.NewReader(append(doc, '\n')) // a line, for those who read lines
	err = runAndCopy(cmd, &stdout, &stderr)
	stderr.flush()

	switch {
	case called.Load():
		return interrupted(ctx)
	case ctx.Err() != nil && cmd.Process == nil:
		return interrupted(ctx) // before it was started
	case err == nil:
		keep(ctx, &stdout)
		return nil
	}
	return h.outcome(err, stderr.last)
}

// runAndCopy is cmd.Run with a difference: what the program leaves behind is killed when the
// program has ended, so that nothing holds the pipes open that are read to their end here.
func runAndCopy(cmd *exec.Cmd, stdout, stderr io.Writer) error {
	var p pipes
	defer p.end()
	var err, err2 error
	if cmd.Stdout, err = p.to(stdout); err == nil {
		cmd.Stderr, err2 = p.to(stderr)
	}
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	// The kernel kills the program when the thread that started it ends (see proc_linux.go): this
	// goroutine keeps the thread for as long as the program runs.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := living.add(cmd.Process.Pid)
	p.started()
	err = cmd.Wait()
	killGroup(cmd.Process.Pid)
	ended()
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // it ended well, and somebody it started holds its unread input
	}
	return err
}

// command prepares the process. The flag tells whether it was called off while it ran.
func (h handler) command(ctx context.Context, job *jobstore.Job) (*exec.Cmd, *atomic.Bool) {
	var called atomic.Bool
	cmd := exec.CommandContext(ctx, h.path, h.Run[1:]...) //nolint:gosec // the program is configuration, see doc.go
	cmd.Args[0] = h.Run[0]
	cmd.Dir = h.Dir
	cmd.Env = append(slices.Clip(h.environ),
		"WARREN_JOB_ID="+strconv.FormatInt(int64(job.ID), 10),
		"WARREN_ATTEMPT="+strconv.Itoa(job.Attempts),
		"WARREN_LEASE="+strconv.FormatInt(job.LeaseNo, 10))
	cmd.SysProcAttr = attributes()
	cmd.Cancel = func() error {
		err := terminateGroup(cmd.Process)
		called.Store(!errors.Is(err, os.ErrProcessDone))
		return err
	}
	cmd.WaitDelay = h.grace()
	return cmd, &called
}

func interrupted(ctx context.Context) error {
	return fmt.Errorf("program was interrupted: %w", context.Cause(ctx))
}

// outcome turns the way the program ended, and its last words, into what a handler returns.
func (h handler) outcome(err error, last string) error {
	exit := (*exec.ExitError)(nil)
	if !errors.As(err, &exit) {
		return fmt.Errorf("program %q did not run: %w", h.Run[0], cause(err))
	}
	text := exit.String() // "exit status 1", "signal: killed"
	if last != "" {
		text += ": " + last
	}
	switch failed := errors.New(text); exit.ExitCode() {
	case exitPermanent:
		return warren.Permanent(failed)
	case exitWait:
		return warren.Wait(waitFor, failed)
	default:
		return failed
	}
}

// keep keeps the standard output as the job's output.
func keep(ctx context.Context, out *capped) {
	text := bytes.TrimSpace(out.kept)
	if len(text) == 0 {
		return
	}
	if !out.cut && json.Valid(text) && warren.SetOutput(ctx, json.RawMessage(text)) == nil {
		return
	}
	s := strings.ToValidUTF8(string(text), "\ufffd")
	s = strings.ReplaceAll(s, "\x00", "\ufffd") // no database stores it
	if err := warren.SetOutput(ctx, s); err != nil {
		// The work is done all the same.
		warren.Logger(ctx).Warn("the output was not kept", zap.Error(err))
	}
}
