package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/handlers"
	"github.com/warrenq/warren/jobstore"
)

const (
	// maxOutput is how many bytes of an answer are kept as output.
	maxOutput = 64 << 10
	// maxDrain is how many bytes of an answer are read at all, so that its connection can be used
	// again; a longer answer costs a new connection.
	maxDrain = 256 << 10
	// maxExcerpt is how many bytes of an answer go into the error.
	maxExcerpt = 200
	// maxWait bounds Retry-After: a receiver with a wrong clock must not park a job for years.
	maxWait = 24 * time.Hour
	// minWait keeps one that says "now" from being asked in a hot loop: waiting uses no attempts.
	minWait = time.Second
)

// New returns the handler. Its error says what is wrong with the configuration.
func New(c Config) (warren.RawHandler, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	secret, err := key(c.Secret)
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("webhook: url cannot be parsed")
	}
	h := handler{url: u.String(), place: place(u), key: secret, hidden: hidden(c, u), client: client(c.Client)}
	return h.run, nil
}

type handler struct {
	url    string
	place  string // the URL as errors show it
	key    []byte
	hidden *strings.Replacer // masks secrets that an answer repeats
	client *http.Client
}

// minToken is how long a part of a path or a value of a query is that looks like a secret. Shorter ones are words, which an
// answer may need; the path and the query as a whole are hidden whatever they are.
const minToken = 12

// hidden masks what is or may be secret in the configuration: the secret, and of the URL all but scheme and host. The
// error of a job is seen by more people than the configuration is, and many receivers name the path that they do not
// know, or answer with all they were sent.
func hidden(c Config, u *url.URL) *strings.Replacer {
	secrets := []string{string(c.Secret), u.RawQuery}
	if password, has := u.User.Password(); u.User != nil {
		name := u.User.Username()
		secrets = append(secrets, u.User.String(), password, base64.StdEncoding.EncodeToString([]byte(name+":"+password)))
		if !has {
			secrets = append(secrets, name) // which is a token, then
		}
	}
	if u.RequestURI() != "/" {
		secrets = append(secrets, u.RequestURI())
	}
	if u.Path != "/" {
		secrets = append(secrets, u.Path, u.EscapedPath())
	}
	tokens := strings.Split(u.Path, "/")
	for _, values := range u.Query() {
		tokens = append(tokens, values...)
	}
	secrets = append(secrets, slices.DeleteFunc(tokens, func(s string) bool { return len(s) < minToken })...)
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) }) // what is found first at a place is what is masked there
	var pairs []string
	for _, s := range secrets {
		if s != "" {
			pairs = append(pairs, s, "***")
		}
	}
	return strings.NewReplacer(pairs...)
}

// client copies the given one, or makes one, that does not follow redirects. Its limits are on
// the steps that hang without a sign of life; how long an answer may take is the job's timeout.
func client(given *http.Client) *http.Client {
	c := http.Client{}
	if given != nil {
		c = *given
	} else {
		c.Transport = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ExpectContinueTimeout: time.Second,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   32, // as many as a consumer may have under way at a time
			IdleConnTimeout:       90 * time.Second,
		}
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

func (h handler) run(ctx context.Context, job *jobstore.Job) error {
	req, err := h.request(ctx, job)
	if err != nil {
		return warren.Permanent(err)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return h.unanswered(ctx, err)
	}
	body := read(resp)
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		keep(ctx, resp, body)
		return nil
	}
	return h.refused(resp, body)
}

// request makes the POST of one attempt.
func (h handler) request(ctx context.Context, job *jobstore.Job) (*http.Request, error) {
	doc, err := handlers.Document(job)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(doc))
	if err != nil {
		return nil, errors.New("webhook: the request cannot be made for " + h.place)
	}
	id := strconv.FormatInt(int64(job.ID), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "warren")
	// With this header net/http also repeats a request that a reused connection lost.
	req.Header.Set("Idempotency-Key", id)
	req.Header.Set("Webhook-Id", id)
	if h.key != nil {
		at := strconv.FormatInt(time.Now().Unix(), 10)
		req.Header.Set("Webhook-Timestamp", at)
		req.Header.Set("Webhook-Signature", "v1,"+sign(h.key, id, at, doc))
	}
	return req, nil
}

// sign returns the signature of Standard Webhooks, without its version.
func sign(key []byte, id, at string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(id + "." + at + "."))
	_, _ = mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// read returns the beginning of the answer, one byte more than can be kept, and reads on to its
// end within bounds, so that the connection can be used again. An answer that breaks off is not
// an error: the status has been said, and sending a job again that was done is worse.
func read(resp *http.Response) []byte {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxOutput+1))
	if err == nil {
		_, _ = io.CopyN(io.Discard, resp.Body, maxDrain-maxOutput)
	}
	_ = resp.Body.Close()
	return body
}

// unanswered is what became of an attempt without a whole answer.
func (h handler) unanswered(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("POST %s was interrupted: %w", h.place, context.Cause(ctx))
	}
	// The outer error repeats the URL, with its query.
	if e := (*url.Error)(nil); errors.As(err, &e) {
		err = e.Err
	}
	return fmt.Errorf("POST %s: %w", h.place, err)
}

// refused is what an answer other than 2xx means.
func (h handler) refused(resp *http.Response, body []byte) error {
	text := fmt.Sprintf("POST %s: HTTP %d %s", h.place, resp.StatusCode, http.StatusText(resp.StatusCode))
	if said := handlers.Excerpt(h.hidden.Replace(string(body)), maxExcerpt); said != "" {
		text += ": " + said
	}
	err := errors.New(strings.TrimSpace(text))
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable:
		if d, ok := retryAfter(resp.Header.Get("Retry-After"), time.Now()); ok {
			return warren.Wait(d, err)
		}
		return err
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code >= 500:
		return err
	case code >= 300 && code < 400:
		return warren.Permanent(fmt.Errorf("%w (redirects are not followed; configure the URL it has moved to)", err))
	}
	return warren.Permanent(err)
}

// retryAfter reads a number of seconds, or a date.
func retryAfter(value string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	var d time.Duration
	if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	} else if seconds, err := strconv.ParseUint(value, 10, 64); err == nil {
		d = time.Duration(min(seconds, uint64(maxWait/time.Second))) * time.Second
	} else {
		return 0, false
	}
	return min(max(d, minWait), maxWait), true
}

// keep keeps a JSON answer as the job's output, if it is not too long. One that does not say that
// it is JSON must look like it: the text 200 is a number too.
func keep(ctx context.Context, resp *http.Response, body []byte) {
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	saysSo := err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json"))
	text := bytes.TrimSpace(body)
	looksSo := bytes.HasPrefix(text, []byte("{")) || bytes.HasPrefix(text, []byte("["))
	if len(body) > maxOutput || !saysSo && !looksSo || !json.Valid(text) {
		return
	}
	if err := warren.SetOutput(ctx, json.RawMessage(text)); err != nil {
		// The work is done all the same.
		warren.Logger(ctx).Warn("the answer was not kept as output", zap.Error(err))
	}
}
