package schedule

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// Limits of a definition.
const (
	// MaxCatchUp is how many missed ticks may be made up for at once.
	MaxCatchUp = 1000
	// MaxJitter is the longest jitter.
	MaxJitter = 24 * time.Hour
	// shortest is the shortest time between two ticks: the sweep looks twice a second.
	shortest = time.Second
	// longest is the longest time between two ticks.
	longest = 10 * 365 * 24 * time.Hour
)

// Duration is a time.Duration that is written as text.
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// Definition is what a schedule says: when, and which job. It is kept in the database as JSON, with
// every default of the job's kind applied, so that whoever leads the sweep can plant its rows.
type Definition struct {
	// When: one of Cron, Every, Once and Manual.
	Cron   string    `json:"cron,omitempty"`
	Every  Duration  `json:"every,omitzero"`
	From   string    `json:"from,omitempty"` // with Every: 05:00, each day
	To     string    `json:"to,omitempty"`   // the last time of a day, if Every meets it
	Once   time.Time `json:"once,omitzero"`
	Manual bool      `json:"manual,omitempty"` // runs when somebody says so

	Zone    string   `json:"zone,omitempty"` // of Cron, From and To; "" = UTC
	Jitter  Duration `json:"jitter,omitzero"`
	CatchUp int      `json:"catch_up"` // of the ticks that have passed, so many of the latest run

	Kind        string          `json:"kind"`
	Args        json.RawMessage `json:"args"`
	Queue       string          `json:"queue"`
	Priority    int             `json:"priority"`
	SerialGroup string          `json:"serial_group,omitempty"`
	MaxAttempts int             `json:"max_attempts"` // 0 = no limit
	Timeout     Duration        `json:"timeout,omitzero"`
	Metadata    json.RawMessage `json:"metadata,omitempty"`
	Tags        []string        `json:"tags,omitempty"`
}

// Parse reads a definition from the database. It is strict: a field that this program does not know is
// for a newer one to plan with.
func Parse(text json.RawMessage) (*Definition, error) {
	var d Definition
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return nil, fmt.Errorf("the definition cannot be read: %w", err)
	}
	return &d, nil
}

// Text is the definition for the database.
func (d *Definition) Text() (json.RawMessage, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("write the definition of a schedule: %w", err)
	}
	return text, nil
}

// Digest names a definition: two that mean the same, with args in another order, say, have the same.
func (d *Definition) Digest() (string, error) {
	text, err := d.Text()
	if err != nil {
		return "", err
	}
	var v any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return "", err
	}
	if text, err = json.Marshal(v); err != nil { // which writes keys in their order
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16]), nil
}

var names = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}$`)

// CheckName says what is wrong with the name of a schedule.
func CheckName(name string) error {
	if names.MatchString(name) {
		return nil
	}
	return fmt.Errorf("schedule %.140q is not a name: use 1 to 128 letters, digits and _ . : / -, beginning with a letter, a digit or _", name)
}

// Check says everything that is wrong with when a schedule runs. What is said of its job is checked as
// a publish is.
func (d *Definition) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, err := d.Times(); err != nil {
		errs = append(errs, err)
	}
	switch j := time.Duration(d.Jitter); {
	case j < 0:
		bad("jitter %s is negative; leave it out for none", j)
	case j > MaxJitter:
		bad("jitter %s is more than %s", j, MaxJitter)
	case d.Every > 0 && d.Jitter >= d.Every:
		bad("jitter %s is not shorter than every %s", j, time.Duration(d.Every))
	}
	if d.CatchUp < 0 || d.CatchUp > MaxCatchUp {
		bad("catch-up %d is not from 0 to %d: it says how many of the latest missed runs are made up for", d.CatchUp, MaxCatchUp)
	}
	if d.Metadata != nil && object(d.Metadata) == nil {
		bad("metadata of a schedule must be a JSON object: its jobs' have the name and the tick added")
	}
	return errors.Join(errs...)
}

// Tag is the tag that all jobs of a schedule have.
func Tag(name string) string { return "schedule:" + name }

// Mark is what a job's metadata says of its schedule, under the key "schedule".
type Mark struct {
	Name   string    `json:"name"`
	Tick   time.Time `json:"tick"`
	Manual bool      `json:"manual,omitempty"`
}

// MarkOf reads the mark of a job, if it has one.
func MarkOf(metadata json.RawMessage) (m Mark, ok bool) {
	text := object(metadata)["schedule"]
	if text == nil || json.Unmarshal(text, &m) != nil || m.Name == "" {
		return Mark{}, false
	}
	return m, true
}

// job is the row of a tick.
func (d *Definition) job(m Mark, at time.Time) (jobstore.NewJob, error) {
	keys := object(d.Metadata)
	if keys == nil {
		keys = map[string]json.RawMessage{}
	}
	mark, err := json.Marshal(m)
	if err != nil {
		return jobstore.NewJob{}, err
	}
	keys["schedule"] = mark
	metadata, err := json.Marshal(keys)
	if err != nil {
		return jobstore.NewJob{}, err
	}
	return jobstore.NewJob{
		Kind: d.Kind, Args: d.Args, Queue: d.Queue, Priority: d.Priority, Mode: jobstore.Normal,
		// The row of the next tick must not keep others of its group waiting until then.
		SerialGroup: d.SerialGroup, GroupSkip: d.SerialGroup != "",
		MaxAttempts: d.MaxAttempts, Timeout: time.Duration(d.Timeout), Metadata: metadata,
		Tags: append([]string{Tag(m.Name)}, d.Tags...), AvailableAt: at, Outbox: true,
	}, nil
}

// object is a JSON object by its keys, nil for anything else.
func object(text json.RawMessage) (keys map[string]json.RawMessage) {
	if len(text) == 0 || json.Unmarshal(text, &keys) != nil {
		return nil
	}
	return keys
}
