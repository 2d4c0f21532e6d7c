package handlers

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Excerpt makes one short printable line of what another program said, fit for an error text, a
// log line and a terminal: everything that is no visible character (line breaks, escape
// sequences, bidirectional controls, bytes that are not UTF-8) becomes a space, runs of spaces
// become one, and what is longer than limit bytes ends in "…".
func Excerpt(s string, limit int) string {
	var out strings.Builder
	space := false
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) || r == ' ' {
			space = out.Len() > 0
			continue
		}
		n := utf8.RuneLen(r)
		if space {
			n++
		}
		if out.Len()+n > limit {
			return shorten(out.String(), limit)
		}
		if space {
			out.WriteByte(' ')
			space = false
		}
		out.WriteRune(r)
	}
	return out.String()
}

// shorten makes room for the "…" at the end of what is already at most limit bytes.
func shorten(s string, limit int) string {
	const mark = "…"
	if limit < len(mark) {
		return ""
	}
	end := min(len(s), limit-len(mark))
	for end > 0 && end < len(s) && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}
