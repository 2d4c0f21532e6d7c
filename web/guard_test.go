package web_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/web"
)

const token = "S3CR3T-CANARY-7f1c"

// With a token every route wants it, whoever asks and whatever else is wrong.
func TestToken(t *testing.T) {
	t.Parallel()
	r := serve(t, "WARREN_API_TOKEN="+token)
	id := "/1"
	for _, route := range web.Routes() {
		path := strings.Replace(route.Path, "/{id}", id, 1)
		for _, header := range []string{
			"", "Authorization: ", "Authorization: Bearer", "Authorization: Bearer wrong", "Authorization: Bearer " + token + "x",
			"Authorization: Bearer " + token[:len(token)-1], "Authorization: Basic " + token, "Authorization: " + token, "X: " + token,
		} {
			got := r.ask(route.Method, path, "", header)
			if got.StatusCode != http.StatusUnauthorized || got.Header.Get("WWW-Authenticate") == "" || strings.Contains(string(got.body), token) {
				t.Errorf("%s %s with %q: %s %s", route.Method, path, header, got.Status, got.body)
			}
		}
		for _, header := range []string{"Authorization: Bearer " + token, "Authorization: bearer " + token} {
			if got := r.ask(route.Method, path, "", header, "Content-Type: application/json"); got.StatusCode == http.StatusUnauthorized {
				t.Errorf("%s %s with the token: %s", route.Method, path, got.Status)
			}
		}
	}
	r.want(401, "GET", "/api/v1/nothing", "")
	r.want(401, "POST", "/api/v1/jobs?token="+token, `{"kind":"probe"}`)
	r.want(200, "GET", "/livez", "")
	r.want(200, "GET", "/readyz", "")
	r.want(201, "POST", "/api/v1/jobs", `{"kind":"probe"}`, "Authorization: Bearer "+token)
	if strings.Contains(r.log.String(), token) {
		t.Error("the token is in the log")
	}
}

// A page that makes its own name lead to this machine is refused, and so is one that posts from elsewhere.
func TestOtherPages(t *testing.T) {
	t.Parallel()
	r := serve(t)
	port := r.url[strings.LastIndex(r.url, ":"):]
	for _, host := range []string{"localhost" + port, "LOCALHOST", "127.0.0.1" + port, "[::1]" + port, "[::1]"} {
		r.want(200, "GET", "/api/v1/kinds", "", "Host: "+host)
	}
	for _, host := range []string{"evil.example", "evil.example" + port, "localhost.evil.example", "127.0.0.1.nip.io", "0.0.0.0" + port, "[::2]" + port} {
		p := read[web.Problem](r, r.want(421, "GET", "/api/v1/kinds", "", "Host: "+host))
		if p.Type != "urn:warren:problem:wrong-host" {
			t.Errorf("host %s: %+v", host, p)
		}
	}
	for _, header := range []string{"Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"} {
		for _, c := range []struct{ method, path, body string }{
			{"POST", "/api/v1/jobs", `{"kind":"probe"}`},
			{"PATCH", "/api/v1/jobs/1", `{"priority":10}`},
			{"DELETE", "/api/v1/jobs/1", ""},
			{"POST", "/api/v1/jobs/1/retry", ""},
			{"POST", "/api/v1/jobs/1/cancel", ""},
		} {
			r.want(403, c.method, c.path, c.body, header)
		}
	}
	r.want(201, "POST", "/api/v1/jobs", `{"kind":"probe"}`, "Origin: "+r.url)
	if n := r.count(); n != 1 {
		t.Errorf("%d jobs were published", n)
	}
}

