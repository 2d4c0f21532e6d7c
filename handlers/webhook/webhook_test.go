package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	neturl "net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/handlers"
	"github.com/warrenq/warren/handlers/webhook"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

const canary = "S3CR3T-CANARY-9"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func job() *jobstore.Job {
	return &jobstore.Job{
		ID: 42, Kind: "mail", Args: json.RawMessage(`{"to":"<a@b.c>"}`), Attempts: 3, LeaseNo: 7,
		Queue: "default", Priority: 10, Identifier: "order-1", Metadata: json.RawMessage(`{"by":"me"}`),
	}
}

// serve starts a receiver and returns its address.
func serve(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return srv.URL
}

func newHandler(t *testing.T, c webhook.Config) warren.RawHandler {
	t.Helper()
	h, err := webhook.New(c)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return h
}

// run runs one attempt and returns the output it left.
func run(ctx context.Context, t *testing.T, c webhook.Config) (string, error) {
	t.Helper()
	scope := worker.NewScope(job(), zap.NewNop())
	err := newHandler(t, c)(worker.WithScope(ctx, scope), job())
	output, _ := scope.Kept()
	return string(output), err
}

func TestTheRequest(t *testing.T) {
	t.Parallel()
	key := []byte("0123456789abcdef0123456789abcdef")
	encoded := base64.StdEncoding.EncodeToString(key)
	for name, tc := range map[string]struct {
		secret handlers.Secret
		key    []byte
	}{
		"not signed":       {"", nil},
		"with prefix":      {handlers.Secret("whsec_" + encoded), key},
		"prefix, unpadded": {handlers.Secret("whsec_" + strings.TrimRight(encoded, "=")), key},
		"without prefix":   {handlers.Secret(encoded), key},
		"a line break":     {handlers.Secret(encoded + "\n"), key},
		"plain text":       {"correct horse battery", []byte("correct horse battery")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got *http.Request
			var body []byte
			url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
				got = r
				body, _ = io.ReadAll(r.Body)
			})
			if _, err := run(t.Context(), t, webhook.Config{URL: url + "/hook?v=1", Secret: tc.secret}); err != nil {
				t.Fatal(err)
			}
			want, err := handlers.Document(job())
			if err != nil || string(body) != string(want) {
				t.Errorf("the body is %s, want %s (%v)", body, want, err)
			}
			for header, want := range map[string]string{
				"Content-Type": "application/json", "User-Agent": "warren", "Idempotency-Key": "42", "Webhook-Id": "42",
				"Content-Length": strconv.Itoa(len(want)),
			} {
				if got := got.Header.Get(header); got != want {
					t.Errorf("%s is %q, want %q", header, got, want)
				}
			}
			if got.Method != http.MethodPost || got.RequestURI != "/hook?v=1" {
				t.Errorf("the request is %s %s", got.Method, got.RequestURI)
			}
			checkSignature(t, got.Header, body, tc.key)
		})
	}
}

// checkSignature does what a receiver does.
func checkSignature(t *testing.T, h http.Header, body, key []byte) {
	t.Helper()
	at, signature := h.Get("Webhook-Timestamp"), h.Get("Webhook-Signature")
	if key == nil {
		if at != "" || signature != "" {
			t.Errorf("signed %q at %q without a secret", signature, at)
		}
		return
	}
	seconds, err := strconv.ParseInt(at, 10, 64)
	if age := time.Since(time.Unix(seconds, 0)); err != nil || age < -time.Minute || age > 5*time.Minute {
		t.Errorf("the timestamp %q is not now (%v)", at, err)
	}
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", h.Get("Webhook-Id"), at, body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); signature != want {
		t.Errorf("the signature is %q, want %q", signature, want)
	}
}

func TestUserAndPasswordAreSent(t *testing.T) {
	t.Parallel()
	var user, password string
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) { user, password, _ = r.BasicAuth() })
	if _, err := run(t.Context(), t, webhook.Config{URL: strings.Replace(url, "://", "://me:"+canary+"@", 1)}); err != nil {
		t.Fatal(err)
	}
	if user != "me" || password != canary {
		t.Errorf("the receiver got %q and %q", user, password)
	}
}

