package config

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/warrenq/warren/argschema"
	"github.com/warrenq/warren/handlers/command"
	"github.com/warrenq/warren/handlers/probe"
	"github.com/warrenq/warren/handlers/webhook"
	"github.com/warrenq/warren/jobstore"
)

// Kind is how the stock consumer handles the jobs of one kind, complete with its defaults.
type Kind struct {
	// Exactly one of the three is not nil. They are valid; whether a command's program exists is
	// known when command.New looks for it.
	Webhook *webhook.Config
	Command *command.Config
	Probe   *probe.Config

	// Queue of jobs that name none. Default: Config.DefaultQueue.
	Queue string
	// Priority of jobs that name none, one of Config.Priorities. Default: the first of them.
	Priority int
	// MaxAttempts, 0 for no limit. Default: Config.MaxAttempts.
	MaxAttempts int
	// TimeoutIsPermanent gives a job up when an attempt's time is up (on_timeout: fail).
	TimeoutIsPermanent bool
	// MaxErrors are after how many failed attempts a job is given up, 0 for MaxAttempts alone.
	MaxErrors int
	// RetryFor is for how long after its first failure a job is tried again, 0 for no limit.
	RetryFor time.Duration
	// Timeout of one attempt, 0 for none. Default: none, and a minute for webhooks, whose other
	// side may never answer.
	Timeout time.Duration
	// DefaultTimeout says that the configuration gives this kind no timeout: that of a pool counts then.
	DefaultTimeout bool `json:"-"`
	// Backoff are the delays after the first, second, … failed attempt; the last one repeats. Nil:
	// Warren's own curve.
	Backoff []time.Duration
	// Delay of jobs that name no time. Default: none.
	Delay time.Duration
	// UniqueBy makes jobs that name no mode unique by these fields of their args, UniqueFor for how long.
	UniqueBy  []string
	UniqueFor time.Duration
	// Schema checks args when they are published, nil for none; SchemaFile is where it was read.
	Schema     *argschema.Schema `json:"-"`
	SchemaFile string
	// Encrypted stores args encrypted with Config.Keys; AcceptPlain also runs jobs whose args are not.
	Encrypted   bool
	AcceptPlain bool
	// GroupSkip lets the serial group pass a job that backs off (group_on_retry: skip).
	GroupSkip bool
	// Guards are rate_limit, max_running and breaker.
	Guards Guards
	// HistoryAll notes attempts that succeed in the job's history too (history: all).
	HistoryAll bool
	// Title, Description and Scope tell people what the kind is.
	Title, Description, Scope string
	// Settings are the kind's own, a JSON object; nil = none.
	Settings json.RawMessage `json:"-"`
}

// webhookTimeout is the default of Kind.Timeout for webhooks.
const webhookTimeout = time.Minute

// fields are the entries of a mapping, each with what reads it.
type fields map[string]func(n *yaml.Node) error

// kinds reads all kinds. When there are none it lists that.
func (l *loader) kinds(v value, given bool) {
	if given {
		l.each(v.node, v.origin, "kinds", func(name string, at, n *yaml.Node) {
			if err := CheckKind(name); err != nil {
				l.complain("%s: kinds: %w", v.origin.at(at), err)
				return
			}
			l.kind(name, n, v.origin)
		})
	}
	if len(l.cfg.Kinds) == 0 {
		l.list("kinds", "{}", v.origin.at(v.node))
	}
}