func TestMediaTypes(t *testing.T) {
	t.Parallel()
	r := serve(t)
	const body = `{"kind":"probe","delay":"1h"}`
	for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=latin1", "application/", "application/jsonp"} {
		r.want(415, "POST", "/api/v1/jobs", body, "Content-Type: "+media)
	}
	for _, coding := range []string{"gzip", "deflate", "br", "gzip, identity"} {
		r.want(415, "POST", "/api/v1/jobs", body, "Content-Encoding: "+coding)
	}
	r.want(415, "POST", "/api/v1/jobs/1/retry", `{}`)
	for _, media := range []string{"application/json", "application/json; charset=UTF-8", "Application/JSON"} {
		r.want(201, "POST", "/api/v1/jobs", body, "Content-Type: "+media, "Content-Encoding: identity")
	}
	for accept, status := range map[string]int{
		"": 200, "*/*": 200, "application/*": 200, "application/json": 200, "text/html, application/json;q=0.1": 200,
		"text/html": 406, "text/*": 406, "application/json;q=0": 406, "application/json;q=0, */*": 406, "application/xml": 406,
	} {
		r.want(status, "GET", "/api/v1/kinds", "", "Accept: "+accept)
	}
	r.want(406, "GET", "/api/v1/jobs/1/events", "", "Accept: application/json")
	r.want(412, "PATCH", "/api/v1/jobs/1", `{"priority":10}`, `If-Match: "1"`)
	r.want(412, "DELETE", "/api/v1/jobs/1", "", "If-Match: *")
}

func TestMethodsAndPaths(t *testing.T) {
	t.Parallel()
	r := serve(t)
	for _, c := range []struct{ method, path, allow string }{
		{"PUT", "/api/v1/jobs", "GET, HEAD, POST"},
		{"DELETE", "/api/v1/jobs", "GET, HEAD, POST"},
		{"POST", "/api/v1/jobs/1", "GET, HEAD, PATCH, DELETE"},
		{"GET", "/api/v1/jobs/1/retry", "POST"},
		{"POST", "/api/v1/stats", "GET, HEAD"},
		{"OPTIONS", "/api/v1/kinds", "GET, HEAD"},
	} {
		got := r.want(405, c.method, c.path, "")
		if p := read[web.Problem](r, got); got.Header.Get("Allow") != c.allow || p.Status != 405 {
			t.Errorf("%s %s: allowed are %q, %+v", c.method, c.path, got.Header.Get("Allow"), p)
		}
	}
	for _, path := range []string{
		"/", "/api", "/api/v1", "/api/v1/", "/api/v1/jobs/", "/api/v1/jobs/1/", "/api/v1//jobs", "/api/v1/../v1/jobs", "//evil.example/jobs",
		"/api/v1/jobs/1/sing", "/api/v1/batches/1", "/api/v2/jobs", "/metrics", "/debug/pprof/", "/..%2fapi/v1/jobs",
	} {
		got := r.want(404, "GET", path, "")
		if p := read[web.Problem](r, got); p.Status != 404 || got.Header.Get("Location") != "" {
			t.Errorf("%s: %+v, location %q", path, p, got.Header.Get("Location"))
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	r := serve(t)
	for path, status := range map[string]int{"/api/v1/jobs": 200, "/api/v1/openapi.json": 200, "/api/v1/jobs/1": 404, "/nothing": 404} {
		got := r.want(status, "GET", path, "")
		for name, value := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if got.Header.Get(name) != value {
				t.Errorf("%s: %s is %q, want %q", path, name, got.Header.Get(name), value)
			}
		}
		if got.Header.Get("Server") != "" || got.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: headers %v", path, got.Header)
		}
	}
}

// What goes wrong inside is in the log under the id that the client gets, and nowhere else.
func TestNothingInsideIsTold(t *testing.T) {
	t.Parallel()
	dsn := testenv.Postgres(t)
	r := serveOn(t, dsn)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), "DROP SCHEMA warren CASCADE"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/api/v1/jobs", `{"kind":"probe"}`},
		{"GET", "/api/v1/jobs", ""},
		{"GET", "/api/v1/jobs/1", ""},
		{"PATCH", "/api/v1/jobs/1", `{"priority":10}`},
		{"DELETE", "/api/v1/jobs/1", ""},
		{"POST", "/api/v1/jobs/1/retry", ""},
		{"GET", "/api/v1/jobs/1/why", ""},
		{"GET", "/api/v1/stats", ""},
		{"GET", "/api/v1/jobs/1/events", ""},
	} {
		got := r.want(500, c.method, c.path, c.body)
		p := read[web.Problem](r, got)
		for _, inside := range []string{"SQLSTATE", "relation", "warren.jobs", "schema", "goroutine", ".go:"} {
			if strings.Contains(string(got.body), inside) {
				t.Errorf("%s %s tells %q: %s", c.method, c.path, inside, got.body)
			}
		}
		if p.RequestID == "" || !strings.Contains(r.log.String(), `"request_id":"`+p.RequestID+`"`) {
			t.Errorf("%s %s: request id %q is not in the log", c.method, c.path, p.RequestID)
		}
	}
	if !strings.Contains(r.log.String(), "SQLSTATE") {
		t.Error("the log does not say what went wrong")
	}
	got := r.want(503, "GET", "/readyz", "")
	if text := strings.TrimSpace(string(got.body)); text != "the database cannot be used" {
		t.Errorf("ready: %q", text)
	}
}

