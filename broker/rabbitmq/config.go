package rabbitmq

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"go.uber.org/zap"
)

// The queue types of Config.QueueType.
const (
	// Auto is Quorum if Config.URL has three or more addresses, else Classic: see
	// docs/decisions/0003. AMQP does not tell how many nodes there are; before a cluster that has
	// one address, configure the type.
	Auto = "auto"
	// Classic queues live on one node.
	Classic = "classic"
	// Quorum queues are replicated over the nodes of the cluster.
	Quorum = "quorum"
)

// Config says how to reach the broker and what to build there. The zero value of every field but
// URL works. Printing a Config never shows a password.
type Config struct {
	// URL is amqp://user:password@host:port/vhost, or amqps:// for TLS. Several, separated by
	// commas, are nodes of one cluster: they are tried in a random order that changes with every
	// failure. Special characters of the password are percent-encoded, a comma as %2C.
	// Parameters: heartbeat (whole seconds, at least 1), auth_mechanism (plain or external),
	// cacertfile, certfile, keyfile and server_name_indication, which take precedence over TLS.
	URL string
	// Prefix begins the name of every exchange and queue, so that several installations can share
	// a vhost. Default "warren"; letters, digits, '_', '-' and '.', at most 64.
	Prefix string
	// Name is what an operator sees as the name of the connections, for example
	// "warren-consumer@host:pid v1". Default "warren@host:pid".
	Name string
	// QueueType is Auto (the default), Classic or Quorum. It counts when a queue is made; one that
	// exists with another type is used as it is, with a warning.
	QueueType string
	// TLS is for amqps URLs.
	TLS TLS
	// Heartbeat is how often the two sides show each other that they live. Default 10 s, at
	// least 1 s. A broker that is silent for one and a half of it is taken for dead.
	Heartbeat time.Duration
	// DialTimeout limits one attempt to connect, from the name lookup to the end of the AMQP
	// handshake. Default 5 s.
	DialTimeout time.Duration
	// ConfirmTimeout limits how long Publish waits for the confirms of a thousand hints, and how
	// long closing waits for the broker. Default 5 s.
	ConfirmTimeout time.Duration
	// Log receives what happens to the connections. Default: nothing is logged.
	Log *zap.Logger
}

// TLS says whom to trust and who we are. Certificates are read again for every connection, so
// that renewed files are used without a restart. TLS 1.2 is the oldest version that is spoken.
type TLS struct {
	// CAFile holds the certificates (PEM) that may have signed the broker's. Default: the system's.
	CAFile string
	// CertFile and KeyFile are a certificate of our own and its key (PEM), for brokers that ask.
	CertFile, KeyFile string
	// ServerName is the name the broker's certificate must carry. Default: the URL's host.
	ServerName string
}

// String is the configuration without passwords.
func (c Config) String() string {
	return fmt.Sprintf("rabbitmq.Config{URL: %s, Prefix: %s, QueueType: %s}", Redact(c.URL), c.Prefix, c.QueueType)
}

// GoString is String, so that %#v shows no password either.
func (c Config) GoString() string { return c.String() }

// MarshalJSON is String as JSON, so that a logged Config shows no password.
func (c Config) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// withDefaults fills in what was left zero.
func (c Config) withDefaults() Config {
	c.Prefix = cmp.Or(c.Prefix, "warren")
	c.Name = cmp.Or(c.Name, fmt.Sprintf("warren@%s:%d", hostname(), os.Getpid()))
	c.QueueType = cmp.Or(c.QueueType, Auto)
	c.Heartbeat = cmp.Or(c.Heartbeat, 10*time.Second)
	c.DialTimeout = cmp.Or(c.DialTimeout, 5*time.Second)
	c.ConfirmTimeout = cmp.Or(c.ConfirmTimeout, 5*time.Second)
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	return c
}

var prefixPattern = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// validate joins all complaints about a Config with its defaults filled in.
func (c Config) validate() error {
	var errs []error
	if !prefixPattern.MatchString(c.Prefix) {
		errs = append(errs, fmt.Errorf("queue prefix %q: use 1 to 64 letters, digits, '_', '-' and '.'", c.Prefix))
	}
	if c.QueueType != Auto && c.QueueType != Classic && c.QueueType != Quorum {
		errs = append(errs, fmt.Errorf("queue type %q: use auto, classic or quorum", c.QueueType))
	}
	if c.Heartbeat < time.Second {
		errs = append(errs, fmt.Errorf("heartbeat %s: use at least 1s", c.Heartbeat))
	}
	if c.DialTimeout <= 0 {
		errs = append(errs, fmt.Errorf("dial timeout %s: use a positive duration", c.DialTimeout))
	}
	if c.ConfirmTimeout <= 0 {
		errs = append(errs, fmt.Errorf("confirm timeout %s: use a positive duration", c.ConfirmTimeout))
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		errs = append(errs, errors.New("a TLS certificate needs its key and a key its certificate: set both files or none"))
	}
	return errors.Join(errs...)
}

// queueType is the x-queue-type that new queues get.
func (c Config) queueType(nodes int) string {
	switch {
	case c.QueueType != Auto:
		return c.QueueType
	case nodes >= 3:
		return Quorum
	default:
		return Classic
	}
}

// tag names our consumers on a band's queue.
func tag(queue string) string {
	const longest = 255 // of an AMQP short string
	t := fmt.Sprintf("%s-%d-%s", hostname(), os.Getpid(), queue)
	return t[max(0, len(t)-longest):]
}

func hostname() string {
	h, err := os.Hostname()
	if err != nil || h == "" {
		return "unknown"
	}
	return strings.SplitN(h, ".", 2)[0]
}
