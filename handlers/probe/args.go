package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// defaultWait is how long outcome "wait" waits when the args do not say.
const defaultWait = time.Minute

// args is what a probe was asked to do. The fields mean what doc.go says.
type args struct {
	sleep     time.Duration
	outcome   string // "" is "ok"
	failTimes int
	message   string
	append    string
	wait      time.Duration
	steps     int
}

// setters decode one field each; the names are the ones that args may use.
func setters(a *args) map[string]func(json.RawMessage) error {
	return map[string]func(json.RawMessage) error{
		"sleep":      func(v json.RawMessage) error { return setDuration(&a.sleep, v) },
		"wait":       func(v json.RawMessage) error { return setDuration(&a.wait, v) },
		"outcome":    func(v json.RawMessage) error { return setOutcome(&a.outcome, v) },
		"steps":      func(v json.RawMessage) error { return setSteps(&a.steps, v) },
		"fail_times": func(v json.RawMessage) error { return setCount(&a.failTimes, v) },
		"message":    func(v json.RawMessage) error { return setText(&a.message, v) },
		"append":     func(v json.RawMessage) error { return setText(&a.append, v) },
	}
}

// parseArgs decodes args strictly: a misspelt field would make a test pass that tests nothing.
func parseArgs(raw json.RawMessage) (args, error) {
	// What a throughput test publishes by the million takes no allocation.
	if len(raw) == 0 || string(raw) == "{}" {
		return args{wait: defaultWait}, nil
	}
	return parseFields(raw)
}

func parseFields(raw json.RawMessage) (args, error) {
	a := args{wait: defaultWait}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return a, fmt.Errorf("probe's args must be a JSON object such as {\"sleep\":\"10ms\"}: %w", err)
	}
	set := setters(&a)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		f, ok := set[name]
		if !ok {
			known := slices.Sorted(maps.Keys(set))
			return a, fmt.Errorf("probe's args have an unknown field %q; it knows %s", name, strings.Join(known, ", "))
		}
		if err := f(fields[name]); err != nil {
			return a, fmt.Errorf("probe's args: field %q: %w", name, err)
		}
	}
	return a, nil
}

func setText(to *string, v json.RawMessage) error {
	if err := json.Unmarshal(v, to); err != nil {
		return fmt.Errorf("%s is not a string", v)
	}
	return nil
}

func setCount(to *int, v json.RawMessage) error {
	n, err := strconv.Atoi(string(v))
	if err != nil || n < 0 {
		return fmt.Errorf("%s is not a whole number from 0 up", v)
	}
	*to = n
	return nil
}

// maxSteps keeps the parts of a nap longer than their overhead.
const maxSteps = 1000

func setSteps(to *int, v json.RawMessage) error {
	if err := setCount(to, v); err != nil || *to > maxSteps {
		return fmt.Errorf("%s is not a whole number from 0 to %d", v, maxSteps)
	}
	return nil
}

func setDuration(to *time.Duration, v json.RawMessage) error {
	var s string
	if err := setText(&s, v); err != nil {
		return fmt.Errorf(`%s is not a duration such as "10ms"`, v)
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return fmt.Errorf(`%q is not a duration such as "10ms"`, s)
	case d < 0:
		return errors.New(s + " is negative")
	}
	*to = d
	return nil
}

func setOutcome(to *string, v json.RawMessage) error {
	var s string
	if err := setText(&s, v); err != nil {
		return err
	}
	outcomes := []string{"ok", "temporary", "permanent", "wait", "skip", "stop", "panic", "hang"}
	if s != "" && !slices.Contains(outcomes, s) {
		return fmt.Errorf("%q is none of %s", s, strings.Join(outcomes, ", "))
	}
	*to = s
	return nil
}
