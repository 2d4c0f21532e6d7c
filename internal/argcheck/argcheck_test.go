package argcheck_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/warrenq/warren/internal/argcheck"
)

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestCheckAccepts(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		`{}`, `[]`, `null`, `true`, `-0`, `1.5`, `""`, ` {"a": [1, 2, {"b": "c"}]} `,
		`{"a":1,"a":2}`,                     // the last one counts, as everywhere
		`1e400`, `-1e999`, `1E+999`, `1e-9`, // no float64, yet a number
		`0.` + strings.Repeat("3", 999),
		strings.Repeat("9", 1000),
		`0.1e999`, `1000e-999`,
		nested(64),
		`{"a":` + nested(63) + `}`,
		`"\\u0000"`, `"\\\\u0000 \\ud800"`, // backslashes, not escapes
		`"\ud83d\ude00"`, `"\uD83D\uDE00\ud83d\ude00"`, `"\ufffd\uffff\ud7ff\ue000"`,
		`"` + "😀 \u007f \u2028 é" + `"`,
		`{"\u00e9\n\t\"":"\/\b\f"}`,
	} {
		if err := argcheck.Check([]byte(value), 0); err != nil {
			t.Errorf("%.60s: %v, want it accepted", value, err)
		}
	}
}

func TestCheckRefusesAndSaysWhatWhereAndWhatToDo(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ value, want string }{
		"empty":               {"", `^is empty, which is not JSON; pass \{\} for nothing$`},
		"blank":               {" \n", `^is empty`},
		"word":                {`hello`, `^is not valid JSON: byte 0: invalid character 'h'`},
		"cut short":           {`{"a":`, `^is not valid JSON: byte \d: unexpected end`},
		"two values":          {`{} {}`, `^is not valid JSON: byte 3: invalid character '\{' after top-level value`},
		"line break":          {"\"a\nb\"", `^is not valid JSON: byte 2: invalid character '\\n' in string literal`},
		"not a number":        {`NaN`, `^is not valid JSON`},
		"byte order mark":     {"\ufeff{}", `^is not valid JSON: byte 0`},
		"latin-1":             {"{\"name\":\"M\xfcller\"}", `^is not valid UTF-8: byte 10 is 0xfc; encode the text as UTF-8, and binary data as base64$`},
		"surrogate as UTF-8":  {"\"\xed\xa0\x80\"", `^is not valid UTF-8: byte 1 is 0xed`},
		"replacement, then":   {"\"\ufffd\xff\"", `^is not valid UTF-8: byte 4 is 0xff`},
		"NUL byte":            {"\"\x00\"", `^is not valid JSON: byte 1`},
		"NUL":                 {`{"items":[1,{"name":"a\u0000b"}]}`, `^has the character NUL \(\\u0000\) at byte 22 \(\.items\[1\]\.name\), which PostgreSQL cannot store; remove it`},
		"NUL in a key":        {`{"a":{"b\u0000":1}}`, `NUL \(\\u0000\) at byte 8 \(\.a\["b\\x00"\]\)`},
		"NUL at the top":      {`"\u0000"`, `NUL \(\\u0000\) at byte 1, which`},
		"high alone":          {`{"x":"\ud800"}`, `^has half of a surrogate pair \(\\ud800\) at byte 6 \(\.x\), which is no character`},
		"high, then a letter": {`["\uD800\u0041"]`, `\(\\ud800\) at byte 2 \(\[0\]\)`},
		"high, then a high":   {`"\ud83d\ud83d\ude00"`, `\(\\ud83d\) at byte 1,`},
		"high, then text":     {`"\ud83dxx\ude00"`, `\(\\ud83d\) at byte 1,`},
		"low alone":           {`"a\udc00"`, `\(\\udc00\) at byte 2,`},
		"low after a pair":    {`"\ud83d\ude00\ude00"`, `\(\\ude00\) at byte 13,`},
		"deep":                {nested(65), `^is nested more than 64 deep, at byte 64; flatten it`},
		"very deep":           {nested(9000), `^is nested more than 64 deep`},
		"too deep for Go":     {nested(20000), `^is not valid JSON: byte \d+: .*exceeded max depth`},
		"big exponent":        {`{"n":[0,1e1000]}`, `^has a number of more than 1000 digits when written out, at byte 8 \(\.n\[1\]\): 1e1000; pass it as a string$`},
		"small exponent":      {`1e-1000`, `more than 1000 digits when written out, at byte 0: 1e-1000`},
		"exponent beyond int": {`-1.5e99999999999999999999`, `more than 1000 digits when written out, at byte 0: -1.5e99999999999999999999`},
		"and below":           {`0E-99999999999999999999`, `more than 1000 digits`},
		"many digits":         {strings.Repeat("7", 1001), `more than 1000 digits when written out, at byte 0: 7{37}\.\.\.; pass`},
		"many small digits":   {`0.` + strings.Repeat("7", 1000), `more than 1000 digits`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := argcheck.Check([]byte(tc.value), 0)
			if err == nil || !regexp.MustCompile(tc.want).MatchString(err.Error()) {
				t.Errorf("%.60q: got %v, want %s", tc.value, err, tc.want)
			}
			if err != nil && len(err.Error()) > 500 {
				t.Errorf("the error has %d bytes: %.200s", len(err.Error()), err)
			}
		})
	}
}