// class is how Warren will see an error.
func class(err error) string {
	var wait *worker.WaitError
	var permanent *worker.PermanentError
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &permanent):
		return "permanent"
	case errors.As(err, &wait):
		return "wait " + wait.Delay.String()
	}
	return "temporary"
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]string{
		200: "done", 201: "done", 202: "done", 204: "done", 299: "done",
		300: "permanent", 301: "permanent", 302: "permanent", 304: "permanent", 307: "permanent", 308: "permanent",
		400: "permanent", 401: "permanent", 403: "permanent", 404: "permanent", 405: "permanent", 409: "permanent", 410: "permanent",
		413: "permanent", 415: "permanent", 422: "permanent", 451: "permanent", 499: "permanent",
		408: "temporary", 425: "temporary", 429: "temporary",
		500: "temporary", 501: "temporary", 502: "temporary", 503: "temporary", 504: "temporary", 599: "temporary", 999: "temporary",
	} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
			_, err := run(t.Context(), t, webhook.Config{URL: url})
			if class(err) != want {
				t.Errorf("got %s (%v), want %s", class(err), err, want)
			}
			if err != nil && !strings.Contains(err.Error(), "HTTP "+strconv.Itoa(code)) {
				t.Errorf("the error does not name the status: %v", err)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	date := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for name, tc := range map[string]struct {
		code  int
		value string
		want  string
	}{
		"seconds":         {429, "120", "wait 2m0s"},
		"seconds, 503":    {503, " 7 ", "wait 7s"},
		"now":             {503, "0", "wait 1s"},
		"a date gone by":  {503, date(-time.Hour), "wait 1s"},
		"too long":        {429, "99999999", "wait 24h0m0s"},
		"far too long":    {429, "99999999999999999999999", "temporary"},
		"a far date":      {429, date(1000 * time.Hour), "wait 24h0m0s"},
		"negative":        {429, "-5", "temporary"},
		"words":           {429, "tomorrow", "temporary"},
		"a fraction":      {429, "1.5", "temporary"},
		"of another kind": {500, "120", "temporary"},
		"nor here":        {404, "120", "permanent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", tc.value)
				w.WriteHeader(tc.code)
			})
			if _, err := run(t.Context(), t, webhook.Config{URL: url}); class(err) != tc.want {
				t.Errorf("got %s (%v), want %s", class(err), err, tc.want)
			}
		})
	}
	t.Run("a date", func(t *testing.T) {
		t.Parallel()
		url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", date(10*time.Hour))
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		_, err := run(t.Context(), t, webhook.Config{URL: url})
		wait := (*worker.WaitError)(nil)
		if !errors.As(err, &wait) || wait.Delay < 9*time.Hour || wait.Delay > 10*time.Hour {
			t.Errorf("got %v, want about ten hours", err)
		}
	})
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var followed atomic.Bool
	other := serve(t, func(http.ResponseWriter, *http.Request) { followed.Store(true) })
	for _, client := range []*http.Client{nil, {}, {CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}} {
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other+"/?token="+canary, http.StatusTemporaryRedirect)
		})
		_, err := run(t.Context(), t, webhook.Config{URL: url, Client: client})
		if class(err) != "permanent" || !strings.Contains(err.Error(), "HTTP 307 Temporary Redirect") ||
			!strings.Contains(err.Error(), "redirects are not followed; configure the URL it has moved to") || strings.Contains(err.Error(), canary) {
			t.Errorf("got %v", err)
		}
	}
	if followed.Load() {
		t.Error("the redirect was followed")
	}
}

