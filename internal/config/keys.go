package config

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/warrenq/warren/internal/seal"
	"github.com/warrenq/warren/jobstore"
)

// key is one thing that can be configured.
type key struct {
	name      string
	env       string
	secret    bool
	block     func(l *loader, v value, given bool) // reads a mapping of its own
	byDefault string                               // as it would be written
	set       func(c *Config, n *yaml.Node) error
	show      func(c *Config) string
}

// scalar makes a setter of one that takes a text.
func scalar(set func(c *Config, s string) error) func(*Config, *yaml.Node) error {
	return func(c *Config, n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode {
			return errors.New(describe(n) + " is not a plain value")
		}
		return set(c, n.Value)
	}
}

// keys lists everything there is, in the order it is shown. What others depend on comes before
// them: the defaults of kinds before the kinds.
func keys() []key {
	all := slices.Concat(connectionKeys(), jobKeys(), retentionKeys(), notifyKeys(), programKeys())
	for i, k := range all {
		if k.env == "" {
			all[i].env = "WARREN_" + strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
		}
	}
	return all
}

// groups are the keys that only hold others.
func groups() []string { return []string{"retention", "notify"} }

// lookup finds a key by its name in the file, or in a flag, where its dot is a dash.
func lookup(name string) (key, bool) {
	if name == "retention.permanently_failed" || name == "retention_permanently_failed" {
		name = "retention.failed"
	}
	for _, k := range keys() {
		if k.name == name || strings.ReplaceAll(k.name, ".", "_") == name {
			return k, true
		}
	}
	return key{}, false
}

// names lists the keys inside a group, or for "" those that stand at the left margin.
func names(group string) []string {
	var list []string
	for _, k := range keys() {
		if outer, _, inside := strings.Cut(k.name, "."); !inside && group == "" || inside && outer == group {
			list = append(list, k.name)
		}
	}
	if group == "" {
		list = append(list, groups()...)
	}
	return list
}

func connectionKeys() []key {
	return []key{
		{
			name: "database_url", env: "DATABASE_URL", secret: true,
			set:  scalar(setDatabaseURL),
			show: func(c *Config) string { return Redact(string(c.DatabaseURL)) },
		},
		{
			name: "amqp_url", env: "AMQP_URL", secret: true, byDefault: "none",
			set: scalar(setAMQPURL),
			show: func(c *Config) string {
				if c.AMQPURL == "" {
					return "none"
				}
				return Redact(string(c.AMQPURL))
			},
		},
		textKey("schema", "warren", func(c *Config) *string { return &c.Schema }, func(s string) (string, error) {
			return matching(s, schemaName, "a lower-case letter or _, then letters, digits or _, at most 63")
		}),
		textKey("queue_prefix", "warren", func(c *Config) *string { return &c.QueuePrefix }, func(s string) (string, error) {
			return matching(s, prefixName, "letters, digits, '_', '-' and '.', at most 64")
		}),
		oneOfKey("queue_type", func(c *Config) *string { return &c.QueueType }, "auto", "classic", "quorum"),
		oneOfKey("migrate", func(c *Config) *string { return &c.Migrate }, "auto", "never"),
	}
}

func jobKeys() []key {
	return []key{
		{
			name: "priorities", byDefault: "10, 20, 30, 40, 50",
			set:  setPriorities,
			show: func(c *Config) string { return "[" + listInts(c.Priorities) + "]" },
		},
		textKey("default_queue", "default", func(c *Config) *string { return &c.DefaultQueue }, checkQueue),
		{
			name: "max_args", byDefault: "256KiB",
			set: scalar(func(c *Config, s string) error {
				n, err := ParseSize(s)
				if err == nil && (n < 2 || n > 64<<20) {
					err = fmt.Errorf("%q is not from 2 bytes to 64MiB", s)
				}
				c.MaxArgs = int(n)
				return err
			}),
			show: func(c *Config) string { return FormatSize(int64(c.MaxArgs)) },
		},
		intKey("max_attempts", "25", func(c *Config) *int { return &c.MaxAttempts }, 0, maxAttempts),
		encryptionKeys(),
		{name: "kinds", block: (*loader).kinds},
		{name: "schedules", block: (*loader).schedules},
	}
}

func notifyKeys() []key {
	return []key{
		intKey("notify.attempts", "5", func(c *Config) *int { return &c.Notify.Attempts }, 1, 1_000_000),
		{
			name: "notify.webhook", secret: true,
			set: scalar(func(c *Config, s string) error {
				u, err := url.Parse(s)
				if s != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "") {
					return errors.New("the value (not shown: it may be a secret) is not an http or https URL; want one such as https://example.org/alerts")
				}
				c.Notify.Webhook = Secret(s)
				return nil
			}),
			// What is secret in such a URL is mostly its path.
			show: func(c *Config) string {
				if c.Notify.Webhook == "" {
					return ""
				}
				u, err := url.Parse(string(c.Notify.Webhook))
				if err != nil {
					return mask
				}
				return u.Scheme + "://" + u.Host + "/" + mask
			},
		},
	}
}

