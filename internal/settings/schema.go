package settings

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Schema is the JSON Schema of settings with these defaults: by the type of a Go value, or, of a json.RawMessage, by
// the types of the values in it. Keys that are not there are refused.
func Schema(defaults any) (json.RawMessage, error) {
	var s map[string]any
	if raw, ok := defaults.(json.RawMessage); ok {
		doc, err := object(raw)
		if err != nil {
			return nil, err
		}
		s = ofValue(doc)
	} else {
		t := reflect.TypeOf(defaults)
		if t == nil || t.Kind() != reflect.Struct {
			return nil, fmt.Errorf("settings are a struct, not %T", defaults)
		}
		var err error
		if s, err = ofType(t, nil); err != nil {
			return nil, err
		}
	}
	return json.Marshal(s)
}

// ofValue goes by what is there; null, and the entries of a list, may be anything.
func ofValue(v any) map[string]any {
	switch v := v.(type) {
	case map[string]any:
		properties := map[string]any{}
		for key, below := range v {
			properties[key] = ofValue(below)
		}
		return closed(properties)
	case []any:
		return typed("array")
	case string:
		return typed("string")
	case bool:
		return typed("boolean")
	case json.Number:
		return typed("number")
	}
	return map[string]any{}
}

func typed(name string) map[string]any { return map[string]any{"type": name} }

func closed(properties map[string]any) map[string]any {
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

// ofType goes by how encoding/json writes a type. above are the structs that it is in: one that holds itself has
// no schema.
func ofType(t reflect.Type, above []reflect.Type) (map[string]any, error) {
	switch {
	case t.Implements(reflect.TypeFor[json.Marshaler]()):
		return map[string]any{}, nil
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return typed("string"), nil
	}
	switch t.Kind() { //nolint:exhaustive // the rest is below
	case reflect.Bool:
		return typed("boolean"), nil
	case reflect.String:
		return typed("string"), nil
	case reflect.Float32, reflect.Float64:
		return typed("number"), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return integer(-1<<(t.Bits()-1), 1<<(t.Bits()-1)-1), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return integer(0, 1<<min(t.Bits(), 62)-1), nil
	case reflect.Pointer:
		below, err := ofType(t.Elem(), above)
		return map[string]any{"anyOf": []any{below, typed("null")}}, err
	case reflect.Slice, reflect.Array:
		below, err := ofType(t.Elem(), above)
		return map[string]any{"type": []string{"array", "null"}, "items": below}, err
	case reflect.Map:
		below, err := ofType(t.Elem(), above)
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": below}, err
	case reflect.Interface:
		return map[string]any{}, nil
	case reflect.Struct:
		return ofStruct(t, above)
	}
	return nil, fmt.Errorf("a %s cannot be a setting", t)
}

func integer(least, most int64) map[string]any {
	return map[string]any{"type": "integer", "minimum": least, "maximum": most}
}

func ofStruct(t reflect.Type, above []reflect.Type) (map[string]any, error) {
	if slices.Contains(above, t) {
		return nil, fmt.Errorf("%s holds itself, which settings cannot", t)
	}
	properties := map[string]any{}
	for _, f := range reflect.VisibleFields(t) {
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" && rest == "" || f.Anonymous && name == "" {
			continue // the fields of an embedded struct are among those of the outer one
		}
		below, err := ofType(f.Type, append(above, t))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		if name == "" {
			name = f.Name
		}
		if strings.Contains(name, ".") {
			return nil, fmt.Errorf("%s: a key with a dot in it cannot be named; write it otherwise", name)
		}
		properties[name] = below
	}
	return closed(properties), nil
}