func TestOutput(t *testing.T) {
	t.Parallel()
	large := `"` + strings.Repeat("x", 64<<10-2) + `"`
	for name, tc := range map[string]struct {
		code             int
		kind, body, want string
	}{
		"json":             {200, "application/json", ` {"sent": 1} `, `{"sent":1}`},
		"json and charset": {201, "application/json; charset=utf-8", `[1]`, `[1]`},
		"a kind of json":   {200, "application/vnd.x+json", `true`, `true`},
		"does not say so":  {200, "text/plain", `{"sent":1}`, `{"sent":1}`},
		"a plain text":     {200, "text/plain", `12`, ``},
		"ok":               {200, "text/plain", `OK`, ``},
		"html":             {200, "text/html", `<html>`, ``},
		"not json at all":  {200, "application/json", `{"sent":`, ``},
		"two values":       {200, "application/json", `{} {}`, ``},
		"empty":            {204, "application/json", ``, ``},
		"just fits":        {200, "application/json", large, large},
		"too large":        {200, "application/json", large[:len(large)-1] + `y"`, ``},
		"far too large":    {200, "application/json", `"` + strings.Repeat("x", 3<<20) + `"`, ``},
		"failed":           {500, "application/json", `{"error":1}`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tc.kind)
				w.WriteHeader(tc.code)
				_, _ = io.WriteString(w, tc.body)
			})
			output, err := run(t.Context(), t, webhook.Config{URL: url})
			if (err == nil) != (tc.code < 300) || output != tc.want {
				t.Errorf("kept %.60q (%v), want %.60q", output, err, tc.want)
			}
		})
	}
	// Outside of a job there is nothing to keep it in, and that is no failure.
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	if err := newHandler(t, webhook.Config{URL: url})(t.Context(), job()); err != nil {
		t.Error(err)
	}
}

func TestTheErrorIsShortAndPrintable(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"":                            "HTTP 500 Internal Server Error",
		"no such\r\n user\x1b[31m!\a": "HTTP 500 Internal Server Error: no such user [31m!",
		"\xff\xfe\x00\u202e":          "HTTP 500 Internal Server Error",
		strings.Repeat("long ", 1000): "HTTP 500 Internal Server Error: " + strings.Repeat("long ", 39) + "lo…",
		"you sent " + canary + " and " + base64.StdEncoding.EncodeToString([]byte("me:"+canary)): "HTTP 500 Internal Server Error: you sent *** and ***",
		"key whsec_UzNDUjNULUNBTkFSWS05": "HTTP 500 Internal Server Error: key ***",
	} {
		t.Run(fmt.Sprintf("%.20q", body), func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = io.WriteString(w, body)
			})
			address := strings.Replace(url, "://", "://me:"+canary+"@", 1) + "/" + canary + "?token=" + canary
			_, err := run(t.Context(), t, webhook.Config{URL: address, Secret: "whsec_UzNDUjNULUNBTkFSWS05"})
			if err == nil || err.Error() != "POST "+url+": "+want {
				t.Errorf("got  %v\nwant POST %s: %s", err, url, want)
			}
		})
	}
}

// A receiver that repeats what it was sent, as those do that name the path they do not know.
func TestTheErrorTellsNothingOfTheURL(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, _, _ := r.BasicAuth()
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintln(w, "cannot POST", r.RequestURI, "path", r.URL.Path, "token", r.URL.Query().Get("token"), "user", user, r.Header.Get("Authorization"))
	})
	const inPath, inQuery, asUser = "PATH-CANARY-1", "QUERY/CANARY 2", "USER-CANARY-3"
	address := strings.Replace(url, "://", "://"+asUser+"@", 1) + "/services/" + inPath + "/x?mode=post&token=" + neturl.QueryEscape(inQuery)
	_, err := run(t.Context(), t, webhook.Config{URL: address})
	if want := "permanent: POST " + url + ": HTTP 404 Not Found: cannot POST *** path *** token *** user *** Basic ***"; class(err) != "permanent" || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestNetworkErrorsAreTemporary(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(nil)
	closed.Close()
	hangUp := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	tls := httptest.NewTLSServer(nil)
	t.Cleanup(tls.Close)
	for name, tc := range map[string]struct{ url, want string }{
		"refused":         {closed.URL, "connection refused"},
		"hung up":         {hangUp, "EOF"},
		"no such host":    {"http://no-such-host.invalid", "no-such-host.invalid"},
		"not trusted":     {tls.URL, "certificate"},
		"not TLS at all":  {strings.Replace(hangUp, "http:", "https:", 1), "HTTP response to HTTPS client"},
		"not HTTP at all": {"http://" + notHTTP(t), "malformed HTTP"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := strings.Replace(tc.url, "://", "://me:"+canary+"@", 1) + "/" + canary + "?token=" + canary
			_, err := run(t.Context(), t, webhook.Config{URL: address, Secret: canary})
			if class(err) != "temporary" || !strings.HasPrefix(err.Error(), "POST "+tc.url+": ") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %s (%v), want a temporary error with %q", class(err), err, tc.want)
			}
			if strings.Contains(fmt.Sprint(err), canary) {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

// notHTTP answers every connection with a line of something else.
func notHTTP(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, "220 mail.example.org ESMTP\r\n")
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

func TestTheAttemptEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(w http.ResponseWriter){
		"before the answer": func(http.ResponseWriter) {},
		"within a refusal": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusBadGateway)
			_ = http.NewResponseController(w).Flush()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				answer(w)
				cancel(warren.ErrTimeout)
				<-r.Context().Done() // the client hung up
			})
			_, err := run(ctx, t, webhook.Config{URL: url})
			if class(err) != "temporary" {
				t.Errorf("got %v", err)
			}
			if name == "before the answer" && !errors.Is(err, warren.ErrTimeout) {
				t.Errorf("got %v, want the cause", err)
			}
		})
	}
}

