package web_test

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/app"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/web"
)

// publish makes jobs and returns their numbers.
func (r *rig) publish(jobs ...string) []jobstore.ID {
	r.Helper()
	var ids []jobstore.ID
	for _, p := range read[[]published](r, r.want(201, "POST", "/api/v1/jobs", "["+strings.Join(jobs, ",")+"]")) {
		ids = append(ids, p.ID)
	}
	return ids
}

// work runs everything that is due.
func (r *rig) work() {
	r.Helper()
	if err := r.app.Consume(r.Context(), app.ConsumerOptions{UntilEmpty: true}); err != nil {
		r.Fatal(err)
	}
}

func job(id jobstore.ID, more ...string) string {
	return fmt.Sprintf("/api/v1/jobs/%d", id) + strings.Join(more, "")
}

// conforms holds an answer against the description.
func (r *rig) conforms(schema string, got reply) {
	r.Helper()
	doc := description(r.TB)
	for _, complaint := range doc.check(schema, doc.schema(schema), read[any](r, got), false) {
		r.Error(complaint)
	}
}

type listed struct {
	Jobs []struct{ ID jobstore.ID }
	Next string
}

func (l listed) ids() (ids []jobstore.ID) {
	for _, j := range l.Jobs {
		ids = append(ids, j.ID)
	}
	return ids
}

func TestList(t *testing.T) {
	t.Parallel()
	r := serve(t)
	ids := r.publish(`{"kind":"probe","args":{"to":"a@example.com"},"identifier":"i","tags":["red","big"]}`,
		`{"kind":"mail","serial_group":"g","delay":"1h"}`, `{"kind":"probe","queue":"media","priority":50,"tags":["red"]}`)
	for query, want := range map[string][]jobstore.ID{
		"":                             ids,
		"?state=READY":                 {ids[0], ids[2]},
		"?state=ready,SCHEDULED":       ids,
		"?state=FINISHED":              nil,
		"?queue=media&queue=post":      ids[1:],
		"?kind=mail":                   ids[1:2],
		"?priority=20-":                ids[1:],
		"?identifier=i":                ids[:1],
		"?serial_group=g":              ids[1:2],
		"?tag=red&tag=big":             ids[:1],
		"?where=args.to=a@example.com": ids[:1],
		"?where=" + url.QueryEscape("args.to='; DROP TABLE jobs --"): nil,
		"?older=1h":               nil,
		"?limit=2":                ids[:2],
		"?state=READY&kind=probe": {ids[0], ids[2]},
	} {
		got := r.want(200, "GET", "/api/v1/jobs"+query, "")
		r.conforms("Page", got)
		if list := read[listed](r, got); !slices.Equal(list.ids(), want) {
			t.Errorf("%s: %v, want %v", query, list.ids(), want)
		}
	}
}

// Pages have every job once, and the last one has no next.
func TestListPages(t *testing.T) {
	t.Parallel()
	r := serve(t)
	ids := r.publish(slices.Repeat([]string{`{"kind":"probe"}`}, 6)...)
	var seen []jobstore.ID
	query := "?limit=2"
	for pages := 1; ; pages++ {
		list := read[listed](r, r.want(200, "GET", "/api/v1/jobs"+query, ""))
		seen = append(seen, list.ids()...)
		if list.Next == "" {
			if pages != 3 {
				t.Errorf("%d pages, want 3", pages)
			}
			break
		}
		query = "?limit=2&cursor=" + list.Next
	}
	if !slices.Equal(seen, ids) {
		t.Errorf("pages have %v, want %v", seen, ids)
	}
}

func TestListMistakes(t *testing.T) {
	t.Parallel()
	r := serve(t)
	for query, field := range map[string]string{
		"?stat=READY": "stat", "?state=DONE": "state", "?priority=7": "priority", "?priority=10abc": "priority", "?older=soon": "older",
		"?limit=0": "limit", "?limit=501": "limit", "?limit=x": "limit", "?limit=1&limit=2": "limit", "?cursor=x": "cursor", "?cursor=YWZ0ZXIgMA": "cursor",
		"?where=to=a": "where",
	} {
		if p := read[web.Problem](r, r.want(422, "GET", "/api/v1/jobs"+query, "")); p.Field != field || p.Detail == "" {
			t.Errorf("%s: %+v, want it in %s", query, p, field)
		}
	}
	r.want(400, "GET", "/api/v1/jobs?state=%zz", "")
	if p := read[web.Problem](r, r.want(422, "GET", "/api/v1/stats?queue=x", "")); p.Field != "queue" {
		t.Errorf("a parameter for nothing: %+v", p)
	}
}

