package webhook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/warrenq/warren/handlers"
)

// Config says where to POST the jobs of a kind.
type Config struct {
	// URL is an http or https address. It comes from the configuration and is trusted: loopback
	// and private addresses are allowed. Never build it from a job's args.
	// A user and a password in it are sent as basic authentication.
	URL string
	// Secret signs the requests. With the prefix whsec_ the rest must be base64; without it, it
	// is decoded if it is base64, as the libraries of Standard Webhooks do, and else used as it
	// stands. 24 to 64 random bytes are right: echo whsec_$(openssl rand -base64 32).
	// Empty: the requests are not signed.
	Secret handlers.Secret
	// Client sends the requests, for a proxy or certificates of your own. Its CheckRedirect is not
	// used, redirects are never followed. Nil: a client that keeps up to 32 idle connections.
	Client *http.Client
}

// Validate joins what is wrong with the configuration. The texts name the value, but no secret.
func (c Config) Validate() error {
	_, err := key(c.Secret)
	return errors.Join(checkURL(c.URL), err)
}

// String is the configuration without secrets. So are the other ways to print it.
func (c Config) String() string {
	signed := "not signed"
	if c.Secret != "" {
		signed = "signed"
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return "webhook.Config{" + signed + "}"
	}
	return "webhook.Config{" + place(u) + ", " + signed + "}"
}

// GoString is String, for %#v.
func (c Config) GoString() string { return c.String() }

// MarshalText is String, for JSON, YAML and logs.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

func checkURL(raw string) error {
	const want = "want one such as https://example.org/jobs"
	if raw == "" {
		return errors.New("url is missing; " + want)
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return errors.New("url cannot be parsed (it is not shown, because it may hold a password); " + want)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("url %q has neither the scheme http nor https; %s", place(u), want)
	case u.Hostname() == "":
		return fmt.Errorf("url %q has no host; %s", place(u), want)
	}
	return nil
}

// place is a URL without what may be secret in it, which the path of a webhook often is.
func place(u *url.URL) string { return u.Scheme + "://" + u.Host }

// key returns the bytes to sign with, nil for none.
func key(secret handlers.Secret) ([]byte, error) {
	if secret == "" {
		return nil, nil
	}
	text, prefixed := strings.CutPrefix(strings.TrimSpace(string(secret)), "whsec_")
	decoded, err := base64.StdEncoding.DecodeString(text)
	if prefixed && err != nil {
		decoded, err = base64.RawStdEncoding.DecodeString(text)
	}
	switch {
	case err == nil && len(decoded) > 0:
		return decoded, nil
	case prefixed:
		return nil, errors.New("secret begins with whsec_, but what follows is not base64; make one with: echo whsec_$(openssl rand -base64 32)")
	}
	return []byte(secret), nil
}
