package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/warrenq/warren"
)

// scheduleText is what a schedule's entry says of when it runs, before that is put together.
type scheduleText struct {
	cron, from, to string
	every          *time.Duration
	once           *time.Time
	manual         bool
}

// when is what the entry says, which must be one thing.
func (s scheduleText) when() (warren.When, error) {
	var ways []warren.When
	if s.cron != "" {
		ways = append(ways, warren.Cron(s.cron))
	}
	if s.every != nil {
		every := warren.Every(*s.every)
		if s.from != "" || s.to != "" {
			every = every.Between(s.from, s.to)
		}
		ways = append(ways, every)
	}
	if s.once != nil {
		ways = append(ways, warren.Once(*s.once))
	}
	if s.manual {
		ways = append(ways, warren.Manual())
	}
	switch {
	case len(ways) != 1:
		return warren.When{}, fmt.Errorf("it says in %d ways when it runs; want one of cron, every, once, manual", len(ways))
	case s.every == nil && (s.from != "" || s.to != ""):
		return warren.When{}, errors.New("a window, from and to, needs every: how often inside of it")
	}
	return ways[0], nil
}

// schedules reads all schedules, in the order of their names. When there are none it lists that.
func (l *loader) schedules(v value, given bool) {
	found := map[string]warren.Schedule{}
	if given {
		l.each(v.node, v.origin, "schedules", func(name string, at, n *yaml.Node) {
			found[name] = l.schedule(name, at, n, v.origin)
		})
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		l.cfg.Schedules = append(l.cfg.Schedules, found[name])
	}
	if len(found) == 0 {
		l.list("schedules", "{}", v.origin.at(v.node))
	}
}

// schedule reads one, `nightly: {cron: "30 2 * * *", kind: mail}`.
func (l *loader) schedule(name string, at, n *yaml.Node, o origin) warren.Schedule {
	s, path, opts := warren.Schedule{Name: name}, "schedules."+name, warren.PublishOpts{}
	var t scheduleText
	set := l.block(path, n, o, fields{
		"cron":         text(func(v string) error { t.cron = v; return nil }),
		"every":        text(func(v string) error { d, err := ParseDuration(v); t.every = &d; return err }),
		"from":         text(func(v string) error { t.from = v; return nil }),
		"to":           text(func(v string) error { t.to = v; return nil }),
		"once":         text(func(v string) error { at, err := parseInstant(v); t.once = &at; return err }),
		"manual":       text(func(v string) (err error) { t.manual, err = parseBool(v); return err }),
		"zone":         text(func(v string) error { s.Zone = v; return nil }),
		"jitter":       text(func(v string) (err error) { s.Jitter, err = ParseDuration(v); return err }),
		"catch_up":     text(func(v string) error { c, err := parseInt(v, 0, 1000); s.CatchUp = &c; return err }),
		"paused":       text(func(v string) (err error) { s.Paused, err = parseBool(v); return err }),
		"kind":         text(func(v string) error { s.Kind = v; return nil }),
		"args":         func(n *yaml.Node) (err error) { s.Args, err = asJSON(n); return err },
		"queue":        text(func(v string) (err error) { opts.Queue, err = checkQueue(v); return err }),
		"priority":     text(func(v string) error { p, err := l.priority(v); opts.Priority = &p; return err }),
		"serial_group": text(func(v string) error { opts.SerialGroup = v; return nil }),
		"max_attempts": text(func(v string) (err error) {
			if opts.MaxAttempts, err = parseInt(v, 0, maxAttempts); opts.MaxAttempts == 0 {
				opts.MaxAttempts = warren.Unlimited
			}
			return err
		}),
		"timeout":  text(func(v string) (err error) { opts.Timeout, err = ParseDuration(v); return err }),
		"metadata": func(n *yaml.Node) (err error) { opts.Metadata, err = asJSON(n); return err },
		"tags":     func(n *yaml.Node) (err error) { opts.Tags, err = listOf(n); return err },
	})
	s.Opts = opts
	var err error
	if s.When, err = t.when(); err == nil {
		_, err = s.Next(time.Now())
	}
	if err != nil {
		l.complain("%s: %s: %w", o.at(at), path, err)
	}
	if set["kind"] == nil {
		l.complain("%s: %s has no kind; it names the handler of its jobs", o.at(at), path)
	}
	for _, field := range slices.Sorted(maps.Keys(set)) {
		l.list(path+"."+field, flat(set[field]), o.at(set[field]))
	}
	return s
}

// asJSON is a value of the file as JSON.
func asJSON(n *yaml.Node) (json.RawMessage, error) {
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", describe(n), err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be written as JSON: its keys must be texts", describe(n))
	}
	return b, nil
}

// flat is a value of the file on one line.
func flat(n *yaml.Node) string {
	if n = resolve(n); n.Kind == yaml.ScalarNode {
		return n.Value
	}
	b, err := asJSON(n)
	if err != nil {
		return describe(n)
	}
	return string(b)
}

func parseBool(s string) (bool, error) {
	v, err := strconv.ParseBool(strings.ToLower(s))
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", s)
	}
	return v, nil
}

func parseInstant(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%q is not RFC 3339, such as 2026-11-21T20:00:00Z", s)
	}
	return t, nil
}
