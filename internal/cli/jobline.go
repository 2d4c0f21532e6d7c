package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// jobLine is one line of an import: the keys are the columns of the jobs table.
type jobLine struct {
	Kind        string          `json:"kind"`
	Args        json.RawMessage `json:"args"`
	Queue       string          `json:"queue"`
	Priority    *int            `json:"priority"`
	SerialGroup string          `json:"serial_group"`
	Identifier  string          `json:"identifier"`
	Mode        jobstore.Mode   `json:"mode"`
	Every       duration        `json:"every"`
	Delay       duration        `json:"delay"`
	AvailableAt time.Time       `json:"available_at"`
	Coalesce    *int64          `json:"coalesce"`
	MaxAttempts *int            `json:"max_attempts"`
	Timeout     duration        `json:"timeout"`
	Metadata    json.RawMessage `json:"metadata"`
	Tags        []string        `json:"tags"`
	UniqueFor   uniqueFor       `json:"unique_for"`
}

// parseJobLine reads one JSON object. A key that is no column is an error: it would be silently lost.
func parseJobLine(line []byte) (warren.Item, error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	var l jobLine
	if err := dec.Decode(&l); err != nil {
		return warren.Item{}, describeJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return warren.Item{}, errors.New("there is more than one JSON value on the line")
	}
	if l.Kind == "" {
		return warren.Item{}, errors.New(`"kind" is missing; it names the handler`)
	}
	o := warren.PublishOpts{
		Queue: l.Queue, Priority: l.Priority, Delay: time.Duration(l.Delay), At: l.AvailableAt,
		SerialGroup: l.SerialGroup, Coalesce: l.Coalesce, Identifier: l.Identifier, Mode: l.Mode,
		UniqueFor: time.Duration(l.UniqueFor), Every: time.Duration(l.Every), Timeout: time.Duration(l.Timeout), Tags: l.Tags,
		MaxAttempts: unlimited(l.MaxAttempts),
	}
	if len(l.Metadata) > 0 && string(l.Metadata) != "null" {
		o.Metadata = l.Metadata
	}
	return warren.Item{Kind: l.Kind, Args: l.Args, Opts: o}, nil
}

// unlimited translates "0 = no limit" of the command line and of imports.
func unlimited(n *int) int {
	switch {
	case n == nil:
		return 0
	case *n <= 0:
		return warren.Unlimited
	}
	return *n
}

func describeJSON(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON ends too early")
	case errors.As(err, &syntax):
		return fmt.Errorf("not valid JSON at byte %d: %w", syntax.Offset, err)
	}
	return err
}

// duration is a Go duration ("1m30s") or a number of seconds in JSON.
type duration time.Duration

// UnmarshalJSON reads either form.
func (d *duration) UnmarshalJSON(b []byte) error {
	var seconds float64
	if json.Unmarshal(b, &seconds) == nil {
		*d = duration(seconds * float64(time.Second))
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("duration %s is neither a text such as \"1m30s\" nor a number of seconds", b)
	}
	v, err := parseDuration(s)
	*d = duration(v)
	return err
}

// uniqueFor is a duration or the word forever.
type uniqueFor time.Duration

// UnmarshalJSON reads either form.
func (u *uniqueFor) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil && s == "forever" {
		*u = uniqueFor(warren.Forever)
		return nil
	}
	return (*duration)(u).UnmarshalJSON(b)
}
