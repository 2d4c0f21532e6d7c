package warren

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/warrenq/warren/internal/argcheck"
	"github.com/warrenq/warren/jobstore"
)

// PublishOpts is what one job says about itself. The zero value takes the kind's defaults, then
// the configured ones.
type PublishOpts struct {
	Queue       string
	Priority    *int          // one of the configured priorities; lower runs first: new(20)
	Delay       time.Duration // from the database's now(); 0 = the kind's
	At          time.Time     // an instant; not together with Delay
	Now         bool          // at once, although the kind has a delay
	SerialGroup string        // at most one job of a group runs at a time, in (priority, id) order
	Coalesce    *int64        // needs SerialGroup: when it starts, waiting members with at least this threshold become REDUNDANT
	Identifier  string        // a name to ask for later
	Mode        jobstore.Mode // default jobstore.Normal
	UniqueFor   time.Duration // with jobstore.Unique: 0 = until the job has ended; UntilStart; Forever; else a period
	UniqueBy    []string      // fields of args that make the identifier, or AllArgs; implies jobstore.Unique. Default: the kind's
	Replace     Replace       // with jobstore.Unique: a job with this key that waits takes this over; otherwise this one is REDUNDANT
	// ExpireAfter makes the job CANCELLED when it starts so long after it was due for the first time; 0 = never.
	ExpireAfter time.Duration
	// Debounce is a delay that begins anew with each publish of the same key: the job that waits takes
	// over the args and the time of the last. It needs an Identifier or UniqueBy.
	Debounce time.Duration
	// MaxWait with Debounce is how long after the first publish the job is due at the latest; 0 = no limit.
	MaxWait     time.Duration
	Every       time.Duration // with jobstore.Recurring: from the end of one to the start of the next
	MaxAttempts int           // 0 = the kind's; Unlimited = no limit
	Timeout     time.Duration // 0 = the kind's
	Metadata    any           // encoded as JSON; kept with the row
	By          string        // for whom, at most 255 bytes: created_by of the metadata, unless they have one; to select by
	Tags        []string
}

// Published is what became of a job.
type Published struct {
	ID    jobstore.ID    // the new job's, or Existing when that one was replaced
	State jobstore.State // READY, SCHEDULED or REDUNDANT; when another was replaced, what that one is now
	// Queue and Priority are those that the job got, defaults applied.
	Queue    string
	Priority int
	// Existing is the job that has the unique key, 0 when that is this one. See Duplicate.
	Existing jobstore.ID
}

// Limits that a job keeps to, here and in warren.enqueue().
const (
	maxLabel    = 255  // bytes of an identifier, a serial group or a tag
	maxTags     = 32   // tags of one job
	maxPriority = 999  // priorities are 0 to 999
	maxMetadata = 8192 // bytes of encoded metadata
)

// rules are the settings a job is checked against.
type rules struct {
	priorities   []int
	defaultQueue string
	maxArgs      int
	registry     *Registry
	keys         *KeyRing
	hooks        []PublishHook
}

// ErrInvalidJob marks errors about a job that was not published because of what it asks for:
// another try needs other values. errors.Is finds it.
var ErrInvalidJob = errors.New("invalid job")

// invalidJobError is an error with ErrInvalidJob's mark and its own words only.
type invalidJobError struct{ error }

func (e invalidJobError) Is(target error) bool { return target == ErrInvalidJob }
func (e invalidJobError) Unwrap() error        { return e.error }

// newJob applies defaults and checks everything that can be checked without the database. Its
// errors name the value and what would be right.
func (r *rules) newJob(kind string, args any, o PublishOpts) (jobstore.NewJob, error) {
	if err := checkKind(kind); err != nil {
		return jobstore.NewJob{}, inField("kind", err)
	}
	raw, err := encode(args)
	switch _, given := args.(json.RawMessage); {
	case err != nil:
	case given:
		err = argcheck.Check(raw, r.maxArgs)
	default:
		err = argcheck.CheckEncoded(raw, r.maxArgs)
	}
	if err != nil {
		return jobstore.NewJob{}, inField("args", fmt.Errorf("args of kind %s: %w", kind, err))
	}
	k := r.registry.opts(kind)
	if k.Schema != nil {
		if err := k.Schema.CheckArgs(raw); err != nil {
			return jobstore.NewJob{}, inField("args", fmt.Errorf("args of kind %s: %w", kind, err))
		}
	}
	if err := o.unique(k, raw); err != nil {
		return jobstore.NewJob{}, err
	}
	if err := o.delayed(k); err != nil {
		return jobstore.NewJob{}, err
	}
	job := jobstore.NewJob{
		Kind: kind, Args: raw,
		Queue:       firstNonEmpty(o.Queue, k.Queue, r.defaultQueue),
		SerialGroup: o.SerialGroup, GroupSkip: k.SkipOnRetry, Coalesce: o.Coalesce,
		Identifier: o.Identifier, Mode: o.Mode, Every: o.Every, UniqueFor: o.UniqueFor,
		Replace: o.Replace, MaxWait: o.MaxWait,
		AvailableAt: o.At, Delay: o.Delay, Timeout: o.Timeout, Tags: o.Tags,
		MaxAttempts: attempts(o.MaxAttempts, k.MaxAttempts),
	}
	if job.Mode == "" {
		job.Mode = jobstore.Normal
	}
	if job.Priority, err = r.priority(o.Priority, k); err != nil {
		return jobstore.NewJob{}, err
	}
	if o.Metadata != nil {
		if job.Metadata, err = encode(o.Metadata); err == nil {
			err = argcheck.Check(job.Metadata, maxMetadata)
		}
		if err != nil {
			return jobstore.NewJob{}, inField("metadata", fmt.Errorf("metadata: %w", err))
		}
	}
	if err := checkJob(&job); err != nil {
		return job, err
	}
	return job, r.sealArgs(&job, k.Encrypted)
}

