package argschema_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/argschema"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/warrentest"
)

type mail struct {
	To    string   `json:"to"`
	Times int      `json:"times,omitempty"`
	Copy  []string `json:"copy,omitempty"`
}

func (mail) Kind() string { return "mail" }

// Args that do not fit are refused when they are published, and named; what fits is published.
func TestArgsAreCheckedWhenTheyArePublished(t *testing.T) {
	t.Parallel()
	schema, err := argschema.For[mail]()
	if err != nil {
		t.Fatal(err)
	}
	var r warren.Registry
	r.Raw("mail", func(context.Context, *jobstore.Job) error { return nil }, warren.KindOpts{Schema: schema})
	env := warrentest.New(t, &r)
	if _, err := env.Client().Publish(t.Context(), mail{To: "a@example.com", Copy: []string{"b"}}); err != nil {
		t.Error(err)
	}
	for args, want := range map[string]string{
		`{}`:                        `required`,
		`{"to": 5}`:                 `/properties/to`,
		`{"to": "a", "times": 1.5}`: `/properties/times`,
		`{"to": "a", "copies": 1}`:  `copies`,
		`[1]`:                       `type`,
		`null`:                      `type`,
		`{"to": "` + strings.Repeat("x", 2000) + `", "times": "` + strings.Repeat("y", 2000) + `"}`: `do not fit the schema`,
	} {
		_, err := env.Client().PublishRaw(t.Context(), "mail", json.RawMessage(args))
		field, about := errors.AsType[*warren.FieldError](err)
		if !errors.Is(err, warren.ErrInvalidJob) || !strings.Contains(err.Error(), want) || !about || field.Field != "args" || len(err.Error()) > 500 {
			t.Errorf("%.60s: %v, want %q", args, err, want)
		}
	}
	if found := warrentest.Published[mail](t, env); len(found) != 1 {
		t.Errorf("%d jobs were published, want 1", len(found))
	}
}

// What is no schema, or would have to be fetched, is refused when it is compiled.
func TestBadSchemas(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``:                            "not a JSON Schema",
		`{"type": "object"} {}`:       "more than one",
		`{"type": 5}`:                 "not a JSON Schema",
		`{"pattern": "("}`:            "not a JSON Schema",
		`{"$ref": "http://h/s.json"}`: "not a JSON Schema",
		`{"$schema": "http://json-schema.org/draft-04/schema#"}`: "neither draft 2020-12 nor draft-07",
	} {
		if _, err := argschema.Compile([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func ExampleCompile() {
	schema, err := argschema.Compile([]byte(`{"type": "object", "required": ["to"], "properties": {"to": {"type": "string"}}}`))
	if err != nil {
		panic(err)
	}
	var registry warren.Registry
	registry.Raw("mail", func(context.Context, *jobstore.Job) error { return nil }, warren.KindOpts{Schema: schema})
	jobs, err := warren.NewDiscard(warren.InlineConfig{Registry: &registry})
	if err != nil {
		panic(err)
	}
	_, err = jobs.PublishRaw(context.Background(), "mail", map[string]int{"to": 5})
	fmt.Println(errors.Is(err, warren.ErrInvalidJob))
	// Output: true
}
