package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// guardName is the name of a guard that the file gives none: it is for this kind alone.
func guardName(kind string) string {
	const most = 100
	if len(kind) > most-len("kind.") {
		kind = kind[:most-len("kind.")]
	}
	return "kind." + kind
}

// Guards are what a file may say about when jobs of a kind begin. The zero value says nothing.
type Guards struct {
	RateLimit  *RateLimit
	MaxRunning int // 0 = any number
	Breaker    *Breaker
}

// RateLimit is `rate_limit: 50/s` or `rate_limit: {limit: 50/s, burst: 10, by: user.id}`.
type RateLimit struct {
	Name  string
	Limit warren.Limit
	By    []string // where in args the key of the limit is; empty = one limit for all
	Drop  bool
}

// Breaker is `breaker: {errors: 10, within: 1m, cooldown: 5m}`.
type Breaker struct {
	Name             string
	Errors           int
	Within, Cooldown time.Duration
}

// For are the guards as a consumer asks them.
func (g Guards) For(kind string) (out warren.Guards) {
	if r := g.RateLimit; r != nil {
		limit := warren.RateLimit{Name: r.Name, Limit: r.Limit, Drop: r.Drop}
		if len(r.By) > 0 {
			limit.Key = argsValue(r.By)
		}
		out.RateLimits = []warren.RateLimit{limit}
	}
	if g.MaxRunning > 0 {
		out.Locks = []warren.Lock{{Name: guardName(kind), Places: g.MaxRunning}}
	}
	if b := g.Breaker; b != nil {
		out.Breakers = []warren.Breaker{{Name: b.Name, Errors: b.Errors, Within: b.Within, Cooldown: b.Cooldown}}
	}
	return out
}

// guardFields are the keys of a kind that guard it.
func (l *loader) guardFields(kind, path string, o origin, g *Guards) fields {
	return fields{
		"rate_limit": func(n *yaml.Node) error {
			g.RateLimit = &RateLimit{Name: guardName(kind)}
			return l.rateLimit(path+".rate_limit", n, o, g.RateLimit)
		},
		"max_running": text(func(s string) (err error) { g.MaxRunning, err = parseInt(s, 1, 1_000_000); return err }),
		"breaker": func(n *yaml.Node) error {
			b := &Breaker{Name: guardName(kind), Errors: 10, Within: time.Minute}
			g.Breaker = b
			set := l.block(path+".breaker", n, o, fields{
				"name":     text(func(s string) error { b.Name = s; return nil }),
				"errors":   text(func(s string) (err error) { b.Errors, err = parseInt(s, 1, 1_000_000); return err }),
				"within":   text(func(s string) (err error) { b.Within, err = ParseDuration(s); return err }),
				"cooldown": text(func(s string) (err error) { b.Cooldown, err = ParseDuration(s); return err }),
			})
			if set["cooldown"] == nil {
				b.Cooldown = b.Within
			}
			return Guards{Breaker: b}.For(kind).Validate()
		},
	}
}

func (l *loader) rateLimit(path string, n *yaml.Node, o origin, r *RateLimit) error {
	limit := func(s string) (err error) { r.Limit, err = parseLimit(s); return err }
	burst := 0
	if n.Kind != yaml.MappingNode {
		if err := text(limit)(n); err != nil {
			return err
		}
	} else {
		set := l.block(path, n, o, fields{
			"limit": text(limit),
			"burst": text(func(s string) (err error) { burst, err = parseInt(s, 1, 1_000_000_000); return err }),
			"name":  text(func(s string) error { r.Name = s; return nil }),
			"by":    text(func(s string) error { r.By = strings.Split(s, "."); return nil }),
			"drop":  text(func(s string) error { v, err := oneOf(s, "true", "false"); r.Drop = v == "true"; return err }),
		})
		if set["limit"] == nil {
			return errors.New(`limit is missing; want one such as "50/s"`)
		}
	}
	if r.Limit == (warren.Limit{}) {
		return nil // complained about
	}
	r.Limit.Burst = burst
	return Guards{RateLimit: r}.For("").Validate()
}

// parseLimit reads 50/s, 1000/h or 5/10m.
func parseLimit(s string) (warren.Limit, error) {
	bad := fmt.Errorf("%q is not a rate limit; write one such as 50/s, 100/m, 1000/h, 5000/d or 5/10m", s)
	count, per, ok := strings.Cut(s, "/")
	rate, err := strconv.Atoi(strings.TrimSpace(count))
	if !ok || err != nil {
		return warren.Limit{}, bad
	}
	per = strings.TrimSpace(per)
	if len(per) == 1 {
		per = "1" + per
	}
	d, err := ParseDuration(per)
	if err != nil {
		return warren.Limit{}, bad
	}
	limit := warren.Limit{Rate: rate, Per: d}
	if limit == (warren.Limit{}) {
		return limit, bad
	}
	return limit, nil
}

// argsValue finds a value in args as a text; what is not there is the empty one.
func argsValue(path []string) func(job *jobstore.Job) string {
	return func(job *jobstore.Job) string {
		var v any
		if json.Unmarshal(job.Args, &v) != nil {
			return ""
		}
		for _, name := range path {
			object, ok := v.(map[string]any)
			if !ok {
				return ""
			}
			v = object[name]
		}
		if s, ok := v.(string); ok || v == nil {
			return s
		}
		b, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return string(b)
	}
}

// list are the guards of a kind as its file has them.
func (g Guards) list() (rows [][2]string) {
	if r := g.RateLimit; r != nil {
		by := ""
		if len(r.By) > 0 {
			by = " by " + strings.Join(r.By, ".")
		}
		rows = append(rows, [2]string{"rate_limit", fmt.Sprintf("%d/%s%s", r.Limit.Rate, FormatDuration(r.Limit.Per), by)})
	}
	if g.MaxRunning > 0 {
		rows = append(rows, [2]string{"max_running", strconv.Itoa(g.MaxRunning)})
	}
	if b := g.Breaker; b != nil {
		rows = append(rows, [2]string{"breaker", fmt.Sprintf("%d errors within %s, then %s", b.Errors, FormatDuration(b.Within), FormatDuration(b.Cooldown))})
	}
	return rows
}