// The handler mounts below any path: what it says is relative.
func TestMounted(t *testing.T) {
	t.Parallel()
	r := serve(t)
	client, err := warren.NewClient(warren.ClientConfig{Store: r.app.Store})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.StripPrefix("/background", r.app.API(client, "127.0.0.1:0", nil)))
	t.Cleanup(server.Close)
	r.url = server.URL
	got := r.want(201, "POST", "/background/api/v1/jobs", `{"kind":"probe"}`)
	where, err := got.Location()
	if err != nil {
		t.Fatal(err)
	}
	r.want(200, "GET", where.Path, "")
	r.want(404, "GET", "/background/api/v1/nothing", "")
}

// dial opens a connection of its own, for what a client library would not send.
func (r *rig) dial() net.Conn {
	r.Helper()
	c, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		r.Fatal(err)
	}
	return c
}

// A client that never ends its headers is let go; large headers are refused; a body that says that
// it is too large is not read, and one that does not say so is read no further than the limit.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	r := serve(t)
	slow := r.dial()
	if _, err := io.WriteString(slow, "GET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ head, body string }{
		"a large header":         {"GET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", ""},
		"a gigabyte":             {"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n", "{"},
		"a gigabyte of an array": {"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n", "["},
		"a gigabyte of blanks":   {"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n", strings.Repeat(" ", 1<<20)},
		"blanks without an end":  {"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n", "200000\r\n" + strings.Repeat(" ", 2<<20) + "\r\n"},
		"a body without an end":  {"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n", "200000\r\n{" + strings.Repeat(" ", 2<<20-1) + "\r\n"},
	} {
		conn := r.dial()
		_, _ = io.WriteString(conn, c.head+c.body) // the server may hang up before all of it was sent
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = res.Body.Close()
		if !slices.Contains([]int{http.StatusRequestHeaderFieldsTooLarge, http.StatusRequestEntityTooLarge}, res.StatusCode) || !res.Close {
			t.Errorf("%s: %s, closes %t", name, res.Status, res.Close)
		}
	}
	if text, err := io.ReadAll(slow); err != nil || strings.Contains(string(text), " 200 ") {
		t.Errorf("the slow client: %q, %v", text, err)
	}
}

// Connections beyond the limit wait for others to end; they do not pile up inside.
func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	r := serve(t)
	request := "GET /api/v1/kinds HTTP/1.1\r\nHost: localhost\r\n\r\n"
	var open []net.Conn
	for range 256 {
		c := r.dial()
		open = append(open, c)
	}
	for _, c := range []net.Conn{open[0], open[255]} {
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	late := r.dial() // by the kernel, not by the server
	if _, err := io.WriteString(late, request); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		res, err := http.ReadResponse(bufio.NewReader(late), nil)
		if err == nil {
			_ = res.Body.Close()
		}
		answered <- err
	}()
	// Another connection's request goes through meanwhile; the late one's does not.
	if _, err := io.WriteString(open[0], request); err != nil {
		t.Fatal(err)
	}
	if res, err := http.ReadResponse(bufio.NewReader(open[0]), nil); err != nil {
		t.Fatal(err)
	} else {
		_ = res.Body.Close()
	}
	select {
	case err := <-answered:
		t.Fatalf("connection 257 was served beside 256 others: %v", err)
	default:
	}
	_ = open[1].Close()
	if err := <-answered; err != nil {
		t.Errorf("connection 257, after another has ended: %v", err)
	}
}