// TestAnAnswerThatBreaksOff: the receiver has said that it did the work.
func TestAnAnswerThatBreaksOff(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"sent":`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	if output, err := run(t.Context(), t, webhook.Config{URL: url}); err != nil || output != "" {
		t.Errorf("got %v, output %s", err, output)
	}
}

func TestAnEndlessAnswerIsCutShort(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, strings.Repeat("x", 4096)); err != nil {
				return
			}
		}
	})
	if output, err := run(t.Context(), t, webhook.Config{URL: url}); err != nil || output != "" {
		t.Errorf("got %v, output %.20s", err, output)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	var connections, requests atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1)%2 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 200<<10)) // longer than what is kept
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	h := newHandler(t, webhook.Config{URL: srv.URL})
	for range 20 {
		_ = h(t.Context(), job())
	}
	if c, r := connections.Load(), requests.Load(); c != 1 || r != 20 {
		t.Errorf("%d requests took %d connections, want one", r, c)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		config webhook.Config
		want   string
	}{
		"nothing":        {webhook.Config{}, "webhook: url is missing; want one such as https://example.org/jobs"},
		"no scheme":      {webhook.Config{URL: "example.org/x"}, "has neither the scheme http nor https"},
		"other scheme":   {webhook.Config{URL: "ftp://me:" + canary + "@h/" + canary}, `webhook: url "ftp://h" has neither the scheme http nor https`},
		"no host":        {webhook.Config{URL: "http:///x"}, "has no host"},
		"only a port":    {webhook.Config{URL: "http://:80/x"}, "has no host"},
		"opaque":         {webhook.Config{URL: "http:" + canary}, "has no host"},
		"malformed":      {webhook.Config{URL: "http://me:" + canary + "%zz@h"}, "url cannot be parsed (it is not shown, because it may hold a password)"},
		"bad secret":     {webhook.Config{URL: "http://h", Secret: "whsec_" + canary + "!"}, "secret begins with whsec_, but what follows is not base64; make one with: echo whsec_$(openssl rand -base64 32)"},
		"no secret":      {webhook.Config{URL: "http://h", Secret: "whsec_"}, "secret begins with whsec_, but"},
		"two complaints": {webhook.Config{Secret: "whsec_!"}, "\nsecret begins"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := webhook.New(tc.config)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), canary) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestTheConfigurationPrintsNoSecret(t *testing.T) {
	t.Parallel()
	c := webhook.Config{URL: "https://me:" + canary + "@example.org/" + canary + "?t=" + canary, Secret: canary}
	asJSON, err := json.Marshal(map[string]any{"c": c, "p": &c})
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q %s", c, &c, c, c, c, asJSON)
	if strings.Contains(all, canary) || !strings.Contains(all, "https://example.org, signed") {
		t.Errorf("printed %s", all)
	}
}