// One job: looked at, changed, called off, run again, removed; and what its state does not allow.
func TestOneJob(t *testing.T) {
	t.Parallel()
	r := serve(t)
	id := r.publish(`{"kind":"probe","delay":"1h","timeout":"30s","args":{"a":1}}`)[0]
	got := r.want(200, "GET", job(id), "")
	r.conforms("Job", got)
	if j := read[map[string]any](r, got); j["state"] != "SCHEDULED" || j["timeout"] != "30s" || j["args"].(map[string]any)["a"] != 1.0 {
		t.Errorf("the job: %s", got.body)
	}
	got = r.want(200, "PATCH", job(id), `{"priority":50,"tags":["x"],"args":{"a":2},"max_attempts":0}`)
	r.conforms("Job", got)
	row, err := r.app.Store.Get(t.Context(), id)
	if err != nil || row.Priority != 50 || !slices.Equal(row.Tags, []string{"x"}) || string(row.Args) != `{"a": 2}` || row.MaxAttempts != 0 ||
		row.State != jobstore.Scheduled || row.Timeout.String() != "30s" {
		t.Errorf("after the change: %+v, %v", row, err)
	}
	for body, field := range map[string]string{
		`{"priority":7}`: "priority", `{"state":"READY"}`: "state", `{}`: "", `{"args":"\u0000"}`: "args", `{"queue":"a b"}`: "queue", `[]`: "",
	} {
		if p := read[web.Problem](r, r.want(422, "PATCH", job(id), body)); p.Field != field {
			t.Errorf("%s: %+v, want it in %q", body, p, field)
		}
	}
	r.want(400, "PATCH", job(id), `{`)
	r.want(413, "PATCH", job(id), `{"args":"`+strings.Repeat("x", 1<<20)+`"}`)

	got = r.want(200, "POST", job(id, "/cancel"), "")
	r.conforms("Job", got)
	if state := read[jobstore.Job](r, got).State; state != jobstore.Cancelled {
		t.Errorf("cancelled: %s", state)
	}
	for _, refused := range []struct{ method, path, body string }{{"POST", job(id, "/cancel"), ""}, {"PATCH", job(id), `{"priority":10}`}} {
		p := read[web.Problem](r, r.want(409, refused.method, refused.path, refused.body))
		if p.Type != "urn:warren:problem:refused" || !strings.Contains(p.Detail, "CANCELLED") {
			t.Errorf("%s %s: %+v", refused.method, refused.path, p)
		}
	}
	if state := read[jobstore.Job](r, r.want(200, "POST", job(id, "/retry"), "")).State; state.Final() {
		t.Errorf("after a retry: %s", state)
	}
	if got := r.want(204, "DELETE", job(id), ""); len(got.body) != 0 {
		t.Errorf("deleted: %s", got.body)
	}
	for _, gone := range []struct{ method, path, body string }{
		{"GET", job(id), ""},
		{"PATCH", job(id), `{"priority":10}`},
		{"DELETE", job(id), ""},
		{"POST", job(id, "/retry"), ""},
		{"POST", job(id, "/cancel"), ""},
		{"GET", job(id, "/why"), ""},
		{"GET", job(id, "/logs"), ""},
	} {
		if p := read[web.Problem](r, r.want(404, gone.method, gone.path, gone.body)); p.Type != "urn:warren:problem:no-such-job" || p.Detail != fmt.Sprintf("there is no job %d", id) {
			t.Errorf("%s %s: %+v", gone.method, gone.path, p)
		}
	}
	r.missing("no-such-job", fmt.Sprintf("there is no job %d", id), job(id, "/events"), "Accept: text/event-stream")
	for _, bad := range []string{"0", "-1", "01", "+1", "1e3", "x", "9223372036854775808", "%31%00"} {
		if p := read[web.Problem](r, r.want(422, "GET", "/api/v1/jobs/"+bad, "")); p.Field != "id" {
			t.Errorf("number %s: %+v", bad, p)
		}
	}
}

// A unique key that somebody else has by now is a conflict, not a failure inside.
func TestRetryWithoutItsKey(t *testing.T) {
	t.Parallel()
	r := serve(t)
	unique := `{"kind":"probe","mode":"unique","identifier":"i","delay":"1h"}`
	first := r.publish(unique)[0]
	r.want(200, "POST", job(first, "/cancel"), "")
	second := r.publish(unique)[0]
	p := read[web.Problem](r, r.want(409, "POST", job(first, "/retry"), ""))
	if !strings.Contains(p.Detail, fmt.Sprintf("job %d holds its key", second)) {
		t.Errorf("problem: %+v", p)
	}
}

