package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/warrenq/warren/internal/seal"
)

const canary = "S3CR3T-CANARY-args"

func ring(t *testing.T, names ...string) (*seal.Ring, string) {
	t.Helper()
	keys := make([]string, len(names))
	for i, name := range names {
		var err error
		if keys[i], err = seal.Generate(name); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.Join(keys, ",")
	r, err := seal.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r, text
}

func sealed(t *testing.T, r *seal.Ring, of seal.Of) json.RawMessage {
	t.Helper()
	out, err := r.Seal([]byte(`{"to":"`+canary+`"}`), of)
	if err != nil {
		t.Fatal(err)
	}
	if !seal.Sealed(out) || bytes.Contains(out, []byte(canary)) {
		t.Fatalf("sealed: %s", out)
	}
	return out
}

func TestWhatIsSealedOpensAgain(t *testing.T) {
	t.Parallel()
	of := seal.Of{Kind: "mail", Identifier: "x"}
	r, _ := ring(t, "new", "old")
	out := sealed(t, r, of)
	plain, err := r.Open(out, of)
	if err != nil || string(plain) != `{"to":"`+canary+`"}` || seal.KeyOf(out) != "new" {
		t.Errorf("opened %s (%v), sealed with %s", plain, err, seal.KeyOf(out))
	}
	spaced := strings.Replace(string(out), ":", ": ", 1) // as a database writes it
	if _, err := r.Open([]byte(spaced), of); err != nil || !seal.Sealed([]byte(spaced)) {
		t.Errorf("with a space: %v", err)
	}
}

// Every byte that is changed is noticed, and so is every other job.
func TestTampering(t *testing.T) {
	t.Parallel()
	of := seal.Of{Kind: "mail", Identifier: "x"}
	r, _ := ring(t, "a", "b")
	out := sealed(t, r, of)
	var e map[string]string
	if err := json.Unmarshal(out, &e); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(e[seal.Member], ".")
	data, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	envelope := func(key string, data []byte) []byte {
		return fmt.Appendf(nil, `{"warren_sealed": "v1.%s.%s"}`, key, base64.RawURLEncoding.EncodeToString(data))
	}
	if _, err := r.Open(envelope("a", data), of); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	for i := range data {
		for _, bit := range []byte{1, 0x80} {
			changed := bytes.Clone(data)
			changed[i] ^= bit
			if _, err := r.Open(envelope("a", changed), of); !errors.Is(err, seal.ErrForged) {
				t.Fatalf("byte %d changed: %v", i, err)
			}
		}
		if _, err := r.Open(envelope("a", data[:i]), of); !errors.Is(err, seal.ErrForged) {
			t.Fatalf("cut off at %d: %v", i, err)
		}
	}
	for what, open := range map[string]func() ([]byte, error){
		"another kind":       func() ([]byte, error) { return r.Open(out, seal.Of{Kind: "letter", Identifier: "x"}) },
		"another identifier": func() ([]byte, error) { return r.Open(out, seal.Of{Kind: "mail", Identifier: "y"}) },
		"shifted identity":   func() ([]byte, error) { return r.Open(out, seal.Of{Kind: "mail\x00x"}) },
		"another key's name": func() ([]byte, error) { return r.Open(envelope("b", data), of) },
		"no text":            func() ([]byte, error) { return r.Open([]byte(`{"warren_sealed": 5}`), of) },
		"another member":     func() ([]byte, error) { return r.Open([]byte(`{"warren_sealed": "v1.a.AA", "to": 1}`), of) },
		"no parts":           func() ([]byte, error) { return r.Open([]byte(`{"warren_sealed": "v1"}`), of) },
		"no base64":          func() ([]byte, error) { return r.Open([]byte(`{"warren_sealed": "v1.a.%%"}`), of) },
	} {
		if _, err := open(); !errors.Is(err, seal.ErrForged) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestUnknownKeys(t *testing.T) {
	t.Parallel()
	of := seal.Of{Kind: "mail", Identifier: "x"}
	r, _ := ring(t, "2026a")
	out := sealed(t, r, of)
	other, _ := ring(t, "2026b")
	for _, ring := range []*seal.Ring{other, nil} {
		if _, err := ring.Open(out, of); !errors.Is(err, seal.ErrUnknownKey) || !strings.Contains(err.Error(), "2026a") {
			t.Errorf("%v: %v", ring, err)
		}
	}
	if _, err := r.Open([]byte(`{"warren_sealed": "v2.2026a.AAAA"}`), of); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("a newer format: %v", err)
	}
}

// What is wrong with a key is said, and the key is not.
func TestBadKeys(t *testing.T) {
	t.Parallel()
	good, err := seal.Generate("good")
	if err != nil {
		t.Fatal(err)
	}
	short := base64.StdEncoding.EncodeToString([]byte(canary))
	for text, want := range map[string]string{
		"":                         "there is no key",
		"  ,\n":                    "there is no key",
		canary:                     "key 1 of 1 has no name or no value",
		"a:" + short:               "has 18 bytes; want 32",
		"a:" + canary + "!":        "is not base64",
		good + "," + good:          "key 2 of 2 has the name of one before it",
		"a b:" + canary:            "key 1 of 2",
		"é:" + canary:              "has a name of other than",
		good + "\nb:" + canary[1:]: "key 2 of 2 is not base64",
		"zero:" + base64.StdEncoding.EncodeToString(make([]byte, 32)): "all zeros",
	} {
		_, err := seal.Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "CANARY") || strings.Contains(err.Error(), short) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for _, name := range []string{"", "a b", strings.Repeat("k", 33), "a:b"} {
		if _, err := seal.Generate(name); err == nil {
			t.Errorf("a key was made with name %q", name)
		}
	}
}

// A ring that is printed shows the names of its keys.
func TestARingIsNotPrinted(t *testing.T) {
	t.Parallel()
	r, text := ring(t, "a", "b")
	_, secret, _ := strings.Cut(strings.Split(text, ",")[0], ":")
	raw, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(struct{ R *seal.Ring }{r})
	if err != nil {
		t.Fatal(err)
	}
	for _, printed := range []string{fmt.Sprint(r), fmt.Sprintf("%+v", r), fmt.Sprintf("%#v", r), fmt.Sprintf("%x", r), string(encoded)} {
		if strings.Contains(printed, secret) || strings.Contains(printed, hex.EncodeToString(raw)) || strings.Contains(printed, strings.Trim(fmt.Sprintf("%d", raw), "[]")) {
			t.Errorf("printed as %s", printed)
		}
	}
}

// Nonces do not repeat, whoever seals.
func TestNonces(t *testing.T) {
	t.Parallel()
	r, _ := ring(t, "a")
	seen := map[string]bool{}
	for range 100_000 {
		out, err := r.Seal(nil, seal.Of{})
		if err != nil {
			t.Fatal(err)
		}
		seen[string(out[:60])] = true
	}
	if len(seen) != 100_000 {
		t.Errorf("100,000 nonces, %d of them different", len(seen))
	}
}
