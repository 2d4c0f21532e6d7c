// Package argcheck decides what may be stored: whether a JSON value fits a jsonb column as it
// is, and how an error text is made to fit a text column.
//
// It is checked at publish because the alternative is worse: the database would refuse the whole
// statement, and with it the other jobs of the same batch, with a message that does not name the
// culprit; SQLite would take what PostgreSQL refuses; and a handler would be the first to learn
// that a value came back other than it went in.
//
// Objects with a repeated key are let through: jsonb keeps the last value, as encoding/json does.
package argcheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

const (
	// DefaultMax is the most bytes a JSON value may take when the caller does not say.
	DefaultMax = 256 << 10
	// MaxDepth is how deep arrays and objects may be nested in each other.
	MaxDepth = 64
	// MaxDigits is how many digits a number may have when it is written out, as jsonb does.
	// A float64 needs 325 at most (and cannot hold 1e400, which is let through).
	MaxDigits = 1000
	// MaxText is how many bytes Sanitize leaves when the caller does not say.
	MaxText = 8 << 10
)

// Check returns nil when value is JSON that a jsonb column stores as it is, in at most limit
// bytes (0 or less: DefaultMax). The size counts numbers written out, because that is how they
// come back: 1e999 is five bytes on the way in and a thousand on the way out.
//
// The error says what is wrong, where, and what to do; it does not say which value it was, so
// that callers can put "args: " or "metadata: " in front.
func Check(value []byte, limit int) error {
	if limit <= 0 {
		limit = DefaultMax
	}
	if len(value) > limit {
		return errTooLarge(len(value), limit)
	}
	if err := syntax(value); err != nil {
		return err
	}
	return scan(value, limit)
}

// CheckEncoded is Check for what encoding/json has just written, which is JSON: half of the work is to find that out.
func CheckEncoded(value []byte, limit int) error {
	if limit <= 0 {
		limit = DefaultMax
	}
	switch {
	case len(value) > limit:
		return errTooLarge(len(value), limit)
	case !utf8.Valid(value): // a json.RawMessage inside is copied as it is
		return syntax(value)
	}
	return scan(value, limit)
}

func errTooLarge(size, limit int) error {
	return fmt.Errorf("takes %d bytes, more than the %d allowed; keep large data elsewhere and pass a reference to it", size, limit)
}

// syntax tells apart what is not JSON at all. encoding/json takes invalid UTF-8 in strings.
func syntax(value []byte) error {
	if len(bytes.TrimSpace(value)) == 0 {
		return errors.New("is empty, which is not JSON; pass {} for nothing")
	}
	if !utf8.Valid(value) {
		at := 0
		for r, n := utf8.DecodeRune(value); r != utf8.RuneError || n != 1; r, n = utf8.DecodeRune(value[at:]) {
			at += n
		}
		return fmt.Errorf("is not valid UTF-8: byte %d is 0x%02x; encode the text as UTF-8, and binary data as base64", at, value[at])
	}
	if json.Valid(value) {
		return nil
	}
	var v json.RawMessage
	err := json.Unmarshal(value, &v)
	if se := (*json.SyntaxError)(nil); errors.As(err, &se) {
		return fmt.Errorf("is not valid JSON: byte %d: %w", max(se.Offset-1, 0), err)
	}
	return fmt.Errorf("is not valid JSON: %w", err)
}

// scan looks for what is JSON but not storable. value is valid JSON.
func scan(value []byte, limit int) error {
	size, depth := len(value), 0
	for i := 0; i < len(value); {
		switch c := value[i]; {
		case c == '"':
			end, err := scanString(value, i)
			if err != nil {
				return err
			}
			i = end
			continue
		case c == '-' || '0' <= c && c <= '9':
			end, digits := scanNumber(value, i)
			if digits > MaxDigits {
				return fmt.Errorf("has a number of more than %d digits when written out, at %s: %s; pass it as a string",
					MaxDigits, where(value, i), excerpt(value[i:end]))
			}
			if size += max(0, digits-(end-i)); size > limit {
				return fmt.Errorf("with its numbers written out, %w", errTooLarge(size, limit))
			}
			i = end
			continue
		case c == '[' || c == '{':
			if depth++; depth > MaxDepth {
				return fmt.Errorf("is nested more than %d deep, at byte %d; flatten it, or pass the inner part as a string", MaxDepth, i)
			}
		case c == ']' || c == '}':
			depth--
		}
		i++
	}
	return nil
}

// scanString returns where the string that starts at i ends.
func scanString(value []byte, i int) (int, error) {
	for j := i + 1; ; j++ {
		switch value[j] {
		case '"':
			return j + 1, nil
		case '\\':
			j++
			if value[j] != 'u' {
				continue
			}
			r := hex4(value[j+1:])
			switch {
			case r == 0:
				return 0, fmt.Errorf("has the character NUL (\\u0000) at %s, which PostgreSQL cannot store; remove it, or encode binary data as base64", where(value, j-1))
			case lowSurrogate(r), highSurrogate(r) && !followedByLow(value[j+5:]):
				return 0, fmt.Errorf("has half of a surrogate pair (\\u%04x) at %s, which is no character; the text was cut in the middle of one, or is binary: encode that as base64", r, where(value, j-1))
			case highSurrogate(r):
				j += 6
			}
			j += 4
		}
	}
}

func highSurrogate(r rune) bool { return 0xd800 <= r && r < 0xdc00 }
func lowSurrogate(r rune) bool  { return 0xdc00 <= r && r < 0xe000 }

func followedByLow(rest []byte) bool {
	return bytes.HasPrefix(rest, []byte(`\u`)) && lowSurrogate(hex4(rest[2:]))
}

// hex4 reads the four digits of an escape, which are there in valid JSON.
func hex4(b []byte) rune {
	n, _ := strconv.ParseUint(string(b[:4]), 16, 16)
	return rune(n)
}

// scanNumber returns where the number that starts at i ends, and how many digits it has when it
// is written out without an exponent; more than MaxDigits stands for any such count.
func scanNumber(value []byte, i int) (end, digits int) {
	whole, fraction, j := 0, 0, i
	if value[j] == '-' {
		j++
	}
	for ; j < len(value) && digit(value[j]); j++ {
		whole++
	}
	if j < len(value) && value[j] == '.' {
		for j++; j < len(value) && digit(value[j]); j++ {
			fraction++
		}
	}
	exponent := 0
	if j < len(value) && (value[j] == 'e' || value[j] == 'E') {
		from := j + 1
		for j++; j < len(value) && (digit(value[j]) || value[j] == '+' || value[j] == '-'); j++ {
			continue
		}
		var err error
		if exponent, err = strconv.Atoi(string(value[from:j])); err != nil {
			return j, MaxDigits + 1 // beyond int64
		}
	}
	// Far exponents are cut short so that nothing can overflow below.
	exponent = min(max(exponent, -2*len(value)-2*MaxDigits), 2*len(value)+2*MaxDigits)
	return j, max(whole+exponent, 1) + max(fraction-exponent, 0)
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
