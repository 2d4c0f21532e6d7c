package argcheck

import (
	"strings"
	"unicode/utf8"
)

// Sanitize returns s as a text column stores it: valid UTF-8, without NUL, in at most limit
// bytes (0 or less: MaxText), cut between two characters. What cannot be stored is replaced by
// U+FFFD, so that a reader sees that something was there. A text that fits comes back as it is.
//
// Line breaks and escape sequences stay: the row keeps what was said, and whoever prints it to a
// terminal or a log quotes it there.
func Sanitize(s string, limit int) string {
	if limit <= 0 {
		limit = MaxText
	}
	// Cut first, so that a text of 100 MB costs what 8 KiB do, and again, because a replacement
	// is longer than the byte it stands for.
	s = cut(s, limit)
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	s = strings.ReplaceAll(s, "\x00", string(utf8.RuneError))
	return cut(s, limit)
}

// cut shortens s to at most limit bytes without leaving a part of a character at the end.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for end := limit; end >= 0 && limit-end < utf8.UTFMax; end-- {
		if utf8.RuneStart(s[end]) {
			return s[:end]
		}
	}
	return s[:limit] // no character is this long: it is broken anyway
}