func programKeys() []key {
	return []key{
		textKey("name", "", func(c *Config) *string { return &c.Name }, func(s string) (string, error) {
			return matching(s, consumerName, "at most 60 bytes without spaces and control characters, or none")
		}),
		intKey("concurrency", "10", func(c *Config) *int { return &c.Concurrency }, 1, 10_000),
		oneOfKey("order", func(c *Config) *string { return &c.Order }, "strict", "weighted", "fair"),
		{name: "weights", block: (*loader).weights},
		{
			name: "poll_interval", byDefault: "1s",
			set: scalar(func(c *Config, s string) (err error) {
				c.PollInterval, err = pollInterval(s)
				return err
			}),
			show: func(c *Config) string { return FormatDuration(c.PollInterval) },
		},
		intKey("hint_size", "50", func(c *Config) *int { return &c.HintSize }, 1, 1000),
		{
			name: "max_job_log", byDefault: "1MiB",
			set: scalar(func(c *Config, s string) error {
				n, err := ParseSize(s)
				if err == nil && n > 1<<30 {
					err = fmt.Errorf("%q is not from 0 (jobs have no logs) to 1GiB", s)
				}
				c.MaxJobLog = n
				return err
			}),
			show: func(c *Config) string { return FormatSize(c.MaxJobLog) },
		},
		textKey("files_dir", "", func(c *Config) *string { return &c.FilesDir }, func(s string) (string, error) { return s, nil }),
		{
			name: "max_file", byDefault: "16MiB",
			set: scalar(func(c *Config, s string) error {
				n, err := ParseSize(s)
				if err == nil && (n < 1 || n > 1<<40) {
					err = fmt.Errorf("%q is not from 1 byte to 1024GiB", s)
				}
				c.MaxFile = n
				return err
			}),
			show: func(c *Config) string { return FormatSize(c.MaxFile) },
		},
		{
			name: "drain_timeout", byDefault: "25s",
			set: scalar(func(c *Config, s string) (err error) {
				c.DrainTimeout, err = ParseDuration(s)
				return err
			}),
			show: func(c *Config) string { return FormatDuration(c.DrainTimeout) },
		},
		{name: "pools", block: (*loader).pools},
		apiTokenKey(),
		oneOfKey("log_format", func(c *Config) *string { return &c.LogFormat }, "auto", "json", "console"),
		levelKey(),
	}
}

func apiTokenKey() key {
	return key{
		name: "api_token", secret: true,
		set: scalar(func(c *Config, s string) (err error) {
			c.APIToken, err = CheckAPIToken(s)
			return err
		}),
		show: func(c *Config) string { return c.APIToken.String() },
	}
}

// encryptionKeys are a secret as a whole; which there are is said by 'warren keys rotate --dry-run'.
func encryptionKeys() key {
	return key{
		name: "keys", secret: true,
		set: scalar(func(c *Config, s string) error {
			if s == "" {
				return nil
			}
			if _, err := seal.Parse(s); err != nil {
				return err
			}
			c.Keys = Secret(s)
			return nil
		}),
		show: func(c *Config) string { return c.Keys.String() },
	}
}

// tokenText is what fits into a header as it is.
var tokenText = regexp.MustCompile(`^[!-~]*$`)

// CheckAPIToken says whether a token can be sent in a header. Line breaks at its end go.
func CheckAPIToken(s string) (Secret, error) {
	s = strings.TrimRight(s, "\r\n")
	if !tokenText.MatchString(s) {
		return "", errors.New("the value (not shown: it is a secret) has spaces or other than ASCII characters; make one with: openssl rand -hex 32")
	}
	return Secret(s), nil
}

func levelKey() key {
	k := oneOfKey("log_level", func(c *Config) *string { return &c.LogLevel }, "debug", "info", "warn", "error")
	k.byDefault = "info"
	return k
}

// retentionKeys has one for each final state; PERMANENTLY_FAILED is called failed.
func retentionKeys() []key {
	ours := map[jobstore.State]string{
		jobstore.Finished: "14d", jobstore.Redundant: "14d", jobstore.Cancelled: "14d",
		jobstore.PermanentlyFailed: "90d", jobstore.Quarantined: "90d",
	}
	var list []key
	for _, state := range jobstore.States() {
		if !state.Final() {
			continue
		}
		name := strings.ToLower(string(state))
		if state == jobstore.PermanentlyFailed {
			name = "failed"
		}
		list = append(list, key{
			name: "retention." + name, byDefault: ours[state],
			set: scalar(func(c *Config, s string) error { return setRetention(c, state, s) }),
			show: func(c *Config) string {
				if d, limited := c.Retention[state]; limited {
					return FormatDuration(d)
				}
				return forever
			},
		})
	}
	return list
}