// kind reads one kind, `mail: {webhook: {…}, priority: 10}`.
func (l *loader) kind(name string, n *yaml.Node, o origin) {
	k := Kind{Queue: l.cfg.DefaultQueue, MaxAttempts: l.cfg.MaxAttempts}
	if len(l.cfg.Priorities) > 0 {
		k.Priority = l.cfg.Priorities[0]
	}
	timeout := time.Duration(-1)
	path := "kinds." + name
	known := l.guardFields(name, path, o, &k.Guards)
	maps.Copy(known, fields{
		"webhook":      func(n *yaml.Node) error { k.Webhook = l.webhook(path+".webhook", n, o); return nil },
		"command":      func(n *yaml.Node) error { k.Command = l.command(path+".command", n, o); return nil },
		"probe":        func(n *yaml.Node) error { k.Probe = l.probe(path+".probe", n, o); return nil },
		"queue":        text(func(s string) (err error) { k.Queue, err = checkQueue(s); return err }),
		"max_attempts": text(func(s string) (err error) { k.MaxAttempts, err = parseInt(s, 0, maxAttempts); return err }),
		"on_timeout": text(func(s string) error {
			v, err := oneOf(s, "retry", "fail")
			k.TimeoutIsPermanent = v == "fail"
			return err
		}),
		"max_errors": text(func(s string) (err error) { k.MaxErrors, err = parseInt(s, 1, 1_000_000); return err }),
		"retry_for":  text(func(s string) (err error) { k.RetryFor, err = ParseDuration(s); return err }),
		"timeout":    text(func(s string) (err error) { timeout, err = ParseDuration(s); return err }),
		"priority":   text(func(s string) (err error) { k.Priority, err = l.priority(s); return err }),
		"schema": text(func(s string) (err error) {
			k.SchemaFile = s
			k.Schema, err = l.schema(s)
			return err
		}),
		"encrypted":    text(func(s string) (err error) { k.Encrypted, err = yesNo(s); return err }),
		"accept_plain": text(func(s string) (err error) { k.AcceptPlain, err = yesNo(s); return err }),
		"delay":        text(func(s string) (err error) { k.Delay, err = ParseDuration(s); return err }),
		"history": text(func(s string) error {
			v, err := oneOf(s, "failures", "all")
			k.HistoryAll = v == "all"
			return err
		}),
		"title":       text(func(s string) error { k.Title = s; return nil }),
		"description": text(func(s string) error { k.Description = s; return nil }),
		"scope":       text(func(s string) error { k.Scope = s; return nil }),
		"settings":    func(n *yaml.Node) (err error) { k.Settings, err = settingsOf(n); return err },
		"unique_by":   func(n *yaml.Node) (err error) { k.UniqueBy, err = uniqueBy(n); return err },
		"unique_for":  text(func(s string) (err error) { k.UniqueFor, err = uniqueFor(s); return err }),
		"backoff":     func(n *yaml.Node) (err error) { k.Backoff, err = backoff(n); return err },
		"group_on_retry": text(func(s string) error {
			v, err := oneOf(s, "block", "skip")
			k.GroupSkip = v == "skip"
			return err
		}),
	})
	set := l.block(path, n, o, known)
	if handlers := countSet(set, "webhook", "command", "probe"); handlers != 1 {
		l.complain("%s: %s has %d handlers; want exactly one of webhook, command, probe", o.at(n), path, handlers)
		return
	}
	switch {
	case timeout >= 0:
		k.Timeout = timeout
	case k.Webhook != nil:
		k.Timeout = webhookTimeout
	}
	if timeout < 0 {
		k.DefaultTimeout = true
	}
	if k.Encrypted && l.cfg.Keys == "" {
		l.complain("%s: %s.encrypted needs keys: make one with 'warren keys generate' and set WARREN_KEYS or WARREN_KEYS_FILE", o.at(set["encrypted"]), path)
	}
	if k.AcceptPlain && !k.Encrypted {
		l.complain("%s: %s.accept_plain is for a kind that is encrypted; remove it, or add encrypted: true", o.at(set["accept_plain"]), path)
	}
	if set["unique_for"] != nil && len(k.UniqueBy) == 0 {
		l.complain("%s: %s.unique_for needs unique_by, the fields of the args that must not exist twice", o.at(set["unique_for"]), path)
	}
	l.cfg.Kinds[name] = k
	l.listKind(path, k, set, o)
}

func countSet(set map[string]*yaml.Node, names ...string) (n int) {
	for _, name := range names {
		if set[name] != nil {
			n++
		}
	}
	return n
}

