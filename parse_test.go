package warren_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

func TestParseItem(t *testing.T) {
	t.Parallel()
	got, err := warren.ParseItem([]byte(`{"kind":"mail","args":{"to":"a"},"queue":"q","priority":0,"serial_group":"g","identifier":"i",
		"mode":"unique","every":"1d12h","delay":1.5,"available_at":"2026-11-21T20:00:00Z","coalesce":3,"max_attempts":0,"timeout":"30s",
		"metadata":{"a":1},"tags":["x"],"unique_for":"forever"}`))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)
	o := got.Opts
	if got.Kind != "mail" || fmt.Sprintf("%s", got.Args) != `{"to":"a"}` || o.Queue != "q" || *o.Priority != 0 || o.SerialGroup != "g" ||
		o.Identifier != "i" || o.Mode != jobstore.Unique || o.Every != 36*time.Hour || o.Delay != 1500*time.Millisecond || !o.At.Equal(at) ||
		*o.Coalesce != 3 || o.MaxAttempts != warren.Unlimited || o.Timeout != 30*time.Second || fmt.Sprintf("%s", o.Metadata) != `{"a":1}` ||
		!reflect.DeepEqual(o.Tags, []string{"x"}) || o.UniqueFor != warren.Forever {
		t.Errorf("read as %+v", got)
	}
}

// Each mistake names the key it is in, where there is one.
func TestParseItemMistakes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{`:                                    ": ends too early",
		`{"kind":"k"} {}`:                      ": more than one JSON value",
		`null`:                                 ": null is no job",
		`[]`:                                   ": a JSON array is not an object",
		`{}`:                                   `kind: "kind" is missing`,
		`{"kind":"k","prioritty":10}`:          `prioritty: "prioritty" is none of the keys args, `,
		`{"Kind":"k"}`:                         `Kind: "Kind" is none`,
		`{"kind":5}`:                           "kind: kind: a JSON number is not a text",
		`{"kind":"k","priority":"high"}`:       "priority: priority: a JSON string is not a whole number",
		`{"kind":"k","priority":1.5}`:          "priority: priority: a JSON number 1.5 is not a whole number",
		`{"kind":"k","tags":"a"}`:              "tags: tags: a JSON string is not an array",
		`{"kind":"k","delay":"soon"}`:          `delay: delay: "soon" is not a duration`,
		`{"kind":"k","delay":-1}`:              "delay: delay: -1 seconds are not",
		`{"kind":"k","delay":1e300}`:           "delay: delay: 1e300 seconds are not",
		`{"kind":"k","timeout":true}`:          "timeout: timeout: duration true is neither",
		`{"kind":"k","unique_for":"always"}`:   `unique_for: unique_for: "always" is not a duration`,
		`{"kind":"k","available_at":"friday"}`: "available_at: available_at: ",
		`{"kind":"k","max_attempts":-1}`:       "max_attempts: max attempts -1 is negative",
	} {
		_, err := warren.ParseItem([]byte(text))
		field, where, _ := strings.Cut(want, ": ")
		if got := fieldOf(err); !errors.Is(err, warren.ErrInvalidJob) || got != field || !strings.Contains(err.Error(), where) {
			t.Errorf("%s: in field %q: %v; want in %q: %s", text, got, err, field, where)
		}
	}
}

func fieldOf(err error) string {
	if field, ok := errors.AsType[*warren.FieldError](err); ok {
		return field.Field
	}
	return ""
}

// What publishing refuses names its field too.
func TestPublishNamesFields(t *testing.T) {
	t.Parallel()
	client, err := warren.NewClient(warren.ClientConfig{Store: newStore(t)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		field string
		kind  string
		args  any
		opts  warren.PublishOpts
	}{
		{"kind", "a b", nil, warren.PublishOpts{}},
		{"args", "k", strings.Repeat("x", 300<<10), warren.PublishOpts{}},
		{"queue", "k", nil, warren.PublishOpts{Queue: "a b"}},
		{"priority", "k", nil, warren.PublishOpts{Priority: new(7)}},
		{"serial_group", "k", nil, warren.PublishOpts{SerialGroup: "\x00"}},
		{"identifier", "k", nil, warren.PublishOpts{Mode: jobstore.Unique}},
		{"every", "k", nil, warren.PublishOpts{Every: time.Hour}},
		{"mode", "k", nil, warren.PublishOpts{Mode: "twice"}},
		{"delay", "k", nil, warren.PublishOpts{Delay: -1}},
		{"coalesce", "k", nil, warren.PublishOpts{Coalesce: new(int64(1))}},
		{"max_attempts", "k", nil, warren.PublishOpts{MaxAttempts: 40_000}},
		{"timeout", "k", nil, warren.PublishOpts{Timeout: -1}},
		{"metadata", "k", nil, warren.PublishOpts{Metadata: strings.Repeat("x", 9000)}},
		{"tags", "k", nil, warren.PublishOpts{Tags: []string{""}}},
		{"unique_for", "k", nil, warren.PublishOpts{UniqueFor: 1}},
	} {
		_, err := client.PublishRaw(t.Context(), c.kind, c.args, c.opts)
		if got := fieldOf(err); got != c.field || !errors.Is(err, warren.ErrInvalidJob) {
			t.Errorf("%+v: in field %q: %v; want in %q", c.opts, got, err, c.field)
		}
	}
}

func TestParseEdit(t *testing.T) {
	t.Parallel()
	got, err := warren.ParseEdit([]byte(`{"queue":"q","priority":20,"args":{},"delay":"0s","max_attempts":0,"timeout":0,"metadata":{},"tags":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got.Queue != "q" || *got.Priority != 20 || got.Args == nil || *got.Delay != 0 || got.MaxAttempts != warren.Unlimited ||
		*got.Timeout != 0 || got.Metadata == nil || got.Tags == nil || len(*got.Tags) != 0 {
		t.Errorf("read as %+v", got)
	}
	for text, field := range map[string]string{`{}`: "", `{"kind":"k"}`: "kind", `{"state":"READY"}`: "state", `{"delay":"x"}`: "delay", `{"tags":null}`: ""} {
		if _, err := warren.ParseEdit([]byte(text)); !errors.Is(err, warren.ErrInvalidJob) || fieldOf(err) != field {
			t.Errorf("%s: in field %q: %v; want in %q", text, fieldOf(err), err, field)
		}
	}
}
