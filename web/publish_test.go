package web_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/web"
)

type published struct {
	ID, Existing jobstore.ID
	State        jobstore.State
	Queue        string
	Priority     int
}

// count is how many jobs there are.
func (r *rig) count() int {
	r.Helper()
	stats, err := r.app.Store.Stats(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	n := 0
	for _, jobs := range stats.Total {
		n += int(jobs)
	}
	return n
}

func TestPublishOne(t *testing.T) {
	t.Parallel()
	r := serve(t)
	got := r.want(201, "POST", "/api/v1/jobs", `{"kind":"mail","args":{"to":"a@example.com"},"identifier":"i","mode":"unique","delay":"1h","tags":["x"]}`)
	job := read[published](r, got)
	if job.ID < 1 || job.State != jobstore.Scheduled || job.Queue != "post" || job.Priority != 20 || job.Existing != 0 {
		t.Errorf("published: %s", got.body)
	}
	if want := fmt.Sprintf("jobs/%d", job.ID); got.Header.Get("Location") != want {
		t.Errorf("location %q, want %q", got.Header.Get("Location"), want)
	}
	row, err := r.app.Store.Get(t.Context(), job.ID)
	if err != nil || string(row.Args) != `{"to": "a@example.com"}` || row.Identifier != "i" || !slices.Equal(row.Tags, []string{"x"}) {
		t.Errorf("the row: %+v, %v", row, err)
	}
	again := read[published](r, r.want(201, "POST", "/api/v1/jobs", `{"kind":"mail","identifier":"i","mode":"unique"}`))
	if again.State != jobstore.Redundant || again.Existing != job.ID {
		t.Errorf("a second job with the key: %+v", again)
	}
}

// An array in, an array out, in its order; one bad job and nothing is published.
func TestPublishMany(t *testing.T) {
	t.Parallel()
	r := serve(t)
	list := read[[]published](r, r.want(201, "POST", "/api/v1/jobs", ` [{"kind":"probe"}, {"kind":"mail"}, {"kind":"probe","priority":50}]`))
	var got []string
	for _, p := range list {
		got = append(got, fmt.Sprintf("%s %d", p.Queue, p.Priority))
	}
	if want := []string{"default 10", "post 20", "default 50"}; !slices.Equal(got, want) {
		t.Errorf("published %v, want %v", got, want)
	}
	if one := read[[]published](r, r.want(201, "POST", "/api/v1/jobs", `[{"kind":"probe"}]`)); len(one) != 1 {
		t.Errorf("an array of one: %v", one)
	}
	before := r.count()
	p := read[web.Problem](r, r.want(422, "POST", "/api/v1/jobs", `[{"kind":"probe"},{"kind":"probe","priority":7}]`))
	if p.Field != "priority" || p.Index == nil || *p.Index != 1 || p.Detail != "priority 7 is not configured (10, 20, 30, 40, 50)" {
		t.Errorf("problem: %+v", p)
	}
	if p = read[web.Problem](r, r.want(422, "POST", "/api/v1/jobs", `[{"kind":"probe","priority":7}]`)); p.Index == nil || *p.Index != 0 {
		t.Errorf("an array of one: %+v", p)
	}
	if after := r.count(); after != before {
		t.Errorf("%d jobs after a refused array, %d before", after, before)
	}
}

func TestPublishMistakes(t *testing.T) {
	t.Parallel()
	r := serve(t)
	for _, c := range []struct {
		body   string
		status int
		field  string
		detail string
	}{
		{``, 400, "", "it ends too early"},
		{` `, 400, "", "it ends too early"},
		{`{"kind":"probe"`, 400, "", "unexpected end"},
		{`{"kind":"probe"} x`, 400, "", "invalid character"},
		{`[{"kind":"probe"},]`, 400, "", "invalid character"},
		{`[]`, 422, "", "the array has no job"},
		{`"probe"`, 422, "", "a JSON string is not an object"},
		{`[[]]`, 422, "", "a JSON array is not an object"},
		{`{}`, 422, "kind", "is missing"},
		{`{"kind":"probe","prioritty":1}`, 422, "prioritty", "none of the keys"},
		{`{"kind":"probe","delay":"soon"}`, 422, "delay", "is not a duration"},
		{`{"kind":"probe","args":"\u0000"}`, 422, "args", "NUL"},
		{`{"kind":"probe","args":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, 422, "args", "nested"},
		{`{"kind":"probe","args":"` + strings.Repeat("x", 300<<10) + `"}`, 422, "args", "more than the 262144 allowed"},
		{`{"kind":"probe","args":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "", "larger than 1048576 bytes"},
		{`[` + strings.Repeat(`{"kind":"probe"},`, 10_000) + `{"kind":"probe"}]`, 413, "", "10001 jobs"},
		{"[" + strings.Repeat(" ", 16<<20) + "]", 413, "", "larger than 16777216 bytes"},
	} {
		got := r.ask("POST", "/api/v1/jobs", c.body, "Content-Type: application/json")
		p := read[web.Problem](r, got)
		if got.StatusCode != c.status || p.Status != c.status || p.Field != c.field || !strings.Contains(p.Detail, c.detail) {
			t.Errorf("%.60s: %d %+v; want %d in %q: %s", c.body, got.StatusCode, p, c.status, c.field, c.detail)
		}
		if media := got.Header.Get("Content-Type"); media != "application/problem+json" {
			t.Errorf("%.60s: the problem is %s", c.body, media)
		}
	}
	if n := r.count(); n != 0 {
		t.Errorf("%d jobs were published", n)
	}
}