func TestWhyAndLogs(t *testing.T) {
	t.Parallel()
	r := serve(t)
	ids := r.publish(`{"kind":"probe","args":{"outcome":"permanent","message":"no such address"}}`, `{"kind":"probe","delay":"1h"}`)
	r.work()
	got := r.want(200, "GET", job(ids[0], "/logs"), "")
	r.conforms("Logs", got)
	if logs := read[jobstore.Job](r, got); logs.State != jobstore.PermanentlyFailed || len(logs.Errors) != 1 || !strings.Contains(logs.Error, "no such address") {
		t.Errorf("logs: %s", got.body)
	}
	r.conforms("Logs", r.want(200, "GET", job(ids[1], "/logs"), ""))
	got = r.want(200, "GET", job(ids[1], "/why"), "")
	r.conforms("Explanation", got)
	if why := read[web.Explanation](r, got); why.Verdict != "blocked" || !slices.ContainsFunc(why.Gates, func(g jobstore.Gate) bool { return g.Name == jobstore.GateNotDue }) {
		t.Errorf("why: %s", got.body)
	}
}

func TestOverview(t *testing.T) {
	t.Parallel()
	r := serve(t)
	r.publish(`{"kind":"probe"}`, `{"kind":"mail","delay":"1h"}`)
	for _, c := range []jobstore.Consumer{
		{Host: "h", PID: 1, Kinds: []string{"mail", "probe"}, Queues: []string{"post", "default"}, Priorities: []int{10}, Slots: 3},
		{Host: "h", PID: 2, Kinds: []string{"mail"}, Queues: []string{"post", "media"}, Priorities: []int{10}, Slots: 3},
	} {
		if _, err := r.app.Store.Register(t.Context(), c, 1e12); err != nil {
			t.Fatal(err)
		}
	}
	for path, schema := range map[string]string{"stats": "Stats", "queues": "Queues", "consumers": "Consumers", "kinds": "Kinds"} {
		r.conforms(schema, r.want(200, "GET", "/api/v1/"+path, ""))
	}
	stats := read[jobstore.Stats](r, r.want(200, "GET", "/api/v1/stats", ""))
	if stats.Total[jobstore.Ready] != 1 || stats.Queues["post"][jobstore.Scheduled] != 1 {
		t.Errorf("stats: %+v", stats)
	}
	kinds := read[struct{ Kinds []jobstore.KindInfo }](r, r.want(200, "GET", "/api/v1/kinds", "")).Kinds
	if len(kinds) != 2 || kinds[0].Kind != "mail" || kinds[0].Consumers != 2 || !slices.Equal(kinds[0].Queues, []string{"default", "media", "post"}) ||
		kinds[0].Priority != 20 || kinds[1].Kind != "probe" || kinds[1].Consumers != 1 || !slices.Equal(kinds[1].Hosts, []string{"h"}) {
		t.Errorf("kinds: %+v", kinds)
	}
	queues := r.want(200, "GET", "/api/v1/queues", "")
	if !strings.Contains(string(queues.body), `"oldest_ready_seconds":`) || !strings.Contains(string(queues.body), `"queue":"post"`) {
		t.Errorf("queues: %s", queues.body)
	}
	if got := r.want(200, "GET", "/api/v1/openapi.json", ""); !json.Valid(got.body) || !strings.Contains(string(got.body), `"openapi": "3.1.0"`) {
		t.Errorf("description: %.200s", got.body)
	}
}

