package web

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// The pages of a list. A row may have hundreds of kilobytes of args.
const (
	defaultPage = 100
	maxPage     = 500
)

// listParams are the filters of a list and its place in the pages.
func listParams() []string {
	return []string{"state", "queue", "kind", "priority", "identifier", "serial_group", "tag", "where", "older", "limit", "cursor"}
}

// checkParams refuses what the route does not know: a filter with a typing mistake would select
// everything.
func checkParams(r *http.Request, known []string) error {
	query, err := parseQuery(r)
	if err != nil {
		return err
	}
	for name := range query {
		if !slices.Contains(known, name) {
			if len(known) == 0 {
				return invalid(name, "this takes no parameters")
			}
			return invalid(name, fmt.Sprintf("%.80q is none of the parameters %s", name, strings.Join(known, ", ")))
		}
	}
	return nil
}

// parseQuery is url.ParseQuery with a problem for what cannot be read, which would be left out, and for
// what the database would refuse.
func parseQuery(r *http.Request) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, problem(http.StatusBadRequest, "malformed", "the query cannot be read: "+err.Error())
	}
	for name, values := range q {
		for _, v := range values {
			if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
				return nil, invalid(name, fmt.Sprintf("%.80q is no text that a job can have: it must be UTF-8, without NUL", v))
			}
		}
	}
	return q, nil
}

// filter reads the query of a list.
func (h *handler) filter(r *http.Request) (f jobstore.Filter, err error) {
	q, err := parseQuery(r)
	if err != nil {
		return f, err
	}
	f = jobstore.Filter{
		Queues: q["queue"], Kinds: q["kind"], Identifiers: q["identifier"], SerialGroups: q["serial_group"], Tags: q["tag"], Limit: defaultPage,
	}
	for _, text := range q["state"] {
		states, err := jobstore.ParseStates(text)
		if err != nil {
			return f, invalid("state", err.Error())
		}
		f.States = append(f.States, states...)
	}
	for _, text := range q["where"] {
		match, err := jobstore.ParseArgsMatch(text)
		if err != nil {
			return f, invalid("where", err.Error())
		}
		f.Where = append(f.Where, match)
	}
	return f, h.parseSingles(q, &f)
}

// parseSingles reads the parameters that are given once.
func (h *handler) parseSingles(q map[string][]string, f *jobstore.Filter) error {
	readers := map[string]func(text string) error{
		"priority": func(text string) (err error) {
			f.Priorities, err = h.Backend.ParsePriorities(text)
			return err
		},
		"older": func(text string) (err error) {
			f.OlderThan, err = warren.ParseDuration(text)
			return err
		},
		"limit": func(text string) (err error) {
			if f.Limit, err = strconv.Atoi(text); err != nil || f.Limit < 1 || f.Limit > maxPage {
				return fmt.Errorf("%.20q is not a number from 1 to %d", text, maxPage)
			}
			return nil
		},
		"cursor": func(text string) (err error) {
			f.After, err = parseCursor(text)
			return err
		},
	}
	for _, name := range []string{"priority", "older", "limit", "cursor"} {
		switch values := q[name]; len(values) {
		case 0:
		case 1:
			if err := readers[name](values[0]); err != nil {
				return invalid(name, err.Error())
			}
		default:
			return invalid(name, name+" is given more than once")
		}
	}
	return nil
}

// cursor is where the next page begins. It is opaque to clients, so that it may change.
func cursor(after jobstore.ID) string {
	return base64.RawURLEncoding.EncodeToString([]byte("after " + strconv.FormatInt(int64(after), 10)))
}

func parseCursor(text string) (jobstore.ID, error) {
	plain, err := base64.RawURLEncoding.DecodeString(text)
	number, ok := strings.CutPrefix(string(plain), "after ")
	id, good := parseID(number)
	if err != nil || !ok || !good {
		return 0, fmt.Errorf("%.80q is not the \"next\" of an earlier page", text)
	}
	return id, nil
}

// parseID reads a job's number: digits, not beginning with 0.
func parseID(text string) (jobstore.ID, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return jobstore.ID(n), err == nil && n > 0 && text == strconv.FormatInt(n, 10)
}

// idOf reads the number in a path.
func idOf(r *http.Request) (jobstore.ID, error) {
	id, ok := parseID(r.PathValue("id"))
	if !ok {
		return 0, invalid("id", fmt.Sprintf("%.40q is not the number of a job: digits, not beginning with 0", r.PathValue("id")))
	}
	return id, nil
}
