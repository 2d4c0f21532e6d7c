package web_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/web"
)

// openapi is the description as a tree of JSON values.
type openapi map[string]any

func description(tb testing.TB) openapi {
	tb.Helper()
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		tb.Fatal(err)
	}
	var doc openapi
	if err := json.Unmarshal(text, &doc); err != nil {
		tb.Fatal(err)
	}
	return doc
}

// at goes down a tree; nil when there is nothing.
func at(tree any, path ...string) any {
	for _, name := range path {
		node, _ := tree.(map[string]any)
		if tree = node[name]; tree == nil {
			return nil
		}
	}
	return tree
}

func (d openapi) schema(name string) map[string]any {
	schema, _ := at(map[string]any(d), "components", "schemas", name).(map[string]any)
	return schema
}

func keys(tree any) []string {
	node, _ := tree.(map[string]any)
	return slices.Sorted(maps.Keys(node))
}

// The description has every route with what it takes and gives, and no other.
func TestOpenAPIRoutes(t *testing.T) {
	t.Parallel()
	doc := description(t)
	described := map[string]bool{}
	for path, item := range doc["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			described[strings.ToUpper(method)+" /api/v1"+path] = true
		}
	}
	for _, route := range web.Routes() {
		name := route.Method + " " + route.Path
		if !described[name] {
			t.Errorf("%s is not described", name)
			continue
		}
		delete(described, name)
		op := at(doc["paths"], strings.TrimPrefix(route.Path, "/api/v1"), strings.ToLower(route.Method))
		if (at(op, "requestBody") != nil) != route.Takes {
			t.Errorf("%s: takes a body: %t, and the description says otherwise", name, route.Takes)
		}
		good := at(op, "responses", "200", "content")
		if created := at(op, "responses", "201", "content"); created != nil {
			good = created
		}
		gives := slices.DeleteFunc([]string{route.Produces, route.Also}, func(s string) bool { return s == "" })
		if media := keys(good); route.Method != http.MethodDelete && !slices.Equal(media, gives) {
			t.Errorf("%s gives %s, described is %v", name, gives, media)
		}
		var params []string
		list, _ := at(op, "parameters").([]any)
		for _, p := range list {
			if at(p, "in") == "query" {
				params = append(params, at(p, "name").(string))
			}
		}
		if !slices.Equal(params, route.Params) {
			t.Errorf("%s: described are the parameters %v, taken %v", name, params, route.Params)
		}
	}
	if len(described) > 0 {
		t.Errorf("described, and not there: %v", slices.Sorted(maps.Keys(described)))
	}
}

// Every field of every answer is described, and no other: a value with all of them set has exactly
// the properties of its schema.
func TestOpenAPIAnswers(t *testing.T) {
	t.Parallel()
	doc := description(t)
	for name, v := range web.Answers() {
		fill(reflect.ValueOf(v).Elem())
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if err := json.Unmarshal(text, &value); err != nil {
			t.Fatal(err)
		}
		for _, complaint := range doc.check(name, doc.schema(name), value, true) {
			t.Error(complaint)
		}
	}
	// What is not checked through an answer is what clients send.
	for name, want := range map[string]func([]byte) error{
		"NewJob":  func(b []byte) error { _, err := warren.ParseItem(b); return err },
		"EditJob": func(b []byte) error { _, err := warren.ParseEdit(b); return err },
	} {
		err := want([]byte(`{"nonsense":1}`))
		_, listed, _ := strings.Cut(fmt.Sprint(err), "keys ")
		if got := strings.Join(keys(doc.schema(name)["properties"]), ", "); got != listed {
			t.Errorf("%s has %s, taken are %s", name, got, listed)
		}
	}
}

// fill sets everything in a value to something.
func fill(v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *json.RawMessage:
		*x = json.RawMessage(`{}`)
		return
	case *time.Time:
		*x = time.Unix(1, 0)
		return
	case *jobstore.State:
		*x = jobstore.Ready
		return
	case *jobstore.Mode:
		*x = jobstore.Normal
		return
	case *map[string]any:
		*x = map[string]any{"x": "y"}
		return
	}
	switch v.Kind() { //nolint:exhaustive // the rest are whole numbers, or SetInt panics
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(elem)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, elem)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(1)
	default:
		v.SetInt(1)
	}
}

// check compares a value with a schema: as far as this description goes, not as far as JSON Schema.
// exact wants every property there is.
func (d openapi) check(where string, schema map[string]any, value any, exact bool) (complaints []string) {
	if name, ok := schema["$ref"].(string); ok {
		return d.check(where, d.schema(strings.TrimPrefix(name, "#/components/schemas/")), value, exact)
	}
	if schema == nil {
		return []string{where + " has no schema"}
	}
	kinds := map[string]string{"map[string]interface {}": "object", "[]interface {}": "array", "string": "string", "bool": "boolean", "float64": "number"}
	kind := kinds[fmt.Sprintf("%T", value)]
	if want, typed := schema["type"].(string); typed && want != kind && (want != "integer" || kind != "number") {
		return []string{fmt.Sprintf("%s is a %s, described is a %s", where, kind, want)}
	}
	switch v := value.(type) {
	case []any:
		items, _ := schema["items"].(map[string]any)
		for i, item := range v {
			complaints = append(complaints, d.check(fmt.Sprintf("%s[%d]", where, i), items, item, exact)...)
		}
	case map[string]any:
		complaints = d.checkObject(where, schema, v, exact)
	case string:
		if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, any(v)) && (!exact || v != "x") {
			complaints = append(complaints, fmt.Sprintf("%s is %q, which is not described", where, v))
		}
	}
	return complaints
}

func (d openapi) checkObject(where string, schema, v map[string]any, exact bool) (complaints []string) {
	properties, listed := schema["properties"].(map[string]any)
	if !listed { // a map, or anything
		if more, ok := schema["additionalProperties"].(map[string]any); ok {
			for key, item := range v {
				complaints = append(complaints, d.check(where+"."+key, more, item, exact)...)
			}
		}
		return complaints
	}
	for key, item := range v {
		property, known := properties[key].(map[string]any)
		if !known {
			complaints = append(complaints, where+"."+key+" is not described")
			continue
		}
		complaints = append(complaints, d.check(where+"."+key, property, item, exact)...)
	}
	wanted := keys(properties)
	if !exact {
		wanted = nil
		required, _ := schema["required"].([]any)
		for _, name := range required {
			wanted = append(wanted, name.(string))
		}
	}
	for _, key := range wanted {
		if _, there := v[key]; !there {
			complaints = append(complaints, where+"."+key+" is described, and not there")
		}
	}
	return complaints
}
