package warren

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/warrenq/warren/jobstore"
)

const (
	// Forever as PublishOpts.UniqueFor keeps a unique key taken after its job has ended.
	Forever = jobstore.Forever
	// UntilStart as PublishOpts.UniqueFor keeps a unique key until its job starts for the first time: while
	// it runs, one more may wait. Nothing is lost by that: a job that another was told to rely on
	// starts after that publish is committed.
	UntilStart = jobstore.UntilStart
)

// AllArgs as the only field of PublishOpts.UniqueBy stands for the whole args.
const AllArgs = "*"

// Replace says what a job that waits takes over from a new one with its unique key.
type Replace = jobstore.Replace

// What can be replaced; bits, to be combined.
const (
	ReplaceArgs     = jobstore.ReplaceArgs     // args, metadata and tags
	ReplacePriority = jobstore.ReplacePriority // queue and priority
	ReplaceTime     = jobstore.ReplaceTime     // the time at which it is due
	ReplaceAll      = jobstore.ReplaceAll
)

// Duplicate reports whether the publish made no job that runs, because another, Existing, has its
// unique key: that one will do, or has taken over what was to be replaced.
func (p Published) Duplicate() bool { return p.Existing != 0 }

// unique completes what a job says about its key: the kind's default, the key made of args, and what
// debouncing stands for.
func (o *PublishOpts) unique(k KindOpts, args json.RawMessage) error {
	if o.Mode == "" && len(k.UniqueBy) > 0 {
		o.Mode = jobstore.Unique
		if o.Identifier == "" && len(o.UniqueBy) == 0 {
			o.UniqueBy = k.UniqueBy
		}
		if o.UniqueFor == 0 {
			o.UniqueFor = k.UniqueFor
		}
	}
	if err := o.debounced(); err != nil {
		return err
	}
	if o.Mode == "" && len(o.UniqueBy) > 0 {
		o.Mode = jobstore.Unique
	}
	if len(o.UniqueBy) == 0 {
		return nil
	}
	switch {
	case o.Identifier != "":
		return inField("unique_by", fmt.Errorf("both an identifier (%.80q) and unique-by are given; the key is one of them", o.Identifier))
	case o.Mode != jobstore.Unique:
		return inField("unique_by", fmt.Errorf("unique-by needs mode unique, not %s", o.Mode))
	}
	key, err := keyOf(args, o.UniqueBy)
	o.Identifier = key
	return inField("unique_by", err)
}

// debounced translates Debounce: one waiting job, whose time moves.
func (o *PublishOpts) debounced() error {
	switch {
	case o.Debounce == 0:
		return nil
	case o.Debounce < 0:
		return inField("debounce", fmt.Errorf("debounce %s is negative", o.Debounce))
	case o.Mode != "" && o.Mode != jobstore.Unique:
		return inField("debounce", fmt.Errorf("debounce %s does not go with mode %s", o.Debounce, o.Mode))
	case o.Identifier == "" && len(o.UniqueBy) == 0:
		return inField("debounce", fmt.Errorf("debounce %s needs an identifier or unique-by: it says which publishes are one job", o.Debounce))
	case o.Delay != 0 || !o.At.IsZero():
		return inField("debounce", fmt.Errorf("debounce %s is a delay itself; leave out the other one", o.Debounce))
	case o.UniqueFor != 0 && o.UniqueFor != UntilStart:
		return inField("debounce", fmt.Errorf("debounce %s keeps the key until the start; leave out unique-for", o.Debounce))
	case o.MaxWait != 0 && o.MaxWait < o.Debounce:
		return inField("max_wait", fmt.Errorf("max wait %s is shorter than debounce %s", o.MaxWait, o.Debounce))
	}
	o.Mode, o.UniqueFor, o.Delay = jobstore.Unique, UntilStart, o.Debounce
	if o.Replace == 0 {
		o.Replace = ReplaceAll
	}
	o.Replace |= ReplaceTime
	return nil
}

// keyOf makes an identifier of fields of args. It is a digest, because args may be long, and because
// identifiers are shown to more people.
func keyOf(args json.RawMessage, fields []string) (string, error) {
	chosen := any(args)
	if !slices.Equal(fields, []string{AllArgs}) {
		var all map[string]json.RawMessage
		if err := json.Unmarshal(args, &all); err != nil || all == nil {
			return "", errors.New("args are no object, so that they have no fields to be unique by")
		}
		part := map[string]json.RawMessage{}
		for _, name := range fields {
			value, there := all[name]
			if !there {
				return "", fmt.Errorf("args have no field %.80q to be unique by; they have %s (a field with omitempty may be missing)",
					name, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
			}
			part[name] = value
		}
		chosen = part
	}
	text, err := canonical(chosen)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return "unique:" + hex.EncodeToString(sum[:]), nil
}

// canonical writes a value so that equal ones have equal texts: objects in the order of their keys,
// numbers as they were written.
func canonical(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var plain any
	if err := dec.Decode(&plain); err != nil {
		return nil, err
	}
	return json.Marshal(plain)
}

// checkUnique is the part of checkJob about keys.
func checkUnique(j *jobstore.NewJob, bad func(field, format string, args ...any)) {
	if j.UniqueFor < 0 && j.UniqueFor != Forever && j.UniqueFor != UntilStart {
		bad("unique_for", "unique-for %s is negative", j.UniqueFor)
	}
	if j.UniqueFor != 0 && j.Mode != jobstore.Unique {
		bad("unique_for", "unique-for needs mode unique")
	}
	if j.Replace&^ReplaceAll != 0 {
		bad("replace", "replace %#x has unknown bits", uint8(j.Replace))
	}
	if j.Replace != 0 && j.Mode != jobstore.Unique {
		bad("replace", "replace needs mode unique: the key says which job it is about")
	}
	if j.MaxWait < 0 {
		bad("max_wait", "max wait %s is negative", j.MaxWait)
	}
	if j.MaxWait > 0 && j.Replace&ReplaceTime == 0 {
		bad("max_wait", "max wait %s needs debounce, or replacing the time: nothing else puts a job off", j.MaxWait)
	}
}

// parseReplace reads the words of Replace.
func parseReplace(words []string) (r Replace, err error) {
	known := map[string]Replace{"args": ReplaceArgs, "priority": ReplacePriority, "time": ReplaceTime, "all": ReplaceAll}
	for _, word := range words {
		bits, ok := known[word]
		if !ok {
			return 0, fmt.Errorf("replace %.80q is not one of args, priority, time, all", word)
		}
		r |= bits
	}
	return r, nil
}

// ParseReplace reads a list such as "args,time", or "all".
func ParseReplace(s string) (Replace, error) { return parseReplace(strings.Split(s, ",")) }

// ParseUniqueFor reads a duration, or one of the words forever and until-start.
func ParseUniqueFor(s string) (time.Duration, error) {
	switch s {
	case "forever":
		return Forever, nil
	case "until-start":
		return UntilStart, nil
	}
	return ParseDuration(s)
}
