// Package seal encrypts the args of jobs, and binds them to the job that they are of.
//
// Sealed args are a JSON object with one member, {"warren_sealed": "v1.KEY.DATA"}: the format, the name of
// the key, and in URL-safe base64 a nonce of 24 random bytes with what XChaCha20-Poly1305 makes of the args.
// Random nonces of that size may be drawn for ever. The kind, the identifier of the job and the name
// of the key are authenticated with them, so that args that were moved to another job are refused.
package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

// Member is the only member of sealed args.
const Member = "warren_sealed"

const version = "v1"

var (
	// ErrUnknownKey means that the args were sealed with a key that the ring does not have.
	ErrUnknownKey = errors.New("unknown key")
	// ErrForged means that the args are not what was sealed for this job.
	ErrForged = errors.New("args do not authenticate")
)

// Ring is some keys by name. The first seals, all open.
type Ring struct {
	first string
	names []string
	keys  map[string]cipher.AEAD
}

var keyName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// Parse reads keys, NAME:BASE64 each, of 32 bytes, separated by commas or white space. Its errors tell
// which key is wrong by its place, and never show one.
func Parse(text string) (*Ring, error) {
	r := &Ring{keys: map[string]cipher.AEAD{}}
	words := strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' || c == '\n' || c == '\r' || c == '\t' })
	for i, word := range words {
		bad := func(what string) error {
			return fmt.Errorf("key %d of %d %s; keys are NAME:BASE64, as 'warren keys generate' makes them (the value is not shown: it is a secret)",
				i+1, len(words), what)
		}
		name, encoded, _ := strings.Cut(word, ":")
		if encoded == "" {
			return nil, bad("has no name or no value")
		}
		if !keyName.MatchString(name) {
			return nil, bad("has a name of other than 1 to 32 letters, digits, _ and -")
		}
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return nil, bad("is not base64")
		}
		aead, err := chacha20poly1305.NewX(raw)
		if err != nil {
			return nil, bad(fmt.Sprintf("has %d bytes; want %d", len(raw), chacha20poly1305.KeySize))
		}
		if bytes.Equal(raw, make([]byte, len(raw))) {
			return nil, bad("is all zeros, which everybody can guess")
		}
		if _, twice := r.keys[name]; twice {
			return nil, bad("has the name of one before it")
		}
		r.keys[name] = aead
		r.names = append(r.names, name)
	}
	if len(r.names) == 0 {
		return nil, errors.New("there is no key; make one with 'warren keys generate'")
	}
	r.first = r.names[0]
	return r, nil
}

// Generate makes a new key as Parse reads it.
func Generate(name string) (string, error) {
	if !keyName.MatchString(name) {
		return "", fmt.Errorf("key name %.40q is not 1 to 32 letters, digits, _ and -", name)
	}
	raw := make([]byte, chacha20poly1305.KeySize)
	_, _ = rand.Read(raw) // never fails
	return name + ":" + base64.StdEncoding.EncodeToString(raw), nil
}

// Names lists the keys' names, the one that seals first.
func (r *Ring) Names() []string { return r.names }

// String shows names only.
func (r *Ring) String() string { return "keys " + strings.Join(r.names, ", ") }

// GoString shows names only.
func (r *Ring) GoString() string { return r.String() }

// Of is the job that args belong to.
type Of struct{ Kind, Identifier string }

// bound is what is authenticated besides the args. Neither part has a NUL.
func (o Of) bound(key string) []byte {
	return []byte(strings.Join([]string{"warren1", o.Kind, o.Identifier, key}, "\x00"))
}

type envelope struct {
	Sealed string `json:"warren_sealed"`
}

// Seal encrypts args with the first key.
func (r *Ring) Seal(args []byte, of Of) (json.RawMessage, error) {
	aead := r.keys[r.first]
	out := make([]byte, aead.NonceSize(), aead.NonceSize()+len(args)+aead.Overhead())
	_, _ = rand.Read(out) // never fails
	out = aead.Seal(out, out, args, of.bound(r.first))
	return json.Marshal(envelope{strings.Join([]string{version, r.first, base64.RawURLEncoding.EncodeToString(out)}, ".")})
}

// Sealed reports whether args are sealed.
func Sealed(args []byte) bool {
	rest, object := bytes.CutPrefix(bytes.TrimLeft(args, " \t\r\n"), []byte("{"))
	return object && bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(`"`+Member+`"`))
}

// KeyOf is the name of the key that args were sealed with; "" when they cannot be read.
func KeyOf(args []byte) string {
	key, _, _ := split(args)
	return key
}

// Open decrypts sealed args. Errors are ErrUnknownKey and ErrForged, and name the key.
func (r *Ring) Open(args []byte, of Of) ([]byte, error) {
	key, data, err := split(args)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, fmt.Errorf("%w %q: no keys are configured", ErrUnknownKey, key)
	}
	aead := r.keys[key]
	if aead == nil {
		return nil, fmt.Errorf("%w %q; configured are %s", ErrUnknownKey, key, strings.Join(r.names, ", "))
	}
	if len(data) < aead.NonceSize() {
		return nil, fmt.Errorf("%w: they are cut off", ErrForged)
	}
	plain, err := aead.Open(nil, data[:aead.NonceSize()], data[aead.NonceSize():], of.bound(key))
	if err != nil {
		return nil, fmt.Errorf("%w with key %q: they were changed, or belong to another job", ErrForged, key)
	}
	return plain, nil
}

func split(args []byte) (key string, data []byte, err error) {
	var e envelope
	dec := json.NewDecoder(bytes.NewReader(args))
	dec.DisallowUnknownFields()
	if dec.Decode(&e) != nil {
		return "", nil, fmt.Errorf("%w: they are not the object that sealing makes", ErrForged)
	}
	parts := strings.Split(e.Sealed, ".")
	if len(parts) != 3 || !keyName.MatchString(parts[1]) {
		return "", nil, fmt.Errorf("%w: they are not the text that sealing makes", ErrForged)
	}
	if parts[0] != version {
		return "", nil, fmt.Errorf("%w: sealed in format %.10q, and this program knows %s: upgrade it", ErrUnknownKey, parts[0], version)
	}
	if data, err = base64.RawURLEncoding.Strict().DecodeString(parts[2]); err != nil {
		return "", nil, fmt.Errorf("%w: they are not the text that sealing makes", ErrForged)
	}
	return parts[1], data, nil
}
