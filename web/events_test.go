package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// event is one of a stream.
type event struct {
	name, id string
	data     struct {
		ID    jobstore.ID
		State jobstore.State
		Final bool
	}
	text string
}

// stream is an open stream of events.
type stream struct {
	*rig
	status int
	lines  *bufio.Scanner
	close  func()
}

func (r *rig) open(id jobstore.ID, headers ...string) *stream {
	r.Helper()
	return r.openAt(job(id, "/events"), headers...)
}

func (r *rig) openAt(path string, headers ...string) *stream {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+path, http.NoBody)
	if err != nil {
		r.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		req.Header.Set(name, value)
	}
	res, err := r.client().Do(req) //nolint:bodyclose // close does, and the test's end
	if err != nil {
		r.Fatal(err)
	}
	s := &stream{rig: r, status: res.StatusCode, lines: bufio.NewScanner(res.Body), close: func() {
		cancel()
		_ = res.Body.Close()
	}}
	r.Cleanup(s.close)
	return s
}

// next returns the next event, or io.EOF at the end of the stream.
func (s *stream) next() (e event, err error) {
	for s.lines.Scan() {
		switch name, value, _ := strings.Cut(s.lines.Text(), ": "); name {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			e.text = value
			if err := json.Unmarshal([]byte(value), &e.data); err != nil {
				s.Fatal(err)
			}
		case "":
			if e.name != "" {
				return e, nil
			}
		}
	}
	if s.lines.Err() != nil {
		return e, s.lines.Err()
	}
	return e, io.EOF
}

// A stream begins with where the job stands, tells what follows, and ends with its end. Whoever
// has seen the end is told to come no more.
func TestEvents(t *testing.T) {
	t.Parallel()
	r := serve(t)
	id := r.publish(`{"kind":"probe","delay":"1h"}`)[0]
	s := r.open(id, "Accept: text/event-stream")
	if got := r.want(200, "HEAD", job(id, "/events"), ""); got.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("asked for the headers only: %v", got.Header)
	}
	first, err := s.next()
	if err != nil || first.name != "state" || first.data.ID != id || first.data.State != jobstore.Scheduled || first.data.Final {
		t.Fatalf("the first event: %+v, %v", first, err)
	}
	r.want(200, "PATCH", job(id), `{"delay":0}`)
	r.work()
	last := first
	for {
		e, err := s.next()
		if err != nil {
			t.Fatalf("after %+v: %v", last, err)
		}
		if e.id == last.id {
			t.Errorf("%s came twice", e.id)
		}
		doc := description(t)
		var data any
		if err := json.Unmarshal([]byte(e.text), &data); err != nil {
			t.Fatal(err)
		}
		for _, complaint := range doc.check("Change", doc.schema("Change"), data, false) {
			t.Error(complaint)
		}
		if last = e; e.data.Final {
			break
		}
	}
	if last.data.State != jobstore.Finished {
		t.Errorf("the last event: %+v", last)
	}
	if e, err := s.next(); err != io.EOF { //nolint:errorlint // as next returns it
		t.Errorf("after the end: %+v, %v", e, err)
	}
	if again := r.open(id, "Last-Event-ID: "+last.id); again.status != http.StatusNoContent {
		t.Errorf("whoever has seen the end gets %d", again.status)
	}
	if e, err := r.open(id, "Last-Event-ID: "+first.id).next(); err != nil || e.id != last.id {
		t.Errorf("whoever has not: %+v, %v", e, err)
	}
}

// There are so many streams and no more; a server that is told to stop ends them.
func TestEventsAreLimited(t *testing.T) {
	t.Parallel()
	r := serve(t)
	id := r.publish(`{"kind":"probe","delay":"1h"}`)[0]
	var open []*stream
	for range 64 {
		s := r.open(id)
		if _, err := s.next(); err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	got := r.want(503, "GET", job(id, "/events"), "")
	if got.Header.Get("Retry-After") == "" {
		t.Error("a stream too many is not told when to come again")
	}
	r.want(200, "GET", job(id), "") // others are served
	r.stop()
	for _, s := range open {
		if e, err := s.next(); err != io.EOF { //nolint:errorlint // as next returns it
			t.Fatalf("while the server stops: %+v, %v", e, err)
		}
	}
	<-r.done
}

// A stream outlives the deadlines that its listener has for answers that end soon.
func TestEventsOutliveDeadlines(t *testing.T) {
	t.Parallel()
	r := serve(t)
	id := r.publish(`{"kind":"probe","delay":"1h"}`)[0]
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const deadline = 300 * time.Millisecond
	server := &http.Server{Handler: r.app.API(nil, "127.0.0.1:0", nil), ReadTimeout: deadline, WriteTimeout: deadline}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close() // what the streams have is read
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	r.url = "http://" + l.Addr().String()
	s := r.open(id)
	if _, err := s.next(); err != nil {
		t.Fatal(err)
	}
	// A client that was begun later, and sends nothing, is let go: the deadlines are over.
	if text, err := io.ReadAll(r.dial()); err != nil {
		t.Fatalf("the silent client: %q, %v", text, err)
	}
	if changed, err := r.app.Store.Cancel(t.Context(), []jobstore.ID{id}); err != nil || len(changed.Done) != 1 {
		t.Fatalf("cancel: %+v, %v", changed, err)
	}
	if e, err := s.next(); err != nil || e.data.State != jobstore.Cancelled {
		t.Errorf("after the deadlines: %+v, %v", e, err)
	}
}

// A stream tells how far a job is, and its log to those who want it, up to the last line; a client that comes back goes on where it was.
func TestEventsOfALog(t *testing.T) {
	t.Parallel()
	r := serve(t)
	id := r.publish(`{"kind":"probe","delay":"1h","args":{"steps":3,"sleep":"900ms","message":"counting"}}`)[0]
	s := r.openAt(job(id, "/events?logs=1"))
	if first, err := s.next(); err != nil || first.name != "state" {
		t.Fatalf("the first event: %+v, %v", first, err)
	}
	r.want(200, "PATCH", job(id), `{"delay":0}`)
	r.work()
	seen := map[string]int{}
	doc := description(t)
	var last, line event
	for {
		e, err := s.next()
		if err == io.EOF { //nolint:errorlint // as next returns it
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		seen[e.name]++
		var data any
		if err := json.Unmarshal([]byte(e.text), &data); err != nil {
			t.Fatal(err)
		}
		schema := map[string]string{"state": "Change", "progress": "Progress", "log": "Line"}[e.name]
		for _, complaint := range doc.check(schema, doc.schema(schema), data, false) {
			t.Error(complaint)
		}
		if e.name == "log" && seen["log"] == 2 {
			line = e
		}
		if e.id != "" {
			last = e
		}
	}
	if seen["log"] != 3 || seen["progress"] == 0 || seen["state"] == 0 {
		t.Errorf("seen: %v", seen)
	}
	if again := r.openAt(job(id, "/events?logs=1"), "Last-Event-ID: "+last.id); again.status != http.StatusNoContent {
		t.Errorf("whoever has seen everything gets %d", again.status)
	}
	again := r.openAt(job(id, "/events?logs=1"), "Last-Event-ID: "+line.id)
	for {
		e, err := again.next()
		if err != nil {
			t.Fatalf("whoever has seen two lines: %v", err)
		}
		if e.name == "log" {
			if !strings.Contains(e.text, `"no":3,`) {
				t.Errorf("whoever has seen two lines is told %s", e.text)
			}
			break
		}
	}
	r.want(422, "GET", job(id, "/events?logs=perhaps"), "")
}
