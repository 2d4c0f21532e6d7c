package warren_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/warrenq/warren"
)

// FuzzNames compares what may be a name with the patterns that the errors put into words.
func FuzzNames(f *testing.F) {
	kind := regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}\z`)
	queue := regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}\z`)
	for _, s := range []string{
		"", "a", "_", "-", ".a", "/a", "a/b", "a:b.c-d_e", "A0", "é", "a b", "a\n", "a\x00", "0", "a\\b", "[", "`", "{", "@", "~",
		strings.Repeat("k", 100), strings.Repeat("k", 101), strings.Repeat("k", 128), strings.Repeat("k", 129),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := warren.CheckKind(s) == nil, kind.MatchString(s); got != want {
			t.Errorf("kind %q: %t, want %t", s, got, want)
		}
		if got, want := warren.CheckQueue(s) == nil, queue.MatchString(s); got != want {
			t.Errorf("queue %q: %t, want %t", s, got, want)
		}
	})
}
