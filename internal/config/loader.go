package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// value is what one source says about one key.
type value struct {
	node   *yaml.Node
	origin origin
}

// origin is a flag, a variable, or a file of which the line counts too.
type origin struct {
	name  string
	lines bool
}

func (o origin) at(n *yaml.Node) string {
	if o.lines && n != nil && n.Line > 0 {
		return o.name + ":" + strconv.Itoa(n.Line)
	}
	return o.name
}

// loader gathers values from the sources, the stronger over the weaker, and complaints.
type loader struct {
	src        Sources
	cfg        *Config
	values     map[string]value
	complaints []error
}

func (l *loader) complain(format string, args ...any) {
	l.complaints = append(l.complaints, fmt.Errorf(format, args...))
}

// apply gives the key its effective value, or its default, and lists it.
func (l *loader) apply(k key) {
	v, given := l.values[k.name]
	if !given {
		v = value{node: &yaml.Node{Kind: yaml.ScalarNode, Value: k.byDefault}, origin: origin{name: "default"}}
	}
	if k.block != nil {
		k.block(l, v, given)
		return
	}
	if err := k.set(l.cfg, resolve(v.node)); err != nil {
		l.complain("%s: %s: %w", v.origin.at(v.node), k.name, err)
		return
	}
	l.list(k.name, k.show(l.cfg), v.origin.at(v.node))
}

func (l *loader) list(key, value, origin string) {
	l.cfg.settings = append(l.cfg.settings, Setting{Key: key, Value: value, Origin: origin})
}

// resolve follows an alias (*name) to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	n = resolve(n)
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

// describe says what a node is; a plain value, by its content. Where that may be a secret, see shape.
func describe(n *yaml.Node) string {
	if n = resolve(n); n.Kind == yaml.ScalarNode {
		return strconv.Quote(n.Value)
	}
	return shape(n)
}

// shape says what a node is, and nothing of what is in it.
func shape(n *yaml.Node) string {
	switch n = resolve(n); n.Kind {
	case yaml.ScalarNode:
		if isNull(n) {
			return "nothing"
		}
		return "a plain value"
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a mapping"
	case yaml.DocumentNode, yaml.AliasNode:
		return "nothing of use"
	}
	return "nothing"
}

// private says whether what stands at a path where a mapping belongs may be a secret: the block of a webhook or a
// command pulled to one line, or all of that as a text.
func private(path string) bool {
	outer, _, _ := strings.Cut(path, ".")
	return outer == "" || outer == "notify" || outer == "kinds"
}

// plainKey is what a mistyped key looks like; an address or NAME=VALUE does not.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// shownKey is a key of the mapping at a path, for a complaint.
func shownKey(path, key string) string {
	if private(path) && !plainKey.MatchString(key) {
		return "(not shown: it may be a secret)"
	}
	return strconv.Quote(key)
}

// file takes in the YAML file, if there is one.
func (l *loader) file() {
	path, text := l.path()
	root, err := parseYAML(text)
	if err != nil {
		l.complain("%s: %w", path, err)
		return
	}
	if root == nil {
		return
	}
	o := origin{name: path, lines: true}
	l.each(root, o, "", func(name string, at, n *yaml.Node) {
		if slices.Contains(groups(), name) {
			l.group(name, n, o)
			return
		}
		l.known(name, at, n, o, names(""))
	})
}

// group takes in the entries of a key that has keys inside: retention, notify.
func (l *loader) group(group string, n *yaml.Node, o origin) {
	inside := names(group)
	l.each(n, o, group, func(name string, at, n *yaml.Node) {
		l.known(group+"."+name, at, n, o, inside)
	})
}

// known keeps the value of a key that exists, and complains of others. An entry without a value
// (`schema:`) counts as one that is not there.
func (l *loader) known(name string, at, n *yaml.Node, o origin, candidates []string) {
	k, ok := lookup(name)
	if !ok {
		l.complain("%s: unknown key %s; the nearest known key is %q", o.at(at), shownKey("", name), nearest(name, candidates))
		return
	}
	if isNull(n) {
		return
	}
	if other, twice := l.values[k.name]; twice && other.origin == o {
		l.complain("%s: %s is the same as %s, which line %d sets too; keep one", o.at(at), name, k.name, other.node.Line)
		return
	}
	l.values[k.name] = value{node: n, origin: o}
}

// each calls f for every entry of a mapping, and complains when it is none or has one twice.
// Nothing at all (`retention:`) is a mapping without entries.
func (l *loader) each(n *yaml.Node, o origin, path string, f func(name string, at, n *yaml.Node)) {
	m := resolve(n)
	if isNull(m) {
		return
	}
	where := o.at(n)
	if path != "" {
		where += ": " + path
	}
	if m.Kind != yaml.MappingNode {
		what := describe
		if private(path) {
			what = shape
		}
		l.complain("%s: %s is not a mapping; want entries such as %q", where, what(n), exampleOf(path))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(m.Content); i += 2 {
		k, v := resolve(m.Content[i]), m.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			l.complain("%s: %s cannot be a key; want a plain name", o.at(m.Content[i]), shape(k))
			continue
		}
		if line, twice := seen[k.Value]; twice {
			l.complain("%s: key %s is in line %d already; keep one of the two", o.at(m.Content[i]), shownKey(path, k.Value), line)
			continue
		}
		seen[k.Value] = m.Content[i].Line
		f(k.Value, m.Content[i], v)
	}
}