const forever = "forever"

func setRetention(c *Config, state jobstore.State, s string) error {
	if s == forever {
		delete(c.Retention, state)
		return nil
	}
	d, err := ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%w, or %s", err, forever)
	}
	if d == 0 {
		return fmt.Errorf("%q would delete jobs the moment they end; write %s to keep them, or a duration such as 1h", s, forever)
	}
	c.Retention[state] = d
	return nil
}

func textKey(name, byDefault string, field func(*Config) *string, check func(string) (string, error)) key {
	return key{
		name: name, byDefault: byDefault,
		set: scalar(func(c *Config, s string) (err error) {
			*field(c), err = check(s)
			return err
		}),
		show: func(c *Config) string { return *field(c) },
	}
}

func oneOfKey(name string, field func(*Config) *string, allowed ...string) key {
	return textKey(name, allowed[0], field, func(s string) (string, error) { return oneOf(s, allowed...) })
}

func intKey(name, byDefault string, field func(*Config) *int, low, high int) key {
	return key{
		name: name, byDefault: byDefault,
		set: scalar(func(c *Config, s string) (err error) {
			*field(c), err = parseInt(s, low, high)
			return err
		}),
		show: func(c *Config) string { return strconv.Itoa(*field(c)) },
	}
}

var (
	consumerName = regexp.MustCompile(`^[^\s\x00-\x1f\x7f]{0,60}$`)
	poolName     = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,32}$`)
	schemaName   = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)
	prefixName   = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	// kindName and queueName are what can be published: the package warren has the same, and a test compares them.
	kindName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}$`)
	queueName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}$`)
)

// maxAttempts is what a row can count; publishing refuses more.
const maxAttempts = 32767

// CheckKind says whether jobs of a kind can be published.
func CheckKind(s string) error {
	if kindName.MatchString(s) {
		return nil
	}
	return fmt.Errorf("kind %.140q is not a name: use 1 to 128 letters, digits and _ . : / -, beginning with a letter, a digit or _", s)
}

func checkQueue(s string) (string, error) {
	if queueName.MatchString(s) {
		return s, nil
	}
	return "", fmt.Errorf("queue %.140q is not a name: use 1 to 100 letters, digits and _ . : -, beginning with a letter, a digit or _", s)
}

func setDatabaseURL(c *Config, s string) error {
	const want = "want postgres://user@host/name or sqlite:PATH"
	scheme, path, _ := strings.Cut(s, ":")
	switch scheme {
	case "":
		if s != "" {
			return errors.New("the value has no scheme; " + want)
		}
	case "postgres", "postgresql":
		if _, err := url.Parse(s); err != nil || !strings.HasPrefix(path, "//") {
			return errors.New("the value (not shown: it may hold a password) is not a URL; percent-encode special characters of the password; " + want)
		}
	case "sqlite":
		if path == "" {
			return errors.New("sqlite: names no file; " + want)
		}
	default:
		return errors.New("the value (not shown: it may hold a password) begins with none of the known schemes; " + want)
	}
	c.DatabaseURL = Secret(s)
	return nil
}

func setAMQPURL(c *Config, s string) error {
	if s == "" || s == "none" {
		c.AMQPURL = ""
		return nil
	}
	for i, node := range strings.Split(s, ",") {
		u, err := url.Parse(strings.TrimSpace(node))
		if err != nil || u.Scheme != "amqp" && u.Scheme != "amqps" || u.Host == "" {
			return fmt.Errorf("address %d (not shown: it may hold a password) is not an AMQP URL; want amqp://user@host or amqps://…, several separated by commas, or none; "+
				"percent-encode special characters of the password, a comma as %%2C", i+1)
		}
	}
	c.AMQPURL = Secret(s)
	return nil
}

// setPriorities takes a list, or a text with commas.
func setPriorities(c *Config, n *yaml.Node) error {
	texts := strings.Split(strings.Trim(strings.TrimSpace(n.Value), "[]"), ",")
	if n.Kind != yaml.ScalarNode {
		var err error
		if texts, err = listOf(n); err != nil {
			return err
		}
	}
	var list []int
	for _, text := range texts {
		p, err := parsePriority(strings.TrimSpace(text))
		switch {
		case err != nil:
			return err
		case slices.Contains(list, p):
			return fmt.Errorf("%d is in the list twice; keep one", p)
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		return errors.New("the list is empty; want at least one priority, such as [10, 20, 30]")
	}
	slices.Sort(list)
	c.Priorities = list
	return nil
}