func TestCheckSize(t *testing.T) {
	t.Parallel()
	text := func(n int) []byte { return []byte(`"` + strings.Repeat("x", n-2) + `"`) }
	for name, tc := range map[string]struct {
		value []byte
		limit int
		want  string
	}{
		"just fits":         {text(100), 100, ""},
		"one too many":      {text(101), 100, "takes 101 bytes, more than the 100 allowed; keep large data elsewhere and pass a reference to it"},
		"default, fits":     {text(256 << 10), 0, ""},
		"default, too many": {text(256<<10 + 1), -1, "takes 262145 bytes, more than the 262144 allowed"},
		"numbers fit":       {[]byte(`[1e99,1e99]`), 203, ""},
		"numbers explode":   {[]byte(`[1e99,1e99]`), 202, "with its numbers written out, takes 203 bytes, more than the 202 allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := argcheck.Check(tc.value, tc.limit)
			if (err == nil) != (tc.want == "") || err != nil && !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestSanitize(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in    string
		limit int
		want  string
	}{
		"fits":               {"all is well\n\ttwo\x1b[31m lines", 0, "all is well\n\ttwo\x1b[31m lines"},
		"empty":              {"", 0, ""},
		"NUL":                {"a\x00b", 0, "a\ufffdb"},
		"latin-1":            {"M\xfcller", 0, "M\ufffdller"},
		"binary":             {"\xff\xfe\xfd", 0, "\ufffd"},
		"cut":                {"abcdef", 3, "abc"},
		"cut in a character": {"abé", 3, "ab"},
		"cut in an emoji":    {"😀😀", 7, "😀"},
		"no room at all":     {"😀", 2, ""},
		"cut after growing":  {"\x00\x00\x00", 3, "\ufffd"},
		"8 KiB":              {strings.Repeat("x", 9000), 0, strings.Repeat("x", 8192)},
		"broken tail":        {"ab\x80\x80\x80\x80\x80", 5, "ab\ufffd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := argcheck.Sanitize(tc.in, tc.limit); got != tc.want {
				t.Errorf("Sanitize(%.40q, %d) = %.40q, want %.40q", tc.in, tc.limit, got, tc.want)
			}
		})
	}
}

