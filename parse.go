package warren

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FieldError is an error about one field of a job. Its words are those of Err.
type FieldError struct {
	Field string // as the column is called: serial_group
	Err   error
}

func (e *FieldError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong with the field.
func (e *FieldError) Unwrap() error { return e.Err }

// inField says which field an error is about; nil stays nil.
func inField(field string, err error) error {
	if err == nil {
		return nil
	}
	return &FieldError{Field: field, Err: err}
}

// ParseItem reads a job from a JSON object. Its keys are columns of the jobs table: kind (needed),
// args, queue, priority, serial_group, identifier, mode, every, delay, available_at, coalesce,
// max_attempts (0 = no limit), timeout, metadata, tags; and of PublishOpts unique_for (a duration,
// until-start or forever), unique_by (a list of fields of args), replace (a list of args, priority, time,
// all), debounce, max_wait, now and expire_after.
// Durations are texts for ParseDuration or numbers of seconds. Another key is an error, because
// what it asks for would be lost.
//
// PublishMany checks the rest. Errors are ErrInvalidJob; those about a key are *FieldError.
func ParseItem(text []byte) (Item, error) {
	var item Item
	var args, metadata json.RawMessage
	var maxAttempts *int
	o := &item.Opts
	err := parseFields(text, map[string]any{
		"kind": &item.Kind, "args": &args, "queue": &o.Queue, "priority": &o.Priority, "serial_group": &o.SerialGroup,
		"identifier": &o.Identifier, "mode": &o.Mode, "every": (*jsonDuration)(&o.Every), "delay": (*jsonDuration)(&o.Delay),
		"available_at": &o.At, "coalesce": &o.Coalesce, "max_attempts": &maxAttempts, "timeout": (*jsonDuration)(&o.Timeout),
		"metadata": &metadata, "tags": &o.Tags, "unique_for": (*jsonUniqueFor)(&o.UniqueFor), "unique_by": &o.UniqueBy,
		"replace": (*jsonReplace)(&o.Replace), "debounce": (*jsonDuration)(&o.Debounce), "max_wait": (*jsonDuration)(&o.MaxWait),
		"now": &o.Now, "expire_after": (*jsonDuration)(&o.ExpireAfter),
	})
	if err == nil && item.Kind == "" {
		err = inField("kind", errors.New(`"kind" is missing; it names the handler`))
	}
	if err == nil {
		o.MaxAttempts, err = parseMaxAttempts(maxAttempts)
	}
	if err != nil {
		return Item{}, invalidJobError{err}
	}
	item.Args = args
	if given(metadata) {
		o.Metadata = metadata
	}
	return item, nil
}

// ParseEdit reads a change of a job from a JSON object: queue, priority, args, delay,
// available_at, max_attempts (0 = no limit), timeout (0 = none), metadata and tags, which replaces
// all. Errors are ErrInvalidJob; those about a key are *FieldError.
func ParseEdit(text []byte) (EditOpts, error) {
	var o EditOpts
	var args, metadata json.RawMessage
	var maxAttempts *int
	var delay, timeout *jsonDuration
	err := parseFields(text, map[string]any{
		"queue": &o.Queue, "priority": &o.Priority, "args": &args, "delay": &delay, "available_at": &o.At,
		"max_attempts": &maxAttempts, "timeout": &timeout, "metadata": &metadata, "tags": &o.Tags,
	})
	if err == nil {
		o.MaxAttempts, err = parseMaxAttempts(maxAttempts)
	}
	if err != nil {
		return EditOpts{}, invalidJobError{err}
	}
	o.Delay, o.Timeout = (*time.Duration)(delay), (*time.Duration)(timeout)
	if len(args) > 0 {
		o.Args = args
	}
	if given(metadata) {
		o.Metadata = metadata
	}
	if o.Queue == "" && o.Priority == nil && o.Args == nil && o.Delay == nil && o.At.IsZero() && o.MaxAttempts == 0 &&
		o.Timeout == nil && o.Metadata == nil && o.Tags == nil {
		return EditOpts{}, invalidJobError{errors.New("nothing to change is given")}
	}
	return o, nil
}

// given reports whether a value is there and not null.
func given(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// parseFields reads an object into the destinations of its keys. Keys are taken as they are
// spelled, which encoding/json does not do for structs.
func parseFields(text []byte, into map[string]any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	var fields map[string]json.RawMessage
	if err := dec.Decode(&fields); err != nil {
		return describeJSON(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one JSON value")
	}
	if fields == nil {
		return errors.New("null is no job; give an object")
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		dest, known := into[name]
		if !known {
			return inField(name, fmt.Errorf("%.80q is none of the keys %s", name, strings.Join(slices.Sorted(maps.Keys(into)), ", ")))
		}
		if err := json.Unmarshal(fields[name], dest); err != nil {
			return inField(name, fmt.Errorf("%s: %w", name, describeJSON(err)))
		}
	}
	return nil
}

func describeJSON(err error) error {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON ends too early")
	case errors.As(err, &syntax):
		return fmt.Errorf("not valid JSON at byte %d: %w", syntax.Offset, err)
	case errors.As(err, &wrong):
		return fmt.Errorf("a JSON %s is not %s", wrong.Value, jsonName(wrong.Type.Kind().String()))
	}
	return err
}

// jsonName is what a JSON value for a Go kind is called.
func jsonName(kind string) string {
	switch kind {
	case "string":
		return "a text"
	case "map", "struct":
		return "an object"
	case "slice":
		return "an array"
	}
	return "a whole number in range"
}

// parseMaxAttempts translates 0, which means no limit in JSON.
func parseMaxAttempts(n *int) (int, error) {
	switch {
	case n == nil:
		return 0, nil
	case *n < 0:
		return 0, inField("max_attempts", fmt.Errorf("max attempts %d is negative; 0 means no limit", *n))
	case *n == 0:
		return Unlimited, nil
	}
	return *n, nil
}

// jsonDuration is a text for ParseDuration or a number of seconds.
type jsonDuration time.Duration

// UnmarshalJSON reads either form.
func (d *jsonDuration) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	if seconds, err := strconv.ParseFloat(string(b), 64); err == nil {
		if seconds < 0 || seconds >= math.MaxInt64/1e9 {
			return fmt.Errorf("%s seconds are not from 0 to 292 years", b)
		}
		*d = jsonDuration(math.Round(seconds * 1e9))
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("duration %.80s is neither a text such as \"1m30s\" nor a number of seconds", b)
	}
	v, err := ParseDuration(s)
	*d = jsonDuration(v)
	return err
}

// jsonReplace is a list of words.
type jsonReplace Replace

// UnmarshalJSON reads the list.
func (r *jsonReplace) UnmarshalJSON(b []byte) error {
	var words []string
	if err := json.Unmarshal(b, &words); err != nil {
		return errors.New(`want a list such as ["args", "time"], or ["all"]`)
	}
	bits, err := parseReplace(words)
	*r = jsonReplace(bits)
	return err
}

// jsonUniqueFor is a duration or one of two words.
type jsonUniqueFor time.Duration

// UnmarshalJSON reads any of the forms.
func (u *jsonUniqueFor) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case `"forever"`:
		*u = jsonUniqueFor(Forever)
		return nil
	case `"until-start"`:
		*u = jsonUniqueFor(UntilStart)
		return nil
	}
	return (*jsonDuration)(u).UnmarshalJSON(b)
}

const day = 24 * time.Hour

var daysPattern = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)d`)

// ParseDuration reads what people write: Go's syntax (30s, 1h30m, 500ms) with days in front of it
// or alone (14d, 1d12h). Negative durations are refused.
func ParseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%.80q is not a duration; write one such as 500ms, 30s, 1h30m or 14d", s)
	rest := strings.TrimSpace(s)
	var total time.Duration
	if m := daysPattern.FindStringSubmatch(rest); m != nil {
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil || n*float64(day) >= math.MaxInt64 {
			return 0, fmt.Errorf("duration %.80q is longer than 292 years", s)
		}
		total = time.Duration(math.Round(n * float64(day)))
		if rest = rest[len(m[0]):]; rest == "" {
			return total, nil
		}
	}
	if strings.HasPrefix(rest, "-") && total == 0 {
		return 0, fmt.Errorf("duration %.80q is negative", s)
	}
	if strings.HasPrefix(rest, "+") || strings.HasPrefix(rest, "-") {
		return 0, bad
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return 0, bad
	}
	if total+d < total {
		return 0, fmt.Errorf("duration %.80q is longer than 292 years", s)
	}
	return total + d, nil
}
