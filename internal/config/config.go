// Package config reads what Warren's programs are told: by flags, by the environment, by
// warren.yaml, and by default, in this order. It knows every key there is, its bounds and where
// its value came from; it opens no connection and keeps no state.
//
// A key NAME is the flag --name (with dashes), the variable WARREN_NAME and the entry name: in
// the file. Two are older than Warren and have no prefix: DATABASE_URL and AMQP_URL. Entries
// inside retention: and notify: are keys of their own (retention.finished is the variable
// WARREN_RETENTION_FINISHED), so that each source may set some of them. A secret can also be
// read from the file that WARREN_NAME_FILE names. An empty variable counts as one that is not set.
//
// What is not known is an error that names the nearest thing that is: in the file, and among the
// variables that begin with WARREN_. Let through are WARREN_TEST_…, which our tests use, what the
// command handler tells its children (WARREN_JOB_ID, WARREN_ATTEMPT, WARREN_LEASE), and what
// Kubernetes sets in every pod for a service called warren (WARREN_SERVICE_HOST, WARREN_PORT_…).
package config

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// Config is the configuration in effect, checked and complete.
type Config struct {
	// DatabaseURL is postgres://… or sqlite:PATH, "" when none was given.
	DatabaseURL Secret
	// AMQPURL is amqp://… or amqps://…, several separated by commas, "" for no broker.
	AMQPURL Secret
	// Schema is the PostgreSQL schema. Default "warren".
	Schema string
	// QueuePrefix begins the names of everything in the broker. Default "warren".
	QueuePrefix string

	// Priorities are those that jobs may have, 0 to 999, ascending. Default 10, 20, 30, 40, 50.
	Priorities []int
	// DefaultQueue is the queue of kinds that name none. Default "default".
	DefaultQueue string
	// Kinds are the jobs that the stock consumer handles, by kind.
	Kinds map[string]Kind
	// Schedules are declared by the stock consumer when it starts, in the order of their names.
	Schedules []warren.Schedule
	// Retention says how long jobs are kept after they ended. A state that is missing is kept for
	// ever. Default 14 days for what is done, 90 days for what failed.
	Retention jobstore.Retention
	// Notify says whom to tell about failures.
	Notify Notify

	// MaxArgs is how many bytes the args of a job may have. Default 256 KiB.
	MaxArgs int
	// MaxAttempts is how often a job is tried before it fails for good, 0 for no limit. Default 25.
	MaxAttempts int

	// Concurrency is how many jobs a consumer runs at a time. Default 10.
	Concurrency int
	// Name is what people call a consumer, "" for nothing.
	Name string
	// Pools are what `consumer run` runs beside each other in one process, by name. None: one consumer, as its
	// flags say.
	Pools []Pool
	// Order is how a consumer chooses among its queues and priorities: strict, weighted or fair. Default strict.
	Order string
	// Weights are those of the order weighted.
	Weights warren.Weights
	// PollInterval is how often a consumer without a broker looks for jobs. Default 1 s.
	PollInterval time.Duration
	// HintSize is how many numbers one message carries, 1 to 1000. Default 50.
	HintSize int
	// MaxJobLog is how many bytes of lines the log of a job keeps, 0 for no logs of jobs. Default 1 MiB.
	MaxJobLog int64
	// FilesDir is the directory that keeps the content of files of jobs, "" for the database.
	FilesDir string
	// MaxFile is how many bytes such a file may have. Default 16 MiB.
	MaxFile int64
	// DrainTimeout is how long a stopping consumer waits for its handlers. Default 25 s.
	DrainTimeout time.Duration
	// QueueType is the type of new broker queues: auto, classic or quorum. Default auto.
	QueueType string
	// APIToken must come with every request to the HTTP API, "" for none. An address that others
	// reach needs one.
	APIToken Secret
	// Keys encrypt the args of kinds that are Encrypted, the first one; all decrypt. "" = none. They are valid.
	Keys Secret
	// LogFormat is auto, json or console. Default auto: console on a terminal, json elsewhere.
	LogFormat string
	// LogLevel is debug, info, warn or error. Default info.
	LogLevel string
	// Migrate is auto (the schema is made and brought up to date on first use, the default) or
	// never (an operator does it).
	Migrate string

	settings []Setting
}

// Notify says whom to tell about failures.
type Notify struct {
	// Attempts is after how many failed attempts a job is told about. Default 5.
	Attempts int
	// Webhook is the URL that is told, "" for nobody.
	Webhook Secret
}

// Setting is one effective value for people: `warren config show --origin`.
type Setting struct {
	// Key is its name, with dots for what is inside another: kinds.mail.webhook.url.
	Key string `json:"key"`
	// Value is spelled as it would be in the file; secrets are masked.
	Value string `json:"value"`
	// Origin is where it came from: "--schema", "WARREN_SCHEMA", "warren.yaml:3" or "default".
	Origin string `json:"origin"`
}

// Settings lists every effective value, in a fixed order: one row for each key and for each part
// of each kind.
func (c *Config) Settings() []Setting { return slices.Clone(c.settings) }

// Sources is where the configuration comes from. The zero value is: the default files, nothing else.
type Sources struct {
	// Flags are the flags that were given, by name without the leading dashes ("queue-prefix").
	Flags map[string]string
	// Environ is the environment, "NAME=value" each, as os.Environ returns it.
	Environ []string
	// ConfigPath is the file to read, which must exist then. Empty: what WARREN_CONFIG names, else
	// the first of warren.yaml and /etc/warren/warren.yaml that exists, else none.
	ConfigPath string
	// ReadFile replaces os.ReadFile, for tests.
	ReadFile func(path string) ([]byte, error)
}

// Load reads and checks the configuration. Its error joins every complaint there is; each names
// the origin, the key, the value (never that of a secret) and what is allowed.
func Load(src Sources) (*Config, error) {
	if src.ReadFile == nil {
		src.ReadFile = os.ReadFile
	}
	l := &loader{src: src, values: map[string]value{}, cfg: &Config{Kinds: map[string]Kind{}, Retention: jobstore.Retention{}}}
	l.file()
	l.environ()
	l.flags()
	for _, k := range keys() {
		l.apply(k)
	}
	if err := errors.Join(l.complaints...); err != nil {
		return nil, err
	}
	return l.cfg, nil
}

// defaultPaths are tried in this order.
func defaultPaths() []string { return []string{"warren.yaml", "/etc/warren/warren.yaml"} }

// path returns the file to read and its text; "" when there is none.
func (l *loader) path() (string, []byte) {
	path, by := l.src.ConfigPath, "--config"
	if path == "" {
		path, by = l.getenv("WARREN_CONFIG"), "WARREN_CONFIG"
	}
	if path != "" {
		text, err := l.src.ReadFile(path)
		if err != nil {
			l.complain("%s: %w; give a file that can be read, or leave it out", by, err)
		}
		return path, text
	}
	for _, path := range defaultPaths() {
		switch text, err := l.src.ReadFile(path); {
		case err == nil:
			return path, text
		case !errors.Is(err, fs.ErrNotExist):
			// A file that is there and cannot be read is not the same as no file.
			l.complain("%w; make it readable, or name another with --config", err)
			return "", nil
		}
	}
	return "", nil
}
