package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
)

// MaxBytes is how large a document of settings may be.
const MaxBytes = 64 << 10

// maxDepth is how deep a key may lie.
const maxDepth = 16

// Merge lays what was set over the defaults, key by key. A value that is no object replaces what was there. Both
// may be empty.
func Merge(defaults, set json.RawMessage) (json.RawMessage, error) {
	base, err := object(defaults)
	if err != nil {
		return nil, fmt.Errorf("the defaults: %w", err)
	}
	over, err := object(set)
	if err != nil {
		return nil, err
	}
	return json.Marshal(merged(base, over))
}

func merged(base, over map[string]any) map[string]any {
	out := make(map[string]any, len(base)+len(over))
	maps.Copy(out, base)
	for key, v := range over {
		below, isObject := v.(map[string]any)
		was, wasObject := out[key].(map[string]any)
		if isObject && wasObject {
			v = merged(was, below)
		}
		out[key] = v
	}
	return out
}

// Set gives the key at a path such as mail.batch a value, nil to take it away. It returns nil when nothing is set
// any more.
func Set(set json.RawMessage, path string, value json.RawMessage) (json.RawMessage, error) {
	doc, err := object(set)
	if err != nil {
		return nil, err
	}
	keys, err := split(path)
	if err != nil {
		return nil, err
	}
	var v any
	if value != nil {
		if v, err = decode(value); err != nil {
			return nil, fmt.Errorf("the value of %s: %w", path, err)
		}
	}
	put(doc, keys, v, value == nil)
	if len(doc) == 0 {
		return nil, nil
	}
	out, err := json.Marshal(doc)
	if err == nil && len(out) > MaxBytes {
		err = fmt.Errorf("the settings have %d bytes; at most %d are allowed", len(out), MaxBytes)
	}
	return out, err
}

// put changes doc. What it takes away leaves no empty object behind.
func put(doc map[string]any, keys []string, v any, away bool) {
	key := keys[0]
	if len(keys) == 1 {
		if doc[key] = v; away {
			delete(doc, key)
		}
		return
	}
	below, ok := doc[key].(map[string]any)
	if !ok {
		if away {
			return
		}
		below = map[string]any{}
		doc[key] = below
	}
	if put(below, keys[1:], v, away); away && len(below) == 0 {
		delete(doc, key)
	}
}

func split(path string) ([]string, error) {
	keys := strings.Split(path, ".")
	if len(keys) > maxDepth {
		return nil, fmt.Errorf("key %.80q has %d parts; at most %d are allowed", path, len(keys), maxDepth)
	}
	for _, k := range keys {
		if k == "" || len(k) > 100 {
			return nil, fmt.Errorf("%.80q is no key; write names with dots between them, such as mail.batch", path)
		}
	}
	return keys, nil
}

// object reads a document that is an object, or empty.
func object(text json.RawMessage) (map[string]any, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return map[string]any{}, nil
	}
	v, err := decode(text)
	if err != nil {
		return nil, err
	}
	doc, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("settings are a JSON object, such as {\"batch\": 100}")
	}
	return doc, nil
}

// decode keeps numbers as they are written: an int64 is no float.
func decode(text json.RawMessage) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("no JSON: %w", err)
	}
	if dec.More() {
		return nil, errors.New("no JSON: there is more than one value")
	}
	return v, nil
}
