package rabbitmq

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// endpoint is one node, taken apart: a URL with a password in it is never kept, passed on or
// printed.
type endpoint struct {
	secure    bool // amqps
	host      string
	port      string
	vhost     string
	user      string
	password  secret
	external  bool // authenticate by the client certificate
	heartbeat time.Duration
	tls       TLS
}

// secret is text that no way of printing shows. A string with its own String would not do: inside
// of a struct %#v prints it.
type secret func() string

func keep(text string) secret { return func() string { return text } }

// String is the endpoint as operators may see it: no user, no password.
func (e endpoint) String() string {
	scheme := "amqp"
	if e.secure {
		scheme = "amqps"
	}
	return scheme + "://" + e.addr() + "/" + url.PathEscape(e.vhost)
}

func (e endpoint) addr() string { return net.JoinHostPort(e.host, e.port) }

// loopback reports whether the connection stays on this machine.
func (e endpoint) loopback() bool {
	ip := net.ParseIP(e.host)
	return e.host == "localhost" || ip != nil && ip.IsLoopback()
}

// Redact is a list of broker URLs without users, passwords and parameters, for showing it. What
// cannot be read as a URL is shown as stars up to its host.
func Redact(urls string) string {
	parts := strings.Split(urls, ",")
	for i, part := range parts {
		parts[i] = redactOne(part)
	}
	return strings.Join(parts, ",")
}

func redactOne(raw string) string {
	if e, err := parseEndpoint(raw, Config{}); err == nil {
		return e.String()
	}
	scheme, rest, found := strings.Cut(strings.TrimSpace(raw), "://")
	if !found || (scheme != "amqp" && scheme != "amqps") {
		return "***" // a piece of a password with a comma in it looks like this
	}
	// Only what follows the last '@' cannot be part of a password.
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return scheme + "://***"
	}
	host, _, _ := strings.Cut(rest[at+1:], "?")
	return fmt.Sprintf("%s://***@%q", scheme, host)
}

// parseEndpoints reads Config.URL. Its errors name the position and the redacted value.
func parseEndpoints(c Config) ([]endpoint, error) {
	if strings.TrimSpace(c.URL) == "" {
		return nil, errors.New("the broker URL is empty: use amqp://user:password@host:5672/vhost")
	}
	parts := strings.Split(c.URL, ",")
	list := make([]endpoint, 0, len(parts))
	for i, part := range parts {
		e, err := parseEndpoint(part, c)
		if err != nil {
			return nil, fmt.Errorf("broker URL %d of %d (%s): %w", i+1, len(parts), redactOne(part), err)
		}
		list = append(list, e)
	}
	return list, nil
}

// parseEndpoint reads one URL. No error contains a part of the input that may belong to a
// password; that is why none of package url's errors is passed on.
func parseEndpoint(raw string, c Config) (endpoint, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	switch {
	case err != nil:
		return endpoint{}, errors.New("this is no URL: use amqp://user:password@host:5672/vhost and percent-encode special characters of the password, for example / as %2F, @ as %40, a comma as %2C")
	case u.Scheme != "amqp" && u.Scheme != "amqps":
		return endpoint{}, errors.New("it does not begin with amqp:// or amqps://: a comma separates cluster nodes, inside of a password write it as %2C")
	case u.Hostname() == "":
		return endpoint{}, errors.New("the host is missing: use amqp://user:password@host:5672/vhost")
	case u.Fragment != "" || strings.ContainsRune(u.EscapedPath(), '@'):
		return endpoint{}, errors.New("the password contains a character that ends it: percent-encode / as %2F, @ as %40, # as %23, ? as %3F")
	}
	e := endpoint{
		secure: u.Scheme == "amqps", host: u.Hostname(), port: u.Port(),
		vhost: "/", user: "guest", password: keep("guest"), heartbeat: c.Heartbeat, tls: c.TLS,
	}
	if e.port == "" {
		e.port = map[bool]string{false: "5672", true: "5671"}[e.secure]
	} else if n, err := strconv.ParseUint(e.port, 10, 16); err != nil || n == 0 {
		return endpoint{}, errors.New("the port is not a number from 1 to 65535")
	}
	if path := strings.TrimPrefix(u.Path, "/"); path != "" {
		e.vhost = path
	}
	if u.User != nil {
		e.user = u.User.Username()
		p, _ := u.User.Password()
		e.password = keep(p)
	}
	return e, e.parameters(u)
}

// parameters applies what follows the question mark. Values are not repeated in errors: a '?' in
// a password that was not percent-encoded ends up here.
func (e *endpoint) parameters(u *url.URL) error {
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("its parameters cannot be read: percent-encode a '?' in the password as %3F")
	}
	for key := range values {
		value := values.Get(key)
		switch key {
		case "cacertfile":
			e.tls.CAFile = value
		case "certfile":
			e.tls.CertFile = value
		case "keyfile":
			e.tls.KeyFile = value
		case "server_name_indication":
			e.tls.ServerName = value
		case "heartbeat":
			n, err := strconv.ParseUint(value, 10, 16)
			if err != nil || n == 0 {
				return errors.New("its heartbeat is not a whole number of seconds from 1 to 65535; without heartbeats a dead broker is never noticed")
			}
			e.heartbeat = time.Duration(n) * time.Second
		case "auth_mechanism":
			if value != "plain" && value != "external" {
				return errors.New("its auth_mechanism is neither plain nor external")
			}
			e.external = value == "external"
		default:
			return errors.New("it has an unknown parameter: known are heartbeat, auth_mechanism, cacertfile, certfile, keyfile and server_name_indication; percent-encode a '?' in the password as %3F")
		}
	}
	if (e.tls.CertFile == "") != (e.tls.KeyFile == "") {
		return errors.New("it has certfile without keyfile or the reverse: give both or none")
	}
	return nil
}
