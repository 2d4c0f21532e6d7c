package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.uber.org/zap"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// Config configures a probe. There is nothing to configure yet; the zero value is right.
type Config struct{}

// New returns the handler. Its error is nil today; it is there so that every stock handler is
// made the same way.
func New(Config) (warren.RawHandler, error) { return run, nil }

func run(ctx context.Context, job *jobstore.Job) error {
	a, err := parseArgs(job.Args)
	if err != nil {
		return warren.Permanent(err)
	}
	if err := a.record(job, "start"); err != nil {
		return err
	}
	if a.outcome == "hang" {
		a.hang()
	}
	err = a.naps(ctx)
	// Before the outcome, because a panic is one.
	if lerr := a.record(job, "end"); lerr != nil && err == nil {
		// The job did its work, but nobody can see that it did: that is not "ok".
		return lerr
	}
	if err != nil {
		return err
	}
	return a.end(job.Attempts)
}

// naps sleeps in the steps that were asked for, and tells how far it is.
func (a *args) naps(ctx context.Context) error {
	for n := range a.steps {
		if err := nap(ctx, a.sleep/time.Duration(a.steps)); err != nil {
			return err
		}
		warren.Progress(ctx, int64(n+1), int64(a.steps), a.message)
		warren.Logger(ctx).Info("step", zap.Int("step", n+1), zap.Int("of", a.steps))
	}
	if a.steps > 0 {
		return nil
	}
	return nap(ctx, a.sleep)
}

// nap sleeps, unless the attempt is called off.
func nap(ctx context.Context, d time.Duration) error {
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("probe was interrupted: %w", context.Cause(ctx))
	}
	return nil
}

// hang sleeps once and then never returns, whatever becomes of the context.
func (a *args) hang() {
	<-time.After(a.sleep)
	select {}
}

// end turns the outcome that was asked for into what a handler returns.
func (a *args) end(attempt int) error {
	switch a.outcome {
	case "temporary":
		return errors.New(a.text("told to fail for now"))
	case "permanent":
		return warren.Permanent(errors.New(a.text("told to fail for good")))
	case "wait":
		return warren.Wait(a.wait, errors.New(a.text("told to wait")))
	case "skip":
		return warren.Skip(a.text("told to skip"))
	case "stop":
		return warren.StopConsumer(nil)
	case "panic":
		panic(a.text("told to panic"))
	}
	if attempt <= a.failTimes {
		return errors.New(a.text(fmt.Sprintf("told to fail %d times, this is attempt %d", a.failTimes, attempt)))
	}
	return nil
}

func (a *args) text(otherwise string) string {
	if a.message != "" {
		return a.message
	}
	return "probe was " + otherwise
}

// record appends one line to the ledger, if there is one.
func (a *args) record(job *jobstore.Job, event string) (err error) {
	if a.append == "" {
		return nil
	}
	//nolint:gosec // the file is the point of this field, and others read it; doc.go warns
	f, err := os.OpenFile(a.append, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("probe's ledger: %w", err)
	}
	// A write error may come as late as here.
	defer func() { err = errors.Join(err, f.Close()) }()

	line := make([]byte, 0, 96+len(job.SerialGroup))
	for _, n := range []int64{int64(job.ID), int64(job.Attempts), job.LeaseNo, int64(os.Getpid())} {
		line = append(strconv.AppendInt(line, n, 10), ' ')
	}
	line = append(append(line, event...), ' ')
	line = append(strconv.AppendInt(line, time.Now().UnixNano(), 10), ' ')
	line = append(append(line, group(job.SerialGroup)...), '\n')
	// One write, so that lines of several processes do not mix.
	if _, err := f.Write(line); err != nil {
		return fmt.Errorf("probe's ledger: %w", err)
	}
	return nil
}

// group is how a serial group is spelled in the ledger: a line break in one would forge a line.
func group(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, s)
}