// listKind lists what is not in the handler's block, which was listed when it was read.
func (l *loader) listKind(path string, k Kind, set map[string]*yaml.Node, o origin) {
	group := "block"
	if k.GroupSkip {
		group = "skip"
	}
	rows := k.Guards.list()
	if k.TimeoutIsPermanent {
		rows = append(rows, [2]string{"on_timeout", "fail"})
	}
	if k.MaxErrors > 0 {
		rows = append(rows, [2]string{"max_errors", strconv.Itoa(k.MaxErrors)})
	}
	if k.RetryFor > 0 {
		rows = append(rows, [2]string{"retry_for", FormatDuration(k.RetryFor)})
	}
	for _, row := range append([][2]string{
		{"queue", k.Queue},
		{"priority", strconv.Itoa(k.Priority)},
		{"max_attempts", strconv.Itoa(k.MaxAttempts)},
		{"timeout", FormatDuration(k.Timeout)},
		{"backoff", listDurations(k.Backoff)},
		{"schema", k.SchemaFile},
		{"encrypted", onlyTrue(k.Encrypted)},
		{"accept_plain", onlyTrue(k.AcceptPlain)},
		{"delay", positive(k.Delay)},
		{"unique_by", listFields(k.UniqueBy)},
		{"unique_for", formatUniqueFor(k.UniqueFor)},
		{"group_on_retry", group},
		{"history", onlyAll(k.HistoryAll)},
		{"title", k.Title},
		{"description", k.Description},
		{"scope", k.Scope},
		{"settings", string(k.Settings)},
	}, rows...) {
		switch n := set[row[0]]; {
		case n != nil:
			l.list(path+"."+row[0], row[1], o.at(n))
		case row[1] != "":
			l.list(path+"."+row[0], row[1], "default")
		}
	}
}

// onlyAll is what a history that is not the default's is called.
func onlyAll(all bool) string {
	if !all {
		return ""
	}
	return "all"
}

// settingsOf reads a mapping of settings.
func settingsOf(n *yaml.Node) (json.RawMessage, error) {
	var doc map[string]any
	if err := n.Decode(&doc); err != nil || len(doc) == 0 {
		return nil, errors.New(describe(n) + " is no mapping of settings, such as {batch: 100}")
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("settings are no JSON: %w", err)
	}
	return text, nil
}

// positive is a duration, nothing when there is none.
func positive(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return FormatDuration(d)
}

// schema reads a file with the schema of a kind's args.
func (l *loader) schema(path string) (*argschema.Schema, error) {
	text, err := l.src.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w; name a file that can be read", err)
	}
	schema, err := argschema.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return schema, nil
}

func yesNo(s string) (bool, error) {
	v, err := oneOf(s, "true", "false")
	return v == "true", err
}

// onlyTrue is nothing for what is not so.
func onlyTrue(v bool) string {
	if v {
		return "true"
	}
	return ""
}

func listFields(fields []string) string {
	if len(fields) == 0 {
		return ""
	}
	return "[" + strings.Join(fields, ", ") + "]"
}

func uniqueBy(n *yaml.Node) ([]string, error) {
	list, err := listOf(n)
	if err != nil || len(list) == 0 || slices.Contains(list, "") {
		return nil, errors.New("want the fields of the args that must not exist twice, such as [product_id], or [\"*\"] for all of them")
	}
	return list, nil
}

// untilStart is how the configuration writes the period that ends when a job starts.
const untilStart = "until-start"

func uniqueFor(s string) (time.Duration, error) {
	switch s {
	case forever:
		return jobstore.Forever, nil
	case untilStart:
		return jobstore.UntilStart, nil
	}
	d, err := ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%w, or %s, or %s", err, untilStart, forever)
	}
	return d, nil
}

func formatUniqueFor(d time.Duration) string {
	if d == jobstore.Forever {
		return forever
	}
	if d == jobstore.UntilStart {
		return untilStart
	}
	return positive(d)
}

func listDurations(list []time.Duration) string {
	if len(list) == 0 {
		return ""
	}
	texts := make([]string, len(list))
	for i, d := range list {
		texts[i] = FormatDuration(d)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// block reads a mapping and returns the nodes of the fields that it has.
func (l *loader) block(path string, n *yaml.Node, o origin, known fields) map[string]*yaml.Node {
	set := map[string]*yaml.Node{}
	l.each(n, o, path, func(name string, at, n *yaml.Node) {
		read, ok := known[name]
		if !ok {
			near := nearest(name, slices.Sorted(maps.Keys(known)))
			if near == "" {
				l.complain("%s: unknown key %s in %s, which has no keys; remove it", o.at(at), shownKey(path, name), path)
				return
			}
			l.complain("%s: unknown key %s in %s; the nearest known key is %q", o.at(at), shownKey(path, name), path, near)
			return
		}
		set[name] = n
		if err := read(resolve(n)); err != nil {
			l.complain("%s: %s.%s: %w", o.at(n), path, name, err)
		}
	})
	return set
}

// text makes a field of a function that takes a plain value.
func text(set func(s string) error) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || isNull(n) {
			return errors.New(describe(n) + " is not a plain value")
		}
		return set(n.Value)
	}
}