func exampleOf(name string) string {
	switch {
	case name == "retention":
		return "finished: 14d"
	case name == "notify":
		return "attempts: 5"
	case name == "kinds":
		return `mail: {webhook: {url: "https://example.org/mail"}}`
	case name == "schedules":
		return `nightly: {cron: "30 2 * * *", zone: Europe/Berlin, kind: cleanup}`
	case strings.HasPrefix(name, "schedules."):
		return `cron: "30 2 * * *"`
	case name == "pools":
		return "mail: {queues: [mail], concurrency: 20}"
	case strings.HasPrefix(name, "pools.") && strings.HasSuffix(name, ".scale"):
		return "max: 20"
	case strings.HasPrefix(name, "pools.") && !strings.HasSuffix(name, ".queues") && !strings.HasSuffix(name, ".priorities"):
		return "queues: [mail]"
	case name == "weights":
		return "priorities: {10: 6, 20: 3}"
	case strings.HasSuffix(name, ".queues"):
		return "mail: 3"
	case strings.HasSuffix(name, ".priorities"):
		return "10: 6"
	case strings.HasSuffix(name, ".webhook"):
		return `url: "https://example.org/jobs"`
	case strings.HasSuffix(name, ".command"):
		return `run: ["/usr/bin/python3", "resize.py"]`
	case strings.HasSuffix(name, ".breaker"):
		return "errors: 10"
	case strings.HasSuffix(name, ".env"):
		return "LANG: C.UTF-8"
	case strings.HasPrefix(name, "kinds."):
		return "probe: {}"
	}
	return "schema: warren"
}

// getenv returns a variable; the last of several counts, as in a process.
func (l *loader) getenv(name string) string {
	for _, entry := range slices.Backward(l.src.Environ) {
		if n, v, _ := strings.Cut(entry, "="); n == name {
			return v
		}
	}
	return ""
}

// environ takes in the variables that have a value.
func (l *loader) environ() {
	taken := map[string]bool{"WARREN_CONFIG": true}
	for _, k := range keys() {
		taken[k.env] = true
		text, from := l.getenv(k.env), k.env
		if k.secret {
			taken[k.env+"_FILE"] = true
			if path := l.getenv(k.env + "_FILE"); path != "" {
				if text != "" {
					l.complain("%s and %s_FILE are both set; keep one", k.env, k.env)
					continue
				}
				from = k.env + "_FILE"
				var err error
				if text, err = l.secretFile(path); err != nil {
					l.complain("%s: %w", from, err)
					continue
				}
			}
		}
		if text != "" {
			l.text(k, text, origin{name: from})
		}
	}
	l.unknownVariables(taken)
}

// secretFile reads a secret from a file; a line break at its end is not a part of it.
func (l *loader) secretFile(path string) (string, error) {
	if strings.Contains(path, "://") {
		return "", errors.New("the value (not shown: it may be a secret) is an address; name a file that holds it")
	}
	b, err := l.src.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%w; name a file that can be read", err)
	}
	text := strings.TrimRight(string(b), "\r\n")
	if text == "" {
		return "", fmt.Errorf("%s is empty; put the secret into it", path)
	}
	return text, nil
}

// foreign are variables that begin like ours and are not configuration; the package says whose.
var foreign = regexp.MustCompile(`^WARREN_(TEST_.*|JOB_ID|ATTEMPT|LEASE|(.*_)?SERVICE_(HOST|PORT(_.*)?)|(.*_)?PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

func (l *loader) unknownVariables(taken map[string]bool) {
	known := slices.Sorted(maps.Keys(taken))
	unknown := map[string]bool{}
	for _, entry := range l.src.Environ {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "WARREN_") && !taken[name] && !foreign.MatchString(name) {
			unknown[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		l.complain("environment: unknown variable %s; the nearest known one is %s", name, nearest(name, known))
	}
}

// flags takes in the flags that were given. What is given counts even when it is empty.
func (l *loader) flags() {
	for _, flag := range slices.Sorted(maps.Keys(l.src.Flags)) {
		name := strings.ReplaceAll(flag, "-", "_")
		k, ok := lookup(name)
		if !ok {
			l.complain("unknown flag --%s; the nearest known key is %q", flag, nearest(name, names("")))
			continue
		}
		l.text(k, l.src.Flags[flag], origin{name: "--" + flag})
	}
}

// text keeps a value that is no YAML by origin. Kinds and schedules are written as YAML there too; all else is
// taken as it stands, so that a password may hold any character.
func (l *loader) text(k key, text string, o origin) {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: text}
	if k.block != nil {
		root, err := parseYAML([]byte(text))
		if err != nil || root == nil {
			l.complain("%s: %s: want a YAML mapping such as {%s}: %w", o.name, k.name, exampleOf(k.name), cmp.Or(err, errEmpty))
			return
		}
		n = root
	}
	l.values[k.name] = value{node: n, origin: o}
}
