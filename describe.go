package warren

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Describe tells people what a kind is. It is shown by 'warren kinds', and by whatever else lists kinds; jobs do not
// depend on it.
type Describe struct {
	Title       string // at most 200 bytes, one line
	Description string // at most 4096 bytes
	// Scope is the part of an application that the kind belongs to, to select by: 1 to 100 letters, digits and _ . : -
	Scope string
}

func (d Describe) check() error {
	oneLine := !strings.ContainsFunc(d.Title, unicode.IsControl)
	switch {
	case len(d.Title) > 200 || !utf8.ValidString(d.Title) || !oneLine:
		return fmt.Errorf("title %.80q… is not one line of at most 200 bytes of UTF-8", d.Title)
	case len(d.Description) > 4096 || !utf8.ValidString(d.Description) || strings.ContainsRune(d.Description, 0):
		return fmt.Errorf("description %.80q… has %d bytes; at most 4096 bytes of UTF-8 without NUL are allowed", d.Description, len(d.Description))
	case d.Scope != "" && checkQueue(d.Scope) != nil:
		return fmt.Errorf("scope %.140q is not a name: use 1 to 100 letters, digits and _ . : -, beginning with a letter, a digit or _", d.Scope)
	}
	return nil
}

// errNoSettings is what a handler is told that asks for settings which its kind does not have.
var errNoSettings = errors.New("the kind has no settings: give its KindOpts.Settings")