func (l *loader) priority(s string) (int, error) {
	p, err := parsePriority(s)
	if err == nil && len(l.cfg.Priorities) > 0 && !slices.Contains(l.cfg.Priorities, p) {
		err = fmt.Errorf("priority %d is not configured (%s); add it to priorities, or choose one of them", p, listInts(l.cfg.Priorities))
	}
	return p, err
}

func backoff(n *yaml.Node) ([]time.Duration, error) {
	texts, err := listOf(n)
	if err != nil {
		return nil, fmt.Errorf("%w; want one such as [1s, 5s, 30s]", err)
	}
	if len(texts) == 0 {
		return nil, errors.New("the list is empty; want one such as [1s, 5s, 30s], or leave it out")
	}
	list := make([]time.Duration, len(texts))
	for i, s := range texts {
		if list[i], err = ParseDuration(s); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (l *loader) webhook(path string, n *yaml.Node, o origin) *webhook.Config {
	var c webhook.Config
	set := l.block(path, n, o, fields{
		"url":    text(func(s string) error { c.URL = s; return nil }),
		"secret": secretText(&c.Secret),
		"secret_file": text(func(file string) error {
			s, err := l.secretFile(file)
			c.Secret = Secret(s)
			return err
		}),
	})
	if countSet(set, "secret", "secret_file") == 2 {
		l.complain("%s: %s has both secret and secret_file; keep one", o.at(set["secret_file"]), path)
	}
	if err := c.Validate(); err != nil {
		l.complain("%s: %s: %w", o.at(n), path, err)
	}
	l.list(path+".url", Redact(c.URL), o.at(cmp.Or(set["url"], n)))
	if c.Secret != "" {
		l.list(path+".secret", mask, o.at(cmp.Or(set["secret"], set["secret_file"])))
	}
	return &c
}

// secretText is like text for what must not be in a complaint.
func secretText(to *Secret) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || n.Value == "" || isNull(n) {
			return errors.New("want a text that is not empty (the value is not shown)")
		}
		*to = Secret(n.Value)
		return nil
	}
}

func (l *loader) command(path string, n *yaml.Node, o origin) *command.Config {
	c := command.Config{Env: map[string]Secret{}}
	set := l.block(path, n, o, fields{
		"run":   func(n *yaml.Node) (err error) { c.Run, err = program(n); return err },
		"dir":   text(func(s string) error { c.Dir = s; return nil }),
		"grace": text(func(s string) (err error) { c.Grace, err = ParseDuration(s); return err }),
		"env": func(n *yaml.Node) error {
			l.each(n, o, path+".env", func(name string, at, n *yaml.Node) {
				var s Secret
				if err := secretText(&s)(resolve(n)); err != nil {
					variable, _, _ := strings.Cut(name, "=") // what follows may be the secret
					l.complain("%s: %s.env.%s: %w", o.at(at), path, variable, err)
				}
				c.Env[name] = s
				l.list(path+".env."+name, mask, o.at(n))
			})
			return nil
		},
	})
	if err := c.Validate(); err != nil {
		l.complain("%s: %s: %w", o.at(n), path, err)
	}
	l.list(path+".run", listStrings(c.Run), o.at(cmp.Or(set["run"], n)))
	if c.Dir != "" {
		l.list(path+".dir", c.Dir, o.at(set["dir"]))
	}
	if set["grace"] != nil {
		l.list(path+".grace", FormatDuration(c.Grace), o.at(set["grace"]))
	}
	return &c
}

// program reads a program and its arguments. A command line for a shell is not repeated: it may hold a password.
func program(n *yaml.Node) ([]string, error) {
	if n.Kind != yaml.SequenceNode {
		return nil, errors.New(shape(n) + ` is not a list; want one such as ["/usr/bin/python3", "resize.py"]`)
	}
	return listOf(n)
}

// listStrings writes a list as YAML does. An argument may hold a password.
func listStrings(list []string) string {
	shown := make([]string, len(list))
	for i, s := range list {
		shown[i] = strconv.Quote(Redact(s))
	}
	return "[" + strings.Join(shown, ", ") + "]"
}

func (l *loader) probe(path string, n *yaml.Node, o origin) *probe.Config {
	l.block(path, n, o, fields{})
	l.list(path, "{}", o.at(n))
	return &probe.Config{}
}
