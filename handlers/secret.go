package handlers

import "fmt"

// Secret is a text that is not to be seen: a password, a signing key, a URL that holds one. It
// prints as *** with every verb of fmt and in JSON, YAML, XML and logs. string(s) reveals it.
//
// Keep it in exported fields: fmt cannot call the methods of what is in an unexported one, and
// prints the text.
type Secret string

const mask = "***"

// String returns ***, or nothing for an empty secret, so that one sees whether it is set.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// Format writes what String returns, whatever the verb: %x and %d would print the text.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// GoString returns what String returns, for those who call it themselves.
func (s Secret) GoString() string { return s.String() }

// MarshalText is what encoding/json, yaml, xml and slog's text handler use.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