// FuzzCheck reads what was accepted with another decoder and looks for what must not be in it.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":[1,"b",null]}`, `"\u0000"`, `"\ud83d\ude00"`, `"\ud83d"`, `1e400`, `-1.25E-1001`,
		nested(64), nested(65), "\"\xff\"", `"\\u0000"`, `{"a":1,"a":2}`, `[1e99,1e999]`, `"\udc00\ud800"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		err := argcheck.Check(value, 0)
		if err != nil {
			if msg := err.Error(); !utf8.ValidString(msg) || len(msg) > 600 || strings.ContainsRune(msg, 0) {
				t.Errorf("the error itself is not fit to be stored: %q", msg)
			}
			return
		}
		if !utf8.Valid(value) {
			t.Error("accepted invalid UTF-8")
		}
		inspect(t, value)
	})
}

func inspect(t *testing.T, value []byte) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber()
	depth, replaced := 0, 0
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		switch v := tok.(type) {
		case nil:
			if err != nil {
				t.Fatalf("accepted what encoding/json refuses: %v", err)
			}
		case json.Delim:
			if v == '[' || v == '{' {
				depth++
			} else {
				depth--
			}
			if depth > argcheck.MaxDepth {
				t.Errorf("accepted depth %d", depth)
			}
		case string:
			if strings.ContainsRune(v, 0) {
				t.Errorf("accepted NUL in %q", v)
			}
			replaced += strings.Count(v, "\ufffd")
		case json.Number:
			inspectNumber(t, v.String())
		}
	}
	// encoding/json puts U+FFFD where half of a pair was.
	written := bytes.Count(value, []byte("\ufffd")) + bytes.Count(bytes.ToLower(value), []byte(`\ufffd`))
	if replaced > written {
		t.Errorf("accepted half a surrogate pair in %q", value)
	}
}

func inspectNumber(t *testing.T, n string) {
	t.Helper()
	r, ok := new(big.Rat).SetString(n)
	if !ok {
		t.Fatalf("accepted %s, which is no number", n)
	}
	whole := new(big.Int).Quo(r.Num(), r.Denom()).String()
	if len(strings.TrimPrefix(whole, "-")) > argcheck.MaxDigits {
		t.Errorf("accepted %.40s, which has %d digits", n, len(whole))
	}
}

func FuzzSanitize(f *testing.F) {
	f.Add("plain", 10)
	f.Add("\xff\x00é😀", 5)
	f.Add("ab\x80\x80\x80\x80", 4)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		got := argcheck.Sanitize(s, limit)
		if limit <= 0 {
			limit = argcheck.MaxText
		}
		if len(got) > limit || !utf8.ValidString(got) || strings.ContainsRune(got, 0) {
			t.Errorf("Sanitize(%q, %d) = %q does not fit", s, limit, got)
		}
		if again := argcheck.Sanitize(got, limit); again != got {
			t.Errorf("Sanitize is not stable: %q, then %q", got, again)
		}
		if utf8.ValidString(s) && len(s) <= limit && !strings.ContainsRune(s, 0) && got != s {
			t.Errorf("Sanitize(%q, %d) = %q, want it unchanged", s, limit, got)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	small := []byte(`{"to":"a@example.org","template":"welcome","vars":{"name":"A","n":1234,"list":[1,2,3]},"text":"` + strings.Repeat("x", 100) + `"}`)
	b.SetBytes(int64(len(small)))
	b.ReportAllocs()
	for b.Loop() {
		if err := argcheck.Check(small, 0); err != nil {
			b.Fatal(err)
		}
	}
}

// What encoding/json writes is checked for all that it lets through.
func TestCheckEncoded(t *testing.T) {
	t.Parallel()
	for _, v := range []any{
		map[string]any{"a": []int{1, 2}},
		"ü", nil, strings.Repeat("x", 300), json.Number("1e999"),
		json.RawMessage("\"\xff\""), json.RawMessage(`"\u0000"`), json.RawMessage(`"\ud800"`), json.RawMessage(nested(65)), json.Number("1e9999"),
	} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, limit := range []int{0, 200} {
			got, want := argcheck.CheckEncoded(text, limit), argcheck.Check(text, limit)
			if (got == nil) != (want == nil) || got != nil && got.Error() != want.Error() {
				t.Errorf("%.60s within %d: %v, want %v", text, limit, got, want)
			}
		}
	}
}