// delayed takes the kind's delay, unless the job says when it is to run.
func (o *PublishOpts) delayed(k KindOpts) error {
	switch {
	case o.Now && (o.Delay != 0 || !o.At.IsZero() || o.Debounce != 0):
		return inField("now", errors.New("both now and a later time are given; use one"))
	case o.Now || o.Delay != 0 || !o.At.IsZero():
		return nil
	}
	o.Delay = k.Delay
	return nil
}

func (r *rules) priority(asked *int, k KindOpts) (int, error) {
	p := r.priorities[0]
	switch {
	case asked != nil:
		p = *asked
	case k.Priority != 0 || k.HasPriority:
		p = k.Priority
	}
	if !slices.Contains(r.priorities, p) {
		return 0, r.notConfigured(p)
	}
	return p, nil
}

func (r *rules) notConfigured(priority int) error {
	return inField("priority", fmt.Errorf("priority %d is not configured (%s)", priority, joinInts(r.priorities)))
}

func checkJob(j *jobstore.NewJob) error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, inField(field, fmt.Errorf(format, args...)))
	}
	errs = append(errs, inField("queue", checkQueue(j.Queue)),
		inField("serial_group", checkLabel("serial group", j.SerialGroup)), inField("identifier", checkLabel("identifier", j.Identifier)))
	switch j.Mode {
	case jobstore.Normal:
	case jobstore.Unique:
		if j.Identifier == "" {
			bad("identifier", "mode unique needs an identifier: it says what must not exist twice")
		}
	case jobstore.Recurring:
		if j.Identifier == "" {
			bad("identifier", "mode recurring needs an identifier: it names the series")
		}
		if j.Every <= 0 {
			bad("every", "mode recurring needs every, the time from the end of one job to the start of the next")
		}
	default:
		bad("mode", "mode %q is not one of normal, unique, recurring", j.Mode)
	}
	if j.Every != 0 && j.Mode != jobstore.Recurring {
		bad("every", "every %s needs mode recurring", j.Every)
	}
	checkUnique(j, bad)
	if j.Coalesce != nil && j.SerialGroup == "" {
		bad("coalesce", "coalesce %d needs a serial group: it absorbs jobs of its group", *j.Coalesce)
	}
	if j.Delay < 0 {
		bad("delay", "delay %s is negative; leave it out to run at once", j.Delay)
	}
	if j.Delay > 0 && !j.AvailableAt.IsZero() {
		bad("delay", "both a delay (%s) and a time (%s) are given; use one", j.Delay, j.AvailableAt.Format(time.RFC3339))
	}
	if y := j.AvailableAt.UTC().Year(); !j.AvailableAt.IsZero() && (y < 1970 || y > 9999) {
		bad("available_at", "time %s is outside of the years 1970 to 9999", j.AvailableAt.Format(time.RFC3339))
	}
	if j.Timeout < 0 {
		bad("timeout", "timeout %s is negative; leave it out for none", j.Timeout)
	}
	if j.MaxAttempts > 32767 {
		bad("max_attempts", "max attempts %d is more than 32767; 0 means no limit", j.MaxAttempts)
	}
	if len(j.Tags) > maxTags {
		bad("tags", "%d tags are more than %d", len(j.Tags), maxTags)
	}
	for _, tag := range j.Tags {
		errs = append(errs, inField("tags", checkLabel("tag", tag)))
		if tag == "" {
			bad("tags", "a tag is empty")
		}
	}
	return errors.Join(errs...)
}

// Names of kinds and queues are safe in the broker, in metrics and in shells. warren.enqueue() has
// the same patterns.
func checkKind(s string) error {
	if isName(s, 128, "_.:/-") {
		return nil
	}
	return fmt.Errorf("kind %.140q is not a name: use 1 to 128 letters, digits and _ . : / -, beginning with a letter, a digit or _", s)
}

func checkQueue(s string) error {
	if isName(s, 100, "_.:-") {
		return nil
	}
	return fmt.Errorf("queue %.140q is not a name: use 1 to 100 letters, digits and _ . : -, beginning with a letter, a digit or _", s)
}

// isName reports whether s has 1 to most ASCII letters, digits and marks, and begins with no mark but _. Every job that is
// published is asked, twice, so that it is no regular expression.
func isName(s string, most int, marks string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		case i == 0 || strings.IndexByte(marks, c) < 0:
			return false
		}
	}
	return len(s) >= 1 && len(s) <= most
}

// checkLabel is for identifiers, serial groups and tags, which are anybody's text.
func checkLabel(what, s string) error {
	switch {
	case len(s) > maxLabel:
		return fmt.Errorf("%s %.40q… has %d bytes; at most %d are allowed", what, s, len(s), maxLabel)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s %q is not valid UTF-8", what, s)
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%s %q contains a control character", what, s)
	}
	return nil
}

func encode(v any) (json.RawMessage, error) {
	if raw, ok := v.(json.RawMessage); ok {
		if len(raw) == 0 {
			return json.RawMessage("{}"), nil
		}
		return raw, nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("cannot be encoded as JSON: %w", err)
	}
	return b, nil
}

// attempts is the first of the two that says something; 0 in a row means no limit.
func attempts(job, kind int) int {
	n := job
	if n == 0 {
		n = kind
	}
	switch {
	case n == 0:
		return DefaultMaxAttempts
	case n < 0:
		return 0
	}
	return n
}

func firstNonEmpty(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}

func joinInts(v []int) string {
	var b strings.Builder
	for i, n := range v {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, n)
	}
	return b.String()
}
