package argcheck

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// where names the place of byte at in valid JSON for people: `byte 17 (.items[3].name)`. It is
// only called for an error, so it may walk the value once more.
func where(value []byte, at int) string {
	path := pathTo(value, at)
	if path == "" {
		return fmt.Sprintf("byte %d", at)
	}
	return fmt.Sprintf("byte %d (%s)", at, path)
}

// level is one array or object that is open while walking.
type level struct {
	array bool
	index int    // of the current element of an array
	key   string // of the current member of an object
	named bool   // the key has been read, its value comes next
}

// pathTo returns the path of the value, or of the member with the key, that spans byte at.
func pathTo(value []byte, at int) string {
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber() // 1e400 is no float64
	var open []level
	for {
		tok, err := dec.Token()
		if err != nil {
			return spell(open)
		}
		delim, isDelim := tok.(json.Delim)
		switch {
		case isDelim && (delim == ']' || delim == '}'):
			open = done(open[:len(open)-1])
			continue
		case len(open) > 0 && !open[len(open)-1].array && !open[len(open)-1].named:
			top := &open[len(open)-1]
			top.key, top.named = fmt.Sprint(tok), true
			if dec.InputOffset() > int64(at) {
				return spell(open)
			}
			continue
		}
		if dec.InputOffset() > int64(at) {
			return spell(open)
		}
		if isDelim {
			open = append(open, level{array: delim == '['})
			continue
		}
		open = done(open)
	}
}

// done moves the innermost level on after one of its values.
func done(open []level) []level {
	if len(open) > 0 {
		top := &open[len(open)-1]
		top.index++
		top.named = false
	}
	return open
}

func spell(open []level) string {
	var s strings.Builder
	for _, l := range open {
		switch {
		case l.array:
			s.WriteString("[" + strconv.Itoa(l.index) + "]")
		case plain(l.key):
			s.WriteString("." + l.key)
		default:
			s.WriteString("[" + excerpt(strconv.AppendQuoteToASCII(nil, l.key)) + "]")
		}
	}
	if s.Len() > 200 {
		return ""
	}
	return s.String()
}

// plain keys need no quotes.
func plain(key string) bool {
	for _, r := range key {
		if r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return false
		}
	}
	return key != "" && len(key) <= 40
}

// excerpt keeps an error short when the culprit is long.
func excerpt(b []byte) string {
	if len(b) > 40 {
		return string(b[:37]) + "..."
	}
	return string(b)
}
