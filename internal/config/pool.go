package config

import (
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

// Pool is a consumer of its own inside of a process: it has its slots, its queues and its lease.
type Pool struct {
	Name string
	// Queues that it takes. Default: every queue that the kinds use.
	Queues []string
	// Take are the priorities that it takes. Default: all.
	Take []int
	// Concurrency, Order, Weights, DrainTimeout and PollInterval are, by default, those of the configuration.
	Concurrency  int
	Order        string
	Weights      warren.Weights
	DrainTimeout time.Duration
	PollInterval time.Duration
	// Timeout and Backoff are for kinds that name none. 0 and nil: what they are without a pool.
	Timeout time.Duration
	Backoff []time.Duration
	// Limits that end the process, 0 for none.
	MaxJobs   int
	MaxTime   time.Duration
	MaxMemory int64
	MaxStuck  int
	// Paused pools are not run.
	Paused bool
	// Scale has the pool choose its slots itself; Concurrency is its Max then.
	Scale *warren.Scale
}

// pools reads all pools, in the order of their names. When there are none it lists that.
func (l *loader) pools(v value, given bool) {
	if given {
		l.each(v.node, v.origin, "pools", func(name string, at, n *yaml.Node) {
			if !poolName.MatchString(name) {
				l.complain("%s: %.100q is not a name of a pool; use 1 to 32 letters, digits, '_', '-' and '.'", v.origin.at(at), name)
				return
			}
			l.cfg.Pools = append(l.cfg.Pools, l.pool(name, n, v.origin))
		})
	}
	slices.SortFunc(l.cfg.Pools, func(a, b Pool) int { return strings.Compare(a.Name, b.Name) })
	if len(l.cfg.Pools) == 0 {
		l.list("pools", "{}", v.origin.at(v.node))
	}
}

// pool reads one, `mail: {queues: [mail], priorities: 10-30, concurrency: 20}`.
func (l *loader) pool(name string, n *yaml.Node, o origin) Pool {
	p, path := Pool{
		Name: name, Concurrency: l.cfg.Concurrency, Order: l.cfg.Order, DrainTimeout: l.cfg.DrainTimeout, PollInterval: l.cfg.PollInterval,
	}, "pools."+name
	set := l.block(path, n, o, fields{
		"queues":        func(n *yaml.Node) (err error) { p.Queues, err = queueList(n); return err },
		"priorities":    func(n *yaml.Node) (err error) { p.Take, err = l.priorityRange(n); return err },
		"concurrency":   text(func(s string) (err error) { p.Concurrency, err = parseInt(s, 1, 10_000); return err }),
		"order":         text(func(s string) (err error) { p.Order, err = oneOf(s, "strict", "weighted", "fair"); return err }),
		"weights":       func(n *yaml.Node) error { p.Weights = l.weightsAt(path+".weights", n, o); return nil },
		"drain_timeout": text(func(s string) (err error) { p.DrainTimeout, err = ParseDuration(s); return err }),
		"poll_interval": text(func(s string) (err error) { p.PollInterval, err = pollInterval(s); return err }),
		"timeout":       text(func(s string) (err error) { p.Timeout, err = limit(s); return err }),
		"backoff":       func(n *yaml.Node) (err error) { p.Backoff, err = backoff(n); return err },
		"max_jobs":      text(func(s string) (err error) { p.MaxJobs, err = parseInt(s, 1, 1_000_000_000); return err }),
		"max_time":      text(func(s string) (err error) { p.MaxTime, err = limit(s); return err }),
		"max_memory": text(func(s string) (err error) {
			if p.MaxMemory, err = ParseSize(s); err == nil && p.MaxMemory < 1<<20 {
				err = fmt.Errorf("%q is less than 1MiB; leave it out for no limit", s)
			}
			return err
		}),
		"max_stuck": text(func(s string) (err error) { p.MaxStuck, err = parseInt(s, 1, 10_000); return err }),
		"scale":     func(n *yaml.Node) error { p.Scale = l.scale(path+".scale", n, o); return nil },
		"paused":    text(func(s string) (err error) { p.Paused, err = parseBool(s); return err }),
	})
	if p.Scale != nil {
		if p.Concurrency = p.Scale.Max; set["concurrency"] != nil {
			l.complain("%s: %s has both concurrency and scale; keep one", o.at(set["concurrency"]), path)
		}
	}
	for _, field := range slices.Sorted(maps.Keys(set)) {
		if field != "weights" { // listed when it was read
			l.list(path+"."+field, flat(set[field]), o.at(set[field]))
		}
	}
	if set["concurrency"] == nil && p.Scale == nil {
		l.list(path+".concurrency", strconv.Itoa(p.Concurrency), "default")
	}
	return p
}

// scale reads `{min: 1, max: 20, by: wait, wait: 2s}`.
func (l *loader) scale(path string, n *yaml.Node, o origin) *warren.Scale {
	s := &warren.Scale{Min: 1}
	l.block(path, n, o, fields{
		"min":      text(func(v string) (err error) { s.Min, err = parseInt(v, 1, 10_000); return err }),
		"max":      text(func(v string) (err error) { s.Max, err = parseInt(v, 1, 10_000); return err }),
		"by":       text(func(v string) error { v, err := oneOf(v, "wait", "size"); s.By = warren.ScaleBy(v); return err }),
		"step":     text(func(v string) (err error) { s.Step, err = parseInt(v, 1, 10_000); return err }),
		"cooldown": text(func(v string) (err error) { s.Cooldown, err = limit(v); return err }),
		"wait":     text(func(v string) (err error) { s.Wait, err = limit(v); return err }),
	})
	if err := s.Validate(); err != nil {
		l.complain("%s: %s: %w", o.at(n), path, err)
	}
	return s
}

// limit is a duration that is not zero.
func limit(s string) (time.Duration, error) {
	d, err := ParseDuration(s)
	if err == nil && d == 0 {
		err = fmt.Errorf("%q would be over at once; leave it out for no limit", s)
	}
	return d, err
}

// priorityRange is a range as -p takes it, or a list of priorities.
func (l *loader) priorityRange(n *yaml.Node) ([]int, error) {
	s := n.Value
	if n.Kind != yaml.ScalarNode {
		list, err := listOf(n)
		if err != nil {
			return nil, err
		}
		s = strings.Join(list, ",")
	}
	return ParseRange(s, l.cfg.Priorities)
}

func queueList(n *yaml.Node) ([]string, error) {
	list, err := listOf(n)
	if err != nil {
		return nil, fmt.Errorf("%w; want one such as [mail, media]", err)
	}
	if len(list) == 0 {
		return nil, errors.New("the list is empty; leave it out for every queue that the kinds use")
	}
	for i, queue := range list {
		if _, err := checkQueue(queue); err != nil {
			return nil, err
		}
		if slices.Contains(list[:i], queue) {
			return nil, fmt.Errorf("queue %s is in the list twice; keep one", queue)
		}
	}
	return list, nil
}
