package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/warrenq/warren/web"
)

// Whatever is sent is answered by jobs or by a problem with what was sent. Nothing that passes the
// checks is refused by the database, and nothing goes wrong inside.
func FuzzPublish(f *testing.F) {
	r := serve(f)
	f.Fuzz(func(t *testing.T, body string) {
		one := *r
		one.TB = t
		got := one.ask("POST", "/api/v1/jobs", body, "Content-Type: application/json")
		switch got.StatusCode {
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
			if p := read[web.Problem](&one, got); p.RequestID != "" || p.Detail == "" {
				t.Errorf("%q: %s", body, got.body)
			}
		case http.StatusCreated:
			var sent []json.RawMessage
			if json.Unmarshal([]byte(body), &sent) != nil {
				read[published](&one, got)
			} else if list := read[[]published](&one, got); len(list) != len(sent) {
				t.Errorf("%q: %d jobs of %d", body, len(list), len(sent))
			}
		default:
			t.Errorf("%q: %s %s", body, got.Status, got.body)
		}
	})
}

// Whatever filters are asked for, they select jobs or are a problem of the request, and stay values: no
// statement is refused by the database, and no row changes.
func FuzzList(f *testing.F) {
	r := serve(f)
	r.ask("POST", "/api/v1/jobs", `{"kind":"probe"}`, "Content-Type: application/json")
	f.Fuzz(func(t *testing.T, query string) {
		one := *r
		one.TB = t
		switch got := one.ask("GET", "/api/v1/jobs?"+onTheWire(query), ""); got.StatusCode {
		case http.StatusBadRequest, http.StatusUnprocessableEntity:
			if p := read[web.Problem](&one, got); p.RequestID != "" || p.Detail == "" {
				t.Errorf("%q: %s", query, got.body)
			}
		case http.StatusOK:
		default:
			t.Errorf("%q: %s %s", query, got.Status, got.body)
		}
		if got := one.ask("GET", "/api/v1/stats", ""); !strings.Contains(string(got.body), `"READY":1`) {
			t.Errorf("%q: afterwards the statistics are %s", query, got.body)
		}
	})
}

// onTheWire escapes what no line of a request may hold.
func onTheWire(query string) string {
	var out strings.Builder
	for _, c := range []byte(query) {
		if c <= ' ' || c >= 0x7f || c == '#' {
			fmt.Fprintf(&out, "%%%02X", c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}
