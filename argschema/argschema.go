// Package argschema checks the args of jobs by JSON Schema (draft 2020-12 and draft-07) when they are
// published: give a Schema to warren.KindOpts. It is a package of its own so that programs without schemas
// compile no library for them.
package argschema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/warrenq/warren"
)

// Schema checks args. It is safe for concurrent use.
type Schema struct {
	resolved *jsonschema.Resolved
	text     json.RawMessage
}

// JSONSchema is the schema itself, for people and programs that make args.
func (s *Schema) JSONSchema() json.RawMessage { return s.text }

var _ warren.ArgsSchema = (*Schema)(nil)

// Compile reads a schema. A $ref may point inside of it only: nothing is loaded from elsewhere.
func Compile(text []byte) (*Schema, error) {
	var s jsonschema.Schema
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&s); err != nil {
		return nil, fmt.Errorf("not a JSON Schema: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not a JSON Schema: there is more than one JSON value")
	}
	return resolve(&s)
}

// For makes the schema of A's fields: their JSON names and types, required unless they have omitempty or
// omitzero. Other fields are refused. It is for kinds that are published without the Go type, too: over
// HTTP, by commands and by PublishRaw.
func For[A warren.Args]() (*Schema, error) {
	s, err := jsonschema.For[A](nil)
	if err != nil {
		return nil, fmt.Errorf("make a JSON Schema: %w", err)
	}
	return resolve(s)
}

func resolve(s *jsonschema.Schema) (*Schema, error) {
	resolved, err := s.Resolve(nil)
	if err != nil {
		return nil, fmt.Errorf("not a JSON Schema that can be used: %w", err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("not a JSON Schema that can be written: %w", err)
	}
	probe := &Schema{resolved, text}
	if err := probe.version(s); err != nil {
		return nil, err
	}
	return probe, nil
}

// version finds a draft that is not supported now, and not at the first publish.
func (s *Schema) version(root *jsonschema.Schema) error {
	switch root.Schema {
	case "", "https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#", "http://json-schema.org/draft-07/schema":
		return nil
	}
	return fmt.Errorf("$schema %.100q is neither draft 2020-12 nor draft-07", root.Schema)
}

// maxComplaint is how many bytes of a complaint are passed on: it may repeat what is in the args.
const maxComplaint = 300

// CheckArgs implements warren.ArgsSchema.
func (s *Schema) CheckArgs(args json.RawMessage) error {
	var value any
	if err := json.Unmarshal(args, &value); err != nil {
		return err
	}
	if err := s.resolved.Validate(value); err != nil {
		text := err.Error()
		if len(text) > maxComplaint {
			text = text[:maxComplaint] + "…"
		}
		return errors.New("do not fit the schema: " + text)
	}
	return nil
}
