// Package terminal is what every output for people has in common: text from elsewhere made safe to
// show, colours, and whether somebody looks.
package terminal

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
)

// Printable makes text that came from elsewhere safe for a terminal: control characters other
// than line breaks and tabs, and the marks that turn the direction of writing, are shown escaped.
func Printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t':
			b.WriteRune(r)
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			fmt.Fprintf(&b, "\\x%02x", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// OneLine is printable text for one cell of a table.
func OneLine(s string) string {
	return Printable(strings.NewReplacer("\n", " ", "\t", " ", "\r", " ").Replace(s))
}

// PaintStates shows the states that want a look in red, those that went well in green. Colours have
// no width, so it is the last thing done to a text.
func PaintStates(text string) string {
	for _, p := range []struct{ word, code string }{
		{"PERMANENTLY_FAILED", "31"}, {"QUARANTINED", "31"}, {"TEMPORARILY_FAILED", "33"}, {"FINISHED", "32"},
	} {
		text = strings.ReplaceAll(text, p.word, "\x1b["+p.code+"m"+p.word+"\x1b[0m")
	}
	return text
}

// Bold is text in bold.
func Bold(text string) string { return "\x1b[1m" + text + "\x1b[0m" }

// Is reports whether w is a terminal that a person looks at.
func Is(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Size is how many columns and lines the terminal w has, 80 and 24 when it does not say.
func Size(w io.Writer) (columns, lines int) {
	if f, ok := w.(*os.File); ok {
		if columns, lines, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 && lines > 0 {
			return columns, lines
		}
	}
	return 80, 24
}
