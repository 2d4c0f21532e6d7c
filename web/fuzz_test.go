package web_test

import (
	"encoding/json"
	"net/http"
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
