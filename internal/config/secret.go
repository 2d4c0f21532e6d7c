package config

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/warrenq/warren/handlers"
)

// Secret is a text that every encoder prints as ***; string(s) reveals it.
type Secret = handlers.Secret

const mask = "***"

var (
	schemes = regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://`)
	// urlEnd is what is not in a URL of a text, or where the next one of a comma list begins.
	urlEnd = regexp.MustCompile("[\\s\"'<>`]|,[a-zA-Z][a-zA-Z0-9+.-]*://")
	// named are passwords in queries and in keyword DSNs (host=… password=…).
	named = regexp.MustCompile(`(?i)\b([a-z_-]*(?:password|passwd|passphrase|pwd|secret|token|api_?key))(\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&"']*)`)
	// queried are words that mean a password in a query, but not anywhere.
	queried = regexp.MustCompile(`(?i)([?&](?:[a-z_-]*key|auth|sig|[a-z_-]*signature|code|[a-z_-]*credentials?)=)[^\s&#"']*`)
)

// Redact masks the passwords in a text that is to be printed: those of URLs, alone or several
// separated by commas or anywhere in an error text, and those of parameters by their name
// (password=, token=, key= and the like). In http URLs the user goes too, because it is often a
// token. Where a URL is malformed it rather hides too much than too little.
func Redact(text string) string {
	var out strings.Builder
	for {
		at := schemes.FindStringIndex(text)
		if at == nil {
			out.WriteString(text)
			break
		}
		scheme, rest := text[at[0]:at[1]], text[at[1]:]
		end := lengthOfURL(scheme, rest)
		out.WriteString(text[:at[1]] + redactURL(scheme, rest[:end]))
		text = rest[end:]
	}
	masked := named.ReplaceAllString(out.String(), "${1}${2}"+mask)
	return queried.ReplaceAllString(masked, "${1}"+mask)
}

// lengthOfURL returns how much of rest is the URL that began with scheme.
func lengthOfURL(scheme, rest string) int {
	end := len(rest)
	if at := urlEnd.FindStringIndex(rest); at != nil {
		end = at[0]
	}
	if strings.Contains(rest[:end], "@") || !malformed(scheme+rest[:end]) {
		return end
	}
	// It may end too early, at a space or a quote in the middle of a password.
	line, _, _ := strings.Cut(rest, "\n")
	if last := strings.LastIndexByte(line, '@'); last > end {
		end = last
	}
	return end
}

func malformed(u string) bool {
	_, err := url.Parse(u)
	return err != nil
}

// redactURL masks the user information in what follows a URL's scheme.
func redactURL(scheme, rest string) string {
	before, query := rest, ""
	bad := malformed(scheme + rest)
	// In a malformed one, what looks like a query may be a part of the password.
	if i := strings.IndexAny(rest, "?#"); i >= 0 && !bad {
		before, query = rest[:i], rest[i:]
	}
	// A password that was not percent-encoded may hold a slash or an @: only what follows the
	// last @ is certainly not a part of it.
	at := strings.LastIndexByte(before, '@')
	switch {
	case at < 0 && bad:
		return mask
	case at < 0:
		return rest
	}
	user, _, hasPassword := strings.Cut(before[:at], ":")
	switch {
	case strings.HasPrefix(strings.ToLower(scheme), "http"):
		user = mask
	case hasPassword:
		user += ":" + mask
	}
	return user + before[at:] + query
}
