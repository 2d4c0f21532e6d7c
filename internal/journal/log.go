package journal

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/warrenq/warren/internal/argcheck"
	"github.com/warrenq/warren/jobstore"
)

// Core is the log of an attempt as zap writes to it: what is said at info or above.
func (a *Attempt) Core() zapcore.Core {
	if a.journal.cfg.MaxLog <= 0 {
		return zapcore.NewNopCore()
	}
	return core{attempt: a}
}

type core struct {
	attempt *Attempt
	with    []zapcore.Field
}

// Enabled implements zapcore.LevelEnabler.
func (c core) Enabled(l zapcore.Level) bool { return l >= zapcore.InfoLevel }

// With implements zapcore.Core.
func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{attempt: c.attempt, with: append(slices.Clip(c.with), fields...)}
}

// Check implements zapcore.Core.
func (c core) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return to.AddCore(e, c)
	}
	return to
}

// Write implements zapcore.Core. It never waits.
func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.attempt.say(e.Time, level(e.Level), argcheck.Sanitize(e.Message, maxText), encode(c.with, fields))
	return nil
}

// Sync implements zapcore.Core. What is said is written soon, by the journal.
func (c core) Sync() error { return nil }

func level(l zapcore.Level) jobstore.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return jobstore.LevelError
	case l == zapcore.WarnLevel:
		return jobstore.LevelWarn
	case l == zapcore.InfoLevel:
		return jobstore.LevelInfo
	}
	return jobstore.LevelDebug
}

// encode is the fields as a JSON object. What the database could not store is told as such.
func encode(with, fields []zapcore.Field) json.RawMessage {
	if len(with)+len(fields) == 0 {
		return nil
	}
	values := zapcore.NewMapObjectEncoder()
	for _, f := range with {
		f.AddTo(values)
	}
	for _, f := range fields {
		f.AddTo(values)
	}
	text, err := json.Marshal(values.Fields)
	if err == nil {
		err = argcheck.Check(text, maxText)
	}
	if err != nil {
		text, _ = json.Marshal(map[string]string{"fields_left_out": argcheck.Sanitize(err.Error(), maxMessage)})
	}
	return text
}

// say adds a line, or drops it and counts.
func (a *Attempt) say(at time.Time, level jobstore.Level, text string, fields json.RawMessage) {
	a.mu.Lock()
	defer a.mu.Unlock()
	size := int64(len(text) + len(fields))
	switch limit := a.journal.cfg.MaxLog; {
	case a.ended:
	case a.over > 0:
		a.over++
	case a.kept+size > limit:
		a.over = 1
		a.add(at, jobstore.LevelWarn, fmt.Sprintf("the log of this job is full, with %d bytes: what follows is dropped", limit), nil)
	case a.waiting+size > maxWaiting || !a.journal.room(size):
		a.late++
	default:
		a.caughtUp(at)
		a.kept += size
		a.add(at, level, text, fields)
	}
}

// caughtUp says what is missing before the next line.
func (a *Attempt) caughtUp(at time.Time) {
	if a.late > 0 {
		a.add(at, jobstore.LevelWarn, fmt.Sprintf("%d lines were dropped here: they came faster than they could be written", a.late), nil)
		a.late = 0
	}
}

// dropped says at the end what is missing.
func (a *Attempt) dropped() {
	now := time.Now()
	a.caughtUp(now)
	if a.over > 0 {
		a.add(now, jobstore.LevelWarn, fmt.Sprintf("%d lines were dropped, because the log is full", a.over), nil)
		a.over = 0
	}
}

// add puts a line behind the others. Those that tell of dropped ones do not fill the log.
func (a *Attempt) add(at time.Time, level jobstore.Level, text string, fields json.RawMessage) {
	a.no++
	line := jobstore.Line{
		Job: a.job, LeaseNo: a.row.LeaseNo, No: a.no, At: at.UTC().Truncate(time.Millisecond), Attempt: a.row.Attempts, Level: level, Text: text, Fields: fields,
	}
	a.lines = append(a.lines, line)
	a.waiting += int64(line.Size())
	a.journal.waiting.Add(int64(line.Size()))
	a.enqueue()
}
