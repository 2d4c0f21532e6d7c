package broker_test

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/warrenq/warren/broker"
)

func TestParseBody(t *testing.T) {
	t.Parallel()
	thousand := strings.TrimSuffix(strings.Repeat("9223372036854775807 ", broker.MaxNumbers), " ")
	for body, want := range map[string][]int64{
		"1":                   {1},
		"10":                  {10},
		"1 2 3":               {1, 2, 3},
		"3 3":                 {3, 3},
		"9223372036854775807": {math.MaxInt64},
		"1000000007 1":        {1_000_000_007, 1},
		thousand:              slices.Repeat([]int64{math.MaxInt64}, broker.MaxNumbers),
	} {
		got, err := broker.ParseBody([]byte(body))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("ParseBody(%.40q) = %d numbers, %v; want %d", body, len(got), err, len(want))
		}
	}
}

// badBodies are the inputs of line A1 of the security list, and their neighbours.
func badBodies() map[string]string {
	return map[string]string{
		"empty":                 "",
		"negative":              "-1",
		"zero":                  "0",
		"zero in a list":        "1 0 2",
		"leading zero":          "01",
		"2^63":                  "9223372036854775808",
		"20 digits":             "10000000000000000000",
		"far too many digits":   strings.Repeat("9", 5000),
		"exponent":              "1e9",
		"leading space":         " 12",
		"trailing space":        "12 ",
		"only a space":          " ",
		"two spaces":            "1  2",
		"plus":                  "+12",
		"hexadecimal":           "0x1f",
		"underscore":            "1_000",
		"decimal point":         "1.0",
		"arabic-indic digits":   "١٢",
		"full-width digit":      "１",
		"NUL":                   "1\x002",
		"only NUL":              "\x00",
		"newline":               "1\n2",
		"trailing newline":      "1\n",
		"tab":                   "1\t2",
		"no-break space":        "1\u00a02",
		"comma":                 "1,2",
		"JSON":                  `{"id":1}`,
		"JSON array":            "[1]",
		"invalid UTF-8":         "\xff\xfe",
		"1001 numbers":          strings.TrimSuffix(strings.Repeat("1 ", broker.MaxNumbers+1), " "),
		"20 KB and one byte":    strings.Repeat("1", broker.MaxBody+1),
		"1 MB of digits":        strings.Repeat("1", 1<<20),
		"1 MB of spaces":        strings.Repeat(" ", 1<<20),
		"byte order mark":       "\ufeff1",
		"number after garbage":  "x 1",
		"garbage after a digit": "1x",
	}
}

func TestParseBodyRefuses(t *testing.T) {
	t.Parallel()
	for name, body := range badBodies() {
		got, err := broker.ParseBody([]byte(body))
		if err == nil || got != nil {
			t.Errorf("%s: ParseBody(%.40q) = %v, %v; want an error", name, body, got, err)
			continue
		}
		if len(err.Error()) > 200 {
			t.Errorf("%s: the error has %d bytes; it must not repeat the body", name, len(err.Error()))
		}
	}
}

func TestParseBodyAllocatesTheSliceOnly(t *testing.T) { //nolint:paralleltest // AllocsPerRun counts the allocations of the whole process
	body, err := broker.FormatBody([]int64{1, 20, 300, math.MaxInt64})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = broker.ParseBody(body) }); n > 1 {
		t.Errorf("ParseBody allocates %v times; want the slice only", n)
	}
}

func TestFormatBodyRefuses(t *testing.T) {
	t.Parallel()
	for name, numbers := range map[string][]int64{
		"nil": nil, "zero": {1, 0}, "negative": {-5}, "1001 numbers": slices.Repeat([]int64{1}, broker.MaxNumbers+1),
	} {
		if body, err := broker.FormatBody(numbers); err == nil {
			t.Errorf("%s: FormatBody = %.40q; want an error", name, body)
		}
	}
}

// FuzzParseBody: no input panics; what is accepted is exactly what FormatBody writes.
func FuzzParseBody(f *testing.F) {
	for _, body := range badBodies() {
		if len(body) < 1000 { // larger ones only slow the mutation down
			f.Add([]byte(body))
		}
	}
	f.Add([]byte("1"))
	f.Add([]byte("1 22 333 9223372036854775807"))
	f.Fuzz(func(t *testing.T, body []byte) {
		numbers, err := broker.ParseBody(body)
		if err != nil {
			if numbers != nil {
				t.Fatalf("numbers %v beside the error %v", numbers, err)
			}
			return
		}
		again, err := broker.FormatBody(numbers)
		if err != nil || string(again) != string(body) {
			t.Fatalf("%q was read as %v and written as %q, %v", body, numbers, again, err)
		}
		for i, field := range strings.Split(string(body), " ") {
			if n, err := strconv.ParseInt(field, 10, 64); err != nil || n != numbers[i] {
				t.Fatalf("number %d of %q is %d; strconv says %d, %v", i, body, numbers[i], n, err)
			}
		}
	})
}

func BenchmarkParseBody(b *testing.B) {
	for _, n := range []int{1, 50, 1000} {
		body, err := broker.FormatBody(slices.Repeat([]int64{1_234_567_890}, n))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := broker.ParseBody(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