// The log of a job is read in pages, by level and attempt, and as a file.
func TestLogLines(t *testing.T) {
	t.Parallel()
	r := serve(t)
	id := r.publish(`{"kind":"probe","args":{"steps":5,"message":"<b>"}}`)[0]
	r.work()
	type logs struct {
		Lines []jobstore.Line
		Next  string
	}
	got := r.want(200, "GET", job(id, "/logs"), "")
	r.conforms("Logs", got)
	if all := read[logs](r, got); len(all.Lines) != 5 || all.Next != "" || all.Lines[4].Text != "step" || all.Lines[4].Attempt != 1 {
		t.Errorf("all: %s", got.body)
	}
	r.conforms("Job", r.want(200, "GET", job(id), ""))
	if j := read[jobstore.Job](r, r.want(200, "GET", job(id), "")); j.Progress == nil || j.Progress.Done != 5 || *j.Progress.Percent != 100 {
		t.Errorf("the job: %+v", j.Progress)
	}
	first := read[logs](r, r.want(200, "GET", job(id, "/logs?limit=3"), ""))
	rest := read[logs](r, r.want(200, "GET", job(id, "/logs?limit=3&after=", first.Next), ""))
	if len(first.Lines) != 3 || len(rest.Lines) != 2 || rest.Next != "" || rest.Lines[0].No != 4 {
		t.Errorf("in pages: %+v, %+v", first, rest)
	}
	for query, want := range map[string]int{"?tail=2": 2, "?level=WARN": 0, "?level=info": 5, "?attempt=2": 0, "?download=0": 5} {
		if got := read[logs](r, r.want(200, "GET", job(id, "/logs"+query), "")); len(got.Lines) != want {
			t.Errorf("%s: %+v", query, got)
		}
	}
	file := r.want(200, "GET", job(id, "/logs?download=1"), "")
	if h := file.Header; strings.Count(string(file.body), "\n") != 5 || h.Get("Content-Type") != "text/plain; charset=utf-8" ||
		h.Get("Content-Disposition") != fmt.Sprintf(`attachment; filename="job-%d.log"`, id) || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("as a file: %v %s", h, file.body)
	}
	for query, field := range map[string]string{
		"?tail=0": "tail", "?limit=10001": "limit", "?level=loud": "level", "?attempt=x": "attempt", "?after=1": "after", "?after=1--2": "after",
		"?after=1-99999999999": "after", "?download=maybe": "download", "?tail=1&tail=2": "tail", "?nonsense=1": "nonsense",
	} {
		if p := read[web.Problem](r, r.want(422, "GET", job(id, "/logs"+query), "")); p.Field != field {
			t.Errorf("%s: %+v", query, p)
		}
	}
	r.want(404, "GET", job(1<<40, "/logs"), "")
	r.missing("no-such-job", "there is no job 1099511627776", job(1<<40, "/logs?download=1"), "Accept: text/plain")
}

// Files come to be saved and not to be shown, whatever they are called and say that they are.
func TestFiles(t *testing.T) {
	t.Parallel()
	r := serve(t)
	ids := r.publish(`{"kind":"probe"}`, `{"kind":"probe"}`)
	names := []string{`plain.txt`, `ü "q"; filename=x.html`, `a%2Fb?c#d`}
	r.attach(ids[0], names)
	got := r.want(200, "GET", job(ids[0], "/files"), "")
	r.conforms("Files", got)
	if list := read[struct{ Files []jobstore.File }](r, got); len(list.Files) != len(names) || list.Files[0].Type != "text/html" {
		t.Errorf("files: %s", got.body)
	}
	for _, name := range names {
		got := r.want(200, "GET", job(ids[0], "/files/", url.PathEscape(name)), "", "Accept: image/png")
		h := got.Header
		how, params, err := mime.ParseMediaType(h.Get("Content-Disposition"))
		if string(got.body) != "<script>"+name || how != "attachment" || params["filename"] != name || err != nil {
			t.Errorf("%s: %s, %s %v %v", name, got.body, how, params, err)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") || h.Get("Content-Type") != "text/html" {
			t.Errorf("%s: %v", name, h)
		}
	}
	r.want(200, "HEAD", job(ids[0], "/files/plain.txt"), "")
	r.missing("no-such-file", fmt.Sprintf(`job %d has no file "other \"x\""`, ids[0]), job(ids[0], "/files/", url.PathEscape(`other "x"`)))
	r.missing("no-such-job", "there is no job 1099511627776", job(1<<40, "/files"))
	r.missing("no-such-job", "there is no job 1099511627776", job(1<<40, "/files/other"))
	if got := r.want(200, "GET", job(ids[1], "/files"), ""); strings.TrimSpace(string(got.body)) != `{"files":[]}` {
		t.Errorf("no files: %s", got.body)
	}
}

// attach gives a job files, under a lease that a test has taken.
func (r *rig) attach(id jobstore.ID, names []string) {
	r.Helper()
	store := r.app.Store
	holder, err := store.Register(r.Context(), jobstore.Consumer{Kinds: []string{"probe"}, Queues: []string{"default"}, Priorities: []int{10}}, time.Hour)
	if err != nil {
		r.Fatal(err)
	}
	by := jobstore.Claimant{Holder: holder, Queues: []string{"default"}, Priorities: []int{10}, Kinds: []string{"probe"}, Token: 1}
	claimed, err := store.Claim(r.Context(), by, []jobstore.ID{id})
	if err != nil || len(claimed.Leases) != 1 {
		r.Fatalf("%+v, %v", claimed, err)
	}
	for _, name := range names {
		file, err := store.BeginFile(r.Context(), holder, claimed.Leases[0].Job.LeaseNo, jobstore.File{Job: id, Name: name, Type: "text/html"}, 100)
		if err != nil {
			r.Fatal(err)
		}
		n, err := store.WriteFile(r.Context(), file, strings.NewReader("<script>"+name))
		if err == nil {
			err = store.EndFile(r.Context(), holder, file, n)
		}
		if err != nil {
			r.Fatal(err)
		}
	}
}
